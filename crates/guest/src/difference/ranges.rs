//! A sorted set of byte ranges that never takes much memory.

use std::ops::Range;

/// Byte ranges in ascending order that do not touch each other.
///
/// There are a million of them at most: if there were more, ranges that lie close to each other
/// become one, so that the set is always at least as large as what was put in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ranges {
    runs: Vec<Range<u64>>,
    /// Bounds are multiples of it; 0 while they are as they were given.
    granule: u64,
}

/// 16 MiB of memory.
const MOST: usize = 1 << 20;
/// What bounds are rounded to when there are too many ranges for the first time.
const FIRST_GRANULE: u64 = 4096;

impl Ranges {
    /// Adds a range that starts at or after the start of the last one.
    pub fn push(&mut self, range: Range<u64>) {
        self.append(range);
        if self.runs.len() > MOST {
            self.coarsen();
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().cloned()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.bytes_in(&(0..u64::MAX))
    }

    /// The parts that lie in `range`.
    pub fn within(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let (start, end) = (range.start, range.end);
        let first = self.runs.partition_point(|run| run.end <= start);
        let rest = self.runs.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |run| run.start < end)
            .map(move |run| run.start.max(start)..run.end.min(end))
    }

    /// Whether a byte of `range` is in one of them.
    pub fn touch(&self, range: &Range<u64>) -> bool {
        !range.is_empty() && self.within(range).next().is_some()
    }

    /// Bytes of `range` that are in one of them.
    pub fn bytes_in(&self, range: &Range<u64>) -> u64 {
        let lengths = self.within(range).map(|part| part.end - part.start);
        lengths.fold(0, u64::saturating_add)
    }

    /// The parts that lie in `window`, counted from `origin`, which is not after it.
    #[must_use]
    pub fn cut(&self, window: &Range<u64>, origin: u64) -> Self {
        let mut cut = Self::default();
        for part in self.within(window) {
            cut.push(part.start.saturating_sub(origin)..part.end.saturating_sub(origin));
        }
        cut
    }

    /// What is in this set or in one of the others.
    #[must_use]
    pub fn with(&self, others: &[&Self]) -> Self {
        let mut all: Vec<Range<u64>> = self.runs.clone();
        all.extend(others.iter().flat_map(|other| other.iter()));
        all.sort_unstable_by_key(|range| range.start);
        all.into_iter().collect()
    }

    fn append(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let range = match self.granule {
            0 => range,
            granule => {
                let start = range.start - range.start % granule;
                let end = range.end.checked_next_multiple_of(granule);
                start..end.unwrap_or(u64::MAX)
            }
        };
        match self.runs.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.runs.push(range),
        }
    }

    /// Rounds bounds until there are half as many ranges as there may be. It ends: at the latest
    /// when one range is everything.
    fn coarsen(&mut self) {
        while self.runs.len() > MOST / 2 {
            self.granule = match self.granule {
                0 => FIRST_GRANULE,
                granule => granule.saturating_mul(2),
            };
            for range in std::mem::take(&mut self.runs) {
                self.append(range);
            }
        }
    }
}

impl FromIterator<Range<u64>> for Ranges {
    /// Of ranges in ascending order of their starts.
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.push(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[Range<u64>]) -> Ranges {
        ranges.iter().cloned().collect()
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let ranges = set(&[0..5, 5..7, 9..9, 10..20, 12..15]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0..7, 10..20]);
        assert_eq!(ranges.bytes(), 17);
        assert_eq!(ranges.bytes_in(&(6..11)), 2);
        assert!(ranges.touch(&(6..7)) && !ranges.touch(&(7..10)));
        assert!(!ranges.touch(&(12..12)));
        assert_eq!(ranges.cut(&(4..12), 2), set(&[2..5, 8..10]));
        assert_eq!(
            ranges.with(&[&set(&[7..8, 30..31])]),
            set(&[0..8, 10..20, 30..31])
        );
    }

    #[test]
    fn too_many_become_fewer_and_never_less() {
        let mut ranges = Ranges::default();
        let count = 3 << 20;
        for at in 0..count {
            ranges.push(at * 1024..at * 1024 + 512);
        }
        assert!(ranges.runs.len() <= MOST);
        for at in [0, count / 2, count - 1] {
            assert_eq!(ranges.bytes_in(&(at * 1024..at * 1024 + 512)), 512);
        }
    }
}
