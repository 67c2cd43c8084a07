//! Keeping blocks of a snapshot that were read: each is decompressed and checked as a whole, and
//! whoever walks a file system goes back and forth between inodes and directories.

use block::{BlockRead, Error, Extent};
use ondisk::width::{u64_of, usize_of};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use store::BLOCK;

/// A snapshot with the blocks that were read last.
#[derive(Debug)]
pub(crate) struct Kept {
    snapshot: Arc<dyn BlockRead>,
    blocks: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

/// 32 MiB.
const MOST: usize = 64;

impl Kept {
    pub(crate) fn new(snapshot: Arc<dyn BlockRead>) -> Self {
        Self {
            snapshot,
            blocks: Mutex::default(),
        }
    }

    /// The block that begins at `start`.
    fn block(&self, start: u64) -> Result<Arc<Vec<u8>>, Error> {
        let lock = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut blocks = lock();
            let position = blocks.iter().position(|(known, _)| *known == start);
            if let Some(found) = position.and_then(|position| blocks.remove(position)) {
                let content = found.1.clone();
                blocks.push_front(found);
                return Ok(content);
            }
        }
        let len = (self.snapshot.size() - start).min(BLOCK);
        let mut content = vec![0; usize_of(len)];
        self.snapshot.read_at(start, &mut content)?;
        let content = Arc::new(content);
        let mut blocks = lock();
        blocks.push_front((start, content.clone()));
        blocks.truncate(MOST);
        Ok(content)
    }
}

impl BlockRead for Kept {
    fn size(&self) -> u64 {
        self.snapshot.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let (size, len) = (self.size(), u64_of(buf.len()));
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::OutOfBounds { offset, len, size });
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + u64_of(done);
            let within = usize_of(at % BLOCK);
            let block = self.block(at - at % BLOCK)?;
            let n = (block.len() - within).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&block[within..within + n]);
            done += n;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        self.snapshot.extent_at(offset)
    }

    fn granule(&self) -> u64 {
        self.snapshot.granule()
    }
}
