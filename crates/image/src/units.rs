//! Splitting a device into work for threads.

use crate::Error;
use block::{BlockRead, ExtentKind};
use ondisk::Interrupt;
use ondisk::width::usize_of;
use std::num::NonZeroU64;
use std::ops::Range;

/// A piece of a device that holds data somewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unit {
    /// The piece: whole cells of the grid, but for the end of the device.
    pub(crate) range: Range<u64>,
    /// Where in it the data is.
    pub(crate) data: Vec<Range<u64>>,
    /// Bytes of the device from the end of the unit before to the end of this one.
    pub(crate) advance: u64,
}

/// Walks the units of a device in ascending order; ends after the first error.
///
/// It asks the device only as far as the next unit reaches, and looks at the interrupt each time: a
/// small file can describe a disk that takes hours to walk.
pub(crate) struct Units<'d> {
    device: &'d dyn BlockRead,
    interrupt: &'d Interrupt,
    size: u64,
    /// Where the device is asked next.
    at: u64,
    cell: NonZeroU64,
    /// What is left of the extent that the last unit ended in.
    left: Option<Range<u64>>,
    done: u64,
}

/// Bytes of a unit of formats that grow: none of their clusters is larger.
pub(crate) const LARGE: NonZeroU64 = NonZeroU64::new(2 << 20).unwrap();
/// Bytes of a unit that is only moved: enough to make a system call worth it, few enough to stay in
/// a core's cache on the way.
pub(crate) const SMALL: NonZeroU64 = NonZeroU64::new(512 << 10).unwrap();

impl<'d> Units<'d> {
    /// Cuts a device into pieces of `cell` bytes, or of a granule, if that is larger.
    pub(crate) fn new(
        device: &'d dyn BlockRead,
        cell: NonZeroU64,
        interrupt: &'d Interrupt,
    ) -> Self {
        Self {
            device,
            interrupt,
            size: device.size(),
            at: 0,
            cell: cell.max(NonZeroU64::new(device.granule()).unwrap_or(cell)),
            left: None,
            done: 0,
        }
    }

    /// Bytes of the device after the last unit.
    pub(crate) fn rest(&self) -> u64 {
        self.size.saturating_sub(self.done)
    }

    /// The next range of data, which another one may touch.
    fn next_data(&mut self) -> Result<Option<Range<u64>>, Error> {
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        while self.at < self.size {
            self.interrupt.check()?;
            let start = self.at;
            let extent = self.device.extent_at(start)?;
            // A device that answers with a range before the question would loop for ever.
            let end = extent.range.end.max(start.saturating_add(1));
            self.at = end.min(self.size);
            if extent.kind == ExtentKind::Data {
                return Ok(Some(start..self.at));
            }
        }
        Ok(None)
    }

    fn next_unit(&mut self) -> Result<Option<Unit>, Error> {
        let Some(first) = self.next_data()? else {
            return Ok(None);
        };
        let start = first.start.saturating_sub(first.start % self.cell);
        let end = start.saturating_add(self.cell.get()).min(self.size);
        let mut data: Vec<Range<u64>> = Vec::new();
        let mut next = Some(first);
        while let Some(range) = next {
            if range.start >= end {
                self.left = Some(range);
                break;
            }
            let part_end = range.end.min(end);
            match data.last_mut() {
                Some(last) if last.end == range.start => last.end = part_end,
                _ => data.push(range.start..part_end),
            }
            if range.end > end {
                self.left = Some(end..range.end);
            }
            if range.end >= end {
                break;
            }
            next = self.next_data()?;
        }
        let advance = end.saturating_sub(self.done);
        self.done = end;
        Ok(Some(Unit {
            range: start..end,
            data,
            advance,
        }))
    }
}

impl Iterator for Units<'_> {
    type Item = Result<Unit, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let unit = self.next_unit();
        if unit.is_err() {
            (self.at, self.left) = (self.size, None);
        }
        unit.transpose()
    }
}

impl Unit {
    /// Reads the unit into `buf`, which becomes as long as it is; what it held is overwritten.
    pub(crate) fn read(&self, device: &dyn BlockRead, buf: &mut Vec<u8>) -> Result<(), Error> {
        buf.resize(self.index(self.range.end), 0);
        let mut done = 0_usize;
        for range in &self.data {
            let (start, end) = (self.index(range.start), self.index(range.end));
            buf[done..start].fill(0);
            device.read_at(range.start, &mut buf[start..end])?;
            done = end;
        }
        buf[done..].fill(0);
        Ok(())
    }

