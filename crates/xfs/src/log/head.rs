//! Finding where the log ends and where replay starts.
//!
//! Every block of the ring carries the cycle in which it was written, so the end is where the
//! cycle falls. Blocks that were on their way when the machine stopped may have arrived in any
//! order; what was cut off is found as the kernel's `xlog_find_tail` finds it.

use super::area::{HEADER_MAGIC, LogArea, MAX_IN_FLIGHT, bytes_of, corrupt, cycle_of, is_header};
use super::record::{Record, RecordHeader};
use crate::error::Error;

/// Where the log stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    /// The block that the next record goes to.
    pub(super) block: u32,
    /// The cycle that the next record has.
    pub(super) cycle: u32,
    /// The block of the last whole record's header.
    pub(super) last: u32,
    /// The block that replay starts with; of no meaning in a clean log.
    pub(super) tail: u32,
    /// Whether the last record says that the file system was unmounted.
    pub(super) clean: bool,
}

impl Head {
    /// The order number of what is written next; nothing on the volume has a higher one.
    pub(super) fn lsn(&self) -> u64 {
        u64::from(self.cycle) << 32 | u64::from(self.block)
    }
}

/// Finds the end of the log; nothing if the log was never written.
///
/// # Errors
/// A log without whole records, with records of another file system, or damaged where that is not
/// what a crash leaves.
pub(super) fn find(area: &LogArea) -> Result<Option<Head>, Error> {
    let Some(block) = find_block(area)? else {
        return Ok(None);
    };
    let Some(Found {
        mut header,
        mut wrapped,
        ..
    }) = seek_back(area, block, block, 1)?
    else {
        return Err(corrupt(
            block,
            "no record lies before the end of the log",
            0,
        ));
    };
    let mut block = block;
    let mut clean = is_unmount(area, block, &header)?;
    let mut tail = low(header.tail_lsn);
    if !clean {
        check_tail(area, &header)?;
        let first = seek_back(area, block, tail, MAX_IN_FLIGHT)?;
        let first = first.map_or(header.block, |found| found.header.block);
        if let Walked::Bad { at, .. } = walk(area, first, block, |record| check_sum(&record))? {
            // What was on its way to the disk and is not whole never counted.
            let Some(found) = seek_back(area, at, tail, 1)? else {
                return Err(corrupt(at, "no whole record is left", 0));
            };
            block = at;
            (header, wrapped) = (found.header, found.wrapped);
            tail = low(header.tail_lsn);
            check_tail(area, &header)?;
            clean = is_unmount(area, block, &header)?;
            if !clean && (block == tail || header.block == at) {
                return Err(corrupt(at, "no whole record is left", 0));
            }
        }
        if !clean && block != tail {
            tail = verified_tail(area, block, tail)?;
        }
    }
    Ok(Some(Head {
        block,
        cycle: if wrapped {
            next_cycle(header.cycle)
        } else {
            header.cycle
        },
        last: header.block,
        tail,
        clean,
    }))
}

/// What came of a walk over records.
pub(super) enum Walked {
    /// Every record was visited.
    Whole,
    /// The record at `at` is not sound.
    Bad { at: u32, error: Error },
}

/// Visits each record from `tail` until `head`.
///
/// # Errors
/// What the device says.
pub(super) fn walk(
    area: &LogArea,
    tail: u32,
    head: u32,
    mut visit: impl FnMut(Record) -> Result<(), Error>,
) -> Result<Walked, Error> {
    let distance = u64::from(area.distance(tail, head));
    let mut walked = 0_u64;
    while walked < distance {
        let at = area.wrap(u64::from(tail).saturating_add(walked));
        let result = Record::read(area, at).and_then(|record| {
            walked = walked.saturating_add(record.header.blocks(area));
            visit(record)
        });
        match result {
            Ok(()) => {}
            Err(Error::Block(error)) => return Err(Error::Block(error)),
            Err(error) => return Ok(Walked::Bad { at, error }),
        }
    }
    Ok(Walked::Whole)
}

fn check_sum(record: &Record) -> Result<(), Error> {
    if record.sum_holds() {
        return Ok(());
    }
    let reason = "the sum of the record does not hold; its length in bytes";
    Err(corrupt(
        record.header.block,
        reason,
        record.header.len.into(),
    ))
}

/// The block number in an order number.
fn low(lsn: u64) -> u32 {
    u32::try_from(lsn & u64::from(u32::MAX)).unwrap_or(0)
}

/// The cycle after `cycle`; the number that headers start with is left out.
pub(super) fn next_cycle(cycle: u32) -> u32 {
    match cycle.wrapping_add(1) {
        HEADER_MAGIC => HEADER_MAGIC.wrapping_add(1),
        next => next,
    }
}

