//! Comparing two disks: where both are zero nothing is read.

use crate::Error;
use crate::zeros::is_zero;
use block::{BlockRead, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Progress};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::num::NonZeroU64;
use std::ops::Range;

/// Where two disks differ first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Byte of the disks.
    pub offset: u64,
    /// What the left one has there; 0 beyond its end.
    pub left: u8,
    /// What the right one has there; 0 beyond its end.
    pub right: u8,
}

/// Finds the first byte in which two disks differ.
///
/// A disk that is shorter than the other one counts as if zeros followed it: whoever minds compares
/// the sizes. What both disks tell to be zero is not read. Reading stops soon after the first
/// difference, which is the first in the order of the disk whatever the number of threads.
///
/// # Errors
/// [`Error::Source`] if a disk cannot be read before the first difference, [`Error::Interrupted`].
pub fn compare(
    left: &dyn BlockRead,
    right: &dyn BlockRead,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Option<Difference>, Error> {
    let size = left.size().max(right.size());
    let task = progress.start("compare", ondisk::Unit::Bytes, Some(size));
    let mut cells = Cells::new(left, right, interrupt);
    loop {
        let batch: Vec<Cell> = cells.by_ref().take(BATCH).collect();
        // The walk ends there too, and must not be taken for one that came to the end.
        interrupt.check()?;
        // What stands last in the order of the disk may be that the walk over it failed.
        let failed = cells.failed.take();
        let found = batch
            .par_iter()
            .map_init(Default::default, |buffers, cell| {
                interrupt.check()?;
                let found = cell.compare(left, right, buffers)?;
                task.advance(cell.advance);
                Ok(found)
            })
            .find_first(|found: &Result<_, Error>| !matches!(found, Ok(None)));
        match found {
            Some(found) => return found,
            None => match failed {
                Some(error) => return Err(error.into()),
                None if batch.is_empty() => break,
                None => {}
            },
        }
    }
    task.advance(size.saturating_sub(cells.told));
    Ok(None)
}

/// Bytes that a thread compares at a time: enough to make a system call worth it.
const CELL: NonZeroU64 = NonZeroU64::new(2 << 20).unwrap();
/// Cells that are at hand at a time. They are only numbers, but threads wait for the last of them.
const BATCH: usize = 256;

/// A part of the disks, on a grid, where one of them holds data.
#[derive(Debug, Eq, PartialEq)]
struct Cell {
    pieces: Vec<Piece>,
    /// Bytes from the end of the cell before to the end of this one.
    advance: u64,
}

/// A range in which each disk has one state, not zero in both.
#[derive(Debug, Eq, PartialEq)]
struct Piece {
    range: Range<u64>,
    left: ExtentKind,
    right: ExtentKind,
}

/// Walks the cells of two disks in ascending order.
struct Cells<'d> {
    left: Side<'d>,
    right: Side<'d>,
    interrupt: &'d Interrupt,
    size: u64,
    cell: NonZeroU64,
    at: u64,
    /// The end of the last cell.
    told: u64,
    /// Why the walk ended early.
    failed: Option<block::Error>,
}

/// A disk, and what it said last about itself.
struct Side<'d> {
    device: &'d dyn BlockRead,
    extent: Extent,
}

impl<'d> Cells<'d> {
    fn new(left: &'d dyn BlockRead, right: &'d dyn BlockRead, interrupt: &'d Interrupt) -> Self {
        let granule = left.granule().max(right.granule());
        Self {
            size: left.size().max(right.size()),
            cell: CELL.max(NonZeroU64::new(granule).unwrap_or(CELL)),
            left: Side::new(left),
            right: Side::new(right),
            interrupt,
            at: 0,
            told: 0,
            failed: None,
        }
    }

    /// The longest range from the current position on in which neither disk's state changes.
    fn step(&mut self) -> Result<Piece, block::Error> {
        let (left, right) = (self.left.at(self.at)?, self.right.at(self.at)?);
        let end = left.range.end.min(right.range.end).min(self.size);
        Ok(Piece {
            // Extents hold the asked offset; one that does not would keep us here for ever.
            range: self.at..end.max(self.at.saturating_add(1)),
            left: left.kind,
            right: right.kind,
        })
    }
}

impl Iterator for Cells<'_> {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut end = self.size;
        while self.failed.is_none() && self.at < end && !self.interrupt.is_set() {
            let mut piece = match self.step() {
                Ok(piece) => piece,
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            };
            if (piece.left, piece.right) == (ExtentKind::Zero, ExtentKind::Zero) {
                self.at = piece.range.end;
                continue;
            }
            if pieces.is_empty() {
                let start = self.at.saturating_sub(self.at % self.cell);
                end = start.saturating_add(self.cell.get()).min(self.size);
            }
            piece.range.end = piece.range.end.min(end);
            self.at = piece.range.end;
            match pieces.last_mut() {
                Some(last) if last.is_continued_by(&piece) => last.range.end = piece.range.end,
                _ => pieces.push(piece),
            }
        }
        let last = pieces.last()?.range.end;
        let advance = last.saturating_sub(self.told);
        self.told = last;
        Some(Cell { pieces, advance })
    }
}

