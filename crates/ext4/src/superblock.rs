//! The superblock: what the file system says about itself as a whole.

use crate::checksum::{self, FsSeed};
use crate::error::{CorruptKind, Error};
use crate::features::{Features, compat, incompat, ro_compat};
use crate::raw::{RawSuperblock, high_32, join, low_32};
use block::{BlockRead, BlockWrite};
use fs::{FsInfo, FsKind, Time};
use ondisk::width::usize_of_u32;
use zerocopy::{FromBytes, IntoBytes};

/// A superblock whose geometry is usable; the raw form keeps what is not understood.
#[derive(Clone, Debug)]
pub(crate) struct Superblock {
    raw: RawSuperblock,
    pub(crate) features: Features,
    /// Bytes of a block: a power of two from 1024 to 65536.
    pub(crate) block_size: u32,
    /// Blocks of the file system; all lie on the device.
    pub(crate) blocks_count: u64,
    /// The first block that groups count from: 1 if blocks are 1024 bytes, else 0.
    pub(crate) first_data_block: u32,
    /// Blocks of a group; the last one may be shorter. Not zero.
    pub(crate) blocks_per_group: u32,
    /// Inodes of every group. Not zero.
    pub(crate) inodes_per_group: u32,
    /// Inodes in all.
    pub(crate) inodes_count: u32,
    /// Groups; at least 1.
    pub(crate) group_count: u32,
    /// Bytes of an inode: a power of two from 128 to the block size.
    pub(crate) inode_size: u16,
    /// Bytes of a group descriptor: 32, or a power of two from 64 to 1024.
    pub(crate) desc_size: u16,
    /// The first inode number that is not reserved.
    pub(crate) first_inode: u32,
    /// What metadata sums start with.
    pub(crate) seed: FsSeed,
}

/// Where the superblock starts on the device.
pub(crate) const POSITION: u64 = 1024;
const MAGIC: u16 = 0xef53;
const EXT2_VALID_FS: u16 = 1;
const EXT2_ERROR_FS: u16 = 2;
const GOOD_OLD_FIRST_INO: u32 = 11;
const GOOD_OLD_INODE_SIZE: u16 = 128;
const CRC32C_CHKSUM: u8 = 1;
/// `s_flags`: directory hashes take characters as signed.
const SIGNED_HASH: u32 = 1;
/// `s_flags`: directory hashes take characters as unsigned.
const UNSIGNED_HASH: u32 = 2;

impl Superblock {
    /// Reads the superblock of `device`.
    ///
    /// # Errors
    /// [`Error::NotExt4`] if the magic number is not there, else what is wrong with the geometry.
    pub(crate) fn read(device: &dyn BlockRead) -> Result<Self, Error> {
        let mut bytes = [0; size_of::<RawSuperblock>()];
        device.read_at(POSITION, &mut bytes)?;
        Self::parse(&bytes, device.size())
    }

