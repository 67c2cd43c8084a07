//! From offsets of the disk to blocks: the block allocation table and the sector bitmaps.

use super::error::Damage;
use super::metadata::Metadata;
use super::raw::{self, MIB};
use super::region::Regions;
use super::view::{Segment, View};
use crate::Error;
use crate::cache::Cache;
use crate::error::Damage as AnyDamage;
use crate::layer::{Packed, Place, Run, State};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

/// The BAT and the sector bitmaps, of which pieces are read when they are needed: the table of a
/// disk of 64 TiB can have half a GiB.
#[derive(Debug)]
pub(super) struct Bat {
    /// Bytes of the disk.
    size: u64,
    block: NonZeroU64,
    sector: NonZeroU64,
    /// Entries of payload blocks before each one of a sector bitmap block.
    chunk_ratio: NonZeroU64,
    has_parent: bool,
    /// Position of the table, and its end: the last entry that the disk needs.
    table: Range<u64>,
    /// Where no block can be.
    areas: Vec<Range<u64>>,
    pieces: Cache<Arc<[u64]>>,
    bitmaps: Cache<Arc<[u8]>>,
}

/// Bytes of the table that are read at one time.
const PIECE: u64 = 64 << 10;
/// Entries of a piece.
const PIECE_LEN: NonZeroU64 = NonZeroU64::new(PIECE / 8).unwrap();
/// Bytes of pieces that are kept: they map 4 TiB in blocks of 2 MiB.
const PIECE_CACHE: u64 = 16 << 20;
/// Bytes of a sector bitmap that are read at one time: a whole one is 1 MiB.
const BITMAP_PIECE: NonZeroU64 = NonZeroU64::new(4096).unwrap();
/// Bytes of them that are kept.
const BITMAP_CACHE: u64 = 16 << 20;

