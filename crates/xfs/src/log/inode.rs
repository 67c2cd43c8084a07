//! Inodes: the core and the roots of the forks as a little-endian machine had them in memory.

use super::area::be64;
use super::transaction::{Item, le16, le32, le64};
use crate::checksum;
use crate::error::{CorruptKind, Error};
use ondisk::width::{u64_of, usize_of_u32};

/// `XFS_DINODE_MAGIC`, "IN".
pub(super) const MAGIC: u16 = 0x494e;

/// Bits of `ilf_fields`: what is logged beside the core.
mod logged {
    pub(super) const DATA_LOCAL: u32 = 0x2;
    pub(super) const DATA_EXTENTS: u32 = 0x4;
    pub(super) const DATA_ROOT: u32 = 0x8;
    pub(super) const DEVICE: u32 = 0x10;
    pub(super) const ATTRIBUTES_LOCAL: u32 = 0x40;
    pub(super) const ATTRIBUTES_EXTENTS: u32 = 0x80;
    pub(super) const ATTRIBUTES_ROOT: u32 = 0x100;
    pub(super) const DATA_OWNER: u32 = 0x200;
    pub(super) const ATTRIBUTES_OWNER: u32 = 0x400;

    pub(super) const DATA: u32 = DATA_LOCAL | DATA_EXTENTS | DATA_ROOT;
    pub(super) const ATTRIBUTES: u32 = ATTRIBUTES_LOCAL | ATTRIBUTES_EXTENTS | ATTRIBUTES_ROOT;
}

/// Where fields of an inode lie, in memory and on the volume.
mod at {
    pub(super) const MODE: usize = 2;
    pub(super) const VERSION: usize = 4;
    pub(super) const FORMAT: usize = 5;
    pub(super) const ONLINK: usize = 6;
    pub(super) const BIG_NEXTENTS: usize = 24;
    pub(super) const FLUSHITER: usize = 30;
    pub(super) const TIMES: [usize; 3] = [32, 40, 48];
    pub(super) const NBLOCKS: usize = 64;
    pub(super) const NEXTENTS: usize = 76;
    pub(super) const ANEXTENTS: usize = 80;
    pub(super) const FORKOFF: usize = 82;
    pub(super) const LSN: usize = 112;
    pub(super) const FLAGS2: usize = 120;
    pub(super) const PAD2: std::ops::Range<usize> = 132..144;
    pub(super) const CRTIME: usize = 144;
    pub(super) const UUID: std::ops::Range<usize> = 160..176;
}

/// Numbers of every inode: where each lies and how many bytes it has.
const NUMBERS: [(usize, usize); 18] = [
    (0, 2),
    (at::MODE, 2),
    (at::VERSION, 1),
    (at::FORMAT, 1),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (at::NBLOCKS, 8),
    (72, 4),
    (at::FORKOFF, 1),
    (83, 1),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
];
/// Numbers of inodes of version 3 alone.
const NUMBERS_V3: [(usize, usize); 4] = [(104, 8), (at::FLAGS2, 8), (128, 4), (152, 8)];
/// Bytes of the core of versions 1 and 2 as logged, and of version 3.
const CORE: usize = 96;
const CORE_V3: usize = 176;
/// Where forks start on the volume in versions 1 and 2.
const FORKS: usize = 100;
/// `XFS_DIFLAG2_BIGTIME` and `XFS_DIFLAG2_NREXT64`.
const BIGTIME: u64 = 1 << 3;
const NREXT64: u64 = 1 << 4;
/// `DI_MAX_FLUSH`, from where `di_flushiter` starts over.
const MAX_FLUSH: u16 = 0xffff;

/// A logged inode.
#[derive(Debug)]
pub(super) struct InodeItem<'i> {
    item: &'i Item,
    pub(super) number: u64,
    fields: u32,
    /// The buffer of inodes that it lies in: unit of 512 bytes and how many of them.
    pub(super) cluster: (u64, u16),
    /// Byte of the volume that the inode lies at.
    pub(super) position: u64,
    version: u8,
}

