//! Devices that share the bytes of one: striped, mirrored, or both.

use crate::device::check_range;
use crate::{BlockRead, BlockWrite, Error, Extent};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// A device that is laid over several legs in chunks, each chunk on one leg or on several.
///
/// Copy `j` of chunk `c` is on leg `(c * copies + j) % legs`, as row `(c * copies + j) / legs` of
/// it. With one copy that is striping, with as many copies as legs mirroring, and between the two
/// the layout "near" of Linux RAID10.
///
/// A chunk is read from its first copy whose leg is in sync, and written to every copy whose leg is
/// there.
#[derive(Clone, Debug)]
pub struct Stripes {
    legs: Vec<Leg>,
    chunk: NonZeroU64,
    copies: u64,
    size: u64,
}

/// One of the devices below.
#[derive(Clone, Debug)]
pub struct Leg {
    device: Option<Arc<dyn BlockWrite>>,
    in_sync: bool,
}

/// Why legs make no device.
#[derive(Clone, Debug, Eq, PartialEq, ThisError)]
#[non_exhaustive]
pub enum Unusable {
    /// No legs, no copies, more copies than legs, or a size that cannot be counted.
    #[error("{copies} copies on {legs} legs are not possible")]
    Shape {
        /// Copies of each chunk.
        copies: usize,
        /// Devices below.
        legs: usize,
    },
    /// No copy of some chunks can be read.
    #[error("no leg that is in sync holds chunk {chunk}")]
    NoLeg {
        /// Number of the first such chunk.
        chunk: u64,
    },
    /// A leg ends before the device does.
    #[error("leg {leg} has {have} bytes, {need} are needed")]
    TooShort {
        /// Number of the leg, from 0.
        leg: usize,
        /// Its size in bytes.
        have: u64,
        /// What the device needs of it.
        need: u64,
    },
}

/// More than any RAID has (`MD_SB_DISKS` is 27, a superblock of version 1 holds 1920).
const MAX_LEGS: usize = 4096;

impl Leg {
    /// A leg that is read and written.
    pub fn in_sync(device: Arc<dyn BlockWrite>) -> Self {
        Self {
            device: Some(device),
            in_sync: true,
        }
    }

    /// A leg that does not hold everything yet: it is written and not read.
    pub fn behind(device: Arc<dyn BlockWrite>) -> Self {
        Self {
            device: Some(device),
            in_sync: false,
        }
    }

    /// A leg that is not there.
    pub fn missing() -> Self {
        Self {
            device: None,
            in_sync: false,
        }
    }

    /// Whether it can be read.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }
}

impl Stripes {
    /// A device of `size` bytes in chunks of `chunk` bytes, each on `copies` of the legs.
    ///
    /// # Errors
    /// [`Unusable`] if legs that hold all of it are not there.
    pub fn new(
        legs: Vec<Leg>,
        chunk: NonZeroU64,
        copies: usize,
        size: u64,
    ) -> Result<Self, Unusable> {
        let shape = Unusable::Shape {
            copies,
            legs: legs.len(),
        };
        if copies == 0 || copies > legs.len() || legs.len() > MAX_LEGS {
            return Err(shape);
        }
        let stripes = Self {
            legs,
            chunk,
            copies: u64_of(copies),
            size,
        };
        let chunks = size.div_ceil(chunk.get());
        if chunks.checked_mul(stripes.copies).is_none() {
            return Err(shape);
        }
        // The legs of chunks repeat after as many chunks as there are legs.
        for chunk in 0..chunks.min(u64_of(stripes.legs.len())) {
            if stripes.first_readable(chunk).is_none() {
                return Err(Unusable::NoLeg { chunk });
            }
        }
        for (leg, it) in stripes.legs.iter().enumerate() {
            let Some(device) = &it.device else { continue };
            let (have, need) = (device.size(), stripes.need(u64_of(leg), chunks));
            if have < need {
                return Err(Unusable::TooShort { leg, have, need });
            }
        }
        Ok(stripes)
    }

    /// A device of `size` bytes of which each leg holds all.
    ///
    /// # Errors
    /// [`Unusable`] if no leg is in sync, or one is too short.
    pub fn mirror(legs: Vec<Leg>, size: u64) -> Result<Self, Unusable> {
        let copies = legs.len();
        let chunk = NonZeroU64::new(size).unwrap_or(NonZeroU64::MIN);
        Self::new(legs, chunk, copies, size)
    }

