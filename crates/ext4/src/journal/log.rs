//! Access to the blocks of a journal and to where logged blocks belong.

use super::superblock::JournalSuperblock;
use crate::Error;
use crate::error::CorruptKind;
use ondisk::width::{u64_of, usize_of_u32};

/// The blocks of a journal and of the file system it belongs to.
pub(crate) trait Log {
    /// How many blocks the journal's inode maps.
    fn len(&self) -> u32;

    /// Reads a block of the journal.
    fn read(&self, logical: u32) -> Result<Vec<u8>, Error>;

    /// Writes a block of the journal.
    fn write(&mut self, logical: u32, bytes: &[u8]) -> Result<(), Error>;

    /// Writes a logged block to its place, a block number of the file system; one that does not
    /// exist is an error.
    fn write_home(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error>;
}

/// What a block of the log is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BlockKind {
    Descriptor,
    Commit,
    Revoke,
}

/// A place in the log, which goes on at its start where it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Position(pub(super) u32);

impl Position {
    /// The place `blocks` further on.
    pub(super) fn after(self, blocks: u32, superblock: &JournalSuperblock) -> Self {
        let (first, end) = (superblock.first, superblock.end);
        let ring = u64::from(end.saturating_sub(first)).max(1);
        let within = u64::from(self.0.saturating_sub(first)).saturating_add(u64::from(blocks));
        // Less than the ring's length, which is a 32-bit number.
        let within = within.checked_rem(ring).unwrap_or(0);
        Self(first.saturating_add(u32::try_from(within).unwrap_or(0)))
    }
}

/// Reads a block and checks that it is whole.
pub(super) fn read_block(
    log: &dyn Log,
    superblock: &JournalSuperblock,
    at: Position,
) -> Result<Vec<u8>, Error> {
    let bytes = log.read(at.0)?;
    if bytes.len() != usize_of_u32(superblock.block_size) {
        return Err(corrupt(at.0, "the block is not whole", u64_of(bytes.len())));
    }
    Ok(bytes)
}

/// What the header of a block says if it belongs to the log at all: its kind and transaction. A
/// kind that the format does not know is none.
pub(super) fn header(bytes: &[u8]) -> Option<(Option<BlockKind>, u32)> {
    if be32(bytes, 0) != MAGIC {
        return None;
    }
    let kind = match be32(bytes, 4) {
        1 => Some(BlockKind::Descriptor),
        2 => Some(BlockKind::Commit),
        5 => Some(BlockKind::Revoke),
        _ => None,
    };
    Some((kind, be32(bytes, 8)))
}

/// A number in a block that is known to be long enough; zero beyond its end.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_be_bytes(*field))
}

/// As [`be32`].
pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u16::from_be_bytes(*field))
}

/// As [`be32`].
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u64::from_be_bytes(*field))
}

pub(super) fn corrupt(block: u32, reason: &'static str, value: u64) -> Error {
    CorruptKind::Journal {
        block,
        reason,
        value,
    }
    .into()
}

/// Whether transaction `a` is `b` or comes after it; numbers wrap.
pub(super) fn is_at_or_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 1 << 31
}

/// `h_magic`.
pub(super) const MAGIC: u32 = 0xc03b_3998;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_numbers_wrap() {
        assert!(is_at_or_after(0, u32::MAX));
        assert!(is_at_or_after(5, 5));
        assert!(!is_at_or_after(u32::MAX, 0));
    }
}
