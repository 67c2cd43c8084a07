//! A device of zeros.

use crate::device::check_range;
use crate::{BlockRead, BlockWrite, Error, Extent, ExtentKind};

/// A device of zeros: what is written is lost, as on the kernel's device-mapper target `zero`.
#[derive(Clone, Debug)]
pub struct Zero {
    size: u64,
}

impl Zero {
    /// A device of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size }
    }
}

impl BlockRead for Zero {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())?;
        buf.fill(0);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        check_range(self.size, offset, 1)?;
        Ok(Extent {
            range: 0..self.size,
            kind: ExtentKind::Zero,
        })
    }
}

impl BlockWrite for Zero {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        check_range(self.size, offset, buf.len())
    }
}
