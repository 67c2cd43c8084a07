//! The B+trees of an allocation group, whose pointers are blocks of that group.
//!
//! They are read as a whole into records, and written as a whole from records: bottom up, with
//! all blocks of a level equally full. Nothing here splits or joins blocks.

use crate::checksum::{self, place};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::raw::RawShortBlock;
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of_u32};
use std::collections::HashSet;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Which tree.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Tree {
    /// Free extents by their first block, "bnobt".
    FreeByBlock,
    /// Free extents by their length, "cntbt".
    FreeByLength,
    /// Chunks of inodes, "inobt".
    Inodes,
    /// Chunks with free inodes, "finobt".
    FreeInodes,
    /// Owners of blocks, "rmapbt".
    Owners,
    /// Blocks that are shared, "refcountbt".
    Sharing,
}

/// All records of a tree, and the blocks that it lies in.
#[derive(Clone, Debug, Default)]
pub(crate) struct TreeContent {
    /// Records on end, as they lie on disk.
    pub(crate) records: Vec<u8>,
    /// Blocks of the group, in any order.
    pub(crate) blocks: Vec<u32>,
}

/// `XFS_BTREE_MAXLEVELS`.
const MAX_LEVELS: u32 = 9;
/// Records of one tree that are kept in memory, some 400 MB of the largest kind: groups have at most
/// 2^31 blocks, but a tree of more is no root file system's.
const MAX_RECORDS: usize = 1 << 24;
/// `NULLAGBLOCK`: no sibling.
pub(crate) const NO_BLOCK: u32 = u32::MAX;
/// Of the header that version 4 has too.
const V4_HEADER: usize = 16;

impl Tree {
    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FreeByBlock => "tree of free extents by block",
            Self::FreeByLength => "tree of free extents by length",
            Self::Inodes => "tree of inodes",
            Self::FreeInodes => "tree of free inodes",
            Self::Owners => "tree of owners",
            Self::Sharing => "tree of shared blocks",
        }
    }

    /// `bb_magic` in versions 4 and 5.
    fn magic(self, v5: bool) -> u32 {
        let name = match (self, v5) {
            (Self::FreeByBlock, false) => b"ABTB",
            (Self::FreeByBlock, true) => b"AB3B",
            (Self::FreeByLength, false) => b"ABTC",
            (Self::FreeByLength, true) => b"AB3C",
            (Self::Inodes, false) => b"IABT",
            (Self::Inodes, true) => b"IAB3",
            (Self::FreeInodes, false) => b"FIBT",
            (Self::FreeInodes, true) => b"FIB3",
            (Self::Owners, _) => b"RMB3",
            (Self::Sharing, _) => b"R3FC",
        };
        u32::from_be_bytes(*name)
    }

    /// Bytes of a record.
    pub(crate) fn record_len(self) -> usize {
        match self {
            Self::FreeByBlock | Self::FreeByLength => 8,
            Self::Inodes | Self::FreeInodes => 16,
            Self::Owners => 24,
            Self::Sharing => 12,
        }
    }

    /// Bytes of the keys of one pointer: a record's head, and for owners a second, high key.
    pub(crate) fn key_len(self) -> usize {
        match self {
            Self::FreeByBlock | Self::FreeByLength => 8,
            Self::Inodes | Self::FreeInodes | Self::Sharing => 4,
            Self::Owners => 40,
        }
    }

    /// What follows the header of a block.
    pub(crate) fn body(v5: bool, block: &[u8]) -> &[u8] {
        block.get(header_len(v5)..).unwrap_or_default()
    }

    /// The lowest and the highest key of a record; all but owners have only one.
    pub(crate) fn keys(self, record: &[u8]) -> (Vec<u8>, Vec<u8>) {
        if self == Self::Owners {
            return crate::rmap::keys(record);
        }
        let head = record.get(..self.key_len()).unwrap_or_default();
        (head.to_vec(), Vec::new())
    }

    /// What sorts as keys must: the bytes of the key, but of free extents by length, where the
    /// length comes first.
    pub(crate) fn order(self, key: &[u8]) -> Vec<u8> {
        match (self, key.split_at_checked(4)) {
            (Self::FreeByLength, Some((start, len))) => [len, start].concat(),
            _ => key.to_vec(),
        }
    }

    /// Records in so many bytes.
    fn count(self, len: usize) -> usize {
        len.checked_div(self.record_len()).unwrap_or(0)
    }

    /// Records that fit into a leaf.
    fn leaf_capacity(self, v5: bool, block_len: usize) -> usize {
        capacity(block_len, v5, self.record_len())
    }

    /// Pointers that fit into a node.
    pub(crate) fn node_capacity(self, v5: bool, block_len: usize) -> usize {
        capacity(block_len, v5, self.key_len().saturating_add(4))
    }

    /// Blocks of each level from the leaves up for so many records: at least one leaf.
    pub(crate) fn shape(self, v5: bool, block_len: usize, records: usize) -> Vec<usize> {
        let mut below = spread(records, self.leaf_capacity(v5, block_len));
        let mut levels = vec![below];
        while below > 1 {
            below = spread(below, self.node_capacity(v5, block_len));
            levels.push(below);
        }
        levels
    }

    /// Blocks of a tree of `records` records whose blocks are half full.
    pub(crate) fn max_blocks(self, v5: bool, block_len: usize, records: u64) -> u64 {
        let half = |capacity: usize| u64_of(capacity / 2).max(2);
        let mut level = records.div_ceil(half(self.leaf_capacity(v5, block_len)));
        let mut all = level;
        while level > 1 {
            level = level.div_ceil(half(self.node_capacity(v5, block_len)));
            all = all.saturating_add(level);
        }
        all
    }
}

