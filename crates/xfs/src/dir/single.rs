//! Directories of one block, which ends with the index of its names and two counts.
//!
//! Such a block is written anew with every change: it is small, and so it never has holes.
//!
//! Source: `xfs_dir2_block_tail` in the kernel's `libxfs/xfs_da_format.h`.

use super::data::{DataBlock, DataKind};
use super::entry::{Entry, Target};
use super::format::Format;
use crate::da::{Fault, IndexEntry, be32, decode_entries_at, encode_entries, forget_stale, put};
use crate::error::Error;
use ondisk::width::usize_of_u32;

/// A directory of one block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Single {
    /// What `..` names.
    pub(super) parent: u64,
    /// All names but `.` and `..`, in their order.
    pub(super) entries: Vec<Entry>,
}

/// Bytes of an entry of the index, and of the two counts.
const ENTRY: usize = 8;

impl Single {
    /// Reads a block, apart from its index.
    ///
    /// # Errors
    /// What breaks the format.
    pub(super) fn decode(format: &Format, bytes: &[u8]) -> Result<Self, Fault> {
        let end = index_start(format, bytes)?;
        let block = DataBlock::parse(format, DataKind::Single, bytes.to_vec(), end)?;
        Self::of(format, &block)
    }

    /// The names of a block that is the only one.
    ///
    /// # Errors
    /// A block that does not name the parent, or twice.
    pub(super) fn of(format: &Format, block: &DataBlock) -> Result<Self, Fault> {
        let mut entries = Vec::new();
        let mut parent = None;
        for (at, entry) in block.entries(format)? {
            match &*entry.name {
                b"." => {}
                b".." if parent.is_some() => {
                    return Err(Fault {
                        at,
                        reason: "the parent is named twice",
                        value: entry.target.inode,
                    });
                }
                b".." => parent = Some(entry.target.inode),
                _ => entries.push(entry),
            }
        }
        let Some(parent) = parent else {
            return Err(Fault {
                at: 0,
                reason: "the directory does not name its parent",
                value: 0,
            });
        };
        Ok(Self { parent, entries })
    }

    /// The block, if it has room.
    ///
    /// # Errors
    /// Never in practice: a block of any size can be addressed.
    pub(super) fn encode(&self, format: &Format) -> Result<Option<Vec<u8>>, Error> {
        let count = self.entries.len().saturating_add(2);
        let index_len = count.saturating_add(1).saturating_mul(ENTRY);
        let Some(end) = format.block_size().checked_sub(index_len) else {
            return Ok(None);
        };
        if end < format.first_entry() {
            return Ok(None);
        }
        let mut block = DataBlock::new(format, DataKind::Single, end);
        let Some(mut index) = fill(format, &mut block, self.parent, &self.entries)? else {
            return Ok(None);
        };
        index.sort_by_key(|entry| entry.hash);
        let mut bytes = block.into_bytes(format);
        encode_entries(&index, &mut bytes, end);
        let tail = bytes.len().saturating_sub(ENTRY);
        // A block of 64 KiB has room for fewer than 2^13.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        put(&mut bytes, tail, &count.to_be_bytes());
        Ok(Some(bytes))
    }

    /// The same names as the first of several blocks, with what the index has to know. It has room
    /// for what a single block held.
    ///
    /// # Errors
    /// Never in practice, as [`encode`](Self::encode).
    pub(super) fn to_data(
        &self,
        format: &Format,
    ) -> Result<Option<(DataBlock, Vec<IndexEntry>)>, Error> {
        let mut block = DataBlock::empty(format);
        let index = fill(format, &mut block, self.parent, &self.entries)?;
        Ok(index.map(|mut index| {
            index.sort_by_key(|entry| entry.hash);
            (block, index)
        }))
    }
}

/// The index of a block, without what it has forgotten.
///
/// # Errors
/// What breaks the format.
pub(super) fn index(format: &Format, bytes: &[u8]) -> Result<Vec<IndexEntry>, Fault> {
    let start = index_start(format, bytes)?;
    let tail = bytes.len().saturating_sub(ENTRY);
    let count = tail.saturating_sub(start).checked_div(ENTRY).unwrap_or(0);
    let mut entries = decode_entries_at(bytes, start, count)?;
    let at = tail.saturating_add(4);
    forget_stale(&mut entries, usize_of_u32(be32(bytes, at)), at)?;
    Ok(entries)
}

/// Where the index of a block starts, and its names end.
pub(super) fn index_start(format: &Format, bytes: &[u8]) -> Result<usize, Fault> {
    let tail = bytes.len().saturating_sub(ENTRY);
    let count = be32(bytes, tail);
    let start = tail.checked_sub(usize_of_u32(count).saturating_mul(ENTRY));
    start
        .filter(|start| *start >= format.first_entry())
        .ok_or(Fault {
            at: tail,
            reason: "the index is larger than the block",
            value: count.into(),
        })
}

/// Puts `.`, `..` and all entries into an empty first block; none if there is no room.
fn fill(
    format: &Format,
    block: &mut DataBlock,
    parent: u64,
    entries: &[Entry],
) -> Result<Option<Vec<IndexEntry>>, Error> {
    let directory = |inode| Target::new(inode, fs::Kind::Dir);
    let dot = (&b"."[..], directory(format.geometry.owner.inode));
    let dots = (&b".."[..], directory(parent));
    let others = entries.iter().map(|entry| (&*entry.name, entry.target));
    let mut index = Vec::new();
    for (name, target) in [dot, dots].into_iter().chain(others) {
        let Some(at) = block.append(format, name, target) else {
            return Ok(None);
        };
        index.push(IndexEntry {
            hash: format.hash(name),
            value: format.address(0, at)?,
        });
    }
    Ok(Some(index))
}

#[cfg(test)]
mod tests {
    use super::super::tests::format;
    use super::*;

    fn single(count: usize) -> Single {
        let entry = |number| Entry {
            name: format!("name{number}").into_bytes(),
            target: Target::new(200, fs::Kind::File),
        };
        Single {
            parent: 128,
            entries: (0..count).map(entry).collect(),
        }
    }

    #[test]
    fn a_block_takes_names_until_it_is_full() {
        for v5 in [false, true] {
            let format = format(512, v5);
            // Of 512 bytes the header, `.` and `..` with their index, and the counts are gone;
            // each name takes 24 bytes, and 8 of the index.
            let full = (0..).find(|n| single(*n).encode(&format).unwrap().is_none());
            assert_eq!(full, Some(if v5 { 13 } else { 14 }));
            for count in 0..full.unwrap() {
                let bytes = single(count).encode(&format).unwrap().unwrap();
                assert_eq!(Single::decode(&format, &bytes).unwrap(), single(count));
                let index = index(&format, &bytes).unwrap();
                assert_eq!(index.len(), count + 2);
            }
            assert!(single(full.unwrap()).to_data(&format).unwrap().is_some());
        }
    }

    #[test]
    fn every_broken_field_is_found() {
        let format = format(512, true);
        let bytes = single(3).encode(&format).unwrap().unwrap();
        for (at, value, reason) in [
            (507, 57, "the index is larger than the block"),
            (504, 1, "the index is larger than the block"),
            (81 + 8, b'x', "the directory does not name its parent"),
        ] {
            let mut broken = bytes.clone();
            broken[at] = value;
            let fault = Single::decode(&format, &broken).unwrap_err();
            assert_eq!(fault.reason, reason, "byte {at}");
        }
        let mut broken = bytes.clone();
        broken[511] = 1;
        assert_eq!(
            index(&format, &broken).unwrap_err().reason,
            "the count of forgotten entries is wrong"
        );
    }
}
