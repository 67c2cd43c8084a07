//! Inodes: owner, mode, times and where the content lies.

use crate::checksum::{INODE_CHECKSUM_HI, high_half, inode_has_high_half, low_half};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::{incompat, ro_compat};
use crate::raw::{RawInode, RawInodeExtra, high_16, high_32, join, low_16, low_32};
use crate::superblock::Superblock;
use crate::timestamp;
use fs::{Kind, Meta, NewNode, Time};
use ondisk::width::u64_of;
use zerocopy::FromBytes;

/// The number of an inode that exists: at least 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct InodeNumber(u32);

/// The root directory.
pub(crate) const ROOT: InodeNumber = InodeNumber(2);

impl InodeNumber {
    /// Accepts a number from 1 to the count of inodes.
    ///
    /// # Errors
    /// Other numbers.
    pub(crate) fn new(superblock: &Superblock, number: u64) -> Result<Self, Error> {
        let count = superblock.inodes_count;
        match u32::try_from(number) {
            Ok(inode) if (1..=count).contains(&inode) => Ok(Self(inode)),
            _ => Err(CorruptKind::NoSuchInode {
                inode: number,
                count,
            }
            .into()),
        }
    }

    /// The number as directories hold it.
    pub(crate) fn get(self) -> u32 {
        self.0
    }

    /// The group whose table holds the inode, and its place in the table.
    pub(crate) fn place(self, superblock: &Superblock) -> (u32, u32) {
        let index = self.0.saturating_sub(1);
        let per_group = superblock.inodes_per_group;
        // A parsed superblock has at least one inode in a group.
        (
            index.checked_div(per_group).unwrap_or(0),
            index.checked_rem(per_group).unwrap_or(0),
        )
    }
}

/// Bits of `i_flags`; those that mean nothing here are kept as they are.
pub(crate) mod flag {
    pub(crate) const ENCRYPT: u32 = 0x800;
    pub(crate) const INDEX: u32 = 0x1000;
    pub(crate) const HUGE_FILE: u32 = 0x4_0000;
    pub(crate) const EXTENTS: u32 = 0x8_0000;
    pub(crate) const VERITY: u32 = 0x10_0000;
    pub(crate) const EA_INODE: u32 = 0x20_0000;
    pub(crate) const INLINE_DATA: u32 = 0x1000_0000;
    /// What new nodes take over from their directory, of `EXT4_FL_INHERITED`: secure deletion,
    /// undeletion, compression, synchronous writes, nodump, noatime, journalled data, no tail,
    /// dirsync and DAX.
    pub(crate) const INHERITED: u32 =
        0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x4000 | 0x8000 | 0x1_0000 | 0x200_0000;
    /// Of those, what only directories take over: dirsync.
    pub(crate) const DIRS_ONLY: u32 = 0x1_0000;
}

const GOOD_OLD_INODE_SIZE: usize = 128;
const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFREG: u16 = 0o100_000;
const S_IFLNK: u16 = 0o120_000;
const S_IFSOCK: u16 = 0o140_000;

/// An inode as it lies in the table; what is not understood survives a change.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    number: InodeNumber,
    /// `s_inode_size` bytes.
    bytes: Vec<u8>,
}

impl Inode {
    /// Makes sense of the bytes of the inode `number`, which start at byte `position`.
    ///
    /// # Errors
    /// A wrong checksum, or an `i_extra_isize` that the inode has no room for.
    pub(crate) fn parse(
        superblock: &Superblock,
        number: InodeNumber,
        bytes: Vec<u8>,
        position: u64,
    ) -> Result<Self, Error> {
        let inode = Self { number, bytes };
        let extra = inode.extra_isize();
        if extra.saturating_add(GOOD_OLD_INODE_SIZE) > inode.bytes.len() || !extra.is_multiple_of(4)
        {
            return Err(CorruptKind::Inode {
                inode: number.get(),
                field: "i_extra_isize",
                value: u64_of(extra),
                expected: "a multiple of 4 that the inode has room for",
            }
            .into());
        }
        if superblock.features.metadata_csum() {
            let (found, computed) = (inode.stored_checksum(), inode.computed_checksum(superblock));
            // mke2fs leaves inodes that were never in use as zeros, without a sum.
            if found != computed && !inode.bytes.iter().all(|byte| *byte == 0) {
                return Err(CorruptKind::Checksum {
                    what: "inode",
                    position,
                    found,
                    computed,
                }
                .into());
            }
        }
        Ok(inode)
    }

