//! The blocks of the log: a ring of basic blocks inside the file system.

use crate::error::{CorruptKind, Error};
use block::BlockWrite;
use ondisk::width::{u64_of, usize_of, usize_of_u32};
use std::sync::Arc;

/// Bytes of a basic block, `BBSIZE`: the unit of every block number of the log.
pub(super) const BLOCK: usize = 512;
/// What a record starts with, `XLOG_HEADER_MAGIC_NUM`; no cycle has this number.
pub(super) const HEADER_MAGIC: u32 = 0xfeed_babe;
/// Records that can be on their way to the disk at the same time, `XLOG_MAX_ICLOGS`.
pub(super) const MAX_IN_FLIGHT: u32 = 8;

/// A log inside a file system.
#[derive(Clone, Debug)]
pub(super) struct LogArea {
    pub(super) device: Arc<dyn BlockWrite>,
    /// Byte of the volume that the log starts with.
    pub(super) start: u64,
    /// Blocks of the log; at least one record of the largest size fits in.
    pub(super) blocks: u32,
    /// Whether records may be larger than 32 KiB and padded to [`unit`](Self::unit).
    pub(super) version2: bool,
    /// Whether a record without a right sum is damaged: version 5 of the file system.
    pub(super) summed: bool,
    /// `sb_uuid`, which each record repeats.
    pub(super) uuid: [u8; 16],
    /// Bytes that a record is padded to a multiple of: the log's stripe unit or one block.
    pub(super) unit: u32,
}

impl LogArea {
    /// The most blocks of one record with its header, `XLOG_REC_SHIFT`.
    pub(super) fn record_blocks(&self) -> u32 {
        if self.version2 { 512 } else { 64 }
    }

    /// The most blocks that can be on their way at once, `XLOG_TOTAL_REC_SHIFT`.
    pub(super) fn in_flight_blocks(&self) -> u32 {
        self.record_blocks().saturating_mul(MAX_IN_FLIGHT)
    }

    /// A block number that went past the end of the ring.
    pub(super) fn wrap(&self, block: u64) -> u32 {
        let blocks = u64::from(self.blocks);
        u32::try_from(block.checked_rem(blocks).unwrap_or(0)).unwrap_or(0)
    }

    /// Blocks from `from` on until `to`; the whole ring if they are the same.
    pub(super) fn distance(&self, from: u32, to: u32) -> u32 {
        match to.checked_sub(from) {
            None | Some(0) => to.saturating_add(self.blocks.saturating_sub(from)),
            Some(distance) => distance,
        }
    }

    /// Reads `count` blocks from `block` on, around the end of the ring. `count` is bounded by the
    /// caller.
    ///
    /// # Errors
    /// What the device says.
    pub(super) fn read(&self, block: u32, count: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize_of_u32(count).saturating_mul(BLOCK)];
        let mut at = self.wrap(block.into());
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let straight = usize_of_u32(self.blocks.saturating_sub(at)).saturating_mul(BLOCK);
            let (now, later) = rest.split_at_mut(straight.min(rest.len()));
            self.device.read_at(self.position(at), now)?;
            rest = later;
            at = 0;
        }
        Ok(bytes)
    }

    /// Writes whole blocks from `block` on, around the end of the ring.
    ///
    /// # Errors
    /// What the device says.
    pub(super) fn write(&self, block: u32, bytes: &[u8]) -> Result<(), Error> {
        let mut at = self.wrap(block.into());
        let mut rest = bytes;
        while !rest.is_empty() {
            let straight = usize_of_u32(self.blocks.saturating_sub(at)).saturating_mul(BLOCK);
            let (now, later) = rest.split_at(straight.min(rest.len()));
            self.device.write_at(self.position(at), now)?;
            rest = later;
            at = 0;
        }
        Ok(())
    }

    /// The cycle that a block was last written in.
    ///
    /// # Errors
    /// What the device says.
    pub(super) fn cycle(&self, block: u32) -> Result<u32, Error> {
        Ok(cycle_of(&self.read(block, 1)?))
    }

    /// Whether bytes of the volume touch the log.
    pub(super) fn overlaps(&self, position: u64, len: usize) -> bool {
        let bytes = u64::from(self.blocks).saturating_mul(u64_of(BLOCK));
        let end = self.start.saturating_add(bytes);
        position < end && position.saturating_add(u64_of(len)) > self.start
    }

    fn position(&self, block: u32) -> u64 {
        let within = u64::from(block).saturating_mul(u64_of(BLOCK));
        self.start.saturating_add(within)
    }
}

/// The cycle that a block says it was written in: its first word, or the second of a header.
pub(super) fn cycle_of(block: &[u8]) -> u32 {
    match be32(block, 0) {
        HEADER_MAGIC => be32(block, 4),
        cycle => cycle,
    }
}

/// Whether a block starts a record.
pub(super) fn is_header(block: &[u8]) -> bool {
    be32(block, 0) == HEADER_MAGIC
}

/// Blocks that `bytes` take.
pub(super) fn blocks_of(bytes: u32) -> u32 {
    bytes.div_ceil(u32::try_from(BLOCK).unwrap_or(u32::MAX))
}

/// Blocks as a number of bytes in memory.
pub(super) fn bytes_of(blocks: u32) -> usize {
    usize_of(u64::from(blocks)).saturating_mul(BLOCK)
}

/// A big-endian number; 0 behind the end.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_be_bytes(*field))
}

/// A big-endian number; 0 behind the end.
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u64::from_be_bytes(*field))
}

/// Damage of the log at a block.
pub(super) fn corrupt(block: u32, reason: &'static str, value: u64) -> Error {
    CorruptKind::Log {
        block: block.into(),
        reason,
        value,
    }
    .into()
}
