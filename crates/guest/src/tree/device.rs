//! A file of the guest as a device, for readers of formats that are too large to read whole.

use super::Guest;
use crate::{Error, GuestPath};
use block::BlockRead;
use fs::{FileSystem, NodeId};
use ondisk::width::u64_of;

/// A regular file of a guest, read by position.
#[derive(Debug)]
pub(crate) struct FileDevice<'g> {
    file_system: &'g dyn FileSystem,
    node: NodeId,
    size: u64,
}

impl Guest {
    /// A regular file as a device, links followed; none if there is no such file.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub(crate) fn device(&self, path: &GuestPath) -> Result<Option<FileDevice<'_>>, Error> {
        Ok(self.regular_file(path)?.map(|found| FileDevice {
            file_system: self.file_system(found.mount),
            node: found.node,
            size: found.meta.size,
        }))
    }
}

impl BlockRead for FileDevice<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        let len = u64_of(buf.len());
        let outside = block::Error::OutOfBounds {
            offset,
            len,
            size: self.size,
        };
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(outside);
        }
        let read = self.file_system.read_at(self.node, offset, buf);
        let read = read.map_err(|source| block::Error::Format {
            offset,
            source: Box::new(source),
        })?;
        if read == buf.len() {
            Ok(())
        } else {
            Err(outside)
        }
    }
}