    /// Makes sense of the 1024 bytes of a superblock on a device of `device_size` bytes.
    pub(crate) fn parse(bytes: &[u8; 1024], device_size: u64) -> Result<Self, Error> {
        // The array is as long as the structure, which is asserted beside its definition.
        let raw = RawSuperblock::read_from_bytes(bytes).expect("1024 bytes");
        let magic = raw.s_magic.get();
        if magic != MAGIC {
            return Err(Error::NotExt4 { magic });
        }
        let features = Features::parse(
            raw.s_feature_compat.get(),
            raw.s_feature_incompat.get(),
            raw.s_feature_ro_compat.get(),
        )?;
        if features.metadata_csum() {
            if raw.s_checksum_type != CRC32C_CHKSUM {
                let value = u64::from(raw.s_checksum_type);
                return Err(wrong("s_checksum_type", value, "1"));
            }
            let (found, computed) = (raw.s_checksum.get(), checksum::superblock(bytes));
            if found != computed {
                return Err(CorruptKind::Checksum {
                    what: "superblock",
                    position: POSITION,
                    found,
                    computed,
                }
                .into());
            }
        }
        let seed = if features.incompat(incompat::CSUM_SEED) {
            FsSeed::stored(raw.s_checksum_seed.get())
        } else {
            FsSeed::of_uuid(&raw.s_uuid)
        };

        let block_size = match raw.s_log_block_size.get() {
            log @ 0..=6 => 1024_u32 << log,
            log => return Err(wrong("s_log_block_size", log.into(), "0..=6")),
        };
        let blocks_count = high_word(features, raw.s_blocks_count_hi.get())
            | u64::from(raw.s_blocks_count_lo.get());
        if blocks_count.saturating_mul(u64::from(block_size)) > device_size {
            return Err(wrong(
                "s_blocks_count",
                blocks_count,
                "no more than the device has",
            ));
        }
        let bigalloc = features.ro_compat(ro_compat::BIGALLOC);
        let first_data_block = raw.s_first_data_block.get();
        if first_data_block != u32::from(block_size == 1024 && !bigalloc) {
            let value = u64::from(first_data_block);
            return Err(wrong(
                "s_first_data_block",
                value,
                "1 with blocks of 1024 bytes, else 0",
            ));
        }
        let Some(data_blocks) = blocks_count
            .checked_sub(u64::from(first_data_block))
            .filter(|blocks| *blocks > 0)
        else {
            return Err(wrong(
                "s_blocks_count",
                blocks_count,
                "at least one in a group",
            ));
        };

        let bits = block_size.saturating_mul(8);
        let blocks_per_group = raw.s_blocks_per_group.get();
        // Bits of a bitmap count clusters; without bigalloc a cluster is a block.
        let per_bitmap = if bigalloc {
            raw.s_clusters_per_group.get()
        } else {
            blocks_per_group
        };
        if blocks_per_group == 0 || per_bitmap > bits || blocks_per_group % 8 != 0 {
            let value = u64::from(blocks_per_group);
            return Err(wrong(
                "s_blocks_per_group",
                value,
                "a multiple of 8 that a block has bits for",
            ));
        }
        let group_count = u32::try_from(data_blocks.div_ceil(u64::from(blocks_per_group)))
            .map_err(|_| wrong("s_blocks_count", blocks_count, "at most 2^32 groups"))?;

        let (inode_size, first_inode) = if raw.s_rev_level.get() == 0 {
            (GOOD_OLD_INODE_SIZE, GOOD_OLD_FIRST_INO)
        } else {
            (raw.s_inode_size.get(), raw.s_first_ino.get())
        };
        if !inode_size.is_power_of_two()
            || inode_size < GOOD_OLD_INODE_SIZE
            || u32::from(inode_size) > block_size
        {
            let value = u64::from(inode_size);
            return Err(wrong(
                "s_inode_size",
                value,
                "a power of two from 128 to the block size",
            ));
        }
        if first_inode < GOOD_OLD_FIRST_INO {
            return Err(wrong("s_first_ino", first_inode.into(), "at least 11"));
        }
        let inodes_per_group = raw.s_inodes_per_group.get();
        if inodes_per_group == 0 || inodes_per_group > bits {
            let value = u64::from(inodes_per_group);
            return Err(wrong(
                "s_inodes_per_group",
                value,
                "1 to the bits of a block",
            ));
        }
        let inodes_count = raw.s_inodes_count.get();
        if u64::from(inodes_count)
            != u64::from(inodes_per_group).saturating_mul(u64::from(group_count))
            || inodes_count < first_inode
        {
            let value = u64::from(inodes_count);
            return Err(wrong(
                "s_inodes_count",
                value,
                "inodes per group in every group",
            ));
        }
        let desc_size = match (features.incompat(incompat::BIT64), raw.s_desc_size.get()) {
            (false, _) => 32,
            (true, size) if (64..=1024).contains(&size) && size.is_power_of_two() => size,
            (true, size) => {
                return Err(wrong(
                    "s_desc_size",
                    size.into(),
                    "a power of two from 64 to 1024",
                ));
            }
        };
        Ok(Self {
            raw,
            features,
            block_size,
            blocks_count,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inodes_count,
            group_count,
            inode_size,
            desc_size,
            first_inode,
            seed,
        })
    }

    /// The fields as they lie on disk.
    pub(crate) fn raw(&self) -> &RawSuperblock {
        &self.raw
    }

    /// What the file system says about itself to others.
    pub(crate) fn info(&self, recovered: bool) -> FsInfo {
        let kind = if self.features.incompat & EXT4_INCOMPAT != 0
            || self.features.ro_compat & EXT4_RO_COMPAT != 0
        {
            FsKind::Ext4
        } else if self.features.compat(compat::HAS_JOURNAL) {
            FsKind::Ext3
        } else {
            FsKind::Ext2
        };
        let name = &self.raw.s_volume_name;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let wtime = (u64::from(self.raw.s_wtime_hi) << 32) | u64::from(self.raw.s_wtime.get());
        FsInfo {
            kind,
            label: (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()),
            uuid: (self.raw.s_uuid != [0; 16])
                .then(|| uuid::Uuid::from_bytes(self.raw.s_uuid).to_string()),
            features: self.features.names(),
            recovered,
            last_write: i64::try_from(wtime)
                .ok()
                .filter(|seconds| *seconds != 0)
                .map(|seconds| Time {
                    seconds,
                    nanoseconds: 0,
                }),
        }
    }

