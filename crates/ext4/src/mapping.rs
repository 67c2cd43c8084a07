//! Where the content of a node lies, whichever way the inode says it.

use std::ops::Range;

/// Content blocks that lie one after the other on the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    /// The first block, counted in the content.
    pub(crate) logical: u32,
    /// Blocks; at least 1. `logical + len` is at most 2^32.
    pub(crate) len: u32,
    /// The first block, counted in the file system.
    pub(crate) physical: u64,
    /// Whether the blocks are reserved only, and read as zeros.
    pub(crate) unwritten: bool,
}

/// The map of a node's content: runs in ascending order, and the blocks that hold the map.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mapping {
    runs: Vec<Run>,
    /// Blocks of the file system that hold extent nodes or indirect blocks.
    pub(crate) nodes: Vec<u64>,
}

impl Run {
    /// The content block after the last one.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.logical).saturating_add(u64::from(self.len))
    }

    /// The blocks on the device.
    pub(crate) fn blocks(&self) -> Range<u64> {
        self.physical..self.physical.saturating_add(u64::from(self.len))
    }

    /// The part of the run from `skip` blocks on, `len` blocks at most.
    pub(crate) fn part(&self, skip: u32, len: u32) -> Self {
        Self {
            logical: self.logical.saturating_add(skip),
            len: self.len.saturating_sub(skip).min(len),
            physical: self.physical.saturating_add(u64::from(skip)),
            unwritten: self.unwritten,
        }
    }

    /// Whether `next` goes on where this run ends, in the content and on the device.
    fn joins(&self, next: &Self) -> bool {
        self.end() == u64::from(next.logical)
            && self.blocks().end == next.physical
            && self.unwritten == next.unwritten
            && self.len.checked_add(next.len).is_some()
    }
}

impl Mapping {
    /// All runs, ascending.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Appends a run that starts at or after the end of the last one.
    pub(crate) fn push(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.joins(&run) => last.len = last.len.saturating_add(run.len),
            _ => self.runs.push(run),
        }
    }

    /// The content block after the last mapped one.
    pub(crate) fn end(&self) -> u64 {
        self.runs.last().map_or(0, Run::end)
    }

    /// Blocks of content that are mapped, without those that hold the map.
    pub(crate) fn content_blocks(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.len)).sum()
    }

    /// The run that ends last at or before `logical` or holds it.
    pub(crate) fn before(&self, logical: u32) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        after.checked_sub(1).and_then(|index| self.runs.get(index))
    }

    /// What maps the content blocks of `range`: runs, cut to the range, and holes between them.
    pub(crate) fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let first = self.runs.partition_point(|run| run.end() <= range.start);
        for run in self.runs.iter().skip(first) {
            let start = u64::from(run.logical);
            if start >= range.end || at >= range.end {
                break;
            }
            if start > at {
                pieces.push(Piece::Hole(at..start));
                at = start;
            }
            let skip = at.saturating_sub(start);
            let len = range.end.saturating_sub(at);
            let clamp = |blocks: u64| u32::try_from(blocks).unwrap_or(u32::MAX);
            pieces.push(Piece::Run(run.part(clamp(skip), clamp(len))));
            at = run.end().min(range.end);
        }
        if at < range.end {
            pieces.push(Piece::Hole(at..range.end));
        }
        pieces
    }

    /// The block that holds one block of content, if it is written.
    pub(crate) fn block(&self, logical: u32) -> Option<u64> {
        let run = self.before(logical)?;
        let skip = logical.saturating_sub(run.logical);
        (skip < run.len && !run.unwritten).then(|| run.physical.saturating_add(skip.into()))
    }

    /// Adds a run where there is a hole.
    pub(crate) fn insert(&mut self, run: Run) {
        let index = self
            .runs
            .partition_point(|other| other.logical < run.logical);
        self.runs.insert(index, run);
        self.join_around(index);
    }

    /// Notes that the blocks of `range` are written now.
    pub(crate) fn mark_written(&mut self, range: Range<u64>) {
        let mut changed = Self::default();
        for run in &self.runs {
            let start = range.start.clamp(u64::from(run.logical), run.end());
            let end = range.end.clamp(start, run.end());
            let at = |block: u64| {
                u32::try_from(block.saturating_sub(u64::from(run.logical))).unwrap_or(u32::MAX)
            };
            let (before, within) = (at(start), at(end).saturating_sub(at(start)));
            let written = Run {
                unwritten: false,
                ..run.part(before, within)
            };
            let after = run.part(at(end), u32::MAX);
            for part in [run.part(0, before), written, after] {
                if part.len > 0 {
                    changed.push(part);
                }
            }
        }
        self.runs = changed.runs;
    }

    /// Takes away all blocks from `logical` on and returns them.
    pub(crate) fn cut(&mut self, logical: u64) -> Vec<Run> {
        let index = self.runs.partition_point(|run| run.end() <= logical);
        let mut cut = self.runs.split_off(index.min(self.runs.len()));
        if let Some(first) = cut.first_mut()
            && u64::from(first.logical) < logical
        {
            let keep = logical.saturating_sub(u64::from(first.logical));
            let keep = u32::try_from(keep).unwrap_or(u32::MAX);
            self.runs.push(first.part(0, keep));
            *first = first.part(keep, u32::MAX);
        }
        cut
    }

    /// Joins the run at `index` with its neighbours where they follow on each other.
    fn join_around(&mut self, index: usize) {
        for left in [index, index.saturating_sub(1)] {
            if let Some([a, b]) = self.runs.get(left..left.saturating_add(2))
                && a.joins(b)
            {
                let len = a.len.saturating_add(b.len);
                self.runs.remove(left.saturating_add(1));
                if let Some(run) = self.runs.get_mut(left) {
                    run.len = len;
                }
            }
        }
    }
}