impl Bat {
    pub(super) fn new(view: &View, regions: &Regions, metadata: &Metadata) -> Result<Self, Error> {
        let block = metadata.block_size.bytes();
        let chunk_ratio = metadata
            .block_size
            .chunk_ratio(metadata.logical_sector_size);
        let has_parent = metadata.parent.is_some();
        let blocks = metadata.size.div_ceil(block.get());
        // Only differencing images need the bitmap of the last chunk.
        let entries = if has_parent {
            let chunks = blocks.div_ceil(chunk_ratio.get());
            chunks.saturating_mul(chunk_ratio.get().saturating_add(1))
        } else {
            entries(blocks, chunk_ratio)
        };
        let needed = entries.saturating_mul(8);
        let length = regions.bat.end.saturating_sub(regions.bat.start);
        if needed > length {
            return Err(Error::corrupt(
                view.file().path(),
                Damage::BatLength {
                    size: metadata.size,
                    needed,
                    length,
                },
            ));
        }
        let start = regions.bat.start;
        Ok(Self {
            size: metadata.size,
            block,
            sector: metadata.logical_sector_size.bytes(),
            chunk_ratio,
            has_parent,
            table: start..start.saturating_add(needed),
            areas: regions.areas.clone(),
            pieces: Cache::new(usize_of(PIECE_CACHE / PIECE)),
            bitmaps: Cache::new(usize_of(BITMAP_CACHE / BITMAP_PIECE)),
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Where the bytes from `offset` on are; see [`crate::layer::Layer::map`].
    pub(super) fn map(&self, view: &View, offset: u64, wanted: u64) -> Result<Run, Error> {
        let end = self.size.min(offset.saturating_add(wanted));
        let first = self.run_in_block(view, offset)?;
        let mut at = offset.saturating_add(first.len);
        while at < end {
            if first.state == State::Parent && at.is_multiple_of(self.block.get()) {
                at = self.skip_absent(view, at, end)?;
                if at >= end {
                    break;
                }
            }
            // What is damaged further on is told when it is asked for.
            match self.run_in_block(view, at) {
                Ok(run)
                    if first
                        .state
                        .goes_on_as(at.saturating_sub(offset), &run.state) =>
                {
                    at = at.saturating_add(run.len);
                }
                _ => break,
            }
        }
        Ok(Run {
            len: at.min(self.size).saturating_sub(offset),
            state: first.state,
        })
    }

    /// A run of bytes from `offset` on in one block.
    fn run_in_block(&self, view: &View, offset: u64) -> Result<Run, Error> {
        let number = offset / self.block;
        let within = offset % self.block;
        let left = self.block.get().saturating_sub(within);
        let left = left.min(self.size.saturating_sub(offset));
        let whole = |state| Ok(Run { len: left, state });
        let index = entries_before(number, self.chunk_ratio);
        let at = self.entry_at(index);
        let entry = self.entry(view, index)?;
        let corrupt = |damage: Damage| Error::corrupt(view.file().path(), damage);
        if entry & raw::BAT_RESERVED != 0 {
            let mask = raw::BAT_RESERVED;
            return Err(corrupt(Damage::BatReserved { at, entry, mask }));
        }
        match entry & raw::BAT_STATE {
            // Without a parent nobody ever wrote there.
            raw::NOT_PRESENT => whole(State::Parent),
            // What the guest gave back may read as anything: zeros are always allowed, and never
            // show what was there before.
            raw::UNDEFINED | raw::ZERO | raw::UNMAPPED => whole(State::Zero),
            raw::FULLY_PRESENT => self.stored(view, at, entry, offset, left),
            raw::PARTIALLY_PRESENT if self.has_parent => {
                let (here, len) = self.in_bitmap(view, at, offset, left)?;
                if here {
                    self.stored(view, at, entry, offset, len)
                } else {
                    let state = State::Parent;
                    Ok(Run { len, state })
                }
            }
            raw::PARTIALLY_PRESENT => Err(corrupt(Damage::PartialWithoutParent { at })),
            _ => Err(corrupt(Damage::BlockState { at, entry })),
        }
    }

    /// Where the bytes of a block that is in the file are.
    fn stored(&self, view: &View, at: u64, entry: u64, guest: u64, len: u64) -> Result<Run, Error> {
        let within = guest % self.block;
        let start = entry & raw::BAT_OFFSET;
        self.check_place(view, at, start, self.block.get())?;
        let offset = start.saturating_add(within);
        let stored = view.len().saturating_sub(offset);
        if stored == 0 {
            return Err(beyond_end(view, "block", guest, offset, len));
        }
        let (segment, len) = view.segment(offset, len.min(stored));
        let place = |packed| {
            State::Data(Place {
                file: 0,
                offset,
                packed,
            })
        };
        let state = match segment {
            Segment::Zero => State::Zero,
            Segment::Plain => place(None),
            // Nobody who looks at the file finds these bytes where the replay would put them.
            Segment::Logged => place(Some(Packed {
                len,
                guest,
                within: 0,
            })),
        };
        Ok(Run { len, state })
    }

    /// Whether the sector of a byte is in this file, and for how many bytes on that is so.
    fn in_bitmap(
        &self,
        view: &View,
        block_at: u64,
        offset: u64,
        left: u64,
    ) -> Result<(bool, u64), Error> {
        let chunk_blocks = self.chunk_ratio.saturating_mul(self.block);
        let chunk = offset / chunk_blocks;
        let index = chunk
            .saturating_mul(self.chunk_ratio.get().saturating_add(1))
            .saturating_add(self.chunk_ratio.get());
        let at = self.entry_at(index);
        let entry = self.entry(view, index)?;
        if entry & raw::BAT_STATE != raw::BITMAP_PRESENT {
            let damage = Damage::NoBitmap { at: block_at };
            return Err(Error::corrupt(view.file().path(), damage));
        }
        let start = entry & raw::BAT_OFFSET;
        self.check_place(view, at, start, MIB)?;
        let sector = (offset % chunk_blocks) / self.sector;
        let piece_at = start.saturating_add((sector / 8 / BITMAP_PIECE).saturating_mul(4096));
        let piece = self.bitmaps.get_or_load(piece_at, || {
            if piece_at.saturating_add(BITMAP_PIECE.get()) > view.len() {
                let len = BITMAP_PIECE.get();
                return Err(beyond_end(view, "sector bitmap", offset, piece_at, len));
            }
            let mut bytes = vec![0; usize_of(BITMAP_PIECE.get())];
            view.read_exact(piece_at, &mut bytes)?;
            Ok(Arc::from(bytes))
        })?;
        let bit = sector % BITMAP_PIECE.saturating_mul(EIGHT);
        let (here, sectors) = run_of_bits(&piece, usize_of(bit));
        let in_sector = offset % self.sector;
        let len = u64_of(sectors)
            .saturating_mul(self.sector.get())
            .saturating_sub(in_sector);
        Ok((here, len.min(left)))
    }

    /// Checks that a block is where blocks can be. Where the file ends is checked when its bytes
    /// are mapped.
    fn check_place(&self, view: &View, at: u64, offset: u64, len: u64) -> Result<(), Error> {
        let inside = |what| Damage::BlockInside { at, offset, what };
        let corrupt = |what| Err(Error::corrupt(view.file().path(), inside(what)));
        if offset < MIB {
            return corrupt("the header section");
        }
        let end = offset.saturating_add(len);
        let after = self.areas.partition_point(|area| area.end <= offset);
        match self.areas.get(after) {
            Some(area) if area.start < end => corrupt("the log or a region"),
            _ => Ok(()),
        }
    }

    /// The first byte from `offset`, where a block begins, up to `end` that may not be absent.
    fn skip_absent(&self, view: &View, offset: u64, end: u64) -> Result<u64, Error> {
        let last = end.div_ceil(self.block.get());
        let end_index = entries_before(last, self.chunk_ratio);
        let mut index = entries_before(offset / self.block, self.chunk_ratio);
        while index < end_index {
            let within = index % PIECE_LEN;
            // Holes of the file are whole pieces of absent blocks.
            let holes = if within == 0 {
                view.zeros(self.entry_at(index)) / PIECE
            } else {
                0
            };
            if holes > 0 {
                index = index.saturating_add(holes.saturating_mul(PIECE_LEN.get()));
                continue;
            }
            let piece = self.piece(view, index / PIECE_LEN)?;
            let rest = piece.get(usize_of(within)..).unwrap_or_default();
            match rest.iter().position(|entry| *entry != 0) {
                None => {
                    let passed = u64_of(rest.len()).max(1);
                    index = index.saturating_add(passed);
                }
                Some(zeros) => {
                    index = index.saturating_add(u64_of(zeros));
                    // Entries of bitmaps say nothing here.
                    if !self.is_bitmap(index) {
                        break;
                    }
                    index = index.saturating_add(1);
                }
            }
        }
        let number = payload_before(index.min(end_index), self.chunk_ratio);
        Ok(number.saturating_mul(self.block.get()).max(offset))
    }

    /// Whether an entry is the one of a sector bitmap block.
    fn is_bitmap(&self, index: u64) -> bool {
        index % self.chunk_ratio.saturating_add(1) == self.chunk_ratio.get()
    }

    /// Position of an entry in the file.
    fn entry_at(&self, index: u64) -> u64 {
        self.table.start.saturating_add(index.saturating_mul(8))
    }

    fn entry(&self, view: &View, index: u64) -> Result<u64, Error> {
        let piece = self.piece(view, index / PIECE_LEN)?;
        let entry = piece.get(usize_of(index % PIECE_LEN)).copied();
        // The table was found long enough for every entry of the disk.
        Ok(entry.unwrap_or(raw::BAT_STATE))
    }

    fn piece(&self, view: &View, number: u64) -> Result<Arc<[u64]>, Error> {
        self.pieces.get_or_load(number, || {
            let start = self.entry_at(number.saturating_mul(PIECE_LEN.get()));
            let len = self.table.end.saturating_sub(start).min(PIECE);
            let mut bytes = vec![0; usize_of(len)];
            view.read_exact(start, &mut bytes)?;
            let (words, _) = bytes.as_chunks::<8>();
            Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
        })
    }
}

const EIGHT: NonZeroU64 = NonZeroU64::new(8).unwrap();

/// Entries of a table for `blocks` payload blocks, without the bitmap of the last chunk.
pub(super) fn entries(blocks: u64, chunk_ratio: NonZeroU64) -> u64 {
    match blocks.checked_sub(1) {
        None => 0,
        Some(last) => entries_before(last, chunk_ratio).saturating_add(1),
    }
}

/// The index of a payload block's entry.
pub(super) fn entries_before(block: u64, chunk_ratio: NonZeroU64) -> u64 {
    block.saturating_add(block / chunk_ratio)
}

/// Payload blocks whose entries stand before an index.
fn payload_before(index: u64, chunk_ratio: NonZeroU64) -> u64 {
    index.saturating_sub(index / chunk_ratio.saturating_add(1))
}

fn beyond_end(view: &View, unit: &'static str, guest: u64, offset: u64, len: u64) -> Error {
    let end = view.len();
    let damage = AnyDamage::BeyondEnd {
        unit,
        guest,
        offset,
        len,
        end,
    };
    Error::corrupt(view.file().path(), damage)
}

/// The bit at `from`, the lowest of a byte first, and how many from it on are like it.
fn run_of_bits(bytes: &[u8], from: usize) -> (bool, usize) {
    let (first, skipped) = (from / 8, from % 8);
    let Some(byte) = bytes.get(first) else {
        return (false, 0);
    };
    let shift = u32::try_from(skipped).unwrap_or(0);
    let here = byte.wrapping_shr(shift) & 1 == 1;
    // Made so that the run is of ones.
    let ones = |byte: u8| if here { byte } else { !byte };
    let in_first = ones(*byte).wrapping_shr(shift).trailing_ones();
    let mut run = usize::try_from(in_first).unwrap_or(0);
    if run < 8_usize.saturating_sub(skipped) {
        return (here, run);
    }
    for byte in bytes.iter().skip(first).skip(1) {
        let more = ones(*byte).trailing_ones();
        run = run.saturating_add(usize::try_from(more).unwrap_or(0));
        if more < 8 {
            break;
        }
    }
    (here, run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_are_maximal_from_every_bit_on() {
        let bytes = [0b1110_0111, 0xff, 0x01, 0, 0, 0b1000_0000];
        let bit = |at: usize| bytes[at / 8] >> (at % 8) & 1 == 1;
        for from in 0..48 {
            let len = (from..48).take_while(|at| bit(*at) == bit(from)).count();
            assert_eq!(run_of_bits(&bytes, from), (bit(from), len), "{from}");
        }
    }

    #[test]
    fn bitmap_entries_stand_behind_each_chunk() {
        let ratio = NonZeroU64::new(4).unwrap();
        let indexes: Vec<_> = (0..10).map(|b| entries_before(b, ratio)).collect();
        assert_eq!(indexes, [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]);
        for (block, index) in (0..).zip(indexes) {
            assert_eq!(payload_before(index, ratio), block);
        }
        assert_eq!(payload_before(4, ratio), 4);
        assert_eq!([0, 1, 4, 5].map(|n| entries(n, ratio)), [0, 1, 4, 6]);
    }
}
