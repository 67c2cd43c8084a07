//! The free extents of an allocation group: records of the trees "bnobt" and "cntbt".

use crate::error::{CorruptKind, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Free blocks of a group, found by place and by length.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeSpace {
    /// First blocks and lengths. No two touch each other.
    by_block: BTreeMap<u32, u32>,
    by_length: BTreeSet<(u32, u32)>,
    total: u32,
}

impl FreeSpace {
    /// Reads the records of the tree by block.
    ///
    /// # Errors
    /// Extents that are empty, unsorted, touch each other or lie outside of `blocks`.
    pub(crate) fn parse(group: u32, records: &[u8], blocks: Range<u32>) -> Result<Self, Error> {
        let mut space = Self::default();
        let mut behind = blocks.start;
        for record in records.chunks_exact(8) {
            let (start, len) = pair(record);
            let end = start.checked_add(len).filter(|end| *end <= blocks.end);
            let touches = start < behind || (start == behind && space.total > 0);
            let Some(end) = end.filter(|_| len > 0 && !touches) else {
                return Err(CorruptKind::Group {
                    group,
                    field: "free extent at block",
                    value: start.into(),
                    expected: "sorted extents within the group that do not touch",
                }
                .into());
            };
            behind = end;
            space.insert(start, len);
        }
        Ok(space)
    }

    /// The records of the tree by block.
    pub(crate) fn records_by_block(&self) -> Vec<u8> {
        let pairs = self.by_block.iter();
        pairs
            .flat_map(|(start, len)| encode(*start, *len))
            .collect()
    }

    /// The records of the tree by length.
    pub(crate) fn records_by_length(&self) -> Vec<u8> {
        let pairs = self.by_length.iter();
        pairs
            .flat_map(|(len, start)| encode(*start, *len))
            .collect()
    }

    /// Free blocks.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// How many extents there are.
    pub(crate) fn count(&self) -> usize {
        self.by_block.len()
    }

    /// Blocks of the longest extent; 0 if there is none.
    pub(crate) fn longest(&self) -> u32 {
        self.by_length.last().map_or(0, |(len, _)| *len)
    }

    /// The extents that overlap a range, cut to it.
    pub(crate) fn within(&self, range: Range<u32>) -> impl Iterator<Item = Range<u32>> {
        let before = self.by_block.range(..range.start).next_back();
        let inside = self.by_block.range(range.clone());
        before
            .into_iter()
            .chain(inside)
            .filter_map(move |(start, len)| {
                let end = start.saturating_add(*len).min(range.end);
                let start = (*start).max(range.start);
                (start < end).then_some(start..end)
            })
    }

    /// Where up to `count` blocks can be taken: at `goal` if that is free, else the shortest extent
    /// that has as many, else the longest.
    pub(crate) fn find(&self, goal: Option<u32>, count: u32) -> Option<(u32, u32)> {
        if let Some(goal) = goal
            && let Some((start, len)) = self.by_block.range(..=goal).next_back()
        {
            let left = start.saturating_add(*len).saturating_sub(goal);
            let enough = left >= count || left == self.longest();
            if left > 0 && enough {
                return Some((goal, left.min(count)));
            }
        }
        let fits = self.by_length.range((count, 0)..).next();
        let (len, start) = fits.or_else(|| self.by_length.last())?;
        Some((*start, (*len).min(count)))
    }

    /// Where `count` blocks can be taken whose first one is a multiple of `alignment`.
    pub(crate) fn find_aligned(&self, count: u32, alignment: u32) -> Option<u32> {
        self.by_block.iter().find_map(|(start, len)| {
            let aligned = start.checked_next_multiple_of(alignment)?;
            let end = aligned.checked_add(count)?;
            (end <= start.saturating_add(*len)).then_some(aligned)
        })
    }

    /// Takes blocks, and says whether all of them were free. If not, nothing is changed.
    #[must_use]
    pub(crate) fn take(&mut self, start: u32, count: u32) -> bool {
        let Some((first, len)) = self.by_block.range(..=start).next_back() else {
            return false;
        };
        let (first, len) = (*first, *len);
        let Some(end) = start.checked_add(count) else {
            return false;
        };
        let behind = first.saturating_add(len);
        if count == 0 || end > behind {
            return false;
        }
        self.remove(first, len);
        if first < start {
            self.insert(first, start.saturating_sub(first));
        }
        if end < behind {
            self.insert(end, behind.saturating_sub(end));
        }
        true
    }

    /// Gives blocks back, and says whether none of them was free. If not, nothing is changed.
    #[must_use]
    pub(crate) fn give(&mut self, start: u32, count: u32) -> bool {
        let Some(end) = start.checked_add(count) else {
            return false;
        };
        if count == 0 || self.within(start..end).next().is_some() {
            return false;
        }
        let (mut first, mut behind) = (start, end);
        if let Some((before, len)) = self.by_block.range(..start).next_back()
            && before.saturating_add(*len) == start
        {
            first = *before;
        }
        if let Some(len) = self.by_block.get(&end) {
            behind = end.saturating_add(*len);
            self.remove(end, *len);
        }
        if first < start {
            self.remove(first, start.saturating_sub(first));
        }
        self.insert(first, behind.saturating_sub(first));
        true
    }

    fn insert(&mut self, start: u32, len: u32) {
        self.by_block.insert(start, len);
        self.by_length.insert((len, start));
        self.total = self.total.saturating_add(len);
    }

    fn remove(&mut self, start: u32, len: u32) {
        self.by_block.remove(&start);
        self.by_length.remove(&(len, start));
        self.total = self.total.saturating_sub(len);
    }
}

/// Two big-endian numbers of a record.
pub(crate) fn pair(record: &[u8]) -> (u32, u32) {
    let number = |at| {
        let bytes = record.get(at..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    (number(0), number(4))
}

fn encode(start: u32, len: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    let (head, tail) = bytes.split_at_mut(4);
    head.copy_from_slice(&start.to_be_bytes());
    tail.copy_from_slice(&len.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(extents: &[(u32, u32)]) -> FreeSpace {
        let records: Vec<u8> = extents.iter().flat_map(|(a, b)| encode(*a, *b)).collect();
        FreeSpace::parse(0, &records, 4..100).unwrap()
    }

    #[test]
    fn blocks_that_are_given_back_join_their_neighbours() {
        let mut space = space(&[(10, 5), (20, 5)]);
        assert!(space.give(15, 5));
        assert_eq!(space.records_by_block(), encode(10, 15));
        assert_eq!(space.total(), 15);
        assert!(!space.give(24, 3));
        assert!(space.take(12, 2));
        assert_eq!(space.count(), 2);
        assert_eq!(space.longest(), 11);
        assert!(!space.take(13, 2));
    }

    #[test]
    fn the_shortest_extent_that_fits_is_found() {
        let space = space(&[(10, 5), (20, 9), (40, 6)]);
        assert_eq!(space.find(None, 6), Some((40, 6)));
        assert_eq!(space.find(Some(12), 3), Some((12, 3)));
        assert_eq!(space.find(Some(12), 4), Some((10, 4)));
        assert_eq!(space.find(None, 12), Some((20, 9)));
        assert_eq!(space.find_aligned(4, 8), Some(24));
    }

    #[test]
    fn extents_that_touch_or_leave_the_group_are_damage() {
        for extents in [[(10, 5), (15, 1)], [(10, 5), (99, 2)], [(3, 2), (9, 0)]] {
            let records: Vec<u8> = extents.iter().flat_map(|(a, b)| encode(*a, *b)).collect();
            assert!(
                FreeSpace::parse(0, &records, 4..100).is_err(),
                "{extents:?}"
            );
        }
    }
}
