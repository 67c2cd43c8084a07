//! An image file as a device.

use block::{BlockRead, BlockWrite, Error};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

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

/// A device whose last changes can be taken back.
#[derive(Debug)]
pub struct UndoDevice {
    base: Arc<dyn BlockWrite>,
    /// What stood where something was written since, oldest first.
    before: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl UndoDevice {
    /// Lays it over another one.
    pub fn new(base: Arc<dyn BlockWrite>) -> Arc<Self> {
        Arc::new(Self {
            base,
            before: Mutex::default(),
        })
    }

    /// Keeps what was written.
    pub fn keep(&self) {
        self.before.lock().expect("nobody panics with it").clear();
    }

    /// Takes back what was written since the last call of [`keep`](Self::keep).
    pub fn undo(&self) {
        let mut before = self.before.lock().expect("nobody panics with it");
        for (offset, bytes) in before.drain(..).rev() {
            self.base
                .write_at(offset, &bytes)
                .expect("it was just written");
        }
    }
}

impl BlockRead for UndoDevice {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.base.read_at(offset, buf)
    }
}

impl BlockWrite for UndoDevice {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        let mut bytes = vec![0; buf.len()];
        self.base.read_at(offset, &mut bytes)?;
        let mut before = self.before.lock().expect("nobody panics with it");
        before.push((offset, bytes));
        self.base.write_at(offset, buf)
    }
}
