//! Reading a file by position, with an end to all reading.

use crate::Error;
use crate::error::CorruptKind;
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};
use std::cell::Cell;

/// A file whose reads are counted: in a sound list every byte is needed once or twice, and a file
/// whose parts name each other in circles is told by that without a record of what was seen.
#[derive(Debug)]
pub(crate) struct File<'f> {
    device: &'f dyn BlockRead,
    /// Bytes that may still be read.
    budget: Cell<u64>,
}

impl<'f> File<'f> {
    pub(crate) fn new(device: &'f dyn BlockRead) -> Self {
        let budget = device.size().saturating_mul(4).saturating_add(1 << 20);
        Self {
            device,
            budget: Cell::new(budget),
        }
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.device.size()
    }

    /// Exactly `len` bytes from `offset` on.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let bytes = u64_of(len);
        let end = offset.saturating_add(bytes);
        if end > self.size() {
            return Err(CorruptKind::FileEnd { end }.into());
        }
        let left = self.budget.get().checked_sub(bytes);
        self.budget.set(left.ok_or(CorruptKind::Cycle)?);
        let mut buffer = vec![0; len];
        self.device.read_at(offset, &mut buffer)?;
        Ok(buffer)
    }

    /// `len` bytes from `offset` on, or what there is until the file ends.
    pub(crate) fn up_to(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let left = self.size().saturating_sub(offset);
        self.read(offset, usize_of(left.min(u64_of(len))))
    }
}
