//! Disks that the descriptor gives a size and nothing else.

use crate::Error;
use crate::file::ImageFile;
use crate::layer::{Layer, Place, Run, State};

/// A disk of zeros.
#[derive(Debug)]
pub(super) struct BlankLayer {
    pub(super) size: u64,
}

impl Layer for BlankLayer {
    fn size(&self) -> u64 {
        self.size
    }

    fn granule(&self) -> u64 {
        1
    }

    fn map(&self, offset: u64, _: u64) -> Result<Run, Error> {
        Ok(Run {
            len: self.size.saturating_sub(offset),
            state: State::Zero,
        })
    }

    fn read(&self, _: &Place, buf: &mut [u8]) -> Result<(), Error> {
        buf.fill(0);
        Ok(())
    }

    fn file(&self, _: usize) -> Option<&ImageFile> {
        None
    }
}