    /// A new inode of `kind`, with no content and no links yet.
    pub(crate) fn new(
        superblock: &Superblock,
        number: InodeNumber,
        generation: u32,
        kind: Kind,
        new: NewNode,
        now: Time,
    ) -> Self {
        let mut inode = Self {
            number,
            bytes: vec![0; usize::from(superblock.inode_size)],
        };
        let wanted = superblock.raw().s_want_extra_isize.get();
        if let Some(extra) = inode.extra_mut() {
            // As the kernel: what was asked for when the file system was made, else all it knows.
            let full = 32;
            extra.i_extra_isize.set(
                if wanted == 0 || wanted > full || !wanted.is_multiple_of(4) {
                    full
                } else {
                    wanted
                },
            );
        }
        let raw = inode.raw_mut();
        raw.i_mode.set(mode_of(kind) | (new.mode & 0o7777));
        raw.i_generation.set(generation);
        inode.set_owner(new.uid, new.gid);
        inode.set_atime(now);
        inode.set_ctime(now);
        inode.set_mtime(now);
        inode.set_crtime(now);
        inode
    }

    /// The bytes to write, with the checksum renewed.
    pub(crate) fn encode(&mut self, superblock: &Superblock) -> &[u8] {
        if superblock.features.metadata_csum() {
            let sum = self.computed_checksum(superblock);
            self.raw_mut().l_i_checksum_lo.set(low_half(sum));
            if inode_has_high_half(&self.bytes)
                && let Some(extra) = self.extra_mut()
            {
                extra.i_checksum_hi.set(high_half(sum));
            }
        }
        &self.bytes
    }

    fn computed_checksum(&self, superblock: &Superblock) -> u32 {
        let seed = superblock.seed.inode(self.number.get(), self.generation());
        seed.inode(&self.bytes)
    }

    fn stored_checksum(&self) -> u32 {
        let high = self.extra_field(
            |extra| extra.i_checksum_hi.get().into(),
            INODE_CHECKSUM_HI,
            2,
        );
        (high << 16) | u32::from(self.raw().l_i_checksum_lo.get())
    }

    fn raw(&self) -> &RawInode {
        // `s_inode_size` is at least 128.
        RawInode::ref_from_prefix(&self.bytes).expect("128 bytes").0
    }

    fn raw_mut(&mut self) -> &mut RawInode {
        // As in `raw`.
        RawInode::mut_from_prefix(&mut self.bytes)
            .expect("128 bytes")
            .0
    }

    fn extra(&self) -> Option<&RawInodeExtra> {
        let bytes = self.bytes.get(GOOD_OLD_INODE_SIZE..)?;
        RawInodeExtra::ref_from_prefix(bytes)
            .ok()
            .map(|(extra, _)| extra)
    }

    fn extra_mut(&mut self) -> Option<&mut RawInodeExtra> {
        let bytes = self.bytes.get_mut(GOOD_OLD_INODE_SIZE..)?;
        RawInodeExtra::mut_from_prefix(bytes)
            .ok()
            .map(|(extra, _)| extra)
    }

    /// A field behind the first 128 bytes; 0 if `i_extra_isize` does not reach over it.
    fn extra_field(&self, field: impl Fn(&RawInodeExtra) -> u32, at: usize, len: usize) -> u32 {
        if self.has_extra(at, len) {
            self.extra().map_or(0, field)
        } else {
            0
        }
    }

