//! An image file as a device.

use block::{BlockRead, BlockWrite, Error};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// An image file that is read and written in place.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    size: u64,
}

impl FileDevice {
    /// Opens an image, which is there.
    pub fn open(path: &Path) -> Arc<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("the image is there");
        let size = file.metadata().expect("the image is there").len();
        Arc::new(Self { file, size })
    }

    fn check(&self, offset: u64, len: usize) -> Result<(), Error> {
        let len = ondisk::width::u64_of(len);
        if offset.checked_add(len).is_some_and(|end| end <= self.size) {
            return Ok(());
        }
        Err(Error::OutOfBounds {
            offset,
            len,
            size: self.size,
        })
    }
}

impl BlockRead for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.check(offset, buf.len())?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|source| Error::Io { offset, source })
    }
}

impl BlockWrite for FileDevice {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        self.check(offset, buf.len())?;
        self.file
            .write_all_at(buf, offset)
            .map_err(|source| Error::Io { offset, source })
    }
}