    /// Whether the file system was left clean and without recorded errors.
    pub(crate) fn is_valid(&self) -> bool {
        self.raw.s_state.get() & (EXT2_VALID_FS | EXT2_ERROR_FS) == EXT2_VALID_FS
    }

    /// Free blocks, as counted.
    pub(crate) fn free_blocks(&self) -> u64 {
        high_word(self.features, self.raw.s_free_blocks_count_hi.get())
            | u64::from(self.raw.s_free_blocks_count_lo.get())
    }

    /// Blocks kept back for the file system's owner.
    pub(crate) fn reserved_blocks(&self) -> u64 {
        high_word(self.features, self.raw.s_r_blocks_count_hi.get())
            | u64::from(self.raw.s_r_blocks_count_lo.get())
    }

    /// Free inodes, as counted.
    pub(crate) fn free_inodes(&self) -> u32 {
        self.raw.s_free_inodes_count.get()
    }

    /// Sets the count of free blocks.
    pub(crate) fn set_free_blocks(&mut self, count: u64) {
        self.raw.s_free_blocks_count_lo.set(low_32(count));
        if self.features.incompat(incompat::BIT64) {
            self.raw.s_free_blocks_count_hi.set(high_32(count));
        }
    }

    /// Sets the count of free inodes.
    pub(crate) fn set_free_inodes(&mut self, count: u32) {
        self.raw.s_free_inodes_count.set(count);
    }

    /// Notes that the journal holds nothing to replay.
    pub(crate) fn clear_needs_recovery(&mut self) {
        self.features.incompat &= !incompat::RECOVER;
        self.raw.s_feature_incompat.set(self.features.incompat);
    }

    /// Sets a read-only compatible feature that a change makes necessary.
    pub(crate) fn add_ro_compat(&mut self, bit: u32) {
        self.features.ro_compat |= bit;
        self.raw.s_feature_ro_compat.set(self.features.ro_compat);
    }

    /// Notes that there are extended attributes.
    pub(crate) fn add_ext_attr(&mut self) {
        self.features.compat |= compat::EXT_ATTR;
        self.raw.s_feature_compat.set(self.features.compat);
    }

    /// Notes that the orphan file names nothing any more.
    pub(crate) fn clear_orphan_present(&mut self) {
        self.features.ro_compat &= !ro_compat::ORPHAN_PRESENT;
        self.raw.s_feature_ro_compat.set(self.features.ro_compat);
    }

    /// The head of the list of inodes to delete or truncate; 0 if it is empty.
    pub(crate) fn last_orphan(&self) -> u32 {
        self.raw.s_last_orphan.get()
    }

    /// Sets the head of the list of inodes to delete or truncate.
    pub(crate) fn set_last_orphan(&mut self, inode: u32) {
        self.raw.s_last_orphan.set(inode);
    }

    /// Sets the time of the last write.
    pub(crate) fn set_wtime(&mut self, now: Time) {
        let seconds = u64::try_from(now.seconds).unwrap_or(0);
        self.raw.s_wtime.set(low_32(seconds));
        let [high, ..] = high_32(seconds).to_le_bytes();
        self.raw.s_wtime_hi = high;
    }

