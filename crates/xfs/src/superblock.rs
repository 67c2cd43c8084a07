//! The superblock: what the file system says about itself as a whole, and how its numbers become
//! positions.

use crate::checksum;
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::{Features, Words, version};
use crate::group::Counted;
use crate::raw::RawSuperblock;
use block::{BlockRead, BlockWrite};
use fs::{FsInfo, FsKind};
use ondisk::width::{usize_of, usize_of_u32};
use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// A block of the file system as XFS numbers it: the group above the `agblklog` lowest bits. There
/// are gaps between groups whose size is not a power of two.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct FsBlock(pub(crate) u64);

/// A superblock whose geometry is usable; the raw form keeps what is not understood.
#[derive(Clone, Debug)]
pub(crate) struct Superblock {
    raw: RawSuperblock,
    pub(crate) features: Features,
    /// Bytes of a block: a power of two from 512 to 65536.
    pub(crate) block_size: u32,
    /// Blocks of the file system; all lie on the device.
    pub(crate) blocks_count: u64,
    /// Blocks of a group; the last one may be shorter. Not zero.
    pub(crate) group_blocks: u32,
    /// Groups; at least 1.
    pub(crate) group_count: u32,
    /// The power of two of the bits of a block number within its group: at most 31.
    pub(crate) group_block_log: u8,
    /// Bytes of a sector: a power of two from 512 to the block size.
    pub(crate) sector_size: u32,
    /// Bytes of an inode: a power of two from 256 to 2048.
    pub(crate) inode_size: u32,
    /// Inodes of a block: a power of two.
    pub(crate) inodes_per_block: u32,
    /// Bytes of a directory block: a power of two from the block size to 65536.
    pub(crate) dir_block_size: u32,
    /// Blocks of a directory block.
    pub(crate) dir_block_blocks: u32,
    /// What metadata of version 5 carries.
    pub(crate) meta_uuid: [u8; 16],
}

/// "XFSB".
const MAGIC: u32 = 0x5846_5342;
/// Bytes of the parsed part.
const LEN: usize = size_of::<RawSuperblock>();
/// The largest sector that XFS has.
const MAX_SECTOR: u32 = 32768;
/// The numbering of inodes stops here: 2^56, `XFS_MAXINUMBER`.
const MAX_INODE_BITS: u32 = 56;

impl Superblock {
    /// Reads the superblock of `device`.
    ///
    /// # Errors
    /// [`Error::NotXfs`] if the magic number is not there, else what is wrong with the geometry.
    pub(crate) fn read(device: &dyn BlockRead) -> Result<Self, Error> {
        let mut bytes = vec![0; 512];
        device.read_at(0, &mut bytes)?;
        let (raw, _) = RawSuperblock::read_from_prefix(&bytes).map_err(|_| short())?;
        if raw.sb_magicnum.get() != MAGIC {
            return Err(Error::NotXfs {
                magic: raw.sb_magicnum.get(),
            });
        }
        // The sum covers the whole sector.
        let sector = u32::from(raw.sb_sectsize.get());
        if !sector.is_power_of_two() || !(512..=MAX_SECTOR).contains(&sector) {
            let expected = "a power of two from 512 to 32768";
            return Err(wrong("sb_sectsize", sector.into(), expected));
        }
        bytes.resize(usize_of_u32(sector), 0);
        device.read_at(0, &mut bytes)?;
        Self::parse(&bytes, device.size())
    }

    /// Makes sense of the first sector of a device of `device_size` bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn parse(bytes: &[u8], device_size: u64) -> Result<Self, Error> {
        let (raw, _) = RawSuperblock::read_from_prefix(bytes).map_err(|_| short())?;
        let magic = raw.sb_magicnum.get();
        if magic != MAGIC {
            return Err(Error::NotXfs { magic });
        }
        let features = Features::parse(Words {
            versionnum: raw.sb_versionnum.get(),
            features2: raw.sb_features2.get() | raw.sb_bad_features2.get(),
            compat: raw.sb_features_compat.get(),
            ro_compat: raw.sb_features_ro_compat.get(),
            incompat: raw.sb_features_incompat.get(),
        })?;
        if features.v5() {
            checksum::verify(bytes, checksum::place::SUPERBLOCK, "superblock", 0)?;
        }
        if raw.sb_inprogress != 0 {
            let expected = "0: mkfs.xfs was not finished";
            return Err(wrong("sb_inprogress", raw.sb_inprogress.into(), expected));
        }
        if raw.sb_logstart.get() == 0 {
            return Err(UnsupportedKind::Other("a log on another device").into());
        }
        if raw.sb_rblocks.get() != 0 || raw.sb_rextents.get() != 0 {
            return Err(UnsupportedKind::Other("a realtime device").into());
        }

