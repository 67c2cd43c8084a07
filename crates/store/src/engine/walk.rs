//! Which blocks of a disk must be looked at.

use crate::index::Record;
use crate::{BLOCK, Error, Job};
use block::ExtentKind;
use std::ops::Range;

/// What the disk says about a block without being read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Some of it is data.
    Data,
    /// All of it is zeros.
    Hole,
}

/// Neighbouring blocks of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Unit {
    pub(super) blocks: Range<u32>,
    pub(super) seen: Seen,
    /// Bytes to be looked at from the end of the unit before to the end of this one.
    pub(super) advance: u64,
    /// Blocks of the grid on which is read at once what is decompressed at once.
    pub(super) piece: u32,
}

/// Most blocks of a piece: 4 MiB, twice what any compressed format takes as one.
const MAX_PIECE: u32 = 8;

/// Walks the blocks of which something may have to be put, in ascending order; ends after the first
/// error.
pub(super) struct Walk<'a> {
    job: &'a Job<'a>,
    before: &'a [Record],
    disk_blocks: u32,
    /// Where to look, ascending and not touching, after `look`.
    looks: std::vec::IntoIter<Range<u32>>,
    /// What is left of where the walk is.
    look: Range<u32>,
    /// What the disk said last about itself, and the block up to which that holds.
    said: (Seen, u32),
    /// The block that did not fit into the last unit.
    next: Option<(u32, Seen)>,
    /// Blocks of the grid on which is read at once what is decompressed at once.
    piece: u32,
    /// Blocks of the grid on which units lie: a piece, or several where blocks are hashed together.
    cell: u32,
    /// Bytes of all looks.
    total: u64,
    /// Of these, what lies before the end of the last unit.
    told: u64,
    /// Of these, what lies before `look`.
    passed: u64,
    failed: bool,
}

impl<'a> Walk<'a> {
    /// Units are of so many blocks `together`, rounded to pieces.
    pub(super) fn new(
        job: &'a Job<'a>,
        before: &'a [Record],
        disk_blocks: u32,
        together: u32,
    ) -> Self {
        let looks = looks(job, before, disk_blocks);
        let blocks = looks
            .iter()
            .map(|look| u64::from(look.end.saturating_sub(look.start)));
        let total = blocks.sum::<u64>().saturating_mul(BLOCK);
        let piece = u32::try_from(job.disk.granule().div_ceil(BLOCK)).unwrap_or(MAX_PIECE);
        let piece = piece.clamp(1, MAX_PIECE);
        let pieces = together.checked_div(piece).unwrap_or(1).max(1);
        let mut looks = looks.into_iter();
        Self {
            job,
            before,
            disk_blocks,
            look: looks.next().unwrap_or_default(),
            looks,
            said: (Seen::Hole, 0),
            next: None,
            piece,
            cell: piece.saturating_mul(pieces),
            total,
            told: 0,
            passed: 0,
            failed: false,
        }
    }

    /// Bytes to be looked at, holes included.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes to be looked at after the last unit.
    pub(super) fn rest(&self) -> u64 {
        self.total.saturating_sub(self.told)
    }

    fn pass(&mut self, to: u32) {
        let blocks = u64::from(to.saturating_sub(self.look.start));
        self.passed = self.passed.saturating_add(blocks.saturating_mul(BLOCK));
        self.look.start = to;
    }

    /// The next block that may have to be put.
    fn next_block(&mut self) -> Result<Option<(u32, Seen)>, Error> {
        loop {
            if self.look.is_empty() {
                match self.looks.next() {
                    Some(look) => self.look = look,
                    None => return Ok(None),
                }
            }
            let at = self.look.start;
            if at >= self.said.1 {
                self.said = self.ask(at)?;
            }
            let (seen, end) = (self.said.0, self.said.1.min(self.look.end));
            let block = match seen {
                Seen::Data => Some(at),
                Seen::Hole => self.next_to_undo(at).filter(|block| *block < end),
            };
            self.pass(block.map_or(end, |block| block.saturating_add(1)));
            if let Some(block) = block {
                return Ok(Some((block, seen)));
            }
        }
    }

