//! Which blocks a snapshot holds.

use crate::Error;
use ondisk::Cursor;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::Path;

/// SHA-256 of a block.
pub(crate) type Digest = [u8; 32];

/// Index and digest of each block of a snapshot, in ascending order of the index.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Index(pub(crate) Vec<(u32, Digest)>);

const RECORD: usize = 36;

impl Index {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len().saturating_mul(RECORD));
        for (index, digest) in &self.0 {
            bytes.extend_from_slice(&index.to_le_bytes());
            bytes.extend_from_slice(digest);
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote for a disk of `disk_blocks` blocks.
    pub(crate) fn decode(path: &Path, bytes: &[u8], disk_blocks: u64) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt {
            path: path.to_owned(),
            what,
        };
        let mut cursor = Cursor::new(bytes);
        let mut records: Vec<(u32, Digest)> = Vec::with_capacity(bytes.len() / RECORD);
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

    /// What EBS calls the LINEAR aggregate: the digest over all digests.
    pub(crate) fn linear(&self) -> String {
        let mut hasher = Sha256::new();
        for (_, digest) in &self.0 {
            hasher.update(digest);
        }
        hex(&hasher.finalize())
    }
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

    #[test]
    fn what_is_out_of_order_is_damaged() {
        let index = Index(vec![(1, [1; 32]), (5, [2; 32])]);
        let path = Path::new("x.index");
        let bytes = index.encode();
        assert_eq!(Index::decode(path, &bytes, 6).unwrap(), index);
        assert!(Index::decode(path, &bytes, 5).is_err());
        assert!(Index::decode(path, &bytes[..71], 6).is_err());
        let backwards = Index(vec![(5, [2; 32]), (1, [1; 32])]).encode();
        assert!(Index::decode(path, &backwards, 6).is_err());
    }
}
