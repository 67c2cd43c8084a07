//! Inodes: what is known about a node, and its two forks as they lie in it.

use crate::checksum::{self, place};
use crate::error::{CorruptKind, Error};
use crate::raw::RawInode;
use crate::superblock::Superblock;
use crate::timestamp;
use fs::{Kind, Meta, NewNode, Time};
use ondisk::width::u64_of;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// An inode, in use or not.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    number: u64,
    core: RawInode,
    /// What follows the core: the data fork, and from `di_forkoff` on the attributes.
    literal: Vec<u8>,
}

/// Which fork of an inode.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fork {
    /// Content.
    Data,
    /// Extended attributes.
    Attributes,
}

/// How a fork is kept: `enum xfs_dinode_fmt`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// A device number.
    Device,
    /// The content itself.
    Local,
    /// Records of extents.
    Extents,
    /// The root of a B+tree of extents.
    Tree,
}

/// "IN".
const MAGIC: u16 = 0x494e;
/// Bytes of the core of versions 1 and 2.
const OLD_CORE: usize = std::mem::offset_of!(RawInode, di_crc);
/// `NULLAGINO`.
const NO_INODE: u32 = u32::MAX;
/// Bits of `di_flags`.
pub(crate) mod flag {
    pub(crate) const REALTIME: u16 = 0x1;
    pub(crate) const PROJECT_INHERIT: u16 = 0x200;
}
/// Bits of `di_flags2`.
pub(crate) mod flag2 {
    pub(crate) const REFLINK: u64 = 0x2;
    pub(crate) const BIGTIME: u64 = 0x8;
    pub(crate) const NREXT64: u64 = 0x10;
}

const MODE_KIND: u16 = 0o170_000;
const KINDS: [(u16, Kind); 7] = [
    (0o010_000, Kind::Fifo),
    (0o020_000, Kind::CharDevice),
    (0o040_000, Kind::Dir),
    (0o060_000, Kind::BlockDevice),
    (0o100_000, Kind::File),
    (0o120_000, Kind::Symlink),
    (0o140_000, Kind::Socket),
];

impl Inode {
    /// Makes sense of an inode at byte `position` of the volume.
    ///
    /// # Errors
    /// A wrong sum or number, or fields that do not fit each other.
    pub(crate) fn parse(
        superblock: &Superblock,
        number: u64,
        bytes: &[u8],
        position: u64,
    ) -> Result<Self, Error> {
        let v5 = superblock.features.v5();
        let wrong = |field, value, expected| {
            Error::from(CorruptKind::Inode {
                inode: number,
                field,
                value,
                expected,
            })
        };
        let (mut core, _) = RawInode::read_from_prefix(bytes)
            .map_err(|_| wrong("length", u64_of(bytes.len()), "an inode"))?;
        if core.di_magic.get() != MAGIC {
            return Err(wrong("di_magic", core.di_magic.get().into(), "18766"));
        }
        if v5 {
            checksum::verify(bytes, place::INODE, "inode", position)?;
            if core.di_version != 3 {
                return Err(wrong("di_version", core.di_version.into(), "3"));
            }
            if core.di_ino.get() != number {
                return Err(wrong("di_ino", core.di_ino.get(), "its own number"));
            }
            if core.di_uuid != superblock.meta_uuid {
                return Err(wrong("di_uuid", 0, "the identifier of the file system"));
            }
        } else {
            if !matches!(core.di_version, 1 | 2) {
                return Err(wrong("di_version", core.di_version.into(), "1 or 2"));
            }
            // What lies there is the data fork.
            if let Some(newer) = core.as_mut_bytes().get_mut(OLD_CORE..) {
                newer.fill(0);
            }
        }
        let literal = bytes.get(core_len(v5)..).unwrap_or_default().to_vec();
        let inode = Self {
            number,
            core,
            literal,
        };
        if inode.is_in_use() {
            inode.check()?;
        }
        Ok(inode)
    }

