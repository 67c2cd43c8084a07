//! A thin pool: `struct thin_disk_superblock` and the trees that it names,
//! drivers/md/dm-thin-metadata.c.

use super::ThinDamage;
use super::block::{Blocks, Kind, SIZE, u32_at, u64_at};
use super::space_map::SpaceMap;
use super::tree::{Found, Tree};
use super::volume::ThinVolume;
use ::block::{BlockRead, BlockWrite};
use std::num::NonZeroU64;
use std::sync::Arc;

/// An open pool.
#[derive(Debug)]
pub(in super::super) struct Pool {
    pub(super) blocks: Blocks,
    pub(super) data: Arc<dyn BlockWrite>,
    /// Bytes that are mapped at once.
    pub(super) block_size: NonZeroU64,
    /// By device: the root of its tree.
    mapping: Tree,
    details: Tree,
    pub(super) data_space: SpaceMap,
    /// Whether only one volume can use a block: there is no other.
    pub(super) single: bool,
}

/// `THIN_SUPERBLOCK_MAGIC`.
const MAGIC: u64 = 27_022_010;
/// `THIN_VERSION`; version 1 differs in nothing that is read.
const VERSIONS: [u32; 2] = [1, 2];
/// `struct disk_device_details`.
const DETAILS: usize = 24;

impl Pool {
    /// Reads the superblock. `chunk` is what the volume group says that the pool maps at once,
    /// `transaction` where it says that the pool is.
    ///
    /// # Errors
    /// Damage of the metadata.
    pub(in super::super) fn open(
        metadata: Arc<dyn BlockWrite>,
        data: Arc<dyn BlockWrite>,
        chunk: u64,
        transaction: u64,
    ) -> Result<Self, ThinDamage> {
        let blocks = Blocks::new(metadata);
        let superblock = blocks.read(0, Kind::Superblock)?;
        let bad = |why| ThinDamage::Fields {
            what: Kind::Superblock.name(),
            block: 0,
            why,
        };
        if u64_at(&superblock, 32) != MAGIC || u64_at(&superblock, 8) != 0 {
            return Err(bad("it does not start as all do"));
        }
        let (version, features) = (u32_at(&superblock, 40), u32_at(&superblock, 360));
        if !VERSIONS.contains(&version) || features != 0 {
            return Err(ThinDamage::Version { version, features });
        }
        let block_size = u64::from(u32_at(&superblock, 336)).saturating_mul(512);
        if block_size != chunk {
            return Err(ThinDamage::BlockSize {
                pool: block_size,
                group: chunk,
            });
        }
        // As `_thin_pool_node_send_messages` of LVM2: messages that were not sent yet are one step,
        // and nobody counts in pools that are not of LVM2's own making.
        let known = u64_at(&superblock, 48);
        if transaction != 0 && known != transaction && known.checked_add(1) != Some(transaction) {
            return Err(ThinDamage::Transaction {
                pool: known,
                group: transaction,
            });
        }
        let sectors = ondisk::width::usize_of_u32(u32_at(&superblock, 340));
        if sectors.saturating_mul(512) != SIZE {
            return Err(bad("its blocks are not of 4 KiB"));
        }
        let details = Tree {
            root: u64_at(&superblock, 328),
            value_size: DETAILS,
        };
        let held_root = u64_at(&superblock, 56);
        let single = held_root == 0 && details.count(&blocks, 2)? < 2;
        Ok(Self {
            data,
            block_size: NonZeroU64::new(block_size).ok_or(bad("blocks of no bytes"))?,
            mapping: Tree {
                root: u64_at(&superblock, 320),
                value_size: 8,
            },
            details,
            data_space: SpaceMap::parse(&superblock, 64),
            single,
            blocks,
        })
    }

    /// A volume of the pool, of `size` bytes.
    ///
    /// # Errors
    /// [`ThinDamage::NoVolume`]; damage of the metadata.
    pub(in super::super) fn volume(
        pool: &Arc<Self>,
        name: String,
        device_id: u64,
        size: u64,
        origin: Option<Arc<dyn BlockWrite>>,
    ) -> Result<ThinVolume, ThinDamage> {
        let no_volume = ThinDamage::NoVolume(device_id);
        let Found::Value(details) = pool.details.find(&pool.blocks, device_id)? else {
            return Err(no_volume);
        };
        // `snapshotted_time` ends the details.
        let snapshotted = details.last_chunk().map_or(0, |it| u32::from_le_bytes(*it));
        let Found::Value(root) = pool.mapping.find(&pool.blocks, device_id)? else {
            return Err(no_volume);
        };
        let root = root.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        let tree = Tree {
            root,
            value_size: 8,
        };
        let pool = pool.clone();
        Ok(ThinVolume::new(pool, name, tree, snapshotted, size, origin))
    }

    /// Bytes of the data.
    pub(super) fn data_size(&self) -> u64 {
        self.data.size()
    }
}
