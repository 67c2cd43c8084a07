//! Copy-on-write pages over a device that is never written.

use crate::device::check_range;
use crate::{BlockRead, BlockWrite, Error, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// A copy-on-write view of a device.
///
/// Changed pages stay in memory up to a cap and go to an unlinked temporary file beyond it, so
/// memory is bounded whatever is written. Reads and writes may come from several threads.
#[derive(Debug)]
pub struct Overlay {
    base: Arc<dyn BlockRead>,
    memory_cap: usize,
    pages: RwLock<Pages>,
}

/// The changed pages, by page number.
#[derive(Debug, Default)]
struct Pages {
    places: BTreeMap<u64, Place>,
    in_memory: usize,
    spill: Option<Spill>,
}

/// Where a changed page is kept.
#[derive(Debug)]
enum Place {
    Memory(Box<[u8; PAGE]>),
    /// Byte position in the spill file.
    Spilled(u64),
}

/// An unlinked temporary file of whole pages.
#[derive(Debug)]
struct Spill {
    file: File,
    len: u64,
}

const PAGE: usize = 4096;
const PAGE_BYTES: u64 = u64_of(PAGE);
/// Pages kept in memory unless the caller says otherwise: a conversion writes some MiB.
const DEFAULT_MEMORY_CAP: usize = 64 << 20;

impl Overlay {
    /// Bytes of a copy-on-write page.
    pub const PAGE: u64 = PAGE_BYTES;

    /// Starts with nothing changed; keeps at most 64 MiB in memory.
    pub fn new(base: Arc<dyn BlockRead>) -> Self {
        Self::with_memory_cap(base, DEFAULT_MEMORY_CAP)
    }

    /// Starts with nothing changed; keeps at most about `bytes` of changed pages in memory.
    pub fn with_memory_cap(base: Arc<dyn BlockRead>, bytes: usize) -> Self {
        Self {
            base,
            memory_cap: bytes,
            pages: RwLock::default(),
        }
    }

    /// The device under the overlay.
    pub fn base(&self) -> &Arc<dyn BlockRead> {
        &self.base
    }

    /// The byte ranges that were written, as maximal runs of whole pages, ascending.
    pub fn dirty_extents(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for page in self.read_pages().places.keys() {
            let range = self.page_range(*page);
            match runs.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => runs.push(range),
            }
        }
        runs
    }

    fn read_pages(&self) -> RwLockReadGuard<'_, Pages> {
        // Pages are replaced whole, so a panic elsewhere under the lock leaves them sound.
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn page_range(&self, page: u64) -> Range<u64> {
        let start = page.saturating_mul(PAGE_BYTES);
        start..start.saturating_add(PAGE_BYTES).min(self.size())
    }

    fn load(&self, page: u64) -> Result<Box<[u8; PAGE]>, Error> {
        let mut data = Box::new([0; PAGE]);
        let range = self.page_range(page);
        let len = usize_of(range.end.saturating_sub(range.start));
        self.base.read_at(range.start, &mut data[..len])?;
        Ok(data)
    }
}

impl Pages {
    /// Copies `into.len()` bytes of a changed page from `within` on; false if it is unchanged.
    fn copy_out(&self, page: u64, within: usize, into: &mut [u8]) -> Result<bool, Error> {
        match self.places.get(&page) {
            None => Ok(false),
            Some(Place::Memory(data)) => {
                into.copy_from_slice(&data[within..within.saturating_add(into.len())]);
                Ok(true)
            }
            Some(Place::Spilled(at)) => {
                let spill = self
                    .spill
                    .as_ref()
                    .expect("a spilled page has a spill file");
                let from = at.saturating_add(u64_of(within));
                spill
                    .file
                    .read_exact_at(into, from)
                    .map_err(|source| Error::Io {
                        offset: page_start(page),
                        source,
                    })?;
                Ok(true)
            }
        }
    }

    /// Changes part of a page that `original` holds if it was never changed before.
    fn copy_in(
        &mut self,
        page: u64,
        within: usize,
        from: &[u8],
        original: Option<Box<[u8; PAGE]>>,
        memory_cap: usize,
    ) -> Result<(), Error> {
        let host_error = |source| Error::Io {
            offset: page_start(page),
            source,
        };
        let range = within..within.saturating_add(from.len());
        match self.places.get_mut(&page) {
            Some(Place::Memory(data)) => data[range].copy_from_slice(from),
            Some(Place::Spilled(at)) => {
                let spill = self
                    .spill
                    .as_ref()
                    .expect("a spilled page has a spill file");
                let to = at.saturating_add(u64_of(within));
                spill.file.write_all_at(from, to).map_err(host_error)?;
            }
            None => {
                let mut data = original.unwrap_or_else(|| Box::new([0; PAGE]));
                data[range].copy_from_slice(from);
                let place = if self.in_memory.saturating_add(PAGE) <= memory_cap {
                    self.in_memory = self.in_memory.saturating_add(PAGE);
                    Place::Memory(data)
                } else {
                    Place::Spilled(self.spill(&data).map_err(host_error)?)
                };
                self.places.insert(page, place);
            }
        }
        Ok(())
    }

    /// Appends a page to the spill file and says where it is.
    fn spill(&mut self, data: &[u8; PAGE]) -> std::io::Result<u64> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill {
                file: tempfile::tempfile()?,
                len: 0,
            }),
        };
        let at = spill.len;
        spill.file.write_all_at(data, at)?;
        spill.len = at.saturating_add(PAGE_BYTES);
        Ok(at)
    }
}

