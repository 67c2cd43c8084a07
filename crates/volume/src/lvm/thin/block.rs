//! Blocks of a pool's metadata, read through a cache, each with its checksum.

use super::ThinDamage;
use ::block::{BlockRead, BlockWrite};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a block: `THIN_METADATA_BLOCK_SIZE` in sectors is 8.
pub(super) const SIZE: usize = 4096;

/// A block's bytes.
pub(super) type Bytes = [u8; SIZE];

/// The kinds of block, by what is mixed into their checksum.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    Superblock,
    Node,
    Bitmap,
}

impl Kind {
    /// `SUPERBLOCK_CSUM_XOR`, `BTREE_CSUM_XOR`, `BITMAP_CSUM_XOR`.
    fn salt(self) -> u32 {
        match self {
            Self::Superblock => 160_774,
            Self::Node => 121_107,
            Self::Bitmap => 240_779,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::Node => "tree node",
            Self::Bitmap => "bitmap",
        }
    }

    /// `dm_bm_checksum` over all but the checksum itself.
    fn checksum(self, bytes: &Bytes) -> u32 {
        let summed = bytes.get(4..).unwrap_or_default();
        !crc32c::crc32c(summed) ^ self.salt()
    }
}

/// The volume with the metadata.
#[derive(Debug)]
pub(super) struct Blocks {
    device: Arc<dyn BlockWrite>,
    cache: Mutex<HashMap<(u64, Kind), Arc<Bytes>>>,
}

/// Blocks that are kept: 4 MiB.
const CACHED: usize = 1024;

impl Blocks {
    pub(super) fn new(device: Arc<dyn BlockWrite>) -> Self {
        Self {
            device,
            cache: Mutex::default(),
        }
    }

    /// A block whose checksum is right.
    pub(super) fn read(&self, number: u64, kind: Kind) -> Result<Arc<Bytes>, ThinDamage> {
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = cache().get(&(number, kind)) {
            return Ok(bytes.clone());
        }
        let outside = ThinDamage::Fields {
            what: kind.name(),
            block: number,
            why: "it lies outside",
        };
        let offset = number.checked_mul(ondisk::width::u64_of(SIZE));
        let offset = offset.ok_or(outside)?;
        let mut bytes = [0; SIZE];
        self.device.read_at(offset, &mut bytes)?;
        let [a, b, c, d, ..] = bytes;
        if u32::from_le_bytes([a, b, c, d]) != kind.checksum(&bytes) {
            return Err(ThinDamage::Checksum {
                what: kind.name(),
                block: number,
            });
        }
        let bytes = Arc::new(bytes);
        let mut cached = cache();
        if cached.len() >= CACHED {
            cached.clear();
        }
        cached.insert((number, kind), bytes.clone());
        Ok(bytes)
    }
}

/// A little-endian number; 0 beyond the end, where no field lies.
pub(super) fn u32_at(bytes: &Bytes, at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &Bytes, at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}