    /// Whether the `len` bytes at `at` belong to the inode's fields.
    fn has_extra(&self, at: usize, len: usize) -> bool {
        at.saturating_add(len) <= GOOD_OLD_INODE_SIZE.saturating_add(self.extra_isize())
    }

    fn extra_isize(&self) -> usize {
        self.extra()
            .map_or(0, |extra| extra.i_extra_isize.get().into())
    }

    /// All bytes: fields, and behind them room for extended attributes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The inode's number.
    pub(crate) fn number(&self) -> InodeNumber {
        self.number
    }

    /// What the node is.
    ///
    /// # Errors
    /// A type that does not exist.
    pub(crate) fn kind(&self) -> Result<Kind, Error> {
        let mode = self.raw().i_mode.get();
        Ok(match mode & S_IFMT {
            S_IFREG => Kind::File,
            S_IFDIR => Kind::Dir,
            S_IFLNK => Kind::Symlink,
            S_IFCHR => Kind::CharDevice,
            S_IFBLK => Kind::BlockDevice,
            S_IFIFO => Kind::Fifo,
            S_IFSOCK => Kind::Socket,
            _ => {
                return Err(CorruptKind::Inode {
                    inode: self.number.get(),
                    field: "i_mode",
                    value: mode.into(),
                    expected: "a known type of node",
                }
                .into());
            }
        })
    }

    /// Whether the inode names a node: it has a mode, and names or at least was not deleted.
    pub(crate) fn is_in_use(&self) -> bool {
        self.raw().i_mode.get() != 0 && self.raw().i_links_count.get() != 0
    }

    /// Everything that callers may know.
    ///
    /// # Errors
    /// A type that does not exist.
    pub(crate) fn meta(&self) -> Result<Meta, Error> {
        let kind = self.kind()?;
        let raw = self.raw();
        Ok(Meta {
            kind,
            mode: raw.i_mode.get() & 0o7777,
            uid: (u32::from(raw.l_i_uid_high.get()) << 16) | u32::from(raw.i_uid.get()),
            gid: (u32::from(raw.l_i_gid_high.get()) << 16) | u32::from(raw.i_gid.get()),
            size: self.size(),
            links: raw.i_links_count.get().into(),
            mtime: self.time(raw.i_mtime.get(), |extra| extra.i_mtime_extra.get(), 0x88),
            ctime: self.time(raw.i_ctime.get(), |extra| extra.i_ctime_extra.get(), 0x84),
            atime: self.time(raw.i_atime.get(), |extra| extra.i_atime_extra.get(), 0x8c),
            device: matches!(kind, Kind::CharDevice | Kind::BlockDevice).then(|| self.device()),
        })
    }

    fn time(&self, seconds: u32, extra: impl Fn(&RawInodeExtra) -> u32, at: usize) -> Time {
        timestamp::decode(seconds, self.extra_field(extra, at, 4))
    }

    /// Major and minor number, in the old form of 16 bits or the new one in the second word.
    fn device(&self) -> (u32, u32) {
        let (old, new, _) = self.block_words();
        if old != 0 {
            ((old >> 8) & 0xff, old & 0xff)
        } else {
            (
                (new & 0xf_ff00) >> 8,
                (new & 0xff) | ((new >> 12) & 0xf_ff00),
            )
        }
    }

    fn block_words(&self) -> (u32, u32, u32) {
        let word = |at: usize| {
            self.raw()
                .i_block
                .get(at..)
                .and_then(<[u8]>::first_chunk::<4>)
                .map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        (word(0), word(4), word(8))
    }

    /// Bytes of content.
    pub(crate) fn size(&self) -> u64 {
        let raw = self.raw();
        // Elsewhere the upper half was an ACL once.
        match raw.i_mode.get() & S_IFMT {
            S_IFREG | S_IFDIR => join(raw.i_size_high.get(), raw.i_size_lo.get()),
            _ => raw.i_size_lo.get().into(),
        }
    }

    /// Sets the bytes of content.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.raw_mut().i_size_lo.set(low_32(size));
        self.raw_mut().i_size_high.set(high_32(size));
    }

