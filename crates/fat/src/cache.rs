//! Pages of the device in memory: `fatfs` reads and writes a few bytes at a time.

use block::{BlockRead, BlockWrite, Error};
use ondisk::width::{u64_of, usize_of};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A device behind pages in memory, which reach it with [`flush`](Self::flush) or when there are
/// too many of them.
#[derive(Debug)]
pub(crate) struct Cached {
    device: Arc<dyn BlockWrite>,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    by_number: HashMap<u64, Page>,
    /// After the first failure every access fails: `fatfs` may drop an error and go on.
    failed: bool,
}

#[derive(Debug)]
struct Page {
    bytes: Box<[u8]>,
    dirty: bool,
}

impl Cached {
    pub(crate) fn new(device: Arc<dyn BlockWrite>) -> Self {
        Self {
            device,
            pages: Mutex::default(),
        }
    }

    /// Writes what changed to the device, in ascending order.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut pages = self.lock();
        self.flush_pages(&mut pages)
    }

    /// The device as `fatfs` wants it, from its first byte.
    pub(crate) fn stream(&self) -> Stream<'_> {
        Stream {
            device: self,
            position: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_pages(&self, pages: &mut Pages) -> Result<(), Error> {
        let mut dirty: Vec<_> = pages
            .by_number
            .iter_mut()
            .filter(|(_, page)| page.dirty)
            .collect();
        dirty.sort_unstable_by_key(|(number, _)| **number);
        for (number, page) in dirty {
            self.device.write_at(page_start(*number), &page.bytes)?;
            page.dirty = false;
        }
        Ok(())
    }

    /// Lets `access` at the part of each page that a checked range covers.
    fn each_page(
        &self,
        offset: u64,
        len: usize,
        mut access: impl FnMut(&mut Page, usize, std::ops::Range<usize>),
    ) -> Result<(), Error> {
        let size = self.device.size();
        let out_of_bounds = Error::OutOfBounds {
            offset,
            len: u64_of(len),
            size,
        };
        let end = offset.checked_add(u64_of(len));
        if end.is_none_or(|end| end > size) {
            return Err(out_of_bounds);
        }
        let mut pages = self.lock();
        if pages.failed {
            return Err(failed_before(offset));
        }
        let mut done = 0_usize;
        while done < len {
            let at = offset.saturating_add(u64_of(done));
            let (number, within) = (at / PAGE, usize_of(at % PAGE));
            if let Err(error) = self.load(&mut pages, number) {
                pages.failed = true;
                return Err(error);
            }
            let Some(page) = pages.by_number.get_mut(&number) else {
                return Err(failed_before(offset));
            };
            let n = page
                .bytes
                .len()
                .saturating_sub(within)
                .min(len.saturating_sub(done));
            access(page, within, done..done.saturating_add(n));
            done = done.saturating_add(n);
        }
        Ok(())
    }

    /// Makes sure that a page is in memory.
    fn load(&self, pages: &mut Pages, number: u64) -> Result<(), Error> {
        if pages.by_number.contains_key(&number) {
            return Ok(());
        }
        if pages.by_number.len() >= MAX_PAGES {
            self.flush_pages(pages)?;
            pages.by_number.clear();
        }
        let start = page_start(number);
        let len = self.device.size().saturating_sub(start).min(PAGE);
        let mut bytes = vec![0; usize_of(len)].into_boxed_slice();
        self.device.read_at(start, &mut bytes)?;
        let page = Page {
            bytes,
            dirty: false,
        };
        pages.by_number.insert(number, page);
        Ok(())
    }
}

impl BlockRead for Cached {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.each_page(offset, buf.len(), |page, within, range| {
            let end = within.saturating_add(range.len());
            buf[range].copy_from_slice(&page.bytes[within..end]);
        })
    }
}

impl BlockWrite for Cached {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        self.each_page(offset, buf.len(), |page, within, range| {
            let end = within.saturating_add(range.len());
            let (old, new) = (&mut page.bytes[within..end], &buf[range]);
            // What does not change stays out of the overlay.
            if old != new {
                old.copy_from_slice(new);
                page.dirty = true;
            }
        })
    }
}

fn page_start(number: u64) -> u64 {
    number.saturating_mul(PAGE)
}

fn failed_before(offset: u64) -> Error {
    Error::Io {
        offset,
        source: io::Error::other("the device failed before"),
    }
}

/// A position on a [`Cached`] device.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    device: &'a Cached,
    position: u64,
}

impl Stream<'_> {
    /// Bytes of an access of `len` that lie on the device.
    fn available(&self, len: usize) -> usize {
        let left = self.device.size().saturating_sub(self.position);
        usize::try_from(left).map_or(len, |left| left.min(len))
    }

    fn advance(&mut self, len: usize) -> usize {
        self.position = self.position.saturating_add(u64_of(len));
        len
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.available(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        self.device
            .read_at(self.position, buf)
            .map_err(io::Error::other)?;
        Ok(self.advance(len))
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.available(buf.len());
        let buf = buf.get(..len).unwrap_or_default();
        self.device
            .write_at(self.position, buf)
            .map_err(io::Error::other)?;
        Ok(self.advance(len))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.device.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        // No position past the end is ever asked for but by a damaged volume.
        self.position = position
            .filter(|position| *position <= self.device.size())
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

const PAGE: u64 = 4096;
/// 32 MiB: a large loader and the tables of most volumes.
const MAX_PAGES: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    #[test]
    fn writes_reach_the_device_with_flush_and_where_they_changed_something() {
        let memory = Arc::new(Memory::new(vec![7; 10_000]));
        let cached = Cached::new(memory.clone());
        cached.write_at(4_000, &[1; 5_000]).unwrap();
        assert_eq!(memory.bytes(), vec![7; 10_000]);
        let mut buf = [0; 2];
        cached.read_at(3_999, &mut buf).unwrap();
        assert_eq!(buf, [7, 1]);
        cached.flush().unwrap();
        assert_eq!(memory.bytes()[3_999..4_001], [7, 1]);
        assert_eq!(memory.bytes()[8_999..9_001], [1, 7]);
        assert!(cached.write_at(9_999, &[0; 2]).is_err());
        assert!(cached.read_at(u64::MAX, &mut buf).is_err());
    }

    #[test]
    fn more_pages_than_fit_are_written_out_between() {
        let size = (MAX_PAGES + 10) * usize_of(PAGE);
        let memory = Arc::new(Memory::new(vec![0; size]));
        let cached = Cached::new(memory.clone());
        cached.write_at(0, &vec![5; size]).unwrap();
        let mut buf = vec![0; size];
        cached.read_at(0, &mut buf).unwrap();
        assert!(buf.iter().all(|byte| *byte == 5));
        cached.flush().unwrap();
        assert!(memory.bytes().iter().all(|byte| *byte == 5));
    }
}
