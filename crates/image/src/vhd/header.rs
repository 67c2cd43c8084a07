//! The dynamic disk header: where the blocks are.

use super::error::{Damage, Feature};
use super::footer::{Footer, Kind, check_version};
use super::raw;
use crate::Error;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::cap;
use std::num::NonZeroU64;
use zerocopy::FromBytes;

/// A header whose every field can be used. Everything is in bytes.
#[derive(Debug)]
pub(super) struct Header {
    /// Position of the header itself.
    pub(super) at: u64,
    pub(super) block_size: NonZeroU64,
    /// Bytes of the sector bitmap before each block.
    pub(super) bitmap_len: NonZeroU64,
    /// Position of the block allocation table.
    pub(super) table_offset: u64,
    /// Blocks of the disk, which may be fewer than the table has entries.
    pub(super) blocks: usize,
    /// As it stands in the file, for what only differencing disks need.
    pub(super) raw: raw::DynamicHeader,
}

/// Largest blocks that are read; usual ones have 2 MiB, and no writer is known to go beyond 32.
const MAX_BLOCK: u32 = 256 << 20;
/// Most blocks of a disk: 2040 GiB in blocks of 512 KiB, the smallest that any program ever made.
const MAX_BLOCKS: u64 = 4 << 20;

impl Header {
    pub(super) fn read(file: &ImageFile, footer: &Footer) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        let at = footer.data_offset;
        let mut bytes = [0; 1024];
        file.read_exact(at, &mut bytes)?;
        let raw = raw::DynamicHeader::read_from_bytes(&bytes)
            // The buffer has the size of the structure.
            .expect("sizes agree");
        if raw.cookie != raw::HEADER_COOKIE {
            return Err(corrupt(Damage::NoHeader(at)));
        }
        let (stored, computed) = (raw.checksum.get(), raw.sum());
        if stored != computed {
            return Err(corrupt(Damage::Checksum {
                what: "dynamic disk header",
                at,
                stored,
                computed,
            }));
        }
        check_version(file, "dynamic disk header", raw.header_version.get())?;
        let block_size = raw.block_size.get();
        if !block_size.is_power_of_two() || block_size < 512 {
            return Err(corrupt(Damage::BlockSize(block_size)));
        }
        if block_size > MAX_BLOCK {
            let feature = AnyFeature::Vhd(Feature::BlockSize(block_size, MAX_BLOCK));
            return Err(Error::unsupported(file.path(), feature));
        }
        let block_size = NonZeroU64::new(u64::from(block_size))
            // A power of two is not zero.
            .expect("blocks have a sector");
        let needed = footer.size.div_ceil(block_size.get());
        let blocks = cap::length("the number of blocks", needed, MAX_BLOCKS)
            .map_err(|error| Error::corrupt(file.path(), error))?;
        let entries = raw.max_table_entries.get();
        if u64::from(entries) < needed {
            return Err(corrupt(Damage::TableTooShort {
                entries,
                size: footer.size,
                needed,
            }));
        }
        Ok(Self {
            at,
            block_size,
            bitmap_len: bitmap_len(block_size),
            table_offset: raw.table_offset.get(),
            blocks,
            raw,
        })
    }

    /// What the header says about the parent, if the disk has one.
    pub(super) fn parent(&self, footer: &Footer) -> Option<&raw::DynamicHeader> {
        (footer.kind == Kind::Differencing).then_some(&self.raw)
    }
}

/// Bytes of a bitmap with a bit for each sector, to whole sectors.
pub(super) fn bitmap_len(block_size: NonZeroU64) -> NonZeroU64 {
    let bytes = (block_size.get() / raw::SECTOR).div_ceil(8);
    NonZeroU64::new(bytes.next_multiple_of(raw::SECTOR)).unwrap_or(LEAST_BITMAP)
}

/// Even a block of one sector has a sector of bitmap.
const LEAST_BITMAP: NonZeroU64 = NonZeroU64::new(raw::SECTOR).unwrap();