fn header_len(v5: bool) -> usize {
    if v5 {
        size_of::<RawShortBlock>()
    } else {
        V4_HEADER
    }
}

fn capacity(block_len: usize, v5: bool, len: usize) -> usize {
    block_len
        .saturating_sub(header_len(v5))
        .checked_div(len)
        .unwrap_or(0)
        .max(2)
}

/// Blocks for `items` items when `capacity` fit into one: where one is not enough, they are filled
/// to seven eighths, so that the guest's next insertion need not split.
fn spread(items: usize, capacity: usize) -> usize {
    if items <= capacity {
        return 1;
    }
    let filled = capacity.saturating_sub(capacity / 8).max(1);
    items.div_ceil(filled)
}

impl Volume {
    /// Reads a whole tree of a group.
    ///
    /// # Errors
    /// Blocks that are no part of such a tree, that occur twice, or more records than are kept.
    pub(crate) fn read_tree(
        &self,
        tree: Tree,
        group: u32,
        root: u32,
        levels: u32,
    ) -> Result<TreeContent, Error> {
        if levels == 0 || levels > MAX_LEVELS {
            return Err(CorruptKind::Group {
                group,
                field: tree.name(),
                value: levels.into(),
                expected: "1 to 9 levels",
            }
            .into());
        }
        let mut content = TreeContent::default();
        let mut seen = HashSet::new();
        let mut level = levels.saturating_sub(1);
        let mut row = vec![root];
        loop {
            let mut below = Vec::new();
            for block in &row {
                if !seen.insert(*block) {
                    return Err(self.tree_error(tree, group, *block, "a block that occurs twice"));
                }
                let is_root = *block == root && seen.len() == 1;
                self.read_tree_block(
                    tree,
                    (group, *block),
                    (level, is_root),
                    &mut below,
                    &mut content.records,
                )?;
            }
            content.blocks.append(&mut row);
            if level == 0 {
                return Ok(content);
            }
            level = level.saturating_sub(1);
            row = below;
        }
    }