    /// What the device calls zero from the end of the unit before to the end of this one.
    pub(crate) fn zeros(&self) -> impl Iterator<Item = Range<u64>> {
        let first = self.range.end.saturating_sub(self.advance);
        let starts = std::iter::once(first).chain(self.data.iter().map(|range| range.end));
        let ends = self.data.iter().map(|range| range.start);
        starts
            .zip(ends.chain([self.range.end]))
            .map(|(start, end)| start..end)
            .filter(|range| !range.is_empty())
    }

    /// Where a byte of the device is in the unit.
    pub(crate) fn index(&self, at: u64) -> usize {
        usize_of(at.saturating_sub(self.range.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Extent;
    use ondisk::width::u64_of;

    /// Data at the given ranges, zeros elsewhere.
    #[derive(Debug)]
    struct Sparse(u64, Vec<Range<u64>>);

    impl BlockRead for Sparse {
        fn size(&self) -> u64 {
            self.0
        }
        fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<(), block::Error> {
            buf.fill(1);
            Ok(())
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
            let inside = self.1.iter().find(|range| range.contains(&offset));
            let next = self
                .1
                .iter()
                .map(|range| range.start)
                .find(|at| *at > offset);
            Ok(match inside {
                Some(range) => Extent {
                    range: range.clone(),
                    kind: ExtentKind::Data,
                },
                None => Extent {
                    range: offset..next.unwrap_or(self.0),
                    kind: ExtentKind::Zero,
                },
            })
        }
    }

    #[test]
    fn units_lie_on_the_grid_and_cover_all_data_once() {
        const M: u64 = 1 << 20;
        let device = Sparse(
            21 * M + 5,
            vec![M..M + 1, M + 7..5 * M, 7 * M..7 * M + 9, 21 * M..21 * M + 5],
        );
        let units: Vec<_> = Units::new(&device, LARGE, &Interrupt::default())
            .map(Result::unwrap)
            .collect();
        let unit = |range, data: &[Range<u64>], advance| Unit {
            range,
            data: data.to_vec(),
            advance,
        };
        let one = |range: Range<u64>| [range];
        assert_eq!(
            units,
            [
                unit(0..2 * M, &[M..M + 1, M + 7..2 * M], 2 * M),
                unit(2 * M..4 * M, &one(2 * M..4 * M), 2 * M),
                unit(4 * M..6 * M, &one(4 * M..5 * M), 2 * M),
                unit(6 * M..8 * M, &one(7 * M..7 * M + 9), 2 * M),
                unit(20 * M..21 * M + 5, &one(21 * M..21 * M + 5), 13 * M + 5),
            ]
        );
        let mut buf = vec![9; 3];
        units[3].read(&device, &mut buf).unwrap();
        assert_eq!(u64_of(buf.len()), 2 * M);
        let start = buf.iter().position(|b| *b != 0).unwrap();
        assert_eq!(
            (u64_of(start), buf.iter().filter(|b| **b == 1).count()),
            (M, 9)
        );
    }

    /// Zeros in endless pieces.
    #[derive(Debug)]
    struct Endless(Interrupt);

    impl BlockRead for Endless {
        fn size(&self) -> u64 {
            u64::MAX
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), block::Error> {
            Ok(())
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
            if offset > 1000 {
                self.0.set();
            }
            Ok(Extent {
                range: offset..offset.saturating_add(1),
                kind: ExtentKind::Zero,
            })
        }
    }

    #[test]
    fn a_walk_that_finds_nothing_can_be_interrupted() {
        let interrupt = Interrupt::default();
        let device = Endless(interrupt.clone());
        let mut units = Units::new(&device, LARGE, &interrupt);
        assert!(matches!(units.next(), Some(Err(Error::Interrupted(_)))));
        assert!(units.next().is_none());
        let interrupt = Interrupt::default();
        let device = Endless(interrupt.clone());
        let result = crate::compare(&device, &device, &ondisk::NoProgress, &interrupt);
        assert!(matches!(result, Err(Error::Interrupted(_))));
    }
}