        let power = |field, value: u32, log: u8, range: std::ops::RangeInclusive<u32>, expected| {
            if value.is_power_of_two() && value.ilog2() == log.into() && range.contains(&value) {
                Ok(value)
            } else {
                Err(wrong(field, value.into(), expected))
            }
        };
        let block_size = power(
            "sb_blocksize",
            raw.sb_blocksize.get(),
            raw.sb_blocklog,
            512..=65536,
            "a power of two from 512 to 65536, as sb_blocklog says",
        )?;
        // Version 4 may keep a zero where sectors have 512 bytes.
        let sector_log = if raw.sb_sectlog == 0 {
            9
        } else {
            raw.sb_sectlog
        };
        let sector_size = power(
            "sb_sectsize",
            raw.sb_sectsize.get().into(),
            sector_log,
            512..=block_size.min(MAX_SECTOR),
            "a power of two from 512 to the block size, as sb_sectlog says",
        )?;
        let inode_size = power(
            "sb_inodesize",
            raw.sb_inodesize.get().into(),
            raw.sb_inodelog,
            256..=block_size.min(2048),
            "a power of two from 256 to 2048 and the block size, as sb_inodelog says",
        )?;
        if features.v5() && inode_size < 512 {
            return Err(wrong("sb_inodesize", inode_size.into(), "at least 512"));
        }
        let inodes_per_block = power(
            "sb_inopblock",
            raw.sb_inopblock.get().into(),
            raw.sb_inopblog,
            1..=block_size,
            "inodes of a block",
        )?;
        if Some(inodes_per_block) != block_size.checked_div(inode_size) {
            let value = u64::from(inodes_per_block);
            return Err(wrong("sb_inopblock", value, "inodes of a block"));
        }
        let dir_log = u32::from(raw.sb_blocklog).saturating_add(raw.sb_dirblklog.into());
        if dir_log > 16 {
            let value = u64::from(raw.sb_dirblklog);
            return Err(wrong(
                "sb_dirblklog",
                value,
                "directory blocks of at most 64 KiB",
            ));
        }
        let dir_block_size = 1_u32 << dir_log;
        let dir_block_blocks = 1_u32 << raw.sb_dirblklog;

