//! Runs of a device with one state.

use crate::{BlockRead, Error};
use std::ops::Range;

/// What is known about a range without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExtentKind {
    /// Must be read to know its content.
    Data,
    /// Reads as zeros.
    Zero,
}

/// A run of bytes of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extent {
    /// Bytes covered, in device coordinates.
    pub range: Range<u64>,
    /// What the range holds.
    pub kind: ExtentKind,
}

/// Walks a device as maximal extents in ascending order; ends after the first error.
#[derive(Debug)]
pub struct Extents<'d> {
    device: &'d dyn BlockRead,
    at: u64,
    failed: bool,
}

impl<'d> Extents<'d> {
    pub(crate) fn new(device: &'d dyn BlockRead) -> Self {
        Self {
            device,
            at: 0,
            failed: false,
        }
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let mut kind = None;
        while !self.failed && self.at < self.device.size() {
            let extent = match self.device.extent_at(self.at) {
                Ok(extent) => extent,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            };
            if *kind.get_or_insert(extent.kind) != extent.kind {
                break;
            }
            // A device that answers with a range before the question would loop for ever.
            self.at = extent
                .range
                .end
                .max(self.at.saturating_add(1))
                .min(self.device.size());
        }
        kind.map(|kind| {
            Ok(Extent {
                range: start..self.at,
                kind,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Map(Vec<Extent>);

    impl BlockRead for Map {
        fn size(&self) -> u64 {
            self.0.last().map_or(0, |e| e.range.end)
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
            crate::device::check_range(0, offset, buf.len())
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
            Ok(self
                .0
                .iter()
                .find(|e| e.range.contains(&offset))
                .expect("in the map")
                .clone())
        }
    }

    #[test]
    fn neighbours_of_one_kind_are_joined() {
        let extent = |range, kind| Extent { range, kind };
        let map = Map(vec![
            extent(0..10, ExtentKind::Zero),
            extent(10..20, ExtentKind::Data),
            extent(20..25, ExtentKind::Data),
            extent(25..30, ExtentKind::Zero),
        ]);
        let walked: Vec<_> = Extents::new(&map).map(Result::unwrap).collect();
        assert_eq!(
            walked,
            [
                extent(0..10, ExtentKind::Zero),
                extent(10..25, ExtentKind::Data),
                extent(25..30, ExtentKind::Zero),
            ]
        );
    }
}
