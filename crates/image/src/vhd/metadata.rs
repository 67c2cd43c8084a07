//! From guest offsets to blocks: the block allocation table and the sector bitmaps.

use super::error::Damage;
use super::footer::{Footer, Kind, Place as FooterPlace};
use super::header::Header;
use super::raw::{self, FOOTER, HEADER, SECTOR};
use crate::Error;
use crate::cache::Cache;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use ondisk::width::{u64_of, usize_of};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

/// Where the blocks of a dynamic or differencing disk are. The table is in memory: the number of
/// blocks is capped, and no usual disk has more than 4 MiB of it.
#[derive(Debug)]
pub(super) struct Blocks {
    size: u64,
    block_size: NonZeroU64,
    bitmap_len: u64,
    table: Box<[u32]>,
    /// Where other things than blocks are in the file.
    taken: [(&'static str, Range<u64>); 4],
    /// Blocks that have bytes of the file in common with another one, and with which: an image
    /// that has such is opened only to save what is sound.
    shared: BTreeMap<u64, u64>,
    /// The bitmaps that were used last; only those of differencing disks are read.
    bitmaps: Option<Cache<Arc<[u8]>>>,
}

/// A run of the disk with one state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BlockRun {
    pub(super) len: u64,
    /// Where in the file it is, if this image has it.
    pub(super) at: Option<u64>,
}

/// Bytes of bitmaps that are kept: they describe 128 GiB.
const BITMAP_CACHE: u64 = 16 << 20;
/// Blocks, and sectors of a block, looked at for one answer: callers that go on from piece to piece
/// never look at a long table again and again.
const MAX_RUN: u64 = 8192;

impl Blocks {
    /// Reads the table, and unless damage may wait for a read, checks every entry of it.
    pub(super) fn read(
        file: &ImageFile,
        footer: &Footer,
        header: &Header,
        salvage: bool,
    ) -> Result<Self, Error> {
        let table_len = u64_of(header.blocks).saturating_mul(4);
        let mut bytes = vec![0; usize_of(table_len)];
        file.read_exact(header.table_offset, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<4>();
        let range = |at: u64, len: u64| at..at.saturating_add(len);
        let footer_range = match footer.place {
            FooterPlace::End(at) => at..file.len(),
            FooterPlace::Copy => file.len()..file.len(),
        };
        let mut blocks = Self {
            size: footer.size,
            block_size: header.block_size,
            bitmap_len: header.bitmap_len.get(),
            table: words.iter().map(|word| u32::from_be_bytes(*word)).collect(),
            taken: [
                ("the copy of the footer", range(0, FOOTER)),
                ("the dynamic disk header", range(header.at, HEADER)),
                (
                    "the block allocation table",
                    range(header.table_offset, table_len),
                ),
                ("the footer", footer_range),
            ],
            shared: BTreeMap::new(),
            bitmaps: (footer.kind == Kind::Differencing)
                .then(|| Cache::new(usize_of(BITMAP_CACHE / header.bitmap_len))),
        };
        blocks.check_metadata(file)?;
        blocks.shared = blocks.find_shared(file, salvage)?;
        Ok(blocks)
    }

    /// The run from `offset` on, which is on the disk; it need not be longer than `wanted`.
    pub(super) fn run(
        &self,
        file: &ImageFile,
        offset: u64,
        wanted: u64,
    ) -> Result<BlockRun, Error> {
        let end = self.size.min(offset.saturating_add(wanted.max(1)));
        let index = offset / self.block_size;
        let Some(at) = self.place(file, index)? else {
            return Ok(BlockRun {
                len: self.unused_end(index, end).saturating_sub(offset),
                at: None,
            });
        };
        let within = offset % self.block_size;
        let start = offset.saturating_sub(within);
        let end = end.min(start.saturating_add(self.block_size.get()));
        let data = at.saturating_add(self.bitmap_len).saturating_add(within);
        // A clear bit of a dynamic disk means a sector that was never written, which must be zero
        // in the block too. So the block says everything, and we read it as Windows and QEMU do:
        // there are writers that leave the bitmap alone, and none is known that leaves garbage.
        let Some(bitmaps) = &self.bitmaps else {
            return Ok(BlockRun {
                len: end.saturating_sub(offset),
                at: Some(data),
            });
        };
        let bitmap = bitmaps.get_or_load(index, || self.read_bitmap(file, at))?;
        let here = is_set(&bitmap, within / SECTOR);
        let mut sector = (within / SECTOR).saturating_add(1);
        let last = sector.saturating_add(MAX_RUN);
        let next = |sector: u64| start.saturating_add(sector.saturating_mul(SECTOR));
        while sector < last && next(sector) < end && is_set(&bitmap, sector) == here {
            sector = sector.saturating_add(1);
        }
        Ok(BlockRun {
            len: next(sector).min(end).saturating_sub(offset),
            at: here.then_some(data),
        })
    }

    /// Where a run of blocks that the image does not have ends, at most at `end`.
    fn unused_end(&self, index: u64, end: u64) -> u64 {
        let unused = self
            .table
            .iter()
            .skip(usize_of(index))
            .take(usize_of(MAX_RUN))
            .take_while(|entry| **entry == raw::UNUSED)
            .count();
        // The table has as many entries as the disk has blocks, so the run is not empty.
        index
            .saturating_add(u64_of(unused).max(1))
            .saturating_mul(self.block_size.get())
            .min(end)
    }

    fn read_bitmap(&self, file: &ImageFile, at: u64) -> Result<Arc<[u8]>, Error> {
        let mut bitmap = vec![0; usize_of(self.bitmap_len)];
        file.read_exact(at, &mut bitmap)?;
        Ok(Arc::from(bitmap))
    }

    /// Bytes of a block in the file, its bitmap included. Nothing needs to be stored beyond the
    /// end of the disk.
    fn stored_len(&self, index: u64) -> u64 {
        let start = index.saturating_mul(self.block_size.get());
        let data = self.block_size.get().min(self.size.saturating_sub(start));
        self.bitmap_len.saturating_add(data)
    }

    /// Position of the bitmap of a block, if the image has the block; its data follows.
    fn place(&self, file: &ImageFile, index: u64) -> Result<Option<u64>, Error> {
        let entry = match self.table.get(usize_of(index)) {
            None | Some(&raw::UNUSED) => return Ok(None),
            Some(entry) => *entry,
        };
        let guest = index.saturating_mul(self.block_size.get());
        let offset = u64::from(entry).saturating_mul(SECTOR);
        let len = self.stored_len(index);
        let end = offset.saturating_add(len);
        if end > file.len() {
            return Err(Error::corrupt(
                file.path(),
                AnyDamage::BeyondEnd {
                    unit: "block",
                    guest,
                    offset,
                    len,
                    end: file.len(),
                },
            ));
        }
        for (other, range) in &self.taken {
            if offset < range.end && range.start < end {
                return Err(overlap(file, self.name(index), offset, len, other));
            }
        }
        if let Some(other) = self.shared.get(&index) {
            let other = self.name(*other);
            return Err(overlap(file, self.name(index), offset, len, &other));
        }
        Ok(Some(offset))
    }

    fn name(&self, index: u64) -> String {
        let guest = index.saturating_mul(self.block_size.get());
        format!("the block at guest offset {guest}")
    }

    /// Checks that header and table stand apart.
    fn check_metadata(&self, file: &ImageFile) -> Result<(), Error> {
        let mut before: Vec<&(&str, Range<u64>)> = Vec::new();
        for one in &self.taken {
            let (name, range) = one;
            for (other, taken) in before.iter().copied() {
                if range.start < taken.end && taken.start < range.end {
                    let len = range.end.saturating_sub(range.start);
                    return Err(overlap(file, (*name).to_owned(), range.start, len, other));
                }
            }
            before.push(one);
        }
        Ok(())
    }

    /// Checks that every block is in the file, and in a place of its own. Whoever reads on over
    /// damage meets blocks beyond the end again, but not that two are in one place: these are
    /// returned, since nobody can say which of them it belongs to.
    fn find_shared(&self, file: &ImageFile, salvage: bool) -> Result<BTreeMap<u64, u64>, Error> {
        let mut places = Vec::new();
        for index in 0..u64_of(self.table.len()) {
            match self.place(file, index) {
                Ok(Some(at)) => places.push((at, index)),
                Err(error) if !salvage => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        places.sort_unstable();
        let mut shared = BTreeMap::new();
        // The block that reaches farthest, and how far that is.
        let mut farthest = (0, 0);
        for (at, index) in places {
            let len = self.stored_len(index);
            let (end, other) = farthest;
            if at < end {
                if !salvage {
                    let other = self.name(other);
                    return Err(overlap(file, self.name(index), at, len, &other));
                }
                shared.insert(index, other);
                shared.entry(other).or_insert(index);
            }
            farthest = farthest.max((at.saturating_add(len), index));
        }
        Ok(shared)
    }
}

fn overlap(file: &ImageFile, what: String, offset: u64, len: u64, other: &str) -> Error {
    Error::corrupt(
        file.path(),
        Damage::Overlap {
            what,
            offset,
            len,
            other: other.to_owned(),
        },
    )
}

/// Whether a bitmap has the bit of a sector; the first sector has the highest bit of a byte.
fn is_set(bitmap: &[u8], sector: u64) -> bool {
    let byte = bitmap.get(usize_of(sector / 8)).copied().unwrap_or(0);
    let mask = 0x80_u8
        .checked_shr(u32::try_from(sector % 8).unwrap_or(0))
        .unwrap_or(0);
    byte & mask != 0
}
