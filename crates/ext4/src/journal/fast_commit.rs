//! Fast commits: changes behind the log that are not blocks but what was done to inodes and names.
//!
//! They are found here, not replayed: no distribution turns `fast_commit` on. Unlike all else in a
//! journal they are little-endian. Source: `fs/ext4/fast_commit.c`.

use super::log::{Log, Position, read_block};
use super::superblock::JournalSuperblock;
use crate::Error;
use crate::checksum::Crc32c;
use ondisk::{Cursor, Short};

/// Whether the area holds a whole fast commit that follows on the log's end at transaction `end`.
///
/// What an older transaction left there does not count, nor does one that was not finished.
pub(super) fn are_present(
    log: &dyn Log,
    superblock: &JournalSuperblock,
    end: u32,
) -> Result<bool, Error> {
    let Some((first, last)) = superblock.fast_commits else {
        return Ok(false);
    };
    let mut sum = Crc32c::ZERO;
    for block in first..last {
        let bytes = read_block(log, superblock, Position(block))?;
        match scan(&bytes, end, &mut sum) {
            Ok(Found::Nothing) => {}
            Ok(Found::Commit) => return Ok(true),
            Ok(Found::End) | Err(Short { .. }) => return Ok(false),
        }
    }
    Ok(false)
}

/// What a block of the area holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    /// The beginning or middle of a commit.
    Nothing,
    /// The end of a whole commit.
    Commit,
    /// Nothing that belongs to the transaction.
    End,
}

/// Looks through the records of one block; `sum` goes on from block to block.
fn scan(bytes: &[u8], end: u32, sum: &mut Crc32c) -> Result<Found, Short> {
    let mut cursor = Cursor::new(bytes);
    while cursor.rest().len() >= HEADER {
        let record = cursor.rest();
        let tag = cursor.u16_le()?;
        let len = usize::from(cursor.u16_le()?);
        let mut value = cursor.sub(len)?;
        let summed = match tag {
            TAG_HEAD => {
                let features = value.u32_le()?;
                if value.u32_le()? != end {
                    return Ok(Found::End);
                }
                if features != 0 {
                    // Of a kind that is not known here, but certainly of this transaction.
                    return Ok(Found::Commit);
                }
                HEADER.saturating_add(len)
            }
            TAG_TAIL => {
                let tid = value.u32_le()?;
                let stored = value.u32_le()?;
                let summed = record.get(..TAIL_SUMMED).unwrap_or_default();
                let sound = tid == end && sum.with(summed).value() == stored;
                return Ok(if sound { Found::Commit } else { Found::End });
            }
            TAG_ADD_RANGE..=TAG_PAD => HEADER.saturating_add(len),
            _ => return Ok(Found::End),
        };
        *sum = sum.with(record.get(..summed).unwrap_or_default());
    }
    Ok(Found::Nothing)
}

/// Bytes of a record before its value: tag and length.
const HEADER: usize = 4;
/// Bytes of a tail that are summed: header and number of the transaction.
const TAIL_SUMMED: usize = 8;
const TAG_ADD_RANGE: u16 = 1;
const TAG_PAD: u16 = 7;
const TAG_TAIL: u16 = 8;
const TAG_HEAD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(tid: u32) -> Vec<u8> {
        let mut bytes = vec![9, 0, 8, 0, 0, 0, 0, 0];
        bytes.extend(tid.to_le_bytes());
        bytes.extend([4, 0, 3, 0, b'a', b'b', b'c']);
        bytes.extend([8, 0, 37, 0]);
        bytes.extend(tid.to_le_bytes());
        let sum = Crc32c::ZERO.with(&bytes).value();
        bytes.extend(sum.to_le_bytes());
        bytes.resize(64, 0);
        bytes
    }

    fn found(bytes: &[u8]) -> Option<Found> {
        let mut sum = Crc32c::ZERO;
        scan(bytes, 7, &mut sum).ok()
    }

    #[test]
    fn only_whole_commits_of_the_transaction_count() {
        assert_eq!(found(&commit(7)), Some(Found::Commit));
        assert_eq!(found(&commit(6)), Some(Found::End));
        let mut torn = commit(7);
        torn[17] ^= 1;
        assert_eq!(found(&torn), Some(Found::End));
        assert_eq!(found(&[0; 64]), Some(Found::End));
        assert_eq!(found(&[3, 0, 0xff, 0]), None);
    }
}
