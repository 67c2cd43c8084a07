//! The disk as the volume has it: with zeros behind its end where the parent has more.

use block::{BlockRead, Error, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};

/// A disk, and zeros behind it.
///
/// A snapshot has all blocks of its parent, also those beyond the end of a disk that has become
/// smaller. Were they left, the disk would find them again once it grows.
#[derive(Debug)]
pub(super) struct Volume<'a> {
    disk: &'a dyn BlockRead,
    size: u64,
}

impl<'a> Volume<'a> {
    /// With zeros up to `size`, in bytes, if the disk is smaller.
    pub(super) fn new(disk: &'a dyn BlockRead, size: u64) -> Self {
        Self {
            size: size.max(disk.size()),
            disk,
        }
    }
}

impl BlockRead for Volume<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let (size, len) = (self.size, u64_of(buf.len()));
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::OutOfBounds { offset, len, size });
        }
        let of_disk = self.disk.size().saturating_sub(offset).min(len);
        let (disk, behind) = buf.split_at_mut(usize_of(of_disk));
        behind.fill(0);
        if disk.is_empty() {
            return Ok(());
        }
        self.disk.read_at(offset, disk)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        let (end, size) = (self.disk.size(), self.size);
        if offset < end {
            return self.disk.extent_at(offset);
        }
        if offset >= size {
            let len = 1;
            return Err(Error::OutOfBounds { offset, len, size });
        }
        Ok(Extent {
            range: end..size,
            kind: ExtentKind::Zero,
        })
    }

    fn granule(&self) -> u64 {
        self.disk.granule()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    #[test]
    fn zeros_are_behind_the_disk_and_nothing_behind_them() {
        let disk = Memory::new(vec![7; 1000]);
        let volume = Volume::new(&disk, 3000);
        let mut bytes = vec![1; 3000];
        volume.read_at(0, &mut bytes).unwrap();
        assert!(bytes[..1000].iter().all(|byte| *byte == 7));
        assert!(bytes[1000..].iter().all(|byte| *byte == 0));
        volume.read_at(2000, &mut bytes[..1000]).unwrap();
        assert!(bytes[..1000].iter().all(|byte| *byte == 0));
        assert!(volume.read_at(2001, &mut bytes[..1000]).is_err());
        assert!(volume.read_at(u64::MAX, &mut bytes[..2]).is_err());
        let device: &dyn BlockRead = &volume;
        let extents: Vec<_> = device.extents().map(Result::unwrap).collect();
        let last = extents.last().unwrap();
        assert_eq!(
            (last.range.clone(), last.kind),
            (1000..3000, ExtentKind::Zero)
        );
        assert!(volume.extent_at(3000).is_err());
        assert_eq!(Volume::new(&disk, 10).size(), 1000);
    }
}
