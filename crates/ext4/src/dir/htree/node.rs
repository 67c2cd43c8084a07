//! The blocks of a directory's index: root and inner nodes.

use crate::Error;
use crate::checksum::DX_TAIL;
use crate::dir::block::read_block;
use crate::dir::entry::rec_len_from_disk;
use crate::dir::{Format, ReadBlocks, WriteBlocks};
use crate::error::CorruptKind;
use crate::hash::NameHash;
use ondisk::width::u64_of;

/// How a block of the index starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::dir) enum Shape {
    /// `.` and `..`, then what holds for all of the index.
    Root,
    /// One free record over all of the block.
    Node,
}

/// A block of the index: places in the order of hashes, and the block that each leads to.
///
/// The first entry stands for all hashes below the second one's; in its place on disk lie the
/// room for entries (`limit`) and their number (`count`).
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) logical: u32,
    shape: Shape,
    bytes: Vec<u8>,
}

impl Shape {
    /// Where the entries start.
    fn entries(self) -> usize {
        match self {
            Self::Root => 32,
            Self::Node => 8,
        }
    }

    /// How many entries have room, with the tail that carries the checksum.
    fn capacity(self, format: &Format) -> u16 {
        let tail = format.checksum.map_or(0, |_| DX_TAIL);
        let room = format
            .block_size
            .saturating_sub(self.entries())
            .saturating_sub(tail);
        // A block has at most 64 KiB, so this fits.
        u16::try_from(room / ENTRY).unwrap_or(u16::MAX)
    }

    /// Checks what makes the entries readable, and the checksum.
    pub(in crate::dir) fn check(
        self,
        format: &Format,
        logical: u32,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let corrupt = |reason, value: u64| Err(format.corrupt(logical, 0, reason, value));
        let rec_len_at = |at| rec_len_from_disk(u16_at(bytes, at), format.block_size);
        match self {
            Self::Root => {
                let (dot, dotdot) = (rec_len_at(4), rec_len_at(16));
                if dot != 12 || dotdot != format.block_size.saturating_sub(12) {
                    return corrupt(
                        "the index root does not start with . and ..",
                        u64_of(dotdot),
                    );
                }
                let info_length = byte_at(bytes, INFO_LENGTH);
                if info_length != 8 {
                    return corrupt("info_length is not 8", u64::from(info_length));
                }
                if byte_at(bytes, UNUSED_FLAGS) & 1 != 0 {
                    return corrupt("the index root has unknown flags", 1);
                }
            }
            Self::Node => {
                if u32_at(bytes, 0) != 0 || rec_len_at(4) != format.block_size {
                    return corrupt("the index node does not start with a free record", 0);
                }
            }
        }
        let (limit, count) = self.limit_and_count(bytes);
        if limit != self.capacity(format) {
            return corrupt("limit is not what the block has room for", u64::from(limit));
        }
        if count == 0 || count > limit {
            return corrupt("count is zero or beyond limit", u64::from(count));
        }
        let Some(seed) = format.checksum else {
            return Ok(());
        };
        let found = u32_at(bytes, self.sum_at(limit));
        let computed = seed.dx_node(bytes, self.entries(), limit, count);
        if found == computed {
            return Ok(());
        }
        Err(CorruptKind::DirectoryChecksum {
            inode: format.inode,
            block: logical,
            found,
            computed,
        }
        .into())
    }

    /// Writes the checksum into a block that was checked before it was changed.
    pub(in crate::dir) fn sum(self, format: &Format, bytes: &mut [u8]) {
        if let Some(seed) = format.checksum {
            let (limit, count) = self.limit_and_count(bytes);
            let computed = seed.dx_node(bytes, self.entries(), limit, count);
            put_u32(bytes, self.sum_at(limit), computed);
        }
    }

    fn limit_and_count(self, bytes: &[u8]) -> (u16, u16) {
        let at = self.entries();
        (u16_at(bytes, at), u16_at(bytes, at.saturating_add(2)))
    }

    fn sum_at(self, limit: u16) -> usize {
        self.entry_at(limit).saturating_add(4)
    }

    fn entry_at(self, index: u16) -> usize {
        self.entries()
            .saturating_add(usize::from(index).saturating_mul(ENTRY))
    }
}

impl Node {
    /// Reads and checks a block of the index.
    pub(super) fn read(
        format: &Format,
        blocks: &(impl ReadBlocks + ?Sized),
        logical: u32,
    ) -> Result<Self, Error> {
        let shape = if logical == 0 {
            Shape::Root
        } else {
            Shape::Node
        };
        let bytes = read_block(format, blocks, logical)?;
        shape.check(format, logical, &bytes)?;
        Ok(Self {
            logical,
            shape,
            bytes,
        })
    }