impl<'d> Side<'d> {
    fn new(device: &'d dyn BlockRead) -> Self {
        let extent = Extent {
            range: 0..0,
            kind: ExtentKind::Zero,
        };
        Self { device, extent }
    }

    /// The extent that holds `offset`; zeros go on for ever behind the end of the disk.
    fn at(&mut self, offset: u64) -> Result<Extent, block::Error> {
        if !self.extent.range.contains(&offset) {
            self.extent = if offset < self.device.size() {
                self.device.extent_at(offset)?
            } else {
                Extent {
                    range: self.device.size()..u64::MAX,
                    kind: ExtentKind::Zero,
                }
            };
        }
        Ok(self.extent.clone())
    }
}

impl Piece {
    fn is_continued_by(&self, next: &Self) -> bool {
        (self.range.end, self.left, self.right) == (next.range.start, next.left, next.right)
    }
}

impl Cell {
    fn compare(
        &self,
        left: &dyn BlockRead,
        right: &dyn BlockRead,
        (left_bytes, right_bytes): &mut (Vec<u8>, Vec<u8>),
    ) -> Result<Option<Difference>, Error> {
        for Piece {
            range,
            left: left_kind,
            right: right_kind,
        } in &self.pieces
        {
            let zero = |bytes: &[u8]| is_zero(bytes).then_some(None);
            let same = match (left_kind, right_kind) {
                (ExtentKind::Zero, ExtentKind::Zero) => continue,
                (ExtentKind::Data, ExtentKind::Zero) => {
                    read(left, range, left_bytes)?;
                    right_bytes.clear();
                    zero(left_bytes)
                }
                (ExtentKind::Zero, ExtentKind::Data) => {
                    read(right, range, right_bytes)?;
                    left_bytes.clear();
                    zero(right_bytes)
                }
                (ExtentKind::Data, ExtentKind::Data) => {
                    read(left, range, left_bytes)?;
                    read(right, range, right_bytes)?;
                    (left_bytes == right_bytes).then_some(None)
                }
            };
            let found = same.unwrap_or_else(|| first(range.start, left_bytes, right_bytes));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn read(device: &dyn BlockRead, range: &Range<u64>, bytes: &mut Vec<u8>) -> Result<(), Error> {
    bytes.resize(usize_of(range.end.saturating_sub(range.start)), 0);
    Ok(device.read_at(range.start, bytes)?)
}

/// The first place where two pieces differ; one that is empty stands for zeros.
fn first(start: u64, left: &[u8], right: &[u8]) -> Option<Difference> {
    let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    (0..left.len().max(right.len()))
        .map(|at| Difference {
            offset: start.saturating_add(u64_of(at)),
            left: byte(left, at),
            right: byte(right, at),
        })
        .find(|difference| difference.left != difference.right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;
    use ondisk::NoProgress;
    use std::sync::atomic::{AtomicU64, Ordering};

    const M: u64 = 1 << 20;

    /// Zeros but for one byte in each of some ranges, which are the data; counts what is read.
    #[derive(Debug, Default)]
    struct Sparse {
        size: u64,
        data: Vec<(Range<u64>, u64, u8)>,
        /// Reads and walks that come to this byte fail.
        broken: Option<u64>,
        read: AtomicU64,
    }

    impl Sparse {
        fn new(size: u64, data: &[(Range<u64>, u64, u8)]) -> Self {
            Self {
                size,
                data: data.to_vec(),
                ..Self::default()
            }
        }

        fn fail(&self, range: &Range<u64>) -> Result<(), block::Error> {
            match self.broken {
                Some(offset) if range.contains(&offset) => Err(block::Error::Format {
                    offset,
                    source: "broken".into(),
                }),
                _ => Ok(()),
            }
        }
    }

    impl BlockRead for Sparse {
        fn size(&self) -> u64 {
            self.size
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
            let range = offset..offset.saturating_add(u64_of(buf.len()));
            assert!(range.end <= self.size, "{range:?} is read");
            self.fail(&range)?;
            self.read.fetch_add(u64_of(buf.len()), Ordering::Relaxed);
            buf.fill(0);
            for (_, at, byte) in &self.data {
                if range.contains(at) {
                    buf[usize_of(at.saturating_sub(offset))] = *byte;
                }
            }
            Ok(())
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
            self.fail(&(offset..offset.saturating_add(1)))?;
            let inside = self.data.iter().find(|data| data.0.contains(&offset));
            let next = self.data.iter().map(|data| data.0.start);
            let next = next.filter(|start| *start > offset).min();
            Ok(match inside {
                Some((range, ..)) => Extent {
                    range: range.clone(),
                    kind: ExtentKind::Data,
                },
                None => Extent {
                    range: offset..next.unwrap_or(self.size),
                    kind: ExtentKind::Zero,
                },
            })
        }
    }

    fn ask(left: &dyn BlockRead, right: &dyn BlockRead) -> Result<Option<Difference>, Error> {
        compare(left, right, &NoProgress, &Interrupt::default())
    }

    fn found(left: &dyn BlockRead, right: &dyn BlockRead) -> Option<(u64, u8, u8)> {
        let found = ask(left, right).unwrap();
        let swapped = ask(right, left).unwrap();
        assert_eq!(
            found.map(|d| (d.offset, d.left, d.right)),
            swapped.map(|d| (d.offset, d.right, d.left))
        );
        found.map(|d| (d.offset, d.left, d.right))
    }

    #[test]
    fn every_byte_counts() {
        let size = 5 * M + 3;
        let bytes: Vec<u8> = (0..size).map(|at| at.to_le_bytes()[0] | 1).collect();
        let left = Memory::new(bytes.clone());
        for at in [0, 1, M, 2 * M - 1, 2 * M, 4 * M + 7, size - 1] {
            let mut other = bytes.clone();
            other[usize_of(at)] ^= 0x80;
            // One that comes later changes nothing.
            other[usize_of(size - 1)] ^= 0x80;
            other[usize_of(at)] = bytes[usize_of(at)] ^ 0x80;
            let byte = bytes[usize_of(at)];
            let right = Memory::new(other);
            assert_eq!(found(&left, &right), Some((at, byte, byte ^ 0x80)));
        }
        assert_eq!(found(&left, &Memory::new(bytes)), None);
    }

    #[test]
    fn zeros_and_holes_are_the_same_and_holes_in_both_are_not_read() {
        let left = Sparse::new(1 << 60, &[(M..M + 7, M, 0), (1 << 50..(1 << 50) + M, 0, 0)]);
        let right = Sparse::new(1 << 60, &[(9 * M..9 * M + 3, 9 * M, 0)]);
        assert_eq!(ask(&left, &right).unwrap(), None);
        assert_eq!(left.read.into_inner(), 7 + M);
        assert_eq!(right.read.into_inner(), 3);
    }

    #[test]
    fn data_against_a_hole_differs_where_it_is_not_zero() {
        let data = [(3 * M..8 * M, 5 * M + 1, 9), (9 * M..10 * M, 9 * M, 7)];
        let left = Sparse::new(20 * M, &data);
        assert_eq!(
            found(&left, &Sparse::new(20 * M, &[])),
            Some((5 * M + 1, 9, 0))
        );
        let right = Sparse::new(20 * M, &[(5 * M..6 * M, 5 * M + 1, 9)]);
        assert_eq!(found(&left, &right), Some((9 * M, 7, 0)));
    }

    #[test]
    fn what_a_disk_has_beyond_the_others_end_must_be_zero() {
        let short = Sparse::new(M + 5, &[(0..M + 5, 3, 1)]);
        let same = [(0..4, 3, 1)];
        assert_eq!(found(&short, &Sparse::new(9 * M, &same)), None);
        let more = [(0..2 * M, 3, 1), (2 * M..3 * M, 3 * M - 1, 4)];
        assert_eq!(
            found(&short, &Sparse::new(9 * M, &more)),
            Some((3 * M - 1, 0, 4))
        );
        let empty = Sparse::new(0, &[]);
        assert_eq!(found(&empty, &empty), None);
        assert_eq!(found(&empty, &short), Some((3, 0, 1)));
    }

    #[test]
    fn a_difference_before_the_damage_is_told_and_damage_before_it_is_an_error() {
        // A few bytes in each cell, over more cells than are at hand at a time.
        let difference = 1400 * M;
        let data: Vec<_> = (0..900)
            .map(|cell| (cell * 2 * M..cell * 2 * M + 8, difference, 1))
            .collect();
        let disk = |broken, data: &[_]| Sparse {
            broken,
            ..Sparse::new(1800 * M, data)
        };
        for broken in [2 * M, difference - 2 * M] {
            for (left, right) in [(None, Some(broken)), (Some(broken), None)] {
                let (left, right) = (disk(left, &data), disk(right, &data));
                let error = ask(&left, &right).unwrap_err();
                assert!(matches!(error, Error::Source(_)), "{broken}: {error}");
            }
        }
        for broken in [difference + 2 * M, 1798 * M] {
            for right in [&[][..], &[(0..M, 0, 0)]] {
                let found = ask(&disk(Some(broken), &data), &disk(None, right));
                let found = found.unwrap().unwrap();
                assert_eq!(found.offset, difference, "{broken}");
            }
        }
    }

    #[test]
    fn it_can_be_interrupted() {
        let disk = Sparse::new(M, &[(0..M, 0, 1)]);
        let interrupt = Interrupt::default();
        interrupt.set();
        let result = compare(&disk, &disk, &NoProgress, &interrupt);
        assert!(matches!(result, Err(Error::Interrupted(_))));
    }
}
