//! Devices one after the other, as one device.

use crate::device::check_range;
use crate::{BlockRead, BlockWrite, Error, Extent};
use ondisk::width::{u64_of, usize_of};
use std::sync::Arc;

/// Devices one after the other: a linear volume of several pieces.
#[derive(Clone, Debug)]
pub struct Concat {
    /// None is empty.
    parts: Vec<Part>,
    size: u64,
}

/// A device, and the byte of the whole at which it ends.
type Part = (u64, Arc<dyn BlockWrite>);

impl Concat {
    /// Puts devices together in this order; empty ones are left out.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if the sum of the sizes cannot be counted.
    pub fn new(devices: impl IntoIterator<Item = Arc<dyn BlockWrite>>) -> Result<Self, Error> {
        let (mut parts, mut size) = (Vec::new(), 0_u64);
        for device in devices {
            let len = device.size();
            if len == 0 {
                continue;
            }
            size = size.checked_add(len).ok_or(Error::OutOfBounds {
                offset: size,
                len,
                size: u64::MAX,
            })?;
            parts.push((size, device));
        }
        Ok(Self { parts, size })
    }

    /// The part that holds `offset`, and the byte of the whole at which it starts.
    fn part(&self, offset: u64) -> Option<(u64, &Part)> {
        let index = self.parts.partition_point(|(end, _)| *end <= offset);
        let start = match index.checked_sub(1) {
            Some(before) => self.parts.get(before).map_or(0, |(end, _)| *end),
            None => 0,
        };
        self.parts.get(index).map(|part| (start, part))
    }

    /// Splits a checked range at the borders of the parts: device, offset on it, bytes done before
    /// and after.
    fn pieces(
        &self,
        offset: u64,
        len: usize,
    ) -> impl Iterator<Item = (&Arc<dyn BlockWrite>, u64, std::ops::Range<usize>)> {
        let mut done = 0_usize;
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset.saturating_add(u64_of(done));
            let (start, (end, device)) = self.part(at)?;
            let left = u64_of(len.saturating_sub(done));
            let n = usize_of(end.saturating_sub(at).min(left));
            let range = done..done.saturating_add(n);
            done = range.end;
            Some((device, at.saturating_sub(start), range))
        })
    }
}

impl BlockRead for Concat {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        self.pieces(offset, buf.len())
            .try_for_each(|(device, at, range)| device.read_at(at, &mut buf[range]))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        check_range(self.size, offset, 1)?;
        let Some((start, (_, device))) = self.part(offset) else {
            return Err(Error::OutOfBounds {
                offset,
                len: 1,
                size: self.size,
            });
        };
        let extent = device.extent_at(offset.saturating_sub(start))?;
        let shift = |at: u64| at.saturating_add(start);
        Ok(Extent {
            range: shift(extent.range.start)..shift(extent.range.end),
            kind: extent.kind,
        })
    }

    fn granule(&self) -> u64 {
        let granules = self.parts.iter().map(|(_, device)| device.granule());
        granules.max().unwrap_or(1)
    }
}

impl BlockWrite for Concat {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        self.pieces(offset, buf.len())
            .try_for_each(|(device, at, range)| device.write_at(at, &buf[range]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExtentKind, Memory, Window, Zero};

    #[test]
    fn parts_are_read_and_written_across_their_borders() {
        let parts: Vec<Arc<Memory>> = [3_u8, 0, 4, 5]
            .map(|len| Arc::new(Memory::new((0..len).map(|n| n + 10 * len).collect())))
            .into();
        let [a, b, c, d] = &parts[..] else { panic!() };
        let devices: [Arc<dyn BlockWrite>; 4] = [a.clone(), b.clone(), c.clone(), d.clone()];
        let concat = Concat::new(devices).unwrap();
        assert_eq!(concat.size(), 12);
        let mut all = [0; 12];
        concat.read_at(0, &mut all).unwrap();
        assert_eq!(all, [30, 31, 32, 40, 41, 42, 43, 50, 51, 52, 53, 54]);
        concat.write_at(2, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(parts[0].bytes(), [30, 31, 1]);
        assert_eq!(parts[2].bytes(), [2, 3, 4, 5]);
        assert_eq!(parts[3].bytes(), [6, 51, 52, 53, 54]);
        assert!(concat.read_at(12, &mut [0]).is_err());
        assert!(concat.write_at(11, &[0; 2]).is_err());
        assert!(concat.extent_at(12).is_err());
        concat.read_at(12, &mut []).unwrap();
    }

    #[test]
    fn holes_stay_holes() {
        let data: Arc<dyn BlockWrite> = Arc::new(Memory::new(vec![1; 10]));
        let hole: Arc<dyn BlockWrite> = Arc::new(Zero::new(20));
        let cut: Arc<dyn BlockWrite> = Arc::new(Window::new(hole, 5, 7).unwrap());
        let concat = Concat::new([data, cut]).unwrap();
        let whole: &dyn BlockRead = &concat;
        let extents: Vec<_> = whole
            .extents()
            .map(|extent| extent.map(|extent| (extent.range, extent.kind)).unwrap())
            .collect();
        assert_eq!(
            extents,
            [(0..10, ExtentKind::Data), (10..17, ExtentKind::Zero)]
        );
    }
}