    /// An index root over `leaf` alone, made of the first record `.` of the directory and of what
    /// `..` names.
    pub(super) fn new_root(format: &Format, dots: &[u8; 24], leaf: u32) -> Self {
        let mut bytes = vec![0; format.block_size];
        bytes[..24].copy_from_slice(dots);
        bytes[HASH_VERSION] = format.default_hash_version;
        bytes[INFO_LENGTH] = 8;
        let mut node = Self {
            logical: 0,
            shape: Shape::Root,
            bytes,
        };
        node.start(format, leaf);
        node
    }

    /// An inner node with the entries of `source` from `from` on.
    pub(super) fn new_node(format: &Format, logical: u32, source: &Self, from: u16) -> Self {
        let mut bytes = vec![0; format.block_size];
        let whole = crate::dir::entry::rec_len_to_disk(format.block_size, format.block_size);
        bytes[4..6].copy_from_slice(&whole.to_le_bytes());
        let mut node = Self {
            logical,
            shape: Shape::Node,
            bytes,
        };
        node.start(format, source.block(from));
        for index in from.saturating_add(1)..source.count() {
            let last = node.count().saturating_sub(1);
            node.insert_after(last, source.hash(index), source.block(index));
        }
        node
    }

    fn start(&mut self, format: &Format, first: u32) {
        let at = self.shape.entries();
        let limit = self.shape.capacity(format);
        self.bytes[at..][..2].copy_from_slice(&limit.to_le_bytes());
        self.set_count(1);
        put_u32(&mut self.bytes, at.saturating_add(4), first);
    }

    /// Sums the block and writes it.
    pub(super) fn write(
        &mut self,
        format: &Format,
        blocks: &mut (impl WriteBlocks + ?Sized),
    ) -> Result<(), Error> {
        self.shape.sum(format, &mut self.bytes);
        blocks.write(self.logical, &self.bytes)
    }

    /// `hash_version` of a root.
    pub(super) fn hash_version(&self) -> u8 {
        byte_at(&self.bytes, HASH_VERSION)
    }

    /// `indirect_levels` of a root: how many levels of inner nodes lie below it.
    pub(super) fn indirect_levels(&self) -> u8 {
        byte_at(&self.bytes, INDIRECT_LEVELS)
    }

    pub(super) fn count(&self) -> u16 {
        self.shape.limit_and_count(&self.bytes).1
    }

    pub(super) fn is_full(&self) -> bool {
        let (limit, count) = self.shape.limit_and_count(&self.bytes);
        count >= limit
    }

    /// The lowest hash of an entry; with bit 0 if names of that hash also lie before it.
    pub(super) fn hash(&self, index: u16) -> u32 {
        if index == 0 {
            return 0;
        }
        u32_at(&self.bytes, self.shape.entry_at(index))
    }

    /// The block that an entry leads to.
    pub(super) fn block(&self, index: u16) -> u32 {
        let at = self.shape.entry_at(index).saturating_add(4);
        // The upper bits were meant for hints about how full the block is.
        u32_at(&self.bytes, at) & 0x0fff_ffff
    }

    /// The entry that holds `hash`: the last one that starts at or before it.
    pub(super) fn find(&self, hash: NameHash) -> u16 {
        let (mut low, mut high) = (1, self.count());
        while low < high {
            let middle = u16::midpoint(low, high);
            if self.hash(middle) > hash.0 {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        low.saturating_sub(1)
    }

    /// Adds an entry behind `index`; there must be room.
    pub(super) fn insert_after(&mut self, index: u16, hash: u32, block: u32) {
        let at = self.shape.entry_at(index.saturating_add(1));
        let end = self.shape.entry_at(self.count());
        self.bytes.copy_within(at..end, at.saturating_add(ENTRY));
        put_u32(&mut self.bytes, at, hash);
        put_u32(&mut self.bytes, at.saturating_add(4), block);
        self.set_count(self.count().saturating_add(1));
    }

    /// Forgets the entries from `count` on.
    pub(super) fn truncate(&mut self, count: u16) {
        self.set_count(count.min(self.count()));
    }

    /// Makes a root lead to `below` alone, which took over its entries.
    pub(super) fn add_level(&mut self, below: u32) {
        self.set_count(1);
        let at = self.shape.entries().saturating_add(4);
        put_u32(&mut self.bytes, at, below);
        self.bytes[INDIRECT_LEVELS] = self.indirect_levels().saturating_add(1);
    }

    fn set_count(&mut self, count: u16) {
        let at = self.shape.entries().saturating_add(2);
        self.bytes[at..][..2].copy_from_slice(&count.to_le_bytes());
    }
}

fn byte_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..][..4].copy_from_slice(&value.to_le_bytes());
}

/// Bytes of an entry: hash and block.
const ENTRY: usize = 8;
const HASH_VERSION: usize = 28;
const INFO_LENGTH: usize = 29;
const INDIRECT_LEVELS: usize = 30;
const UNUSED_FLAGS: usize = 31;