fn check_tail(area: &LogArea, header: &RecordHeader) -> Result<(), Error> {
    let tail = low(header.tail_lsn);
    if tail < area.blocks && header.tail_lsn <= header.lsn {
        return Ok(());
    }
    let reason = "the tail that the record names does not lie before it";
    Err(corrupt(header.block, reason, header.tail_lsn))
}

/// Whether the record before `head` is the one that unmounting writes, `xlog_check_unmount_rec`.
fn is_unmount(area: &LogArea, head: u32, header: &RecordHeader) -> Result<bool, Error> {
    let after = u64::from(header.block).saturating_add(header.blocks(area));
    if head != area.wrap(after) || header.operations != 1 {
        return Ok(false);
    }
    let data = u64::from(header.block).saturating_add(header.header_blocks(area).into());
    let operation = area.read(area.wrap(data), 1)?;
    Ok(operation
        .get(OPERATION_FLAGS)
        .is_some_and(|flags| flags & super::transaction::UNMOUNT != 0))
}

/// Where the flags lie in an operation's header.
const OPERATION_FLAGS: usize = 9;

/// Moves the tail behind records at it that were written over in part, `xlog_verify_tail`: the
/// tail may have moved on before the record that says so arrived.
fn verified_tail(area: &LogArea, head: u32, tail: u32) -> Result<u32, Error> {
    let Some(mut tail) = seek_forward(area, tail, head)? else {
        return Err(corrupt(tail, "no record lies at the tail of the log", 0));
    };
    loop {
        let (bad, error) = match walk(area, tail, head, |record| check_sum(&record))? {
            Walked::Whole => return Ok(tail),
            Walked::Bad { at, error } => (at, error),
        };
        if area.distance(head, bad) > area.in_flight_blocks() {
            return Err(error);
        }
        let next = area.wrap(u64::from(bad).saturating_add(1));
        tail = match seek_forward(area, next, head)? {
            Some(next) if bad != head => next,
            _ => return Err(error),
        };
    }
}

/// A header that was sought.
struct Found {
    header: RecordHeader,
    /// Whether the end of the ring lies between it and where the search began.
    wrapped: bool,
}