    /// Checks the fields of an inode in use.
    fn check(&self) -> Result<(), Error> {
        let kind = self.kind()?;
        let format = self.format(Fork::Data)?;
        let fits = match kind {
            Kind::File => matches!(format, Format::Extents | Format::Tree),
            Kind::Dir => format != Format::Device,
            Kind::Symlink => matches!(format, Format::Local | Format::Extents),
            _ => format == Format::Device,
        };
        if !fits {
            let value = self.core.di_format.into();
            return Err(self.wrong("di_format", value, "a format of such a node"));
        }
        let border = usize::from(self.core.di_forkoff).saturating_mul(8);
        if border >= self.literal.len() {
            let value = self.core.di_forkoff.into();
            return Err(self.wrong("di_forkoff", value, "a border within the inode"));
        }
        if self.core.di_forkoff != 0 && self.format(Fork::Attributes)? == Format::Device {
            let value = self.core.di_aformat.into();
            return Err(self.wrong("di_aformat", value, "a format of attributes"));
        }
        if self.size() > i64::MAX.unsigned_abs() {
            return Err(self.wrong("di_size", self.size(), "at most 2^63 - 1"));
        }
        if format == Format::Local && self.size() > u64_of(self.room(Fork::Data)) {
            return Err(self.wrong("di_size", self.size(), "what fits into the inode"));
        }
        if self.core.di_flags.get() & flag::REALTIME != 0 && kind == Kind::File {
            let value = self.core.di_flags.get().into();
            return Err(self.wrong("di_flags", value, "no file on a realtime device"));
        }
        Ok(())
    }

    /// An inode of a new node, which nothing names yet. `old` is what lay there: the generation
    /// goes on from it.
    pub(crate) fn new(
        superblock: &Superblock,
        (number, generation): (u64, u32),
        kind: Kind,
        new: NewNode,
        now: Time,
    ) -> Self {
        let features = superblock.features;
        let mut inode = Self::unused(superblock, number, generation);
        let bits = KINDS.iter().find(|(_, other)| *other == kind);
        let bits = bits.map_or(0, |(bits, _)| *bits);
        inode.core.di_mode.set(bits | (new.mode & 0o7777));
        inode.core.di_uid.set(new.uid);
        inode.core.di_gid.set(new.gid);
        if features.v5() {
            let mut flags2 = 0;
            if features.bigtime() {
                flags2 |= flag2::BIGTIME;
            }
            if features.nrext64() {
                flags2 |= flag2::NREXT64;
            }
            inode.core.di_flags2.set(flags2);
            inode.core.di_changecount.set(1);
        }
        let now = inode.encode_time(now);
        inode.core.di_atime.set(now);
        inode.core.di_mtime.set(now);
        inode.core.di_ctime.set(now);
        if features.v5() {
            inode.core.di_crtime.set(now);
        }
        inode
    }

    /// An inode that is not in use, as the kernel makes those of a new chunk.
    pub(crate) fn unused(superblock: &Superblock, number: u64, generation: u32) -> Self {
        let v5 = superblock.features.v5();
        let mut core = RawInode::new_zeroed();
        core.di_magic.set(MAGIC);
        core.di_version = if v5 { 3 } else { 2 };
        core.di_format = format_code(Format::Extents);
        core.di_aformat = format_code(Format::Extents);
        core.di_gen.set(generation);
        core.di_next_unlinked.set(NO_INODE);
        if v5 {
            core.di_ino.set(number);
            core.di_uuid = superblock.meta_uuid;
        }
        let len = ondisk::width::usize_of_u32(superblock.inode_size);
        Self {
            number,
            core,
            literal: vec![0; len.saturating_sub(core_len(v5))],
        }
    }

    /// The inode as it lies on the volume, with its sum.
    pub(crate) fn encode(&self, superblock: &Superblock) -> Vec<u8> {
        let v5 = superblock.features.v5();
        let core = self.core.as_bytes().get(..core_len(v5));
        let mut bytes = core.unwrap_or_default().to_vec();
        bytes.extend_from_slice(&self.literal);
        if v5 {
            checksum::set(&mut bytes, place::INODE);
        }
        bytes
    }

    fn wrong(&self, field: &'static str, value: u64, expected: &'static str) -> Error {
        CorruptKind::Inode {
            inode: self.number,
            field,
            value,
            expected,
        }
        .into()
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it belongs to a node.
    pub(crate) fn is_in_use(&self) -> bool {
        self.core.di_mode.get() != 0
    }

    /// What the node is.
    ///
    /// # Errors
    /// Bits that no node has.
    pub(crate) fn kind(&self) -> Result<Kind, Error> {
        let mode = self.core.di_mode.get();
        let kind = KINDS.iter().find(|(bits, _)| *bits == mode & MODE_KIND);
        let kind = kind.map(|(_, kind)| *kind);
        kind.ok_or_else(|| self.wrong("di_mode", mode.into(), "a kind of node"))
    }

    /// What is known about the node.
    ///
    /// # Errors
    /// As [`kind`](Self::kind).
    pub(crate) fn meta(&self) -> Result<Meta, Error> {
        let kind = self.kind()?;
        let time = |raw: u64| timestamp::decode(raw, self.has_flag2(flag2::BIGTIME));
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice).then(|| {
            let raw = self.literal.first_chunk::<4>();
            let raw = raw.map_or(0, |raw| u32::from_be_bytes(*raw));
            // `sysv_major` and `sysv_minor`.
            (raw >> 18, raw & 0x3_ffff)
        });
        Ok(Meta {
            kind,
            mode: self.core.di_mode.get() & 0o7777,
            uid: self.core.di_uid.get(),
            gid: self.core.di_gid.get(),
            size: self.size(),
            links: self.links(),
            mtime: time(self.core.di_mtime.get()),
            ctime: time(self.core.di_ctime.get()),
            atime: time(self.core.di_atime.get()),
            device,
        })
    }

