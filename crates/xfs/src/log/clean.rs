//! Leaving the log clean: a record behind the last one that says that the file system was
//! unmounted.

use super::area::{BLOCK, HEADER_MAGIC, LogArea, blocks_of, bytes_of, cycle_of};
use super::head::{Head, next_cycle};
use super::record::{FMT_LINUX_LE, HEADER_COVERS, field, seal};
use super::transaction::{CLIENTS, UNMOUNT};
use crate::error::Error;
use ondisk::width::{u64_of, usize_of_u32};

/// `XLOG_UNMOUNT_TYPE`, "Un": what the record of an unmount holds.
const UNMOUNT_TYPE: u16 = 0x556e;
/// The transaction that the unmount is said to be; nobody looks at it.
const TRANSACTION: u32 = 0xb0c0_d0d0;
/// Bytes of the operation's content, `struct xfs_unmount_log_format`.
const CONTENT: u32 = 8;

/// Writes the record at `head`. What lies behind it gets the cycle before, as if it had never been
/// written to in this one: records that were torn must not come back to life.
///
/// # Errors
/// What the device says.
pub(super) fn write(area: &LogArea, head: &Head) -> Result<(), Error> {
    let block_len = u32::try_from(BLOCK).unwrap_or(u32::MAX);
    let size = block_len
        .saturating_mul(2)
        .next_multiple_of(area.unit.max(block_len));
    let header_blocks = if area.version2 {
        size.div_ceil(HEADER_COVERS)
    } else {
        1
    };
    let len = size.saturating_sub(header_blocks.saturating_mul(block_len));
    let mut bytes = vec![0; usize_of_u32(size)];
    let mut put = |at: usize, number: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at.saturating_add(number.len())) {
            place.copy_from_slice(number);
        }
    };
    put(field::MAGIC, &HEADER_MAGIC.to_be_bytes());
    put(field::CYCLE, &head.cycle.to_be_bytes());
    put(
        field::VERSION,
        &u32::from(area.version2).saturating_add(1).to_be_bytes(),
    );
    put(field::LEN, &len.to_be_bytes());
    // Nothing before this record is needed.
    put(field::LSN, &head.lsn().to_be_bytes());
    put(field::TAIL_LSN, &head.lsn().to_be_bytes());
    put(field::PREV_BLOCK, &head.last.to_be_bytes());
    put(field::NUM_LOGOPS, &1_u32.to_be_bytes());
    put(field::FMT, &FMT_LINUX_LE.to_be_bytes());
    put(field::FS_UUID, &area.uuid);
    put(field::SIZE, &size.max(HEADER_COVERS).to_be_bytes());
    let data = bytes_of(header_blocks);
    put(data, &TRANSACTION.to_be_bytes());
    put(data.saturating_add(4), &CONTENT.to_be_bytes());
    put(data.saturating_add(8), &[CLIENTS[1], UNMOUNT]);
    put(data.saturating_add(12), &UNMOUNT_TYPE.to_le_bytes());
    let before_end = area.blocks.saturating_sub(head.block);
    let wrapped = (before_end < blocks_of(size)).then(|| usize_of_u32(before_end));
    seal(&mut bytes, head.cycle, wrapped, true);
    area.write(head.block, &bytes)?;
    clear_behind(area, head, blocks_of(size))
}

/// Gives blocks behind the new record, as far as records can have been on their way, the cycle
/// before.
fn clear_behind(area: &LogArea, head: &Head, written: u32) -> Result<(), Error> {
    let count = area
        .in_flight_blocks()
        .min(area.blocks.saturating_sub(written));
    let start = u64::from(head.block).saturating_add(written.into());
    let end = start.saturating_add(count.into());
    let mut number = start;
    while number < end {
        let now =
            u32::try_from(end.saturating_sub(number)).map_or(AT_ONCE, |left| left.min(AT_ONCE));
        let bytes = area.read(area.wrap(number), now)?;
        for block in bytes.chunks(BLOCK) {
            let at = area.wrap(number);
            // Behind the end of the ring the next cycle begins.
            let expected = if number >= u64::from(area.blocks) {
                head.cycle
            } else {
                before(head.cycle)
            };
            if cycle_of(block) != expected {
                area.write(at, &empty(area, at, expected, head.lsn()))?;
            }
            number = number.saturating_add(1);
        }
    }
    Ok(())
}

/// Blocks that are looked at together.
const AT_ONCE: u32 = 128;

/// The cycle before `cycle`.
fn before(cycle: u32) -> u32 {
    let before = cycle.wrapping_sub(1);
    if next_cycle(before) == cycle {
        before
    } else {
        before.wrapping_sub(1)
    }
}

/// A record without data: what a block that was cleared holds.
fn empty(area: &LogArea, block: u32, cycle: u32, tail_lsn: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let mut put = |at: usize, number: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at.saturating_add(number.len())) {
            place.copy_from_slice(number);
        }
    };
    let lsn = u64::from(cycle) << 32 | u64::from(block);
    put(field::MAGIC, &HEADER_MAGIC.to_be_bytes());
    put(field::CYCLE, &cycle.to_be_bytes());
    put(
        field::VERSION,
        &u32::from(area.version2).saturating_add(1).to_be_bytes(),
    );
    put(field::LSN, &lsn.to_be_bytes());
    put(field::TAIL_LSN, &tail_lsn.to_be_bytes());
    put(field::FMT, &FMT_LINUX_LE.to_be_bytes());
    put(field::FS_UUID, &area.uuid);
    bytes
}

/// Bytes that one record may have, which the log must have room for twice.
pub(super) const fn smallest_log() -> u64 {
    u64_of(2 * 256 * 1024)
}
