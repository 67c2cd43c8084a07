//! Where the map of a fork is kept: in the inode, or in a B+tree ("bmbt") whose root is there.
//!
//! As the trees of groups, this one is read and written as a whole.

use crate::allocator::{Blocks, Purpose};
use crate::checksum::{self, place};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::extent::{self, Extent, Map};
use crate::inode::{Fork, Format, Inode};
use crate::raw::RawLongBlock;
use crate::rmap::Owner;
use crate::superblock::FsBlock;
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Levels below the root that are followed: 2^48 extents need no more.
const MAX_DEPTH: u16 = 9;
/// Extents that are kept of one fork, some 130 MB. The most fragmented files have fewer.
const MAX_EXTENTS: u64 = 1 << 22;
/// Maps that are kept; reading a file in pieces needs its map again for each piece.
const KEPT_MAPS: usize = 32;
/// Extents of a map that is kept at most, so that the store stays small: 2 MiB.
const KEPT_EXTENTS: usize = 1 << 16;
/// `NULLFSBLOCK`.
pub(crate) const NO_BLOCK: u64 = u64::MAX;
/// Of the header that version 4 has too.
const V4_HEADER: usize = 24;
/// Bytes of the root's own header: level and count.
const ROOT_HEADER: usize = 4;
/// Bytes of a key with its pointer.
const PAIR: usize = 16;

impl Volume {
    /// The map of a fork that lies in blocks; of a fork in another format, an empty one.
    ///
    /// # Errors
    /// A damaged map, or what the device says.
    pub(crate) fn map(&self, inode: &Inode, fork: Fork) -> Result<Arc<Map>, Error> {
        let key = (inode.number(), fork);
        let lock = || self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = lock().get(&key) {
            return Ok(Arc::clone(map));
        }
        let map = Arc::new(self.read_map(inode, fork)?);
        self.keep_map(key, &map);
        Ok(map)
    }

    fn keep_map(&self, key: (u64, Fork), map: &Arc<Map>) {
        let mut kept = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if map.extents().len() > KEPT_EXTENTS {
            kept.remove(&key);
            return;
        }
        if kept.len() >= KEPT_MAPS {
            kept.clear();
        }
        kept.insert(key, Arc::clone(map));
    }

