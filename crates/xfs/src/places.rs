//! Where on the device nodes, structures and free blocks lie.

use crate::error::{Error, UnsupportedKind};
use crate::group::Group;
use crate::inode::{Fork, Format, Inode};
use crate::superblock::FsBlock;
use crate::volume::Volume;
use fs::{Part, Places, Role, Structure, StructureKind};
use std::ops::Range;

/// Structures that are kept in memory at most, some 30 MB.
const MAX_STRUCTURES: usize = 1 << 20;
/// `NULLFSINO`: there is no such inode.
const NO_INODE: u64 = u64::MAX;

impl Volume {
    /// Where an inode, its maps, attributes and content lie.
    ///
    /// # Errors
    /// Damaged maps, or what the device says.
    pub(crate) fn places(&self, inode: &Inode) -> Result<Places, Error> {
        let position = self.inode_position(inode.number())?;
        let len = u64::from(self.superblock.inode_size);
        let mut parts = vec![Part {
            bytes: position..position.saturating_add(len),
            role: Role::Record,
        }];
        let attributes = self.mapped(inode, Fork::Attributes)?;
        parts.extend(attributes.map(|bytes| Part {
            bytes,
            role: Role::Attributes,
        }));
        let map = self.map(inode, Fork::Data)?;
        parts.extend(map.nodes.iter().map(|block| Part {
            bytes: self.block_bytes(*block, 1),
            role: Role::Map,
        }));
        parts.extend(map.extents().iter().map(|extent| Part {
            bytes: self.block_bytes(extent.start, extent.count.into()),
            role: Role::Content {
                offset: extent.offset.saturating_mul(self.superblock.block_bytes()),
                unwritten: extent.unwritten,
            },
        }));
        let meta = inode.meta()?;
        Ok(Places { meta, parts })
    }

    /// Blocks of a fork and of its map.
    fn mapped(&self, inode: &Inode, fork: Fork) -> Result<impl Iterator<Item = Range<u64>>, Error> {
        let map = self.map(inode, fork)?;
        let nodes = map.nodes.iter().map(|block| (*block, 1));
        let extents = map.extents().iter();
        let extents = extents.map(|extent| (extent.start, u64::from(extent.count)));
        let blocks: Vec<_> = nodes.chain(extents).collect();
        let bytes = blocks.into_iter();
        Ok(bytes.map(|(start, count)| self.block_bytes(start, count)))
    }

    fn block_bytes(&self, start: FsBlock, count: u64) -> Range<u64> {
        let position = self.superblock.position(start);
        let len = count.saturating_mul(self.superblock.block_bytes());
        position..position.saturating_add(len)
    }

    /// What belongs to the file system itself.
    ///
    /// # Errors
    /// Damaged groups, too many structures, or what the device says.
    pub(crate) fn structures(&self) -> Result<Vec<Structure>, Error> {
        let superblock = &self.superblock;
        let mut structures = vec![Structure {
            bytes: self.block_bytes(superblock.log_start(), superblock.log_blocks()),
            kind: StructureKind::Journal,
        }];
        for number in 0..superblock.group_count {
            self.add_group(&*self.group(number)?, &mut structures)?;
        }
        let raw = superblock.raw();
        let mut internal = vec![raw.sb_rbmino.get(), raw.sb_rsumino.get()];
        if superblock.features.quota() {
            internal.extend([raw.sb_uquotino.get(), raw.sb_gquotino.get()]);
            if superblock.features.v5() {
                internal.push(raw.sb_pquotino.get());
            }
        }
        for number in internal {
            if number == 0 || number == NO_INODE {
                continue;
            }
            let inode = self.inode(number)?;
            if inode.is_in_use() && inode.format(Fork::Data)? != Format::Local {
                structures.extend(self.mapped(&inode, Fork::Data)?.map(|bytes| Structure {
                    bytes,
                    kind: StructureKind::Internal,
                }));
            }
        }
        Ok(fs::join_structures(structures))
    }

    fn add_group(&self, group: &Group, structures: &mut Vec<Structure>) -> Result<(), Error> {
        let superblock = &self.superblock;
        let mut add = |blocks: Range<u32>, kind| {
            let start = superblock.fs_block(group.number, blocks.start);
            let count = blocks.end.saturating_sub(blocks.start);
            let bytes = self.block_bytes(start, count.into());
            structures.push(Structure { bytes, kind });
        };
        add(0..superblock.header_blocks(), StructureKind::Header);
        for block in group.blocks.values().flatten().chain(&group.list) {
            add(*block..block.saturating_add(1), StructureKind::Allocation);
        }
        for chunk in group.chunks.values() {
            for blocks in chunk.blocks(superblock) {
                add(blocks, StructureKind::Nodes);
            }
        }
        if structures.len() >= MAX_STRUCTURES {
            *structures = fs::join_structures(std::mem::take(structures));
            if structures.len() >= MAX_STRUCTURES {
                let what = "more trees and chunks of inodes than are looked at";
                return Err(UnsupportedKind::Other(what).into());
            }
        }
        Ok(())
    }

    /// Which bytes of a range of the device are in free blocks.
    ///
    /// # Errors
    /// Damaged groups, or what the device says.
    pub(crate) fn free_bytes(&self, range: &Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        let superblock = &self.superblock;
        let mut free: Vec<Range<u64>> = Vec::new();
        let end = range.end.min(superblock.end());
        if range.start >= end {
            return Ok(free);
        }
        let (first, _) = superblock.split_block(superblock.block_at(range.start));
        let (last, _) = superblock.split_block(superblock.block_at(end.saturating_sub(1)));
        for number in first..=last {
            let group = self.group(number)?;
            let blocks = superblock.blocks_of_group(number);
            for run in group.free.within(0..blocks) {
                let start = superblock.fs_block(number, run.start);
                let count = run.end.saturating_sub(run.start);
                let bytes = self.block_bytes(start, count.into());
                let bytes = bytes.start.max(range.start)..bytes.end.min(end);
                if bytes.is_empty() {
                    continue;
                }
                match free.last_mut() {
                    Some(last) if last.end == bytes.start => last.end = bytes.end,
                    _ => free.push(bytes),
                }
            }
        }
        Ok(free)
    }
}