/// Looks before `head` for the header that is the `count`th from there, or the last one that lies
/// behind `tail` or at it; a `tail` that is `head` is the whole ring away.
fn seek_back(area: &LogArea, head: u32, tail: u32, count: u32) -> Result<Option<Found>, Error> {
    // No more blocks lie between records than one of them takes.
    let most = area.record_blocks().saturating_mul(count.saturating_add(1));
    let distance = area.distance(tail, head).min(most);
    let mut found: Option<Found> = None;
    let mut seen = 0_u32;
    let mut passed = 0_u32;
    while passed < distance {
        let now = SEARCH.min(distance.saturating_sub(passed));
        passed = passed.saturating_add(now);
        let back = u64::from(head).saturating_add(area.blocks.into());
        let start = area.wrap(back.saturating_sub(passed.into()));
        let bytes = area.read(start, now)?;
        for index in (0..now).rev() {
            let at = bytes_of(index);
            let block = bytes.get(at..).unwrap_or_default();
            if !is_header(block) {
                continue;
            }
            let number = area.wrap(u64::from(start).saturating_add(index.into()));
            found = Some(Found {
                header: RecordHeader::parse(number, block),
                wrapped: number >= head,
            });
            seen = seen.saturating_add(1);
            if seen == count {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Looks for a header at `from` or behind it, before `head`.
fn seek_forward(area: &LogArea, from: u32, head: u32) -> Result<Option<u32>, Error> {
    let distance = area.distance(from, head);
    let mut passed = 0_u32;
    while passed < distance {
        let now = SEARCH.min(distance.saturating_sub(passed));
        let start = area.wrap(u64::from(from).saturating_add(passed.into()));
        let bytes = area.read(start, now)?;
        for index in 0..now {
            if is_header(bytes.get(bytes_of(index)..).unwrap_or_default()) {
                return Ok(Some(
                    area.wrap(u64::from(start).saturating_add(index.into())),
                ));
            }
        }
        passed = passed.saturating_add(now);
    }
    Ok(None)
}

/// Blocks that searches read at once.
const SEARCH: u32 = 128;

/// Finds the block where the next record goes, `xlog_find_head`; nothing in a log of zeros.
fn find_block(area: &LogArea) -> Result<Option<u32>, Error> {
    let last = area.blocks.saturating_sub(1);
    let first_cycle = area.cycle(0)?;
    if first_cycle == 0 {
        return Ok(None);
    }
    let last_cycle = area.cycle(last)?;
    if last_cycle == 0 {
        return find_in_new(area).map(Some);
    }
    // The first block of the cycle before: where it falls, or nowhere if the ring is full.
    let (mut head, stop) = if first_cycle == last_cycle {
        (area.blocks, last_cycle.wrapping_sub(1))
    } else {
        (cycle_start(area, last, last_cycle)?, last_cycle)
    };
    let window = area.in_flight_blocks().min(area.blocks);
    match head.checked_sub(window) {
        Some(start) => {
            if let Some(hole) = find_cycle(area, start, window, stop)? {
                head = hole;
            }
        }
        None => {
            let left = window.saturating_sub(head);
            let start = area.blocks.saturating_sub(left);
            if let Some(hole) = find_cycle(area, start, left, stop.wrapping_sub(1))? {
                head = hole;
            } else if let Some(hole) = find_cycle(area, 0, head, stop)? {
                head = hole;
            }
        }
    }
    let head = whole_records(area, head)?;
    Ok(Some(if head == area.blocks { 0 } else { head }))
}

/// As [`find_block`], in a log whose end was never written.
fn find_in_new(area: &LogArea) -> Result<u32, Error> {
    let mut head = cycle_start(area, area.blocks.saturating_sub(1), 0)?;
    let window = area.in_flight_blocks().min(head);
    let start = head.saturating_sub(window);
    if let Some(hole) = find_cycle(area, start, window, 0)? {
        head = hole;
    }
    match cut(area, start, head, 0)? {
        Some(head) => Ok(head),
        None => Err(corrupt(head, "no record lies before the end of the log", 0)),
    }
}

/// About the first block with `cycle`, which `last` has: exact if the ring has but two cycles.
fn cycle_start(area: &LogArea, last: u32, cycle: u32) -> Result<u32, Error> {
    let (mut before, mut from) = (0, last);
    while from.saturating_sub(before) > 1 {
        let middle = before.midpoint(from);
        if area.cycle(middle)? == cycle {
            from = middle;
        } else {
            before = middle;
        }
    }
    Ok(from)
}

/// The first of `count` blocks from `start` on that has `cycle`. The range ends before the ring
/// does.
fn find_cycle(area: &LogArea, start: u32, count: u32, cycle: u32) -> Result<Option<u32>, Error> {
    let mut passed = 0_u32;
    while passed < count {
        let now = SEARCH.min(count.saturating_sub(passed));
        let at = start.saturating_add(passed);
        let bytes = area.read(at, now)?;
        for index in 0..now {
            let block = bytes.get(bytes_of(index)..).unwrap_or_default();
            if cycle_of(block) == cycle {
                return Ok(Some(at.saturating_add(index)));
            }
        }
        passed = passed.saturating_add(now);
    }
    Ok(None)
}

/// Moves the end before a record of which only a part was written.
fn whole_records(area: &LogArea, head: u32) -> Result<u32, Error> {
    let most = area.record_blocks();
    if let Some(start) = head.checked_sub(most) {
        let cut = cut(area, start, head, 0)?;
        return cut.ok_or_else(|| corrupt(head, "no record lies before the end of the log", 0));
    }
    if let Some(head) = cut(area, 0, head, 0)? {
        return Ok(head);
    }
    // The record began before the end of the ring.
    let left = most.saturating_sub(head).min(area.blocks);
    let start = area.blocks.saturating_sub(left);
    match cut(area, start, area.blocks, head)? {
        Some(cut) if cut == area.blocks => Ok(head),
        Some(cut) => Ok(cut),
        None => Err(corrupt(head, "no record lies before the end of the log", 0)),
    }
}

/// The end of the last whole record in `start..head`, if a record starts there: `head`, or where a
/// record starts that goes on elsewhere. `beyond` blocks of it may lie at the start of the ring.
fn cut(area: &LogArea, start: u32, head: u32, beyond: u32) -> Result<Option<u32>, Error> {
    let bytes = area.read(start, head.saturating_sub(start))?;
    let blocks = bytes.chunks(super::area::BLOCK).enumerate();
    let Some((index, block)) = blocks.rev().find(|(_, block)| is_header(block)) else {
        return Ok(None);
    };
    let at = start.saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
    let header = RecordHeader::parse(at, block);
    header.check_owner(area)?;
    let there = u64::from(head.saturating_sub(at)).saturating_add(beyond.into());
    Ok(Some(if there == header.blocks(area) {
        head
    } else {
        at
    }))
}