    /// Bytes that a device of so many chunks needs of a leg.
    fn need(&self, leg: u64, chunks: u64) -> u64 {
        let legs = u64_of(self.legs.len());
        let slots = chunks.saturating_mul(self.copies);
        let rows = slots.saturating_sub(leg).div_ceil(legs);
        // The last chunk may be shorter than the others.
        let last = slots.saturating_sub(1);
        let first_of_last = slots.saturating_sub(self.copies);
        let last_of_leg = rows
            .saturating_sub(1)
            .saturating_mul(legs)
            .saturating_add(leg);
        let full = rows.saturating_mul(self.chunk.get());
        if rows > 0 && (first_of_last..=last).contains(&last_of_leg) {
            let missing = chunks
                .saturating_mul(self.chunk.get())
                .saturating_sub(self.size);
            return full.saturating_sub(missing);
        }
        full
    }

    /// The copies of a chunk: index of the leg and offset of the chunk on it.
    fn copies(&self, chunk: u64) -> impl Iterator<Item = (usize, u64)> {
        let legs = NonZeroU64::new(u64_of(self.legs.len())).unwrap_or(NonZeroU64::MIN);
        let first = chunk.saturating_mul(self.copies);
        (first..first.saturating_add(self.copies)).map(move |slot| {
            let row = slot.checked_div(legs.get()).unwrap_or(0);
            let leg = slot.checked_rem(legs.get()).unwrap_or(0);
            (usize_of(leg), row.saturating_mul(self.chunk.get()))
        })
    }

    fn first_readable(&self, chunk: u64) -> Option<(&Arc<dyn BlockWrite>, u64)> {
        self.copies(chunk).find_map(|(leg, at)| {
            let leg = self.legs.get(leg).filter(|leg| leg.in_sync)?;
            Some((leg.device.as_ref()?, at))
        })
    }

    /// Splits a checked range at the borders of chunks: chunk, offset within, bytes of the buffer.
    fn pieces(&self, offset: u64, len: usize) -> impl Iterator<Item = (u64, u64, Range<usize>)> {
        let (mut done, size) = (0_usize, self.chunk);
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset.saturating_add(u64_of(done));
            let within = at % size;
            let left = u64_of(len.saturating_sub(done));
            let n = usize_of(size.get().saturating_sub(within).min(left));
            let range = done..done.saturating_add(n);
            done = range.end;
            Some((at / size, within, range))
        })
    }

    fn no_leg(&self, chunk: u64) -> Error {
        Error::Format {
            offset: chunk.saturating_mul(self.chunk.get()),
            source: Box::new(Unusable::NoLeg { chunk }),
        }
    }
}

impl BlockRead for Stripes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        for (chunk, within, range) in self.pieces(offset, buf.len()) {
            let (device, at) = self.first_readable(chunk).ok_or(self.no_leg(chunk))?;
            device.read_at(at.saturating_add(within), &mut buf[range])?;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        check_range(self.size, offset, 1)?;
        let (chunk, within) = (offset / self.chunk, offset % self.chunk);
        let (device, at) = self.first_readable(chunk).ok_or(self.no_leg(chunk))?;
        let extent = device.extent_at(at.saturating_add(within))?;
        let start = chunk.saturating_mul(self.chunk.get());
        let end = start.saturating_add(self.chunk.get()).min(self.size);
        // From the leg's coordinates to ours, no farther than the chunk goes.
        let shift = |there: u64| {
            let within = there.saturating_sub(at);
            start.saturating_add(within).min(end)
        };
        Ok(Extent {
            range: shift(extent.range.start)..shift(extent.range.end),
            kind: extent.kind,
        })
    }

    fn granule(&self) -> u64 {
        let devices = self.legs.iter().filter_map(|leg| leg.device.as_ref());
        devices.map(BlockRead::granule).max().unwrap_or(1)
    }
}