    fn read_tree_block(
        &self,
        tree: Tree,
        (group, block): (u32, u32),
        (level, is_root): (u32, bool),
        below: &mut Vec<u32>,
        records: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let wrong = |what| self.tree_error(tree, group, block, what);
        if block >= self.superblock.blocks_of_group(group) || block == 0 {
            return Err(wrong("a block outside of the group"));
        }
        let v5 = self.superblock.features.v5();
        let fs_block = self.superblock.fs_block(group, block);
        let bytes = self.read_block(fs_block)?;
        let (header, _) = RawShortBlock::ref_from_prefix(&bytes).map_err(|_| wrong("no header"))?;
        if header.bb_magic.get() != tree.magic(v5) {
            return Err(wrong("another magic number"));
        }
        if v5 {
            let position = self.superblock.position(fs_block);
            checksum::verify(&bytes, place::SHORT_BLOCK, tree.name(), position)?;
            if header.bb_blkno.get() != self.superblock.daddr(fs_block)
                || header.bb_owner.get() != group
                || header.bb_uuid != self.superblock.meta_uuid
            {
                return Err(wrong("a block of somewhere else"));
            }
        }
        if u32::from(header.bb_level.get()) != level {
            return Err(wrong("another level"));
        }
        let count = usize::from(header.bb_numrecs.get());
        if count == 0 && !(is_root && level == 0) {
            return Err(wrong("an empty block"));
        }
        let body = bytes.get(header_len(v5)..).unwrap_or_default();
        let block_len = self.superblock.block_len();
        if level == 0 {
            if count > tree.leaf_capacity(v5, block_len) {
                return Err(wrong("more records than fit"));
            }
            let len = count.saturating_mul(tree.record_len());
            records.extend_from_slice(body.get(..len).ok_or_else(|| wrong("too short"))?);
            if tree.count(records.len()) > MAX_RECORDS {
                return Err(UnsupportedKind::TooLarge {
                    field: tree.name(),
                    value: u64_of(tree.count(records.len())),
                    cap: u64_of(MAX_RECORDS),
                }
                .into());
            }
            return Ok(());
        }
        let capacity = tree.node_capacity(v5, block_len);
        if count > capacity {
            return Err(wrong("more pointers than fit"));
        }
        let pointers = body.get(capacity.saturating_mul(tree.key_len())..);
        let pointers = pointers.unwrap_or_default().chunks_exact(4).take(count);
        below.extend(pointers.filter_map(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?))));
        Ok(())
    }

    fn tree_error(&self, tree: Tree, group: u32, block: u32, what: &'static str) -> Error {
        CorruptKind::Group {
            group,
            field: tree.name(),
            value: block.into(),
            expected: match what {
                "an empty block" => "records in each block (block of the group given)",
                "another magic number" => "the tree's magic number (block of the group given)",
                "another level" => "one level less than above (block of the group given)",
                "a block of somewhere else" => {
                    "a header with its own place, group and identifier (block of the group given)"
                }
                "a block that occurs twice" => "each block once",
                "a block outside of the group" => "blocks within the group",
                _ => "no more than fits (block of the group given)",
            },
        }
        .into()
    }

    /// Writes a tree of the records given, which are sorted, into the blocks given, which must be as
    /// many as its [shape](Tree::shape) has. Says the root and the number of levels.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write_tree(
        &mut self,
        tree: Tree,
        group: u32,
        records: &[u8],
        blocks: &[u32],
    ) -> Result<(u32, u32), Error> {
        let v5 = self.superblock.features.v5();
        let block_len = self.superblock.block_len();
        let count = tree.count(records.len());
        let shape = tree.shape(v5, block_len, count);
        let mut left = blocks;
        let mut items: Vec<Item> = records
            .chunks_exact(tree.record_len())
            .map(|record| Item::of_record(tree, record))
            .collect();
        let mut root = NO_BLOCK;
        for (level, width) in shape.iter().enumerate() {
            let (row, rest) = left.split_at_checked(*width).ok_or_else(|| {
                // Callers count the blocks by the same shape.
                self.tree_error(tree, group, 0, "too short")
            })?;
            left = rest;
            let mut above = Vec::with_capacity(*width);
            let mut items_left = items.as_slice();
            for (index, block) in row.iter().enumerate() {
                let blocks_left = width.saturating_sub(index);
                let share = items_left.len().div_ceil(blocks_left.max(1));
                let (here, rest) = items_left.split_at(share.min(items_left.len()));
                items_left = rest;
                let sibling =
                    |at: Option<usize>| at.and_then(|at| row.get(at)).copied().unwrap_or(NO_BLOCK);
                let mut bytes = vec![0; block_len];
                let mut header = RawShortBlock::new_zeroed();
                header.bb_magic.set(tree.magic(v5));
                header
                    .bb_level
                    .set(u16::try_from(level).unwrap_or(u16::MAX));
                header
                    .bb_numrecs
                    .set(u16::try_from(here.len()).unwrap_or(u16::MAX));
                header.bb_leftsib.set(sibling(index.checked_sub(1)));
                header.bb_rightsib.set(sibling(index.checked_add(1)));
                let fs_block = self.superblock.fs_block(group, *block);
                if v5 {
                    header.bb_blkno.set(self.superblock.daddr(fs_block));
                    header.bb_uuid = self.superblock.meta_uuid;
                    header.bb_owner.set(group);
                }
                let head = header.as_bytes().get(..header_len(v5)).unwrap_or_default();
                put(&mut bytes, 0, head);
                let body = header_len(v5);
                if level == 0 {
                    for (slot, item) in here.iter().enumerate() {
                        let at = slot.saturating_mul(tree.record_len()).saturating_add(body);
                        put(&mut bytes, at, &item.record);
                    }
                } else {
                    let keys = tree
                        .node_capacity(v5, block_len)
                        .saturating_mul(tree.key_len());
                    for (slot, item) in here.iter().enumerate() {
                        let at = slot.saturating_mul(tree.key_len()).saturating_add(body);
                        put(&mut bytes, at, &item.low);
                        if tree == Tree::Owners {
                            put(&mut bytes, at.saturating_add(20), &item.high);
                        }
                        let at = slot
                            .saturating_mul(4)
                            .saturating_add(body)
                            .saturating_add(keys);
                        put(&mut bytes, at, &item.block.to_be_bytes());
                    }
                }
                if v5 {
                    checksum::set(&mut bytes, place::SHORT_BLOCK);
                }
                self.write_block(fs_block, &bytes)?;
                above.push(Item::of_block(*block, here));
                root = *block;
            }
            items = above;
        }
        let levels = u32::try_from(shape.len()).unwrap_or(u32::MAX);
        Ok((root, levels))
    }
}

