//! Which blocks a snapshot holds.

use crate::{BLOCK, Error};
use ondisk::Cursor;
use ondisk::width::usize_of;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

/// SHA-256 of a block of [`BLOCK`] bytes; the last block of a disk is padded with zeros.
pub type Digest = [u8; 32];

/// The digest of a block of zeros.
pub const ZERO: Digest = [
    0x07, 0x85, 0x4d, 0x2f, 0xef, 0x29, 0x7a, 0x06, 0xba, 0x81, 0x68, 0x5e, 0x66, 0x0c, 0x33, 0x2d,
    0xe3, 0x6d, 0x5d, 0x18, 0xd5, 0x46, 0x92, 0x7d, 0x30, 0xda, 0xad, 0x6d, 0x7f, 0xda, 0x15, 0x41,
];

/// A block's position on the disk, in blocks, and its digest.
pub type Record = (u32, Digest);

/// What a snapshot holds, own and inherited: the digests of its blocks, ascending by block.
///
/// A block that is not in it is zeros. In an encrypted EBS snapshot such a block was never put, and
/// what is read there is undefined; a block of zeros that was put is in the index then, as [`ZERO`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Index(Vec<Record>);

/// Bytes of an encoded record.
pub(crate) const RECORD: u64 = 36;

impl Index {
    /// An index of `records`, if they ascend and no block comes twice.
    pub fn from_records(records: Vec<Record>) -> Option<Self> {
        records
            .is_sorted_by(|a, b| a.0 < b.0)
            .then_some(Self(records))
    }

    /// The records, ascending by block.
    pub fn records(&self) -> &[Record] {
        &self.0
    }

    /// How many blocks are in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the whole disk is zeros.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest of a block, if it is in the index.
    pub fn get(&self, block: u32) -> Option<&Digest> {
        find(&self.0, block)
    }

    /// The index of a snapshot of `disk_blocks` blocks that has this one as its parent and in which
    /// the blocks in `put`, ascending, were put.
    #[must_use]
    pub fn child(&self, put: &[Record], disk_blocks: u32, encrypted: bool) -> Self {
        let mut records = Vec::with_capacity(self.0.len().max(put.len()));
        let mut inherited = self.0.iter().peekable();
        for record in put {
            while let Some(old) = inherited.next_if(|old| old.0 < record.0) {
                records.push(*old);
            }
            inherited.next_if(|old| old.0 == record.0);
            records.push(*record);
        }
        records.extend(inherited);
        // Where an absent block is zeros, zeros need no record.
        records.retain(|(block, digest)| *block < disk_blocks && (encrypted || *digest != ZERO));
        Self(records)
    }

    /// Runs of blocks whose content differs between this snapshot and another one, as bytes of the
    /// disk, ascending and not touching. The last run may end beyond a disk whose size is no
    /// multiple of [`BLOCK`].
    pub fn diff(&self, other: &Self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut differ = |block: u32| {
            let start = u64::from(block).saturating_mul(BLOCK);
            let end = start.saturating_add(BLOCK);
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        };
        let stored = |record: &&Record| record.1 != ZERO;
        let mut left = self.0.iter().filter(stored).peekable();
        let mut right = other.0.iter().filter(stored).peekable();
        loop {
            let block = match (left.peek(), right.peek()) {
                (None, None) => return runs,
                (Some(one), None) | (None, Some(one)) => one.0,
                (Some(a), Some(b)) => a.0.min(b.0),
            };
            let a = left.next_if(|record| record.0 == block);
            let b = right.next_if(|record| record.0 == block);
            if a != b {
                differ(block);
            }
        }
    }

