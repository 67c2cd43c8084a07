//! Reading raw images: holes of the host's file are zero extents.

use crate::Error;
use crate::file::ImageFile;
use crate::layer::{Layer, Place, Run, State};

/// A raw file or block device as a layer.
#[derive(Debug)]
pub(crate) struct RawLayer {
    file: ImageFile,
}

impl RawLayer {
    pub(crate) fn new(file: ImageFile) -> Self {
        Self { file }
    }
}

impl Layer for RawLayer {
    fn size(&self) -> u64 {
        self.file.len()
    }

    fn granule(&self) -> u64 {
        1
    }

    fn map(&self, offset: u64, _: u64) -> Result<Run, Error> {
        let run = self.file.host_run(offset);
        Ok(Run {
            len: run.len,
            state: if run.hole {
                State::Zero
            } else {
                stored(offset)
            },
        })
    }

    fn locate(&self, offset: u64, _: u64) -> Result<Run, Error> {
        Ok(Run {
            len: self.file.len().saturating_sub(offset),
            state: stored(offset),
        })
    }

    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact(place.offset, buf)
    }

    fn file(&self, number: usize) -> Option<&ImageFile> {
        (number == 0).then_some(&self.file)
    }
}

fn stored(offset: u64) -> State {
    State::Data(Place {
        file: 0,
        offset,
        packed: None,
    })
}