/// A record, or a pointer with its keys.
#[derive(Debug, Default)]
struct Item {
    record: Vec<u8>,
    /// The lowest key below.
    low: Vec<u8>,
    /// The highest key below, of owners only.
    high: Vec<u8>,
    block: u32,
}

impl Item {
    fn of_record(tree: Tree, record: &[u8]) -> Self {
        let (low, high) = tree.keys(record);
        Self {
            record: record.to_vec(),
            low,
            high,
            block: NO_BLOCK,
        }
    }

    fn of_block(block: u32, below: &[Self]) -> Self {
        // Big-endian keys compare as the numbers do.
        let high = below.iter().map(|item| &item.high).max();
        Self {
            record: Vec::new(),
            low: below
                .first()
                .map(|item| item.low.clone())
                .unwrap_or_default(),
            high: high.cloned().unwrap_or_default(),
            block,
        }
    }
}

/// Copies `part` into `bytes` at `at`, which callers choose so that it fits.
fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(part.len())) {
        place.copy_from_slice(part);
    }
}

/// Bytes of a list of reserved blocks, and how many block numbers fit.
pub(crate) fn list_capacity(v5: bool, sector_size: u32) -> u32 {
    let header = if v5 { 36 } else { 0 };
    let len = usize_of_u32(sector_size).saturating_sub(header) / 4;
    u32::try_from(len).unwrap_or(0)
}