impl BlockWrite for Stripes {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        for (chunk, within, range) in self.pieces(offset, buf.len()) {
            for (leg, at) in self.copies(chunk) {
                let device = self.legs.get(leg).and_then(|leg| leg.device.as_ref());
                if let Some(device) = device {
                    device.write_at(at.saturating_add(within), &buf[range.clone()])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    const CHUNK: NonZeroU64 = NonZeroU64::new(4).unwrap();

    fn memories<const N: usize>(len: u8) -> [Arc<Memory>; N] {
        let mut next = 0_u8;
        [(); N].map(|()| {
            next = next.saturating_add(80);
            Arc::new(Memory::new((next..next.saturating_add(len)).collect()))
        })
    }

    fn all(device: &Stripes) -> Vec<u8> {
        let mut bytes = vec![0; usize_of(device.size())];
        device.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn chunks_go_round_the_legs() {
        let [a, b] = memories(8);
        let legs = vec![Leg::in_sync(a.clone()), Leg::in_sync(b.clone())];
        let striped = Stripes::new(legs, CHUNK, 1, 16).unwrap();
        let want = [
            80, 81, 82, 83, 160, 161, 162, 163, 84, 85, 86, 87, 164, 165, 166, 167,
        ];
        assert_eq!(all(&striped), want);
        striped.write_at(3, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(a.bytes()[3..6], [1, 6, 85]);
        assert_eq!(b.bytes()[..4], [2, 3, 4, 5]);
        assert_eq!(striped.extent_at(5).unwrap().range, 4..8);
        assert!(striped.read_at(16, &mut [0]).is_err());
    }

    #[test]
    fn mirrors_are_written_on_every_leg_and_read_from_one_in_sync() {
        let [a, b, c] = memories(8);
        let legs = vec![
            Leg::behind(a.clone()),
            Leg::missing(),
            Leg::in_sync(b.clone()),
            Leg::in_sync(c.clone()),
        ];
        let mirror = Stripes::mirror(legs, 7).unwrap();
        assert_eq!(all(&mirror), [160, 161, 162, 163, 164, 165, 166]);
        mirror.write_at(2, &[1, 2]).unwrap();
        for leg in [a, b, c] {
            assert_eq!(leg.bytes()[2..4], [1, 2]);
        }
    }

    #[test]
    fn near_copies_lie_beside_each_other_on_any_number_of_legs() {
        // md(4): three devices, two copies: A A B / B C C / D D …
        let legs = memories::<3>(8);
        let near = |missing: Option<usize>| {
            let legs = legs.iter().enumerate().map(|(index, leg)| match missing {
                Some(missing) if missing == index => Leg::missing(),
                _ => Leg::in_sync(leg.clone()),
            });
            Stripes::new(legs.collect(), CHUNK, 2, 12)
        };
        let whole = near(None).unwrap();
        whole.write_at(0, b"AAAABBBBCCCC").unwrap();
        assert_eq!(legs[0].bytes(), b"AAAABBBB");
        assert_eq!(legs[1].bytes(), b"AAAACCCC");
        assert_eq!(legs[2].bytes(), b"BBBBCCCC");
        for missing in 0..3 {
            assert_eq!(all(&near(Some(missing)).unwrap()), b"AAAABBBBCCCC");
        }
    }

    #[test]
    fn legs_that_cannot_hold_it_are_told() {
        let leg = |len: usize| Leg::in_sync(Arc::new(Memory::new(vec![0; len])));
        let make = |legs: Vec<Leg>, copies, size| Stripes::new(legs, CHUNK, copies, size).err();
        let no_leg = |chunk| Some(Unusable::NoLeg { chunk });
        assert_eq!(make(vec![leg(8), Leg::missing()], 1, 16), no_leg(1));
        assert_eq!(make(vec![leg(8), Leg::missing()], 1, 4), None);
        assert_eq!(make(vec![leg(8), Leg::missing()], 2, 8), None);
        assert!(matches!(
            make(vec![leg(8)], 2, 8),
            Some(Unusable::Shape { .. })
        ));
        assert!(matches!(make(vec![], 0, 8), Some(Unusable::Shape { .. })));
        // Three chunks, the last of one byte: the first leg holds it.
        assert_eq!(make(vec![leg(5), leg(4)], 1, 9), None);
        for (first, second, short) in [(4, 4, 0), (5, 3, 1)] {
            assert!(matches!(
                make(vec![leg(first), leg(second)], 1, 9),
                Some(Unusable::TooShort { leg, .. }) if leg == short
            ));
        }
        assert!(matches!(
            make(vec![leg(4), leg(4)], 1, u64::MAX),
            Some(Unusable::TooShort { .. })
        ));
    }
}
