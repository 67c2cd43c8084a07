//! Ranges of a disk, in pieces that the caller works in.

use std::num::NonZeroU64;
use std::ops::Range;

/// Ascending ranges of a disk that do not touch, in whole granules but for the end of the disk: so
/// there are no more than half as many as the disk has granules, whatever a file says.
#[derive(Debug)]
pub(crate) struct Coarse {
    granule: NonZeroU64,
    size: u64,
    ranges: Vec<Range<u64>>,
}

impl Coarse {
    pub(crate) fn new(granule: NonZeroU64, size: u64) -> Self {
        Self {
            granule,
            size,
            ranges: Vec::new(),
        }
    }

    /// Adds a range that starts in no granule before the last one.
    pub(crate) fn add(&mut self, range: &Range<u64>) {
        let start = range.start.saturating_sub(range.start % self.granule);
        let end = range
            .end
            .checked_next_multiple_of(self.granule.get())
            .map_or(self.size, |end| end.min(self.size));
        if range.is_empty() || start >= end {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => self.ranges.push(start..end),
        }
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |last| last.end)
    }

    pub(crate) fn finish(self) -> Vec<Range<u64>> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_rounded_out_and_joined_and_end_with_the_disk() {
        let mut coarse = Coarse::new(NonZeroU64::new(10).unwrap(), 95);
        for range in [0..0, 3..4, 9..11, 30..40, 41..42, 61..61, 94..u64::MAX] {
            coarse.add(&range);
        }
        assert_eq!(coarse.end(), 95);
        assert_eq!(coarse.finish(), [0..20, 30..50, 90..95]);
    }
}