/// What came of replaying an inode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was written.
    Written,
    /// What is on the volume is newer.
    Newer,
}

impl<'i> InodeItem<'i> {
    /// Reads an item, whose description has one of two layouts: that of 64-bit machines has
    /// padding before the number.
    ///
    /// # Errors
    /// Another layout, regions that are not there, a core that cannot be.
    pub(super) fn parse(item: &'i Item, v5: bool, inode_size: u32) -> Result<Self, Error> {
        let bytes = item.description();
        let shift = match bytes.len() {
            56 => 0,
            52 => 4,
            len => {
                let expected = "a description of 52 or 56 bytes";
                return Err(damaged(
                    le64(bytes, 16),
                    "ilf length",
                    u64_of(len),
                    expected,
                ));
            }
        };
        let back = |at: usize| at.saturating_sub(shift);
        let number = le64(bytes, back(16));
        let block = le64(bytes, back(40));
        let (len, within) = (le32(bytes, back(48)), le32(bytes, back(52)));
        let end = within.saturating_add(inode_size);
        let units = u16::try_from(len).unwrap_or(0);
        if u64::from(end) > u64::from(units).saturating_mul(512) {
            let expected = "an inode within its buffer";
            return Err(damaged(number, "ilf_boffset", within.into(), expected));
        }
        let core = item.region(1);
        let version = core.get(at::VERSION).copied().unwrap_or(0);
        let expected = if v5 { 3..=3 } else { 1..=2 };
        let core_len = if v5 { CORE_V3 } else { CORE };
        if core.len() < core_len || le16(core, 0) != MAGIC || !expected.contains(&version) {
            let expected = "a core of the volume's version";
            return Err(damaged(
                number,
                "di_version in the log",
                version.into(),
                expected,
            ));
        }
        let position = block.saturating_mul(512).saturating_add(within.into());
        let inode = Self {
            item,
            number,
            fields: le32(bytes, 4),
            cluster: (block, units),
            position,
            version,
        };
        inode.check_core(inode_size)?;
        Ok(inode)
    }

    /// What the kernel does not replay: files and directories in forms that they do not have, more
    /// extents than blocks, an attribute fork behind the end.
    fn check_core(&self, inode_size: u32) -> Result<(), Error> {
        let core = self.core();
        let format = core.get(at::FORMAT).copied().unwrap_or(0);
        let kind = le16(core, at::MODE) & 0o170_000;
        // Local, extents, tree.
        let possible = match kind {
            0o100_000 => (2..=3).contains(&format),
            0o040_000 => (1..=3).contains(&format),
            _ => true,
        };
        if !possible {
            let expected = "a form that the node can have";
            return Err(damaged(
                self.number,
                "di_format in the log",
                format.into(),
                expected,
            ));
        }
        let large = self.has(NREXT64);
        let extents = if large {
            le64(core, at::BIG_NEXTENTS).saturating_add(le32(core, at::NEXTENTS).into())
        } else {
            u64::from(le32(core, at::NEXTENTS)).saturating_add(le16(core, at::ANEXTENTS).into())
        };
        if extents > le64(core, at::NBLOCKS) {
            let expected = "no more extents than blocks";
            return Err(damaged(
                self.number,
                "di_nextents in the log",
                extents,
                expected,
            ));
        }
        let forks = usize_of_u32(inode_size).saturating_sub(self.forks_at());
        let attributes_at = self.attributes_at();
        if attributes_at > forks {
            let value = u64_of(attributes_at);
            let expected = "a fork within the inode";
            return Err(damaged(
                self.number,
                "di_forkoff in the log",
                value,
                expected,
            ));
        }
        Ok(())
    }