    /// Forgets the map of a fork that has none any more.
    pub(crate) fn forget_map(&mut self, inode: u64, fork: Fork) {
        let kept = self.maps.get_mut().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&(inode, fork));
    }

    /// Forgets the maps of a node.
    pub(crate) fn forget_maps(&mut self, inode: u64) {
        self.forget_map(inode, Fork::Data);
        self.forget_map(inode, Fork::Attributes);
    }

    fn read_map(&self, inode: &Inode, fork: Fork) -> Result<Map, Error> {
        let count = inode.extents(fork);
        if count > MAX_EXTENTS {
            return Err(UnsupportedKind::TooLarge {
                field: "extents of a fork",
                value: count,
                cap: MAX_EXTENTS,
            }
            .into());
        }
        let count = usize_of(count);
        let (records, nodes) = match inode.format(fork)? {
            Format::Device | Format::Local => return Ok(Map::default()),
            Format::Extents => {
                let records = inode.fork(fork).get(..count.saturating_mul(extent::LEN));
                let records = records.ok_or_else(|| {
                    wrong(
                        inode,
                        "count of extents",
                        u64_of(count),
                        "what fits into the inode",
                    )
                })?;
                (records.to_vec(), Vec::new())
            }
            Format::Tree => self.read_extent_tree(inode, fork)?,
        };
        if records.len() != count.saturating_mul(extent::LEN) {
            let expected = "as many as the B+tree of extents has";
            return Err(wrong(inode, "count of extents", u64_of(count), expected));
        }
        Map::parse(&self.superblock, inode.number(), &records, nodes)
    }

    /// The root of the tree that maps a fork.
    ///
    /// # Errors
    /// A root of too many levels or pointers, or without any.
    pub(crate) fn extent_root(&self, inode: &Inode, fork: Fork) -> Result<Node, Error> {
        let root = inode.fork(fork);
        let [a, b, c, d] = *root.first_chunk().unwrap_or(&[0; ROOT_HEADER]);
        let level = u16::from_be_bytes([a, b]);
        let count = usize::from(u16::from_be_bytes([c, d]));
        let capacity = root_capacity(root.len());
        if level == 0 || level > MAX_DEPTH || count == 0 || count > capacity {
            let expected = "a root of 1 to 9 levels with pointers";
            return Err(wrong(inode, "bb_level of the root", level.into(), expected));
        }
        let body = root.get(ROOT_HEADER..).unwrap_or_default();
        Ok(Node::of_pointers(body, capacity, count, level))
    }

    fn read_extent_tree(
        &self,
        inode: &Inode,
        fork: Fork,
    ) -> Result<(Vec<u8>, Vec<FsBlock>), Error> {
        let root = self.extent_root(inode, fork)?;
        let mut row = root.blocks();
        let mut seen = HashSet::new();
        let (mut records, mut nodes) = (Vec::new(), Vec::new());
        // Levels go down to zero, and no block is visited twice.
        for level in (0..root.level).rev() {
            let mut below = Vec::new();
            for block in &row {
                if !seen.insert(*block) {
                    return Err(wrong(
                        inode,
                        "block of the tree of extents",
                        block.0,
                        "each once",
                    ));
                }
                let bytes = self.read_extent_block(inode, *block, level)?;
                let count = usize::from(u16::from_be_bytes(at(&bytes, 6)));
                let body = bytes.get(header_len(self.superblock.features.v5())..);
                let body = body.unwrap_or_default();
                if level == 0 {
                    let len = count.saturating_mul(extent::LEN);
                    records.extend_from_slice(body.get(..len).unwrap_or_default());
                    // The count in the inode, which is capped, is compared with this.
                    if u64_of(records.len() / extent::LEN) > inode.extents(fork) {
                        let expected = "as many extents as the inode says";
                        return Err(wrong(inode, "tree of extents", block.0, expected));
                    }
                } else {
                    below.extend(Node::parse(self, &bytes, level).blocks());
                }
            }
            nodes.append(&mut row);
            row = below;
        }
        Ok((records, nodes))
    }

    /// Reads a block of the tree that maps a fork, and checks its header.
    ///
    /// # Errors
    /// Another block, or what the device says.
    pub(crate) fn read_extent_block(
        &self,
        inode: &Inode,
        block: FsBlock,
        level: u16,
    ) -> Result<Arc<[u8]>, Error> {
        let (_, within) = self.superblock.split_block(block);
        if !self.superblock.has_blocks(block, 1) || within < self.superblock.header_blocks() {
            let expected = "a block of the file system";
            return Err(wrong(
                inode,
                "block of the tree of extents",
                block.0,
                expected,
            ));
        }
        let bytes = self.read_block(block)?;
        let v5 = self.superblock.features.v5();
        let position = self.superblock.position(block);
        let field = |field, value, expected| {
            Error::from(CorruptKind::Field {
                what: "block of extents",
                position,
                field,
                value,
                expected,
            })
        };
        let (header, _) =
            RawLongBlock::ref_from_prefix(&bytes).map_err(|_| field("length", 0, "a block"))?;
        if header.bb_magic.get() != magic(v5) {
            let value = header.bb_magic.get().into();
            return Err(field("bb_magic", value, "the magic number of extents"));
        }
        if v5 {
            checksum::verify(&bytes, place::LONG_BLOCK, "block of extents", position)?;
            if header.bb_owner.get() != inode.number() {
                return Err(field("bb_owner", header.bb_owner.get(), "the inode"));
            }
            if header.bb_blkno.get() != self.superblock.daddr(block)
                || header.bb_uuid != self.superblock.meta_uuid
            {
                let value = header.bb_blkno.get();
                return Err(field("bb_blkno or bb_uuid", value, "its own place"));
            }
        }
        if header.bb_level.get() != level {
            let value = header.bb_level.get().into();
            return Err(field("bb_level", value, "one less than above"));
        }
        let count = usize::from(header.bb_numrecs.get());
        if count == 0 || count > self.node_capacity() {
            return Err(field("bb_numrecs", u64_of(count), "1 to what fits"));
        }
        Ok(bytes)
    }

    /// Records of a leaf, and pointers of a node.
    fn node_capacity(&self) -> usize {
        let header = header_len(self.superblock.features.v5());
        self.superblock.block_len().saturating_sub(header) / PAIR
    }

    /// Makes `map` the map of a fork, in the inode or in a tree, and counts its blocks. The inode is
    /// changed in memory only.
    ///
    /// # Errors
    /// No room for the tree or the count, or what writing meets.
    pub(crate) fn set_map(&mut self, inode: &mut Inode, fork: Fork, map: Map) -> Result<(), Error> {
        let before = self.map(inode, fork)?.blocks();
        self.store_map(inode, fork, map, before)
    }

    /// As [`set_map`](Self::set_map), for a fork that had `before` blocks.
    ///
    /// # Errors
    /// As [`set_map`](Self::set_map).
    pub(crate) fn store_map(
        &mut self,
        inode: &mut Inode,
        fork: Fork,
        mut map: Map,
        before: u64,
    ) -> Result<(), Error> {
        let count = u64_of(map.extents().len());
        if count > MAX_EXTENTS || !inode.set_extents(fork, count) {
            return Err(UnsupportedKind::Inode {
                inode: inode.number(),
                what: "more extents than an inode is given",
            }
            .into());
        }
        let inline = map.extents().len().saturating_mul(extent::LEN) <= inode.room(fork);
        let shape = if inline {
            Vec::new()
        } else {
            self.extent_shape(inode, fork, map.extents().len())?
        };
        self.resize_nodes(inode, fork, &mut map.nodes, shape.iter().sum())?;
        let place = inode.fork_mut(fork);
        place.fill(0);
        if inline {
            for (place, extent) in place.chunks_exact_mut(extent::LEN).zip(map.extents()) {
                place.copy_from_slice(&extent.encode());
            }
            inode.set_format(fork, Format::Extents);
        } else {
            self.write_extent_tree(inode, fork, &map, &shape)?;
            inode.set_format(fork, Format::Tree);
        }
        let after = inode.blocks().saturating_sub(before);
        inode.set_blocks(after.saturating_add(map.blocks()));
        self.keep_map((inode.number(), fork), &Arc::new(map));
        Ok(())
    }

    /// Blocks of each level below the root, from the leaves up.
    fn extent_shape(&self, inode: &Inode, fork: Fork, count: usize) -> Result<Vec<usize>, Error> {
        let root = root_capacity(inode.room(fork));
        if root == 0 {
            return Err(UnsupportedKind::Inode {
                inode: inode.number(),
                what: "a fork that is too small for a tree of extents",
            }
            .into());
        }
        let capacity = self.node_capacity();
        let mut shape = vec![spread(count, capacity)];
        while let Some(width) = shape.last().copied().filter(|width| *width > root) {
            shape.push(spread(width, capacity));
        }
        Ok(shape)
    }

    /// Takes or gives back blocks for a tree until there are `needed`.
    fn resize_nodes(
        &mut self,
        inode: &Inode,
        fork: Fork,
        nodes: &mut Vec<FsBlock>,
        needed: usize,
    ) -> Result<(), Error> {
        let owner = Owner::map(inode.number(), fork == Fork::Attributes);
        while nodes.len() > needed {
            if let Some(start) = nodes.pop() {
                self.release(Blocks { start, count: 1 }, Purpose::of(owner))?;
            }
        }
        while nodes.len() < needed {
            let goal = self.inode_goal(inode.number());
            nodes.push(self.allocate(goal, 1, Purpose::of(owner))?.start);
        }
        Ok(())
    }

    fn write_extent_tree(
        &mut self,
        inode: &mut Inode,
        fork: Fork,
        map: &Map,
        shape: &[usize],
    ) -> Result<(), Error> {
        let mut left = map.nodes.as_slice();
        // The first block of the fork below, and where that lies: a leaf has records instead.
        let mut items: Vec<(u64, FsBlock)> = Vec::new();
        for (level, width) in shape.iter().enumerate() {
            // There are as many nodes as the shape has.
            let (row, rest) = left.split_at(*width.min(&left.len()));
            left = rest;
            let total = if level == 0 {
                map.extents().len()
            } else {
                items.len()
            };
            let mut from = 0_usize;
            let mut above = Vec::with_capacity(*width);
            for (index, block) in row.iter().enumerate() {
                let blocks_left = width.saturating_sub(index).max(1);
                let share = total.saturating_sub(from).div_ceil(blocks_left);
                let range = from..from.saturating_add(share);
                from = range.end;
                let sibling = |at: Option<usize>| at.and_then(|at| row.get(at)).copied();
                let siblings = (sibling(index.checked_sub(1)), sibling(index.checked_add(1)));
                let (body, first) = if level == 0 {
                    let extents = map.extents().get(range).unwrap_or_default();
                    let body = extents.iter().flat_map(Extent::encode).collect();
                    (body, extents.first().map_or(0, |extent| extent.offset))
                } else {
                    let items = items.get(range).unwrap_or_default();
                    let body = node_body(items, self.node_capacity());
                    (body, items.first().map_or(0, |item| item.0))
                };
                self.write_extent_block(inode.number(), *block, (level, share), siblings, &body)?;
                above.push((first, *block));
            }
            items = above;
        }
        let place = inode.fork_mut(fork);
        let level = u16::try_from(shape.len()).unwrap_or(u16::MAX);
        let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
        let mut root = level.to_be_bytes().to_vec();
        root.extend_from_slice(&count.to_be_bytes());
        root.extend(node_body(&items, root_capacity(place.len())));
        if let Some(place) = place.get_mut(..root.len()) {
            place.copy_from_slice(&root);
        }
        Ok(())
    }

    fn write_extent_block(
        &mut self,
        inode: u64,
        block: FsBlock,
        (level, count): (usize, usize),
        (left, right): (Option<FsBlock>, Option<FsBlock>),
        body: &[u8],
    ) -> Result<(), Error> {
        let v5 = self.superblock.features.v5();
        let sibling = |block: Option<FsBlock>| block.map_or(NO_BLOCK, |block| block.0);
        let mut header = RawLongBlock::new_zeroed();
        header.bb_magic.set(magic(v5));
        header
            .bb_level
            .set(u16::try_from(level).unwrap_or(u16::MAX));
        header
            .bb_numrecs
            .set(u16::try_from(count).unwrap_or(u16::MAX));
        header.bb_leftsib.set(sibling(left));
        header.bb_rightsib.set(sibling(right));
        if v5 {
            header.bb_blkno.set(self.superblock.daddr(block));
            header.bb_uuid = self.superblock.meta_uuid;
            header.bb_owner.set(inode);
        }
        let header = header.as_bytes().get(..header_len(v5));
        let mut bytes = header.unwrap_or_default().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(self.superblock.block_len(), 0);
        if v5 {
            checksum::set(&mut bytes, place::LONG_BLOCK);
        }
        self.write_block(block, &bytes)
    }

    /// Where blocks of a node are placed that has none yet.
    pub(crate) fn inode_goal(&self, inode: u64) -> FsBlock {
        FsBlock(inode >> self.superblock.inodes_per_block.ilog2())
    }
}

