//! Leaves of attributes: entries sorted by hash from the start, names and values from the end.
//!
//! Source: `xfs_attr3_leaf_hdr`, `xfs_attr_leaf_entry`, `_name_local` and `_name_remote` in the
//! kernel's `libxfs/xfs_da_format.h`, and `xfs_attr_leaf_entsize_*`.

use super::is_space;
use super::name::{Key, space};
use crate::da::{Fault, IndexBlock, attribute_leaf_magic, be16, be32, put};
use ondisk::width::{u64_of, usize_of_u32};

/// One entry of a leaf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LeafEntry {
    pub(super) hash: u32,
    pub(super) key: Key,
    pub(super) value: Value,
}

/// Where a value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// In the leaf.
    Local(Vec<u8>),
    /// In blocks of the fork of its own.
    Remote {
        /// The first of them.
        block: u32,
        /// Bytes.
        len: u32,
    },
}

/// The value lies in the leaf.
const LOCAL: u8 = 0x1;
/// The attribute was being written or removed; nobody sees it.
const INCOMPLETE: u8 = 0x80;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// Names start at multiples of this.
const ALIGN: usize = 4;

/// Where the count of entries lies, and with it the other fields.
fn counts(v5: bool) -> usize {
    if v5 { 56 } else { 12 }
}

/// Where the entries lie.
fn first_entry(v5: bool) -> usize {
    if v5 { 80 } else { 32 }
}

impl LeafEntry {
    /// Bytes of the name and what is with it.
    fn name_len(&self) -> usize {
        let name = self.key.name.len();
        match &self.value {
            Value::Local(value) => local_len(name, value.len()),
            // Two bytes are never used: the kernel's structure ends with padding.
            Value::Remote { .. } => name.saturating_add(11).next_multiple_of(ALIGN),
        }
    }

    /// Bytes that the entry takes of a leaf.
    pub(super) fn len(&self) -> usize {
        self.name_len().saturating_add(ENTRY)
    }
}

/// Bytes of a name with its value.
fn local_len(name: usize, value: usize) -> usize {
    name.saturating_add(value)
        .saturating_add(3)
        .next_multiple_of(ALIGN)
}

/// Whether a value lies in the leaf with its name: if both take less than three quarters of it.
pub(super) fn is_local(block_size: usize, name: usize, value: usize) -> bool {
    let most = (block_size / 2).saturating_add(block_size / 4);
    local_len(name, value) < most
}

/// Bytes that entries may take of a leaf together.
pub(super) fn room(v5: bool, block_size: usize) -> usize {
    block_size.saturating_sub(first_entry(v5))
}

/// Whether a block is a leaf.
pub(super) fn is_leaf(v5: bool, bytes: &[u8]) -> bool {
    IndexBlock::magic(bytes) == attribute_leaf_magic(v5)
}