    /// Writes the primary superblock, with its checksum.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write(&mut self, device: &dyn BlockWrite) -> Result<(), Error> {
        if self.features.metadata_csum() {
            let sum = checksum::superblock(self.raw.as_bytes());
            self.raw.s_checksum.set(sum);
        }
        device.write_at(POSITION, self.raw.as_bytes())?;
        Ok(())
    }

    /// Whether characters count as unsigned in the hashes of directories. Where the superblock
    /// does not say, as x86 does: signed.
    pub(crate) fn unsigned_hash(&self) -> bool {
        self.raw.s_flags.get() & (SIGNED_HASH | UNSIGNED_HASH) == UNSIGNED_HASH
    }

    /// The block size as a length.
    pub(crate) fn block_len(&self) -> usize {
        usize_of_u32(self.block_size)
    }

    /// The block size as a distance on the device.
    pub(crate) fn block_bytes(&self) -> u64 {
        u64::from(self.block_size)
    }

    /// Where a block starts on the device, in bytes; exact for blocks of the file system.
    pub(crate) fn position(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_bytes())
    }

    /// Blocks of the unit of allocation: 1 without `bigalloc`.
    pub(crate) fn cluster_blocks(&self) -> u64 {
        let log = self.raw.s_log_cluster_size.get();
        let more = log.saturating_sub(self.raw.s_log_block_size.get());
        if self.features.ro_compat(ro_compat::BIGALLOC) {
            1_u64.checked_shl(more).unwrap_or(1)
        } else {
            1
        }
    }

    /// How many blocks of `bytes` bytes are needed.
    pub(crate) fn blocks_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.block_bytes())
    }

    /// The blocks of a group.
    pub(crate) fn group_blocks(&self, group: u32) -> std::ops::Range<u64> {
        let per_group = u64::from(self.blocks_per_group);
        let start = u64::from(group)
            .saturating_mul(per_group)
            .saturating_add(u64::from(self.first_data_block));
        start..start.saturating_add(per_group).min(self.blocks_count)
    }

    /// The group that a block lies in.
    pub(crate) fn group_of_block(&self, block: u64) -> u32 {
        let group = block
            .saturating_sub(u64::from(self.first_data_block))
            .checked_div(u64::from(self.blocks_per_group))
            .unwrap_or(0);
        u32::try_from(group)
            .unwrap_or(u32::MAX)
            .min(self.group_count.saturating_sub(1))
    }

    /// Blocks of the table of inodes of a group.
    pub(crate) fn inode_table_blocks(&self) -> u64 {
        self.blocks_for(u64::from(self.inodes_per_group).saturating_mul(u64::from(self.inode_size)))
    }

    /// Group descriptors in a block.
    pub(crate) fn descriptors_per_block(&self) -> u32 {
        self.block_size
            .checked_div(u32::from(self.desc_size))
            .unwrap_or(1)
    }

    /// Blocks of all group descriptors together.
    pub(crate) fn descriptor_blocks(&self) -> u32 {
        self.group_count.div_ceil(self.descriptors_per_block())
    }

    /// Whether a copy of the superblock lies at the start of a group.
    pub(crate) fn has_backup(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.features.compat(compat::SPARSE_SUPER2) {
            return self
                .raw
                .s_backup_bgs
                .iter()
                .any(|backup| backup.get() == group);
        }
        group == 1
            || !self.features.ro_compat(ro_compat::SPARSE_SUPER)
            || [3, 5, 7].into_iter().any(|base| is_power(base, group))
    }

    /// Blocks at the start of a group that hold copies of superblock and descriptors, with those
    /// reserved for more descriptors.
    pub(crate) fn backup_blocks(&self, group: u32) -> u64 {
        let has_backup = self.has_backup(group);
        let meta_bg = self.features.incompat(incompat::META_BG);
        let first_meta_bg = self.raw.s_first_meta_bg.get();
        let per_block = self.descriptors_per_block();
        if meta_bg && group.checked_div(per_block).unwrap_or(0) >= first_meta_bg {
            let within = group.checked_rem(per_block).unwrap_or(0);
            let has_descriptors = within <= 1 || within == per_block.saturating_sub(1);
            return u64::from(has_backup).saturating_add(u64::from(has_descriptors));
        }
        if !has_backup {
            return 0;
        }
        let descriptors = if meta_bg {
            first_meta_bg
        } else {
            self.descriptor_blocks()
        };
        1_u64
            .saturating_add(u64::from(descriptors))
            .saturating_add(u64::from(self.raw.s_reserved_gdt_blocks.get()))
    }

    /// The block that holds a group's descriptor (the primary one).
    pub(crate) fn descriptor_block(&self, group: u32) -> u64 {
        let per_block = self.descriptors_per_block();
        let index = group.checked_div(per_block).unwrap_or(0);
        // Block 1 with blocks of 1 KiB, also where groups count from block 0 (`bigalloc`).
        let superblock = u64::from(self.block_size == 1024);
        let meta_bg = self.features.incompat(incompat::META_BG);
        if index == 0 || !meta_bg || index < self.raw.s_first_meta_bg.get() {
            return superblock
                .saturating_add(1)
                .saturating_add(u64::from(index));
        }
        let first_group = index.saturating_mul(per_block);
        self.group_blocks(first_group)
            .start
            .saturating_add(u64::from(self.has_backup(first_group)))
    }

    /// The last byte that exists, as a bound for what is read by position.
    pub(crate) fn end(&self) -> u64 {
        self.position(self.blocks_count)
    }
}

/// Features that make it an ext4 rather than an ext3, as libblkid has them.
const EXT4_INCOMPAT: u32 = !(incompat::FILETYPE | incompat::RECOVER | incompat::META_BG);
const EXT4_RO_COMPAT: u32 = !(ro_compat::SPARSE_SUPER | ro_compat::LARGE_FILE | 0x4);