/// Keys, room for as many as fit, and pointers.
fn node_body(items: &[(u64, FsBlock)], capacity: usize) -> Vec<u8> {
    let keys = items.iter().flat_map(|(key, _)| key.to_be_bytes());
    let mut body: Vec<u8> = keys.collect();
    body.resize(capacity.saturating_mul(8), 0);
    body.extend(items.iter().flat_map(|(_, block)| block.0.to_be_bytes()));
    body
}

/// What a block, or the root, of a tree of extents leads to.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) level: u16,
    /// The first block of the fork that it maps.
    pub(crate) first: Option<u64>,
    /// The first blocks of the fork below, and where that lies; nothing in leaves.
    pub(crate) items: Vec<(u64, FsBlock)>,
}

impl Node {
    /// A block that was read.
    pub(crate) fn parse(volume: &Volume, bytes: &[u8], level: u16) -> Self {
        let count = usize::from(u16::from_be_bytes(at(bytes, 6)));
        let body = bytes.get(header_len(volume.superblock.features.v5())..);
        let body = body.unwrap_or_default();
        if level > 0 {
            return Self::of_pointers(body, volume.node_capacity(), count, level);
        }
        let first = body.first_chunk().map(Extent::parse);
        Self {
            level,
            first: first.map(|extent| extent.offset),
            items: Vec::new(),
        }
    }