/// Reads a leaf, without what is incomplete.
///
/// # Errors
/// What breaks the format.
pub(super) fn decode(v5: bool, bytes: &[u8]) -> Result<Vec<LeafEntry>, Fault> {
    let fault = |at, reason, value| Fault { at, reason, value };
    if !is_leaf(v5, bytes) {
        let magic = IndexBlock::magic(bytes);
        return Err(fault(8, "no leaf of attributes", magic.into()));
    }
    let count_at = counts(v5);
    let count = usize::from(be16(bytes, count_at));
    let first = first_entry(v5);
    let end = count.saturating_mul(ENTRY).saturating_add(first);
    let Some(range) = bytes.get(first..end) else {
        let reason = "more entries than the block has room for";
        return Err(fault(count_at, reason, u64_of(count)));
    };
    let mut entries = Vec::new();
    let mut before = 0;
    // Names do not overlap, so together they are no longer than the block.
    let mut left = bytes.len();
    let (chunks, _) = range.as_chunks::<ENTRY>();
    for (index, chunk) in chunks.iter().enumerate() {
        let at = index.saturating_mul(ENTRY).saturating_add(first);
        let hash = be32(chunk, 0);
        if hash < before {
            return Err(fault(at, "hashes are out of order", hash.into()));
        }
        before = hash;
        let place = usize::from(be16(chunk, 4));
        let flags = chunk[6];
        if place < end {
            return Err(fault(at, "the name lies outside", u64_of(place)));
        }
        let entry = decode_name(bytes, place, hash, flags)
            .ok_or_else(|| fault(at, "the name goes beyond the end", u64_of(place)))?;
        let Some(remaining) = left.checked_sub(entry.name_len()) else {
            return Err(fault(at, "the names overlap", u64_of(place)));
        };
        left = remaining;
        if flags & INCOMPLETE != 0 {
            continue;
        }
        let space = entry.key.space;
        if !is_space(space) || entry.key.name.is_empty() {
            let reason = "no attribute has such flags or such a name";
            return Err(fault(at, reason, flags.into()));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_name(bytes: &[u8], at: usize, hash: u32, flags: u8) -> Option<LeafEntry> {
    let local = flags & LOCAL != 0;
    let rest = bytes.get(at..)?;
    let (head, rest) = rest.split_at_checked(if local { 3 } else { 9 })?;
    let name_len = usize::from(*head.last()?);
    let (name, rest) = rest.split_at_checked(name_len)?;
    let value = if local {
        Value::Local(rest.get(..be16(head, 0).into())?.to_vec())
    } else {
        Value::Remote {
            block: be32(head, 0),
            len: be32(head, 4),
        }
    };
    Some(LeafEntry {
        hash,
        key: Key {
            space: flags & space::ALL,
            name: name.to_vec(),
        },
        value,
    })
}

/// Writes a leaf with entries that are sorted by hash and fit, and its neighbours, 0 for none.
pub(super) fn encode(
    v5: bool,
    block_size: usize,
    entries: &[LeafEntry],
    (back, forw): (u32, u32),
) -> Vec<u8> {
    let mut bytes = vec![0; block_size];
    put(&mut bytes, 0, &forw.to_be_bytes());
    put(&mut bytes, 4, &back.to_be_bytes());
    put(&mut bytes, 8, &attribute_leaf_magic(v5).to_be_bytes());
    let first = first_entry(v5);
    let mut end = block_size;
    for (index, entry) in entries.iter().enumerate() {
        end = end.saturating_sub(entry.name_len());
        let mut flags = entry.key.space;
        let name_len = u8::try_from(entry.key.name.len()).unwrap_or(u8::MAX);
        let name_at = match &entry.value {
            Value::Local(value) => {
                flags |= LOCAL;
                put(&mut bytes, end, &narrow(value.len()));
                let name_at = end.saturating_add(3);
                put(
                    &mut bytes,
                    name_at.saturating_add(entry.key.name.len()),
                    value,
                );
                name_at
            }
            Value::Remote { block, len } => {
                put(&mut bytes, end, &block.to_be_bytes());
                put(&mut bytes, end.saturating_add(4), &len.to_be_bytes());
                end.saturating_add(9)
            }
        };
        put(&mut bytes, name_at.saturating_sub(1), &[name_len]);
        put(&mut bytes, name_at, &entry.key.name);
        let at = index.saturating_mul(ENTRY).saturating_add(first);
        put(&mut bytes, at, &entry.hash.to_be_bytes());
        put(&mut bytes, at.saturating_add(4), &narrow(end));
        put(&mut bytes, at.saturating_add(6), &[flags]);
    }
    let entries_end = entries.len().saturating_mul(ENTRY).saturating_add(first);
    let counts = counts(v5);
    let fields = [
        entries.len(),
        // Bytes of names, and where they start. A block of 64 KiB without any would keep 0.
        block_size.saturating_sub(end),
        end,
        // No holes.
        0,
        // The only free space, between entries and names.
        entries_end,
        end.saturating_sub(entries_end),
    ];
    for (index, field) in fields.into_iter().enumerate() {
        let at = index.saturating_mul(2).saturating_add(counts);
        put(&mut bytes, at, &narrow(field));
    }
    bytes
}

/// A length or place in a block of at most 64 KiB; only where nothing lies is it that large.
fn narrow(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(0).to_be_bytes()
}

/// Bytes of a value, checked against the largest that the kernel takes.
///
/// # Errors
/// A larger one.
pub(super) fn value_len(len: u32) -> Result<usize, Fault> {
    if len > LARGEST_VALUE {
        return Err(Fault {
            at: 0,
            reason: "a value is larger than 64 KiB",
            value: len.into(),
        });
    }
    Ok(usize_of_u32(len))
}

/// `XFS_XATTR_SIZE_MAX`.
pub(super) const LARGEST_VALUE: u32 = 65536;

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<LeafEntry> {
        let values = [
            ("user.a", Value::Local(vec![1; 30])),
            (
                "trusted.long-name",
                Value::Remote {
                    block: 9,
                    len: 5000,
                },
            ),
            ("security.c", Value::Local(vec![])),
        ];
        let entries = values.map(|(name, value)| {
            let key = Key::from_full_name(name.as_bytes()).unwrap();
            let hash = key.hash(&[]);
            LeafEntry { hash, key, value }
        });
        let mut entries = entries.to_vec();
        entries.sort_by_key(|entry| entry.hash);
        entries
    }

    #[test]
    fn leaves_survive_both_ways() {
        for v5 in [false, true] {
            for block_size in [512, 4096, 65536] {
                let bytes = encode(v5, block_size, &entries(), (3, 4));
                assert_eq!(bytes.len(), block_size);
                assert_eq!(decode(v5, &bytes).unwrap(), entries());
                assert!(decode(!v5, &bytes).is_err());
                // Header fields of the names: total, start.
                let total: usize = entries().iter().map(LeafEntry::name_len).sum();
                let at = counts(v5);
                assert_eq!(usize::from(be16(&bytes, at + 2)), total);
                assert_eq!(usize::from(be16(&bytes, at + 4)), block_size - total);
            }
        }
        assert_eq!(
            entries().iter().map(LeafEntry::len).sum::<usize>(),
            36 + 20 + 4 + 24
        );
    }

    #[test]
    fn incomplete_attributes_are_not_seen() {
        let mut bytes = encode(true, 512, &entries(), (0, 0));
        bytes[80 + 6] |= INCOMPLETE;
        assert_eq!(decode(true, &bytes).unwrap(), entries()[1..]);
    }

    #[test]
    fn every_broken_field_is_found() {
        let whole = encode(true, 512, &entries(), (0, 0));
        let name = usize::from(be16(&whole, 84));
        for (at, value, reason) in [
            (8, 0, "no leaf of attributes"),
            (57, 60, "more entries than the block has room for"),
            (80, 255, "hashes are out of order"),
            (84, 0, "the name lies outside"),
            (84, 255, "the name goes beyond the end"),
            (86, 7, "no attribute has such flags or such a name"),
            (name + 2, 0, "no attribute has such flags or such a name"),
            (name, 255, "the name goes beyond the end"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if at == 84 && value == 0 {
                bytes[85] = 90;
            }
            assert_eq!(decode(true, &bytes).unwrap_err().reason, reason, "{at}");
        }
    }

    #[test]
    fn long_values_lie_elsewhere() {
        assert!(is_local(4096, 5, 3060));
        assert!(!is_local(4096, 5, 3061));
        assert!(value_len(65536).is_ok());
        assert!(value_len(65537).is_err());
    }
}