    /// The first block from `at` on where a hole is not what the snapshot has without a put.
    fn next_to_undo(&self, at: u32) -> Option<u32> {
        if self.job.encrypted && self.job.zero_fill {
            return Some(at);
        }
        let first = |records: &[Record]| {
            let from = records.partition_point(|record| record.0 < at);
            records.get(from).map(|record| record.0)
        };
        let inherited = self.job.parent.and_then(|parent| first(parent.records()));
        let put_before = first(self.before);
        inherited.into_iter().chain(put_before).min()
    }

    /// What the disk says about a block, and the block up to which that holds.
    fn ask(&self, block: u32) -> Result<(Seen, u32), Error> {
        let (disk, size) = (self.job.disk, self.job.disk.size());
        let next = block.saturating_add(1);
        let mut at = u64::from(block).saturating_mul(BLOCK);
        let block_end = at.saturating_add(BLOCK).min(size);
        while at < block_end {
            let extent = disk.extent_at(at)?;
            // A device that answers with a range before the question would loop for ever.
            let end = extent.range.end.max(at.saturating_add(1)).min(size);
            let until = |blocks: u64| {
                let blocks = u32::try_from(blocks).unwrap_or(self.disk_blocks);
                blocks.clamp(next, self.disk_blocks.max(next))
            };
            match extent.kind {
                ExtentKind::Data => return Ok((Seen::Data, until(end.div_ceil(BLOCK)))),
                ExtentKind::Zero if end == size => return Ok((Seen::Hole, self.disk_blocks)),
                ExtentKind::Zero if end >= block_end => {
                    return Ok((Seen::Hole, until(end / BLOCK)));
                }
                ExtentKind::Zero => at = end,
            }
        }
        Ok((Seen::Hole, next))
    }

    fn next_unit(&mut self) -> Result<Option<Unit>, Error> {
        let first = match self.next.take() {
            Some(first) => Some(first),
            None => self.next_block()?,
        };
        let Some((first, seen)) = first else {
            return Ok(None);
        };
        // Looking ahead counts as passed what is not in this unit.
        let mut blocks = first..first.saturating_add(1);
        let mut passed = self.passed;
        while !blocks.end.is_multiple_of(self.cell) {
            let next = self.next_block()?;
            if next != Some((blocks.end, seen)) {
                self.next = next;
                break;
            }
            blocks.end = blocks.end.saturating_add(1);
            passed = self.passed;
        }
        let advance = passed.saturating_sub(self.told);
        self.told = passed.max(self.told);
        Ok(Some(Unit {
            blocks,
            seen,
            advance,
            piece: self.piece,
        }))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Unit, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let unit = self.next_unit();
        self.failed = unit.is_err();
        unit.transpose()
    }
}

/// The blocks to look at, ascending and not touching: everything, or where something can have
/// changed.
fn looks(job: &Job<'_>, before: &[Record], disk_blocks: u32) -> Vec<Range<u32>> {
    let (Some(changed), Some(_)) = (job.changed, job.parent) else {
        return std::iter::once(0..disk_blocks).collect();
    };
    let size = job.disk.size();
    let mut looks = Vec::new();
    for range in changed.iter().filter(|range| range.start < range.end) {
        let block = |number: u64| {
            u32::try_from(number)
                .unwrap_or(disk_blocks)
                .min(disk_blocks)
        };
        looks.push(block(range.start / BLOCK)..block(range.end.div_ceil(BLOCK)));
    }
    if !size.is_multiple_of(BLOCK) {
        // A parent that was larger may have data where this disk's last block is padding.
        looks.push(disk_blocks.saturating_sub(1)..disk_blocks);
    }
    looks.extend(
        before
            .iter()
            .map(|(block, _)| *block..block.saturating_add(1)),
    );
    looks.sort_unstable_by_key(|look| look.start);
    let mut joined: Vec<Range<u32>> = Vec::new();
    for look in looks.into_iter().filter(|look| !look.is_empty()) {
        match joined.last_mut() {
            Some(last) if look.start <= last.end => last.end = last.end.max(look.end),
            _ => joined.push(look),
        }
    }
    joined
}