        let (group_blocks, group_count) = (raw.sb_agblocks.get(), raw.sb_agcount.get());
        let group_block_log = raw.sb_agblklog;
        // Four sectors of headers, the roots of two trees, and something to hold.
        if !(64..=1 << 31).contains(&group_blocks) {
            return Err(wrong("sb_agblocks", group_blocks.into(), "64 to 2^31"));
        }
        let log = group_blocks.saturating_sub(1).checked_ilog2().unwrap_or(0);
        if u32::from(group_block_log) != log.saturating_add(1) {
            let expected = "the logarithm of sb_agblocks, rounded up";
            return Err(wrong("sb_agblklog", group_block_log.into(), expected));
        }
        let blocks_count = raw.sb_dblocks.get();
        let expected_groups = blocks_count.div_ceil(group_blocks.into());
        if group_count == 0 || u64::from(group_count) != expected_groups {
            let expected = "as many groups as sb_dblocks needs";
            return Err(wrong("sb_agcount", group_count.into(), expected));
        }
        let size = blocks_count.checked_mul(u64::from(block_size));
        if size.is_none_or(|size| size > device_size) {
            let expected = "no more than the device has";
            return Err(wrong("sb_dblocks", blocks_count, expected));
        }
        let inode_bits = group_count
            .checked_ilog2()
            .unwrap_or(0)
            .saturating_add(1)
            .saturating_add(group_block_log.into())
            .saturating_add(raw.sb_inopblog.into());
        if inode_bits > MAX_INODE_BITS {
            let expected = "inode numbers of at most 56 bits";
            return Err(wrong("sb_agcount", group_count.into(), expected));
        }
        let meta_uuid = if features.meta_uuid() {
            raw.sb_meta_uuid
        } else {
            raw.sb_uuid
        };
        let superblock = Self {
            raw,
            features,
            block_size,
            blocks_count,
            group_blocks,
            group_count,
            group_block_log,
            sector_size,
            inode_size,
            inodes_per_block,
            dir_block_size,
            dir_block_blocks,
            meta_uuid,
        };
        superblock.check_log()?;
        let root = superblock.raw.sb_rootino.get();
        if superblock.split_inode(root).is_none() {
            return Err(wrong("sb_rootino", root, "an inode of the file system"));
        }
        Ok(superblock)
    }

    fn check_log(&self) -> Result<(), Error> {
        let start = self.log_start();
        if self.has_blocks(start, self.log_blocks()) {
            return Ok(());
        }
        let expected = "a log within one group";
        Err(wrong("sb_logstart", start.0, expected))
    }

    /// The fields as they lie on disk.
    pub(crate) fn raw(&self) -> &RawSuperblock {
        &self.raw
    }

    /// The fields as they lie on disk, to change what does not change the geometry.
    pub(crate) fn raw_mut(&mut self) -> &mut RawSuperblock {
        &mut self.raw
    }

    /// Brings the counters up to date with what a group counted before and counts now.
    pub(crate) fn count(&mut self, before: Counted, after: Counted) {
        let change = |field: &mut U64, before: u64, after: u64| {
            let all = field.get().saturating_sub(before).saturating_add(after);
            field.set(all);
        };
        let raw = &mut self.raw;
        change(&mut raw.sb_fdblocks, before.free, after.free);
        change(
            &mut raw.sb_icount,
            before.inodes.into(),
            after.inodes.into(),
        );
        let free = (before.free_inodes.into(), after.free_inodes.into());
        change(&mut raw.sb_ifree, free.0, free.1);
    }

    /// Notes that there are extended attributes.
    pub(crate) fn add_attr(&mut self) {
        self.features.add_attr();
        let versionnum = self.raw.sb_versionnum.get() | version::ATTR;
        self.raw.sb_versionnum.set(versionnum);
    }

    /// What the file system says about itself to others.
    pub(crate) fn info(&self, recovered: bool) -> FsInfo {
        let name = self.raw.sb_fname.split(|byte| *byte == 0);
        let name = name.into_iter().next().unwrap_or_default();
        FsInfo {
            kind: FsKind::Xfs,
            label: (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()),
            uuid: Some(uuid::Uuid::from_bytes(self.raw.sb_uuid).to_string()),
            features: self.features.names(),
            recovered,
            // The superblock keeps no time.
            last_write: None,
        }
    }

    /// Writes the fields into the first sector of the device, with the checksum. Copies in other
    /// groups are not brought up to date, as the kernel does not either.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write(&self, device: &dyn BlockWrite) -> Result<(), Error> {
        let mut sector = vec![0; usize_of_u32(self.sector_size)];
        device.read_at(0, &mut sector)?;
        let fields = self.raw.as_bytes();
        // In version 4 nothing follows `sb_bad_features2`.
        let len = if self.features.v5() { LEN } else { V4_LEN };
        if let (Some(place), Some(fields)) = (sector.get_mut(..len), fields.get(..len)) {
            place.copy_from_slice(fields);
        }
        if self.features.v5() {
            checksum::set(&mut sector, checksum::place::SUPERBLOCK);
        }
        device.write_at(0, &sector)?;
        Ok(())
    }

    /// The block size as a length.
    pub(crate) fn block_len(&self) -> usize {
        usize_of_u32(self.block_size)
    }

    /// The block size as a distance on the device.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_size.into()
    }

    /// Bytes of the whole file system.
    pub(crate) fn end(&self) -> u64 {
        self.blocks_count.saturating_mul(self.block_bytes())
    }

    /// Blocks that `bytes` bytes take.
    pub(crate) fn blocks_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.block_bytes())
    }

    /// Blocks of one group: the last one may have fewer than the others.
    pub(crate) fn blocks_of_group(&self, group: u32) -> u32 {
        let before = u64::from(group).saturating_mul(self.group_blocks.into());
        let left = self.blocks_count.saturating_sub(before);
        u32::try_from(left).map_or(self.group_blocks, |left| left.min(self.group_blocks))
    }

    /// The number of block `block` of a group.
    pub(crate) fn fs_block(&self, group: u32, block: u32) -> FsBlock {
        FsBlock((u64::from(group) << self.group_block_log) | u64::from(block))
    }

    /// The group of a block, and its number in there. Neither is checked.
    pub(crate) fn split_block(&self, block: FsBlock) -> (u32, u32) {
        let mask = (1_u64 << self.group_block_log).saturating_sub(1);
        let group = u32::try_from(block.0 >> self.group_block_log).unwrap_or(u32::MAX);
        // The mask has at most 31 bits.
        (group, u32::try_from(block.0 & mask).unwrap_or(u32::MAX))
    }

    /// Whether `count` blocks from `start` on exist, and in one group. None is no block.
    pub(crate) fn has_blocks(&self, start: FsBlock, count: u64) -> bool {
        let (group, block) = self.split_block(start);
        group < self.group_count
            && count > 0
            && count <= u64::from(self.group_blocks)
            && u64::from(block).saturating_add(count) <= self.blocks_of_group(group).into()
    }

    /// Where a block starts on the device, in bytes; exact for blocks of the file system.
    pub(crate) fn position(&self, block: FsBlock) -> u64 {
        let (group, block) = self.split_block(block);
        u64::from(group)
            .saturating_mul(self.group_blocks.into())
            .saturating_add(block.into())
            .saturating_mul(self.block_bytes())
    }

    /// The block at a byte position of the device.
    pub(crate) fn block_at(&self, position: u64) -> FsBlock {
        let linear = position.checked_div(self.block_bytes()).unwrap_or(0);
        let per_group = u64::from(self.group_blocks);
        let group = linear.checked_div(per_group).unwrap_or(0);
        let block = linear.saturating_sub(group.saturating_mul(per_group));
        FsBlock((group << self.group_block_log) | block)
    }

    /// The number that metadata carries for its own block: units of 512 bytes.
    pub(crate) fn daddr(&self, block: FsBlock) -> u64 {
        self.position(block) >> 9
    }

    /// The byte position of sector `sector` of a group: 0 superblock, 1 AGF, 2 AGI, 3 AGFL.
    pub(crate) fn header_position(&self, group: u32, sector: u32) -> u64 {
        let within = u64::from(sector).saturating_mul(self.sector_size.into());
        self.position(self.fs_block(group, 0))
            .saturating_add(within)
    }

    /// Blocks at the start of each group that hold its headers.
    pub(crate) fn header_blocks(&self) -> u32 {
        self.sector_size.saturating_mul(4).div_ceil(self.block_size)
    }

    /// The group of an inode, its block in there, and where in the block it starts in bytes. None
    /// if there cannot be such an inode.
    pub(crate) fn split_inode(&self, inode: u64) -> Option<(u32, u32, usize)> {
        let within_log = self.inodes_per_block.ilog2();
        let block = FsBlock(inode >> within_log);
        let within = inode & u64::from(self.inodes_per_block).saturating_sub(1);
        let (group, number) = self.split_block(block);
        let exists = self.has_blocks(block, 1) && number >= self.header_blocks();
        let at = usize_of(within.saturating_mul(self.inode_size.into()));
        exists.then_some((group, number, at))
    }

    /// The number of an inode by its number within a group.
    pub(crate) fn inode_number(&self, group: u32, within: u32) -> u64 {
        (u64::from(group) << self.group_inode_log()) | u64::from(within)
    }

    /// Bits of an inode number within its group: at most 38.
    pub(crate) fn group_inode_log(&self) -> u32 {
        self.inodes_per_block
            .ilog2()
            .saturating_add(self.group_block_log.into())
    }

    /// The first block of the log.
    pub(crate) fn log_start(&self) -> FsBlock {
        FsBlock(self.raw.sb_logstart.get())
    }

    /// Blocks of the log.
    pub(crate) fn log_blocks(&self) -> u64 {
        self.raw.sb_logblocks.get().into()
    }
}

/// Bytes of the superblock of version 4.
const V4_LEN: usize = std::mem::offset_of!(RawSuperblock, sb_features_compat);

fn short() -> Error {
    wrong("length", 0, "a sector")
}

fn wrong(field: &'static str, value: u64, expected: &'static str) -> Error {
    CorruptKind::Superblock {
        field,
        value,
        expected,
    }
    .into()
}