    /// Whether a flag is set.
    pub(crate) fn has_flag(&self, flag: u32) -> bool {
        self.raw().i_flags.get() & flag != 0
    }

    /// All flags.
    pub(crate) fn flags(&self) -> u32 {
        self.raw().i_flags.get()
    }

    /// Sets or clears flags.
    pub(crate) fn set_flag(&mut self, flag: u32, on: bool) {
        let flags = self.flags();
        let flags = if on { flags | flag } else { flags & !flag };
        self.raw_mut().i_flags.set(flags);
    }

    /// `i_generation`, which sums of what belongs to the inode depend on.
    pub(crate) fn generation(&self) -> u32 {
        self.raw().i_generation.get()
    }

    /// Names that point here.
    pub(crate) fn links(&self) -> u16 {
        self.raw().i_links_count.get()
    }

    /// Sets the count of names that point here.
    pub(crate) fn set_links(&mut self, links: u16) {
        self.raw_mut().i_links_count.set(links);
    }

    /// The 60 bytes that hold the map of the content, or the content itself.
    pub(crate) fn block(&self) -> &[u8; 60] {
        &self.raw().i_block
    }

    /// The same bytes, to be written.
    pub(crate) fn block_mut(&mut self) -> &mut [u8; 60] {
        &mut self.raw_mut().i_block
    }

    /// The block that holds extended attributes, if there is one.
    pub(crate) fn file_acl(&self) -> u64 {
        let raw = self.raw();
        join(raw.l_i_file_acl_high.get().into(), raw.i_file_acl_lo.get())
    }

    /// Sets the block that holds extended attributes; 0 for none.
    pub(crate) fn set_file_acl(&mut self, block: u64) {
        self.raw_mut().i_file_acl_lo.set(low_32(block));
        self.raw_mut().l_i_file_acl_high.set(low_16(high_32(block)));
    }

    /// Blocks of the file system that belong to the inode: content, its map and attributes.
    pub(crate) fn blocks(&self, superblock: &Superblock) -> u64 {
        let raw = self.raw();
        let lo = u64::from(raw.i_blocks_lo.get());
        if !superblock.features.ro_compat(ro_compat::HUGE_FILE) {
            return in_blocks(lo, superblock);
        }
        let count = (u64::from(raw.l_i_blocks_high.get()) << 32) | lo;
        if self.has_flag(flag::HUGE_FILE) {
            count
        } else {
            in_blocks(count, superblock)
        }
    }

    /// Sets the blocks of the file system that belong to the inode.
    ///
    /// # Errors
    /// More than the field holds.
    pub(crate) fn set_blocks(&mut self, superblock: &Superblock, blocks: u64) -> Result<(), Error> {
        let sectors = blocks.saturating_mul(sectors_per_block(superblock));
        let huge_file = superblock.features.ro_compat(ro_compat::HUGE_FILE);
        let (count, huge) = match sectors {
            _ if sectors <= u64::from(u32::MAX) => (sectors, false),
            _ if !huge_file => {
                return Err(UnsupportedKind::Inode {
                    inode: self.number.get(),
                    what: "2 TiB of content without the feature huge_file",
                }
                .into());
            }
            _ if sectors >> 48 == 0 => (sectors, false),
            _ => (blocks, true),
        };
        self.raw_mut().i_blocks_lo.set(low_32(count));
        if huge_file {
            self.raw_mut().l_i_blocks_high.set(low_16(high_32(count)));
        }
        self.set_flag(flag::HUGE_FILE, huge);
        Ok(())
    }

    /// Sets owner and group.
    pub(crate) fn set_owner(&mut self, uid: u32, gid: u32) {
        let raw = self.raw_mut();
        raw.i_uid.set(low_16(uid));
        raw.l_i_uid_high.set(high_16(uid));
        raw.i_gid.set(low_16(gid));
        raw.l_i_gid_high.set(high_16(gid));
    }

