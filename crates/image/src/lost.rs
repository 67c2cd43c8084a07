//! What stands in for a file that is not there, when reading goes on over damage.

use crate::Error;
use crate::error::Damage;
use crate::file::ImageFile;
use crate::layer::{Layer, Place, Run};
use std::path::{Path, PathBuf};

/// Why a part of a disk cannot be read, and nothing else of it.
#[derive(Debug)]
pub(crate) struct Lost {
    by: PathBuf,
    reason: String,
}

impl Lost {
    /// What the image at `by` needs and does not have.
    pub(crate) fn new(by: &Path, error: &Error) -> Self {
        Self {
            by: by.to_owned(),
            reason: error.to_string(),
        }
    }

    /// The error of every access.
    pub(crate) fn error(&self) -> Error {
        Error::corrupt(&self.by, Damage::Lost(self.reason.clone()))
    }
}

/// A parent that cannot be opened: every access is an error.
#[derive(Debug)]
pub(crate) struct LostLayer {
    size: u64,
    lost: Lost,
}

impl LostLayer {
    /// A parent as large as its child.
    pub(crate) fn new(size: u64, lost: Lost) -> Self {
        Self { size, lost }
    }
}

impl Layer for LostLayer {
    fn size(&self) -> u64 {
        self.size
    }

    fn granule(&self) -> u64 {
        1
    }

    fn map(&self, _: u64, _: u64) -> Result<Run, Error> {
        Err(self.lost.error())
    }

    fn read(&self, _: &Place, _: &mut [u8]) -> Result<(), Error> {
        Err(self.lost.error())
    }

    fn file(&self, _: usize) -> Option<&ImageFile> {
        None
    }
}