fn high_word(features: Features, hi: u32) -> u64 {
    if features.incompat(incompat::BIT64) {
        join(hi, 0)
    } else {
        0
    }
}

/// Whether `value` is a power of `base`, 1 excluded.
fn is_power(base: u32, value: u32) -> bool {
    let mut power = base;
    while power < value {
        power = power.saturating_mul(base);
    }
    power == value
}

fn wrong(field: &'static str, value: u64, expected: &'static str) -> Error {
    CorruptKind::Superblock {
        field,
        value,
        expected,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::tests::{BLOCKS, superblock};

    fn parse(raw: &RawSuperblock) -> Result<Superblock, Error> {
        let size = u64::from(BLOCKS) * 1024;
        Superblock::parse(raw.as_bytes().try_into().unwrap(), size)
    }

    #[test]
    fn each_impossible_field_is_refused_by_name() {
        type Edit = fn(&mut RawSuperblock);
        let edits: [(&str, Edit); 14] = [
            ("s_log_block_size", |raw| raw.s_log_block_size.set(7)),
            ("s_blocks_count", |raw| {
                raw.s_blocks_count_lo.set(BLOCKS + 1);
            }),
            ("s_blocks_count", |raw| raw.s_blocks_count_lo.set(1)),
            ("s_first_data_block", |raw| raw.s_first_data_block.set(0)),
            ("s_blocks_per_group", |raw| raw.s_blocks_per_group.set(0)),
            ("s_blocks_per_group", |raw| raw.s_blocks_per_group.set(8200)),
            ("s_inode_size", |raw| raw.s_inode_size.set(0)),
            ("s_inode_size", |raw| raw.s_inode_size.set(200)),
            ("s_inode_size", |raw| raw.s_inode_size.set(2048)),
            ("s_first_ino", |raw| raw.s_first_ino.set(2)),
            ("s_inodes_per_group", |raw| raw.s_inodes_per_group.set(0)),
            ("s_inodes_per_group", |raw| raw.s_inodes_per_group.set(9000)),
            ("s_inodes_count", |raw| raw.s_inodes_count.set(31)),
            ("s_desc_size", |raw| {
                raw.s_feature_incompat.set(incompat::BIT64);
                raw.s_desc_size.set(48);
            }),
        ];
        parse(&superblock(incompat::EXTENTS, 0)).unwrap();
        for (field, edit) in edits {
            let mut raw = superblock(incompat::EXTENTS, 0);
            edit(&mut raw);
            let Err(Error::Corrupt(reason)) = parse(&raw) else {
                panic!("{field} was accepted");
            };
            assert!(reason.to_string().contains(field), "{field}: {reason}");
        }
    }

    #[test]
    fn a_superblock_is_known_by_its_magic_number_and_its_sum() {
        let mut raw = superblock(incompat::EXTENTS, ro_compat::METADATA_CSUM);
        let found = parse(&raw).unwrap_err();
        assert!(matches!(found, Error::Corrupt(_)), "{found:?}");
        raw.s_magic.set(0xef54);
        assert!(matches!(parse(&raw), Err(Error::NotExt4 { magic: 0xef54 })));
    }

    #[test]
    fn the_kind_follows_from_the_features_as_for_libblkid() {
        let kind = |compat, incompat, ro_compat| {
            let mut raw = superblock(incompat, ro_compat);
            raw.s_feature_compat.set(compat);
            parse(&raw).unwrap().info(false).kind
        };
        let sparse = ro_compat::SPARSE_SUPER | ro_compat::LARGE_FILE;
        assert_eq!(kind(0, 0, sparse), FsKind::Ext2);
        assert_eq!(kind(compat::HAS_JOURNAL, 0, sparse), FsKind::Ext3);
        assert_eq!(
            kind(compat::HAS_JOURNAL, incompat::EXTENTS, 0),
            FsKind::Ext4
        );
        assert_eq!(kind(0, 0, ro_compat::HUGE_FILE), FsKind::Ext4);
    }

    #[test]
    fn backups_lie_in_the_first_groups_and_powers_of_three_five_and_seven() {
        let sparse = parse(&superblock(0, ro_compat::SPARSE_SUPER)).unwrap();
        let with: Vec<u32> = (0..60).filter(|group| sparse.has_backup(*group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49]);
        let full = parse(&superblock(0, 0)).unwrap();
        assert!((0..60).all(|group| full.has_backup(group)));
    }
}