    /// Names that point here.
    pub(crate) fn links(&self) -> u32 {
        if self.core.di_version == 1 {
            self.core.di_onlink.get().into()
        } else {
            self.core.di_nlink.get()
        }
    }

    /// Sets the count of names. Version 1 becomes 2, as the kernel does too.
    pub(crate) fn set_links(&mut self, links: u32) {
        if self.core.di_version == 1 {
            self.core.di_version = 2;
            self.core.di_onlink.set(0);
        }
        self.core.di_nlink.set(links);
    }

    /// `di_size`.
    pub(crate) fn size(&self) -> u64 {
        self.core.di_size.get()
    }

    /// Sets `di_size`.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.core.di_size.set(size);
    }

    /// Blocks of both forks and their trees.
    pub(crate) fn blocks(&self) -> u64 {
        self.core.di_nblocks.get()
    }

    /// Sets the count of blocks.
    pub(crate) fn set_blocks(&mut self, blocks: u64) {
        self.core.di_nblocks.set(blocks);
    }

    /// `di_gen`.
    pub(crate) fn generation(&self) -> u32 {
        self.core.di_gen.get()
    }

    /// The next inode in a list of those without names, numbered within the group.
    pub(crate) fn next_unlinked(&self) -> Option<u32> {
        let next = self.core.di_next_unlinked.get();
        (next != NO_INODE).then_some(next)
    }

    /// Whether a bit of `di_flags` is set.
    pub(crate) fn has_flag(&self, bit: u16) -> bool {
        self.core.di_flags.get() & bit != 0
    }

    /// Whether a bit of `di_flags2` is set.
    pub(crate) fn has_flag2(&self, bit: u64) -> bool {
        self.core.di_flags2.get() & bit != 0
    }

    /// Makes the inode part of its parent's project, if the parent says so.
    pub(crate) fn inherit(&mut self, parent: &Self, is_dir: bool) {
        if parent.has_flag(flag::PROJECT_INHERIT) {
            self.core.di_projid_lo = parent.core.di_projid_lo;
            self.core.di_projid_hi = parent.core.di_projid_hi;
            if is_dir {
                self.core.di_flags.set(flag::PROJECT_INHERIT);
            }
        }
    }

    /// Sets permission bits, owner and group.
    pub(crate) fn set_owner(&mut self, new: NewNode) {
        let kind = self.core.di_mode.get() & MODE_KIND;
        self.core.di_mode.set(kind | (new.mode & 0o7777));
        self.core.di_uid.set(new.uid);
        self.core.di_gid.set(new.gid);
    }

    /// Sets the time of the last change of content.
    pub(crate) fn set_mtime(&mut self, time: Time) {
        let time = self.encode_time(time);
        self.core.di_mtime.set(time);
    }

    /// Notes that the node changed.
    pub(crate) fn touch(&mut self, now: Time) {
        let now = self.encode_time(now);
        self.core.di_ctime.set(now);
        if self.core.di_version == 3 {
            let count = self.core.di_changecount.get();
            self.core.di_changecount.set(count.wrapping_add(1));
        }
    }

    fn encode_time(&self, time: Time) -> u64 {
        timestamp::encode(time, self.has_flag2(flag2::BIGTIME))
    }

    /// Makes this an inode that is not in use.
    pub(crate) fn clear(&mut self, superblock: &Superblock) {
        let generation = self.generation().wrapping_add(1);
        let lsn = self.core.di_lsn;
        let changes = self.core.di_changecount;
        *self = Self::unused(superblock, self.number, generation);
        if superblock.features.v5() {
            self.core.di_lsn = lsn;
            self.core.di_changecount = changes;
        }
    }

    /// How a fork is kept.
    ///
    /// # Errors
    /// A format that there is none of.
    pub(crate) fn format(&self, fork: Fork) -> Result<Format, Error> {
        let (field, code) = match fork {
            Fork::Data => ("di_format", self.core.di_format),
            Fork::Attributes if self.core.di_forkoff == 0 => return Ok(Format::Extents),
            Fork::Attributes => ("di_aformat", self.core.di_aformat),
        };
        match code {
            0 => Ok(Format::Device),
            1 => Ok(Format::Local),
            2 => Ok(Format::Extents),
            3 => Ok(Format::Tree),
            _ => Err(self.wrong(field, code.into(), "0 to 3")),
        }
    }

    /// Sets how a fork is kept.
    pub(crate) fn set_format(&mut self, fork: Fork, format: Format) {
        match fork {
            Fork::Data => self.core.di_format = format_code(format),
            Fork::Attributes => self.core.di_aformat = format_code(format),
        }
    }

    /// Whether there is an attribute fork.
    pub(crate) fn has_attributes(&self) -> bool {
        self.core.di_forkoff != 0
    }

    /// The border between the forks, in bytes from the start of the data fork: the end of the inode
    /// if there are no attributes.
    pub(crate) fn border(&self) -> usize {
        match self.core.di_forkoff {
            0 => self.literal.len(),
            offset => usize::from(offset)
                .saturating_mul(8)
                .min(self.literal.len()),
        }
    }

    /// Moves the border between the forks; what both hold moves with them.
    pub(crate) fn set_border(&mut self, border: usize) {
        let attributes = self.fork(Fork::Attributes).to_vec();
        let old = self.border();
        let border = border.min(self.literal.len()) / 8;
        self.core.di_forkoff = u8::try_from(border).unwrap_or(u8::MAX);
        let border = self.border();
        // Both keep what fits; callers know that all of it does.
        if let Some(gap) = self.literal.get_mut(old.min(border)..) {
            gap.fill(0);
        }
        let room = self.literal.len().saturating_sub(border);
        let kept = attributes
            .get(..attributes.len().min(room))
            .unwrap_or_default();
        if let Some(place) = self
            .literal
            .get_mut(border..border.saturating_add(kept.len()))
        {
            place.copy_from_slice(kept);
        }
    }

    /// Takes the attribute fork away; it is empty.
    pub(crate) fn remove_border(&mut self) {
        self.fork_mut(Fork::Attributes).fill(0);
        self.core.di_forkoff = 0;
        self.core.di_aformat = format_code(Format::Extents);
    }

    /// Bytes of both forks.
    pub(crate) fn literal_len(&self) -> usize {
        self.literal.len()
    }

    /// Bytes of a fork.
    pub(crate) fn room(&self, fork: Fork) -> usize {
        self.fork(fork).len()
    }

    /// A fork as it lies in the inode.
    pub(crate) fn fork(&self, fork: Fork) -> &[u8] {
        let (data, attributes) = self.literal.split_at(self.border());
        match fork {
            Fork::Data => data,
            Fork::Attributes => attributes,
        }
    }

    /// A fork as it lies in the inode.
    pub(crate) fn fork_mut(&mut self, fork: Fork) -> &mut [u8] {
        let border = self.border();
        let (data, attributes) = self.literal.split_at_mut(border);
        match fork {
            Fork::Data => data,
            Fork::Attributes => attributes,
        }
    }

    /// How many extents a fork has.
    pub(crate) fn extents(&self, fork: Fork) -> u64 {
        match (fork, self.has_flag2(flag2::NREXT64)) {
            (Fork::Data, true) => self.core.di_big_nextents.get(),
            (Fork::Data, false) | (Fork::Attributes, true) => self.core.di_nextents.get().into(),
            (Fork::Attributes, false) => self.core.di_anextents.get().into(),
        }
    }

    /// Sets how many extents a fork has, and says whether the inode can.
    #[must_use]
    pub(crate) fn set_extents(&mut self, fork: Fork, count: u64) -> bool {
        match (fork, self.has_flag2(flag2::NREXT64)) {
            (Fork::Data, true) => {
                self.core.di_big_nextents.set(count);
                count < 1 << 48
            }
            (Fork::Data, false) | (Fork::Attributes, true) => {
                self.core
                    .di_nextents
                    .set(u32::try_from(count).unwrap_or(u32::MAX));
                count <= i32::MAX.unsigned_abs().into()
            }
            (Fork::Attributes, false) => {
                self.core
                    .di_anextents
                    .set(u16::try_from(count).unwrap_or(u16::MAX));
                count <= i16::MAX.unsigned_abs().into()
            }
        }
    }
}

fn core_len(v5: bool) -> usize {
    if v5 { size_of::<RawInode>() } else { OLD_CORE }
}

fn format_code(format: Format) -> u8 {
    match format {
        Format::Device => 0,
        Format::Local => 1,
        Format::Extents => 2,
        Format::Tree => 3,
    }
}