    /// Whether trees of extents changed hands and each block must be told its new owner.
    pub(super) fn changes_owner(&self) -> bool {
        self.fields & (logged::DATA_OWNER | logged::ATTRIBUTES_OWNER) != 0
    }

    /// Which forks' trees changed hands: that of the data, that of the attributes.
    pub(super) fn changed_forks(&self) -> (bool, bool) {
        let is = |bit| self.fields & bit != 0;
        (is(logged::DATA_OWNER), is(logged::ATTRIBUTES_OWNER))
    }

    /// Puts what was logged at `lsn` into `inode`, as it lies on the volume, unless that is newer.
    ///
    /// # Errors
    /// No inode there, and forks that do not fit.
    pub(super) fn replay(&self, inode: &mut [u8], lsn: u64) -> Result<Outcome, Error> {
        if !inode.starts_with(&MAGIC.to_be_bytes()) {
            let found = u64::from(super::area::be32(inode, 0) >> 16);
            return Err(damaged(self.number, "di_magic on the volume", found, "IN"));
        }
        if self.is_newer(inode, lsn) {
            return Ok(Outcome::Newer);
        }
        self.put_core(inode, lsn);
        self.put_forks(inode)?;
        if self.version >= 3 {
            checksum::set(inode, checksum::place::INODE);
        }
        Ok(Outcome::Written)
    }

