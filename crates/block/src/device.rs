//! The two traits of a block device.

use crate::{Error, Extent, ExtentKind, Extents};
use ondisk::width::u64_of;
use std::fmt::Debug;
use std::sync::Arc;

/// A fixed-size array of bytes: shared, positioned, whole-or-error reads.
///
/// There is no cursor and no short read, and a read never leaves part of the buffer as it was
/// while saying that it succeeded.
pub trait BlockRead: Debug + Send + Sync {
    /// Size in bytes; any number, also odd ones.
    fn size(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if the range leaves the device; else what the layers below say.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error>;

    /// The extent that holds `offset`, as seen through every layer below.
    ///
    /// It contains `offset` but may start before it, and need not be maximal. A device that knows
    /// nothing about itself says that all is data.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if `offset` is not on the device; else as for reads.
    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        check_range(self.size(), offset, 1)?;
        Ok(Extent {
            range: 0..self.size(),
            kind: ExtentKind::Data,
        })
    }

    /// Bytes of the natural unit for splitting work: what is decompressed at once, else 1.
    fn granule(&self) -> u64 {
        1
    }
}

/// Devices that can also change.
pub trait BlockWrite: BlockRead {
    /// Stores all of `buf` at `offset`.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if the range leaves the device; else what the layers below say.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error>;
}

impl dyn BlockRead + '_ {
    /// Walks the whole device as maximal extents.
    pub fn extents(&self) -> Extents<'_> {
        Extents::new(self)
    }
}

impl<T: BlockRead + ?Sized> BlockRead for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        (**self).read_at(offset, buf)
    }
    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        (**self).extent_at(offset)
    }
    fn granule(&self) -> u64 {
        (**self).granule()
    }
}

impl<T: BlockWrite + ?Sized> BlockWrite for Arc<T> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        (**self).write_at(offset, buf)
    }
}

/// Checks that `len` bytes at `offset` lie on a device of `size` bytes.
pub(crate) fn check_range(size: u64, offset: u64, len: usize) -> Result<(), Error> {
    let len = u64_of(len);
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::OutOfBounds { offset, len, size }),
    }
}
