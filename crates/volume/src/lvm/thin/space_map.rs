//! How often the blocks of a pool's data are used: drivers/md/persistent-data/dm-space-map-common.h.

use super::ThinDamage;
use super::block::{Blocks, Bytes, Kind, SIZE, u64_at};
use super::tree::{Found, Tree};
use ondisk::width::{u64_of, usize_of};

/// `struct disk_sm_root`, as it stands in the superblock.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpaceMap {
    nr_blocks: u64,
    bitmap_root: u64,
    ref_count_root: u64,
}

/// `struct disk_bitmap_header`.
const HEADER: usize = 16;
/// Two bits for each block.
const ENTRIES: u64 = u64_of((SIZE - HEADER) * 4);
/// `struct disk_index_entry`.
const INDEX_ENTRY: usize = 16;

impl SpaceMap {
    pub(super) fn parse(superblock: &Bytes, at: usize) -> Self {
        let field = |index: usize| u64_at(superblock, at.saturating_add(index));
        Self {
            nr_blocks: field(0),
            bitmap_root: field(16),
            ref_count_root: field(24),
        }
    }

    /// How often a block is used.
    pub(super) fn count(&self, blocks: &Blocks, block: u64) -> Result<u32, ThinDamage> {
        let index = Tree {
            root: self.bitmap_root,
            value_size: INDEX_ENTRY,
        };
        let outside = |why| ThinDamage::Fields {
            what: Kind::Bitmap.name(),
            block: self.bitmap_root,
            why,
        };
        if block >= self.nr_blocks {
            return Err(outside("a block beyond the pool's end is asked for"));
        }
        let Found::Value(entry) = index.find(blocks, block / ENTRIES)? else {
            return Err(outside("it does not cover the pool"));
        };
        let number = entry.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        let bitmap = blocks.read(number, Kind::Bitmap)?;
        if u64_at(&bitmap, 8) != number {
            return Err(outside("it is of another place"));
        }
        let within = usize_of(block % ENTRIES);
        // In little-endian words of 32 entries; of each the lower bit is the upper one of the count.
        let word = u64_at(
            &bitmap,
            (within / 32).saturating_mul(8).saturating_add(HEADER),
        );
        let shift = u32::try_from((within % 32).saturating_mul(2)).unwrap_or(0);
        let bits = word.checked_shr(shift).unwrap_or(0) & 3;
        match bits {
            0 => Ok(0),
            2 => Ok(1),
            1 => Ok(2),
            _ => self.large_count(blocks, block),
        }
    }

    /// A count that two bits do not hold.
    fn large_count(&self, blocks: &Blocks, block: u64) -> Result<u32, ThinDamage> {
        let counts = Tree {
            root: self.ref_count_root,
            value_size: 4,
        };
        match counts.find(blocks, block)? {
            Found::Value(value) => Ok(value.first_chunk().map_or(0, |it| u32::from_le_bytes(*it))),
            Found::NothingBelow(_) => Ok(0),
        }
    }
}