    /// Sets the permission bits.
    pub(crate) fn set_mode(&mut self, mode: u16) {
        let kind = self.raw().i_mode.get() & S_IFMT;
        self.raw_mut().i_mode.set(kind | (mode & 0o7777));
    }

    /// Sets the time of the last reading.
    pub(crate) fn set_atime(&mut self, time: Time) {
        let (seconds, extra) = timestamp::encode(time, self.has_extra(0x8c, 4));
        self.raw_mut().i_atime.set(seconds);
        if let (Some(value), Some(fields)) = (extra, self.extra_mut()) {
            fields.i_atime_extra.set(value);
        }
    }

    /// Sets the time of the last change of the node.
    pub(crate) fn set_ctime(&mut self, time: Time) {
        let (seconds, extra) = timestamp::encode(time, self.has_extra(0x84, 4));
        self.raw_mut().i_ctime.set(seconds);
        if let (Some(value), Some(fields)) = (extra, self.extra_mut()) {
            fields.i_ctime_extra.set(value);
        }
    }

    /// Sets the time of the last change of the content.
    pub(crate) fn set_mtime(&mut self, time: Time) {
        let (seconds, extra) = timestamp::encode(time, self.has_extra(0x88, 4));
        self.raw_mut().i_mtime.set(seconds);
        if let (Some(value), Some(fields)) = (extra, self.extra_mut()) {
            fields.i_mtime_extra.set(value);
        }
    }

    fn set_crtime(&mut self, time: Time) {
        if !self.has_extra(0x90, 8) {
            return;
        }
        let (seconds, extra) = timestamp::encode(time, true);
        if let Some(fields) = self.extra_mut() {
            fields.i_crtime.set(seconds);
            fields.i_crtime_extra.set(extra.unwrap_or(0));
        }
    }

    /// `i_dtime`: when the inode was deleted, or the next one in the list of orphans.
    pub(crate) fn dtime(&self) -> u32 {
        self.raw().i_dtime.get()
    }

    /// Sets `i_dtime`.
    pub(crate) fn set_dtime(&mut self, dtime: u32) {
        self.raw_mut().i_dtime.set(dtime);
    }

    /// Sets the counter that changes with the inode, which network file systems compare.
    pub(crate) fn bump_version(&mut self) {
        let version = self.raw().l_i_version.get().wrapping_add(1);
        self.raw_mut().l_i_version.set(version);
    }

    /// Whether the content lies in blocks that the inode maps, rather than in the inode.
    pub(crate) fn has_mapped_content(&self, superblock: &Superblock) -> Result<bool, Error> {
        Ok(match self.kind()? {
            Kind::File | Kind::Dir => !self.has_flag(flag::INLINE_DATA),
            Kind::Symlink => !self.has_flag(flag::INLINE_DATA) && !self.is_fast_symlink(superblock),
            _ => false,
        })
    }

    /// Whether a link's target lies in the 60 bytes of the map. Sizes decide, as in the kernel's
    /// `ext4_inode_is_fast_symlink`: links with a block of their own keep it beside attributes'.
    pub(crate) fn is_fast_symlink(&self, superblock: &Superblock) -> bool {
        let attributes = match self.file_acl() {
            0 => 0,
            _ => superblock.cluster_blocks(),
        };
        let has_ea_inode = superblock.features.incompat(incompat::EA_INODE);
        if has_ea_inode || self.has_flag(flag::EA_INODE) {
            return self.size() != 0 && self.size() < 60 && !self.has_flag(flag::EXTENTS);
        }
        self.size() < 60 && self.blocks(superblock).saturating_sub(attributes) == 0
    }
}

fn mode_of(kind: Kind) -> u16 {
    match kind {
        Kind::File => S_IFREG,
        Kind::Dir => S_IFDIR,
        Kind::Symlink => S_IFLNK,
        Kind::CharDevice => S_IFCHR,
        Kind::BlockDevice => S_IFBLK,
        Kind::Fifo => S_IFIFO,
        Kind::Socket => S_IFSOCK,
    }
}

