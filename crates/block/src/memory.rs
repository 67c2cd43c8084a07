//! A device in memory.

use crate::device::check_range;
use crate::{BlockRead, BlockWrite, Error};
use ondisk::width::{u64_of, usize_of};
use std::sync::{PoisonError, RwLock};

/// A device in memory, for tests and synthesized regions.
#[derive(Debug, Default)]
pub struct Memory(RwLock<Vec<u8>>);

impl Memory {
    /// A device that holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(RwLock::new(bytes))
    }

    /// A copy of what the device holds.
    pub fn bytes(&self) -> Vec<u8> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl BlockRead for Memory {
    fn size(&self) -> u64 {
        u64_of(self.0.read().unwrap_or_else(PoisonError::into_inner).len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        check_range(u64_of(bytes.len()), offset, buf.len())?;
        let start = usize_of(offset);
        buf.copy_from_slice(&bytes[start..start.saturating_add(buf.len())]);
        Ok(())
    }
}

impl BlockWrite for Memory {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        check_range(u64_of(bytes.len()), offset, buf.len())?;
        let start = usize_of(offset);
        bytes[start..start.saturating_add(buf.len())].copy_from_slice(buf);
        Ok(())
    }
}