fn page_start(page: u64) -> u64 {
    page.saturating_mul(PAGE_BYTES)
}

/// One page's part of an access.
struct Part {
    page: u64,
    within: usize,
    range: Range<usize>,
}

/// Splits a checked byte range at page borders.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = Part> {
    let mut done = 0_usize;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset.saturating_add(u64_of(done));
        let within = usize_of(at % PAGE_BYTES);
        let n = PAGE.saturating_sub(within).min(len.saturating_sub(done));
        let range = done..done.saturating_add(n);
        done = range.end;
        Some(Part {
            page: at / PAGE_BYTES,
            within,
            range,
        })
    })
}

impl BlockRead for Overlay {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        check_range(self.size(), offset, buf.len())?;
        if buf.is_empty() {
            return Ok(());
        }
        let last = offset.saturating_add(u64_of(buf.len())).saturating_sub(1) / PAGE_BYTES;
        let touched = self
            .read_pages()
            .places
            .range(offset / PAGE_BYTES..=last)
            .next()
            .is_some();
        self.base.read_at(offset, buf)?;
        if touched {
            let pages = self.read_pages();
            for part in parts(offset, buf.len()) {
                pages.copy_out(part.page, part.within, &mut buf[part.range])?;
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        check_range(self.size(), offset, 1)?;
        let page = offset / PAGE_BYTES;
        let pages = self.read_pages();
        if pages.places.contains_key(&page) {
            return Ok(Extent {
                range: self.page_range(page),
                kind: ExtentKind::Data,
            });
        }
        let before = pages.places.range(..page).next_back();
        let after = pages.places.range(page..).next();
        let start = before.map_or(0, |(page, _)| self.page_range(*page).end);
        let end = after.map_or(self.size(), |(page, _)| page_start(*page));
        drop(pages);
        let base = self.base.extent_at(offset)?;
        let range = base.range.start.max(start)..base.range.end.min(end);
        Ok(Extent {
            range,
            kind: base.kind,
        })
    }

    fn granule(&self) -> u64 {
        self.base.granule()
    }
}

impl BlockWrite for Overlay {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        check_range(self.size(), offset, buf.len())?;
        for part in parts(offset, buf.len()) {
            let from = &buf[part.range];
            // The base is read outside the write lock: it may have to inflate.
            let known = self.read_pages().places.contains_key(&part.page);
            let whole = u64_of(from.len())
                == self
                    .page_range(part.page)
                    .end
                    .saturating_sub(page_start(part.page));
            let original = if known || whole {
                None
            } else {
                Some(self.load(part.page)?)
            };
            let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
            pages.copy_in(part.page, part.within, from, original, self.memory_cap)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    fn bytes(device: &dyn BlockRead) -> Vec<u8> {
        let mut all = vec![0; usize_of(device.size())];
        device.read_at(0, &mut all).unwrap();
        all
    }

    #[test]
    fn writes_never_reach_the_base() {
        let base = Arc::new(Memory::new(vec![7; 10_000]));
        let overlay = Overlay::new(base.clone());
        overlay.write_at(4_090, &[1; 12]).unwrap();
        overlay.write_at(9_999, &[2]).unwrap();
        let mut want = vec![7; 10_000];
        want[4_090..4_102].fill(1);
        want[9_999] = 2;
        assert_eq!(bytes(&overlay), want);
        assert_eq!(base.bytes(), vec![7; 10_000]);
        assert_eq!(
            overlay.dirty_extents().as_slice(),
            std::slice::from_ref(&(0..10_000))
        );
        assert!(overlay.write_at(9_999, &[0; 2]).is_err());
        assert!(overlay.read_at(u64::MAX, &mut [0; 1]).is_err());
    }

    #[test]
    fn pages_past_the_cap_spill_and_stay_changeable() {
        let base = Arc::new(Memory::new(vec![0; 16 * PAGE]));
        let in_memory = Overlay::new(base.clone());
        let spilling = Overlay::with_memory_cap(base, 2 * PAGE);
        let mut state = 1_u64;
        for _ in 0..500 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let offset = (state >> 33) % (16 * PAGE_BYTES - 6_000);
            let fill = state.to_le_bytes()[1];
            let len = usize_of((state >> 20) % 6_000);
            in_memory.write_at(offset, &vec![fill; len]).unwrap();
            spilling.write_at(offset, &vec![fill; len]).unwrap();
        }
        assert_eq!(bytes(&spilling), bytes(&in_memory));
        let pages = spilling.read_pages();
        assert_eq!(pages.in_memory, 2 * PAGE);
        assert_eq!(pages.spill.as_ref().map(|s| s.len), Some(14 * PAGE_BYTES));
    }

    #[test]
    fn extents_are_cut_at_changed_pages() {
        let overlay = Overlay::new(Arc::new(Memory::new(vec![0; 5 * PAGE])));
        overlay.write_at(2 * PAGE_BYTES, &[1]).unwrap();
        let at = |page: u64| overlay.extent_at(page * PAGE_BYTES).unwrap().range;
        assert_eq!(at(0), 0..2 * PAGE_BYTES);
        assert_eq!(at(2), 2 * PAGE_BYTES..3 * PAGE_BYTES);
        assert_eq!(at(4), 3 * PAGE_BYTES..5 * PAGE_BYTES);
    }
}