    /// The index as bytes: for each record the block (u32, little endian) and the digest.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len().saturating_mul(usize_of(RECORD)));
        for (index, digest) in &self.0 {
            bytes.extend_from_slice(&index.to_le_bytes());
            bytes.extend_from_slice(digest);
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote for a disk of `disk_blocks` blocks; `path` is the
    /// file that an error names.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes end within a record, or a block is out of order or not on
    /// the disk.
    pub fn decode(path: &Path, bytes: &[u8], disk_blocks: u64) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt {
            path: path.to_owned(),
            what,
        };
        let mut cursor = Cursor::new(bytes);
        let mut records: Vec<Record> = Vec::with_capacity(bytes.len() / usize_of(RECORD));
        while !cursor.is_empty() {
            let at = cursor.position();
            let record = cursor
                .u32_le()
                .and_then(|index| Ok((index, cursor.take_array()?)));
            let record = record.map_err(|short| corrupt(short.to_string()))?;
            let ascending = records.last().is_none_or(|last| last.0 < record.0);
            if !ascending || u64::from(record.0) >= disk_blocks {
                let index = record.0;
                return Err(corrupt(format!(
                    "block {index} at byte {at} is out of order or beyond the disk"
                )));
            }
            records.push(record);
        }
        Ok(Self(records))
    }
}

/// The digest of a block in ascending records.
pub(crate) fn find(records: &[Record], block: u32) -> Option<&Digest> {
    let found = records.binary_search_by_key(&block, |record| record.0);
    found.ok().map(|at| &records[at].1)
}

/// What EBS calls the LINEAR aggregate of the blocks that were put, ascending: SHA-256 over their
/// raw digests.
pub fn linear(put: &[Record]) -> Digest {
    let mut hasher = Sha256::new();
    for (_, digest) in put {
        hasher.update(digest);
    }
    hasher.finalize().into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(records: &[(u32, u8)]) -> Index {
        let record = |(block, byte): &(u32, u8)| (*block, [*byte; 32]);
        Index::from_records(records.iter().map(record).collect()).unwrap()
    }

    #[test]
    fn what_is_out_of_order_is_damaged() {
        let index = index(&[(1, 1), (5, 2)]);
        let path = Path::new("x.index");
        let bytes = index.encode();
        assert_eq!(Index::decode(path, &bytes, 6).unwrap(), index);
        assert!(Index::decode(path, &bytes, 5).is_err());
        assert!(Index::decode(path, &bytes[..71], 6).is_err());
        let backwards = [&bytes[36..], &bytes[..36]].concat();
        assert!(Index::decode(path, &backwards, 6).is_err());
        let twice = [&bytes[..36], &bytes[..36]].concat();
        assert!(Index::decode(path, &twice, 6).is_err());
        assert_eq!(Index::from_records(vec![(1, ZERO), (1, ZERO)]), None);
    }

    #[test]
    fn zeros_have_the_digest_that_is_written_down() {
        let zeros = vec![0; usize_of(BLOCK)];
        assert_eq!(ZERO, Digest::from(Sha256::digest(&zeros)));
    }

    #[test]
    fn the_linear_aggregate_is_over_raw_digests() {
        // sha256sum of 64 bytes: 32 of 0x11, then 32 of 0x22.
        let put = index(&[(3, 0x11), (9, 0x22)]);
        let expected = "5189c77d29fe5d546a045ec46986852785fea5c13ac7da9c115ff5fb6edf817c";
        assert_eq!(hex(&linear(put.records())), expected);
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&linear(&[])), nothing);
    }

    #[test]
    fn a_child_has_what_was_put_over_what_it_inherits() {
        let parent = index(&[(0, 1), (2, 2), (5, 3), (9, 4)]);
        let put = [(1, [7; 32]), (2, [8; 32]), (5, ZERO)];
        let child = parent.child(&put, 9, false);
        assert_eq!(child, index(&[(0, 1), (1, 7), (2, 8)]));
        let child = parent.child(&put, 10, true);
        let expected = [
            (0, [1; 32]),
            (1, [7; 32]),
            (2, [8; 32]),
            (5, ZERO),
            (9, [4; 32]),
        ];
        assert_eq!(child.records(), expected);
    }

    #[test]
    fn differences_are_joined_and_zeros_are_nothing() {
        let a = index(&[(0, 1), (1, 1), (4, 1), (6, 1)]);
        let b = a.child(&[(1, [2; 32]), (2, [2; 32]), (3, ZERO), (6, ZERO)], 8, true);
        let expected = [BLOCK..3 * BLOCK, 6 * BLOCK..7 * BLOCK];
        assert_eq!(a.diff(&b), expected);
        assert_eq!(b.diff(&a), expected);
        assert_eq!(a.diff(&a), []);
    }
}