/// A part of a range of content blocks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Mapped to blocks of the device.
    Run(Run),
    /// Content blocks that no block stands for: zeros.
    Hole(Range<u64>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(logical: u32, len: u32, physical: u64) -> Run {
        Run {
            logical,
            len,
            physical,
            unwritten: false,
        }
    }

    fn mapping(runs: &[Run]) -> Mapping {
        let mut mapping = Mapping::default();
        for run in runs {
            mapping.push(*run);
        }
        mapping
    }

    #[test]
    fn neighbours_join_when_pushed_and_when_inserted() {
        let mut map = mapping(&[run(0, 2, 100), run(2, 2, 102), run(6, 1, 106)]);
        assert_eq!(map.runs(), [run(0, 4, 100), run(6, 1, 106)]);
        map.insert(run(4, 2, 104));
        assert_eq!(map.runs(), [run(0, 7, 100)]);
        map.insert(run(8, 1, 3));
        map.insert(run(7, 1, 2));
        assert_eq!(map.runs(), [run(0, 7, 100), run(7, 2, 2)]);
    }

    #[test]
    fn a_range_falls_into_runs_and_holes() {
        let map = mapping(&[run(2, 3, 50), run(8, 2, 90)]);
        assert_eq!(
            map.pieces(0..10),
            [
                Piece::Hole(0..2),
                Piece::Run(run(2, 3, 50)),
                Piece::Hole(5..8),
                Piece::Run(run(8, 2, 90)),
            ]
        );
        assert_eq!(map.pieces(3..4), [Piece::Run(run(3, 1, 51))]);
        assert_eq!(map.pieces(20..21), [Piece::Hole(20..21)]);
        assert_eq!(map.pieces(4..9).len(), 3);
        assert!(map.pieces(4..4).is_empty());
        assert_eq!(map.block(9), Some(91));
        assert_eq!(map.block(5), None);
    }

    #[test]
    fn cutting_in_the_middle_of_a_run_returns_its_tail() {
        let mut map = mapping(&[run(0, 4, 10), run(6, 2, 40)]);
        assert_eq!(map.cut(3), [run(3, 1, 13), run(6, 2, 40)]);
        assert_eq!(map.runs(), [run(0, 3, 10)]);
        assert!(map.cut(3).is_empty());
        assert_eq!(map.cut(0), [run(0, 3, 10)]);
        assert_eq!(map.end(), 0);
    }

    #[test]
    fn writing_into_reserved_blocks_splits_the_run() {
        let mut map = mapping(&[Run {
            unwritten: true,
            ..run(0, 10, 100)
        }]);
        assert_eq!(map.block(3), None);
        map.mark_written(3..5);
        assert_eq!(map.runs().len(), 3);
        assert_eq!(map.block(3), Some(103));
        assert_eq!(map.block(5), None);
        map.mark_written(0..10);
        assert_eq!(map.runs(), [run(0, 10, 100)]);
    }
}