/// A number of sectors of 512 bytes as one of blocks.
fn in_blocks(sectors: u64, superblock: &Superblock) -> u64 {
    let per_block = sectors_per_block(superblock);
    sectors.checked_div(per_block).unwrap_or(sectors)
}

fn sectors_per_block(superblock: &Superblock) -> u64 {
    superblock.block_bytes() / 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::tests::{new_file, volume};

    fn now() -> Time {
        Time {
            seconds: 5_000_000_000,
            nanoseconds: 123,
        }
    }

    #[test]
    fn what_is_set_reads_back() {
        let mut volume = volume(incompat::EXTENTS, ro_compat::METADATA_CSUM);
        let mut inode = new_file(&mut volume);
        inode.set_owner(100_000, 200_000);
        inode.set_mode(0o4751);
        inode.set_mtime(now());
        inode.set_atime(Time::default());
        inode.set_size(1 << 40);
        inode.set_file_acl(1 << 40);
        volume.write_inode(&mut inode).unwrap();
        let inode = volume.inode(inode.number()).unwrap();
        let meta = inode.meta().unwrap();
        assert_eq!((meta.uid, meta.gid, meta.mode), (100_000, 200_000, 0o4751));
        assert_eq!((meta.mtime, meta.atime), (now(), Time::default()));
        assert_eq!((meta.size, inode.file_acl()), (1 << 40, 1 << 40));
        assert_eq!((meta.kind, meta.device), (Kind::File, None));
    }

    #[test]
    fn blocks_are_counted_in_sectors_until_there_are_too_many() {
        let mut volume = volume(incompat::EXTENTS, ro_compat::HUGE_FILE);
        let mut inode = new_file(&mut volume);
        for blocks in [0, 5, 1 << 31, 1 << 46, 1 << 47] {
            inode.set_blocks(&volume.superblock, blocks).unwrap();
            assert_eq!(inode.blocks(&volume.superblock), blocks);
            assert_eq!(inode.has_flag(flag::HUGE_FILE), blocks == 1 << 47);
        }
        let small = self::volume(incompat::EXTENTS, 0);
        let refused = inode.set_blocks(&small.superblock, 1 << 31);
        assert!(matches!(refused, Err(Error::Unsupported(_))));
    }

    #[test]
    fn device_numbers_are_read_in_both_forms() {
        let mut volume = volume(0, 0);
        let mut inode = new_file(&mut volume);
        inode.raw_mut().i_mode.set(S_IFBLK);
        for (bytes, device) in [
            ([3, 8, 0, 0, 0, 0, 0, 0], (8, 3)),
            ([0, 0, 0, 0, 0x70, 0x03, 0x11, 0x11], (0x103, 0x11170)),
        ] {
            inode.block_mut()[..8].copy_from_slice(&bytes);
            assert_eq!(inode.meta().unwrap().device, Some(device));
        }
    }

    #[test]
    fn each_fault_has_its_reason() {
        let mut volume = volume(0, ro_compat::METADATA_CSUM);
        let inode = new_file(&mut volume);
        let superblock = &volume.superblock;
        let parse = |bytes: Vec<u8>| Inode::parse(superblock, inode.number, bytes, 0);
        parse(inode.bytes.clone()).unwrap();
        parse(vec![0; 256]).unwrap();
        for (at, value, want) in [
            (128, 0xff, "i_extra_isize"),
            (128, 30, "i_extra_isize"),
            (20, 1, "checksum"),
        ] {
            let mut bytes = inode.bytes.clone();
            bytes[at] = value;
            let Err(Error::Corrupt(reason)) = parse(bytes) else {
                panic!("{want} was accepted");
            };
            assert!(reason.to_string().contains(want), "{reason}");
        }
        let mut inode = inode.clone();
        inode.raw_mut().i_mode.set(0o050_644);
        assert!(matches!(inode.meta(), Err(Error::Corrupt(_))));
        for number in [0, 33, u64::MAX] {
            let refused = InodeNumber::new(superblock, number);
            assert!(matches!(refused, Err(Error::Corrupt(_))));
        }
    }
}
