//! A VHDX image as a layer.

use super::bat::Bat;
use super::view::View;
use crate::Error;
use crate::file::ImageFile;
use crate::layer::{Layer, Place, Run, State};

/// An open VHDX image, without its parent.
#[derive(Debug)]
pub(super) struct VhdxLayer {
    bat: Bat,
    view: View,
}

/// Bytes that are mapped at once where it matters: blocks are not compressed, so that a part of
/// one costs no more than its bytes, and blocks can be far larger than what is read at one time.
const GRANULE: u64 = 64 << 10;

impl VhdxLayer {
    pub(super) fn new(bat: Bat, view: View) -> Self {
        Self { bat, view }
    }
}

impl Layer for VhdxLayer {
    fn size(&self) -> u64 {
        self.bat.size()
    }

    fn granule(&self) -> u64 {
        GRANULE
    }

    fn map(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        let mut run = self.locate(offset, wanted)?;
        // Blocks are far coarser than what guests write: what the host never stored is zero.
        if let State::Data(place) = run.state
            && place.packed.is_none()
        {
            let host = self.view.file().host_run(place.offset);
            run.len = run.len.min(host.len);
            if host.hole {
                run.state = State::Zero;
            }
        }
        Ok(run)
    }

    fn locate(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.bat.map(&self.view, offset, wanted)
    }

    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
        self.view.read_exact(place.offset, buf)
    }

    fn file(&self, number: usize) -> Option<&ImageFile> {
        (number == 0).then(|| self.view.file())
    }
}
