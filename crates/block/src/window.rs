//! A part of a device as a device: a partition, a member of an archive.

use crate::device::check_range;
use crate::{BlockRead, BlockWrite, Error, Extent};

/// The bytes `start..start + size` of another device.
#[derive(Clone, Debug)]
pub struct Window<D> {
    inner: D,
    start: u64,
    size: u64,
}

impl<D: BlockRead> Window<D> {
    /// Cuts `size` bytes out of `inner`.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if the range leaves the device.
    pub fn new(inner: D, start: u64, size: u64) -> Result<Self, Error> {
        match start.checked_add(size) {
            Some(end) if end <= inner.size() => Ok(Self { inner, start, size }),
            _ => Err(Error::OutOfBounds {
                offset: start,
                len: size,
                size: inner.size(),
            }),
        }
    }

    /// Where the window starts on the device below, in bytes.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl<D: BlockRead> BlockRead for Window<D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        self.inner.read_at(self.start.saturating_add(offset), buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        check_range(self.size, offset, 1)?;
        let extent = self.inner.extent_at(self.start.saturating_add(offset))?;
        let shift = |at: u64| at.saturating_sub(self.start).min(self.size);
        Ok(Extent {
            range: shift(extent.range.start)..shift(extent.range.end),
            kind: extent.kind,
        })
    }

    fn granule(&self) -> u64 {
        self.inner.granule()
    }
}

impl<D: BlockWrite> BlockWrite for Window<D> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        self.inner.write_at(self.start.saturating_add(offset), buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use std::sync::Arc;

    #[test]
    fn nothing_outside_can_be_reached() {
        let disk = Arc::new(Memory::new((0..100).collect()));
        let window = Window::new(disk.clone(), 10, 20).unwrap();
        let mut buf = [0; 20];
        window.read_at(0, &mut buf).unwrap();
        assert_eq!(buf[0], 10);
        assert!(window.read_at(1, &mut buf).is_err());
        assert!(window.read_at(u64::MAX, &mut buf[..1]).is_err());
        assert!(window.write_at(20, &[0]).is_err());
        window.write_at(19, &[0]).unwrap();
        assert_eq!(disk.bytes()[29], 0);
        assert!(Window::new(disk.clone(), 90, 11).is_err());
        assert!(Window::new(disk, u64::MAX, 1).is_err());
        assert_eq!(window.extent_at(3).unwrap().range, 0..20);
    }
}