    fn core(&self) -> &'i [u8] {
        self.item.region(1)
    }

    fn has(&self, flag: u64) -> bool {
        self.version >= 3 && le64(self.core(), at::FLAGS2) & flag != 0
    }

    fn is_newer(&self, inode: &[u8], lsn: u64) -> bool {
        if self.version >= 3 {
            let version = inode.get(at::VERSION).copied().unwrap_or(0);
            let written = be64(inode, at::LSN);
            // More than one transaction can have the same number: the same is not newer.
            return version >= 3 && written != 0 && written != u64::MAX && written > lsn;
        }
        let written = be64(inode, at::BIG_NEXTENTS);
        let written = u16::try_from(written & u64::from(u16::MAX)).unwrap_or(0);
        let logged = le16(self.core(), at::FLUSHITER);
        let started_over = written == MAX_FLUSH && logged < MAX_FLUSH >> 1;
        logged < written && !started_over
    }

    fn put_core(&self, inode: &mut [u8], lsn: u64) {
        let core = self.core();
        let v3 = self.version >= 3;
        let mut put = |at: usize, len: usize| {
            let end = at.saturating_add(len);
            if let (Some(place), Some(number)) = (inode.get_mut(at..end), core.get(at..end)) {
                place.copy_from_slice(number);
                place.reverse();
            }
        };
        let all = NUMBERS
            .iter()
            .chain(v3.then_some(&NUMBERS_V3).into_iter().flatten());
        for (at, len) in all {
            put(*at, *len);
        }
        // Two halves, seconds and nanoseconds, unless times are one large number.
        for at in at::TIMES.into_iter().chain(v3.then_some(at::CRTIME)) {
            if self.has(BIGTIME) {
                put(at, 8);
            } else {
                put(at, 4);
                put(at.saturating_add(4), 4);
            }
        }
        let mut fill = |range: std::ops::Range<usize>, bytes: &[u8]| {
            if let Some(place) = inode.get_mut(range) {
                place.copy_from_slice(bytes);
            }
        };
        if self.version == 1 {
            fill(at::ONLINK..8, &le16(core, at::ONLINK).to_be_bytes());
        } else {
            fill(at::ONLINK..8, &[0; 2]);
        }
        if self.has(NREXT64) {
            fill(
                at::BIG_NEXTENTS..32,
                &le64(core, at::BIG_NEXTENTS).to_be_bytes(),
            );
        } else {
            fill(at::BIG_NEXTENTS..32, &[0; 8]);
        }
        fill(at::NEXTENTS..80, &le32(core, at::NEXTENTS).to_be_bytes());
        fill(at::ANEXTENTS..82, &le16(core, at::ANEXTENTS).to_be_bytes());
        if v3 {
            fill(at::LSN..120, &lsn.to_be_bytes());
            fill(at::PAD2, &[0; 12]);
            fill(at::UUID, core.get(at::UUID).unwrap_or(&[0; 16]));
        }
    }

    fn put_forks(&self, inode: &mut [u8]) -> Result<(), Error> {
        let forks = inode.get_mut(self.forks_at()..).unwrap_or_default();
        let border = match self.attributes_at() {
            0 => forks.len(),
            border => border.min(forks.len()),
        };
        let (data, attributes) = forks.split_at_mut(border);
        if self.fields & logged::DEVICE != 0 {
            let device = le32(self.item.description(), self.device_at());
            if let Some(place) = data.first_chunk_mut() {
                *place = device.to_be_bytes();
            }
        }
        let mut region = 2;
        let logged = self.fields & logged::DATA;
        if logged != 0 {
            self.put_fork(data, self.item.region(region), logged == logged::DATA_ROOT)?;
            region = 3;
        }
        let logged = self.fields & logged::ATTRIBUTES;
        if logged != 0 {
            let root = logged == logged::ATTRIBUTES_ROOT;
            self.put_fork(attributes, self.item.region(region), root)?;
        }
        Ok(())
    }

    fn put_fork(&self, fork: &mut [u8], logged: &[u8], is_root: bool) -> Result<(), Error> {
        let room = u64_of(fork.len());
        let too_large = || {
            let expected = "no more than the fork has room for";
            damaged(
                self.number,
                "a fork in the log",
                u64_of(logged.len()).max(room),
                expected,
            )
        };
        if is_root {
            return self.put_root(fork, logged).ok_or_else(too_large);
        }
        let place = fork.get_mut(..logged.len()).ok_or_else(too_large)?;
        place.copy_from_slice(logged);
        Ok(())
    }

    /// Puts the root of a tree of extents, which in memory is a whole block of the tree, into a
    /// fork: level and number of records, then keys, then pointers behind the room for keys.
    fn put_root(&self, fork: &mut [u8], block: &[u8]) -> Option<()> {
        let header = if self.version >= 3 { 72 } else { 24 };
        let records = block.get(4..8)?;
        let count = usize::from(u16::from_be_bytes(*records.last_chunk()?));
        let body = block.get(header..)?;
        // Keys and pointers have 8 bytes each.
        let room_before = body.len().checked_div(16)?;
        let room = fork.len().checked_sub(4)?.checked_div(16)?;
        if count > room_before || count > room {
            return None;
        }
        let bytes = count.checked_mul(8)?;
        let keys = body.get(..bytes)?;
        let pointers = body.get(room_before.checked_mul(8)?..)?.get(..bytes)?;
        fork.get_mut(..4)?.copy_from_slice(records);
        fork.get_mut(4..)?.get_mut(..bytes)?.copy_from_slice(keys);
        let at = room.checked_mul(8)?.checked_add(4)?;
        fork.get_mut(at..)?
            .get_mut(..bytes)?
            .copy_from_slice(pointers);
        Some(())
    }

    fn forks_at(&self) -> usize {
        if self.version >= 3 { CORE_V3 } else { FORKS }
    }

    /// Where the attributes' fork starts behind the data's; 0 if there is none.
    fn attributes_at(&self) -> usize {
        let units = self.core().get(at::FORKOFF).copied().unwrap_or(0);
        usize::from(units).saturating_mul(8)
    }

    /// Where the device number lies in the description.
    fn device_at(&self) -> usize {
        if self.item.description().len() == 56 {
            24
        } else {
            20
        }
    }
}

fn damaged(inode: u64, field: &'static str, value: u64, expected: &'static str) -> Error {
    CorruptKind::Inode {
        inode,
        field,
        value,
        expected,
    }
    .into()
}