    fn of_pointers(body: &[u8], capacity: usize, count: usize, level: u16) -> Self {
        let number = |bytes: &[u8]| {
            bytes
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        let pointers = body.get(capacity.saturating_mul(8)..).unwrap_or_default();
        let pairs = body
            .chunks_exact(8)
            .zip(pointers.chunks_exact(8))
            .take(count);
        let items = pairs.map(|(key, pointer)| (number(key), FsBlock(number(pointer))));
        let items: Vec<_> = items.collect();
        Self {
            level,
            first: items.first().map(|(key, _)| *key),
            items,
        }
    }

    fn blocks(&self) -> Vec<FsBlock> {
        self.items.iter().map(|(_, block)| *block).collect()
    }
}

fn at(bytes: &[u8], at: usize) -> [u8; 2] {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.copied().unwrap_or_default()
}

/// Pointers that fit into the root, which has all of a fork of `room` bytes.
fn root_capacity(room: usize) -> usize {
    room.saturating_sub(ROOT_HEADER) / PAIR
}

fn header_len(v5: bool) -> usize {
    if v5 {
        size_of::<RawLongBlock>()
    } else {
        V4_HEADER
    }
}

fn magic(v5: bool) -> u32 {
    u32::from_be_bytes(if v5 { *b"BMA3" } else { *b"BMAP" })
}

/// Blocks for `items` items when `capacity` fit into one, filled to seven eighths.
fn spread(items: usize, capacity: usize) -> usize {
    if items <= capacity {
        return 1;
    }
    items.div_ceil(capacity.saturating_sub(capacity / 8).max(1))
}

fn wrong(inode: &Inode, field: &'static str, value: u64, expected: &'static str) -> Error {
    CorruptKind::Inode {
        inode: inode.number(),
        field,
        value,
        expected,
    }
    .into()
}
