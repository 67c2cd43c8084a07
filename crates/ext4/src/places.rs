//! Where on the device nodes, structures and free blocks lie.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::{compat, incompat, ro_compat};
use crate::inode::{Inode, InodeNumber};
use crate::mapping::Run;
use crate::volume::Volume;
use fs::{Part, Places, Role, Structure, StructureKind};
use std::ops::Range;

/// The inode whose map names blocks that are reserved for descriptors, `EXT4_RESIZE_INO`.
const RESIZE: u32 = 7;
/// Inodes that hold something else than a directory or a journal, from `EXT4_USR_QUOTA_INO` to
/// `EXT4_UNDEL_DIR_INO`.
const OTHER_RESERVED: Range<u32> = 3..7;
/// Structures that are kept in memory at most, some 30 MB. A file system of 16 TiB has a tenth of
/// that even without `flex_bg`.
const MAX_STRUCTURES: usize = 1 << 20;

impl Volume {
    /// Where an inode, its map, attributes and content lie.
    ///
    /// # Errors
    /// A damaged map or damaged attributes, or what the device says.
    pub(crate) fn places(&self, inode: &Inode) -> Result<Places, Error> {
        let position = self.inode_position(inode.number())?;
        let len = u64::from(self.superblock.inode_size);
        let mut parts = vec![Part {
            bytes: position..position.saturating_add(len),
            role: Role::Record,
        }];
        let mut block = |block: u64, role| {
            let bytes = self.block_bytes(block..block.saturating_add(1));
            parts.push(Part { bytes, role });
        };
        let attributes = inode.file_acl();
        if attributes != 0 {
            self.check_data_blocks(inode.number(), attributes, 1)?;
            block(attributes, Role::Attributes);
        }
        if inode.has_mapped_content(&self.superblock)? {
            let mapping = self.mapping(inode)?;
            for node in &mapping.nodes {
                block(*node, Role::Map);
            }
            parts.extend(mapping.runs().iter().map(|run| Part {
                bytes: self.block_bytes(run.blocks()),
                role: Role::Content {
                    offset: self.superblock.position(run.logical.into()),
                    unwritten: run.unwritten,
                },
            }));
        }
        if self.superblock.features.incompat(incompat::EA_INODE) {
            for value in self.attribute_inodes(inode)? {
                let runs = self.value_blocks(&value)?.into_iter();
                parts.extend(runs.map(|blocks| Part {
                    bytes: self.block_bytes(blocks),
                    role: Role::Attributes,
                }));
            }
        }
        let meta = inode.meta()?;
        Ok(Places { meta, parts })
    }

    /// What belongs to the file system itself.
    ///
    /// # Errors
    /// Damaged descriptors or inodes, too many groups, or what the device says.
    pub(crate) fn structures(&self) -> Result<Vec<Structure>, Error> {
        let superblock = &self.superblock;
        let mut found = Found {
            volume: self,
            structures: Vec::new(),
        };
        // With blocks of 1 KiB groups begin behind the boot block.
        found.push(
            0..u64::from(superblock.first_data_block),
            StructureKind::Header,
        )?;
        for group in 0..superblock.group_count {
            let start = superblock.group_blocks(group).start;
            let end = start.saturating_add(superblock.backup_blocks(group));
            found.push(start..end, StructureKind::Header)?;
            let [blocks, inodes, table] = self.descriptor(group)?.metadata(superblock);
            found.push(blocks, StructureKind::Allocation)?;
            found.push(inodes, StructureKind::Allocation)?;
            found.push(table, StructureKind::Nodes)?;
        }
        if superblock.features.incompat(incompat::MMP) {
            let block = superblock.raw().s_mmp_block.get();
            found.push(block..block.saturating_add(1), StructureKind::Internal)?;
        }
        found.reserved_inodes()?;
        Ok(fs::join_structures(found.structures))
    }

    /// Which bytes of a range of the device are in blocks that are marked as free. Nothing is told
    /// with `bigalloc`, where bits stand for clusters.
    ///
    /// # Errors
    /// Damaged descriptors or bitmaps, or what the device says.
    pub(crate) fn free_bytes(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        let superblock = &self.superblock;
        let mut free: Vec<Range<u64>> = Vec::new();
        let size = superblock.block_bytes();
        let first = range.start.checked_div(size).unwrap_or(0);
        let end = superblock.blocks_for(range.end);
        let mut at = first.max(superblock.first_data_block.into());
        let end = end.min(superblock.blocks_count);
        if superblock.features.ro_compat(ro_compat::BIGALLOC) {
            return Ok(free);
        }
        while at < end {
            let group = superblock.group_of_block(at);
            let blocks = superblock.group_blocks(group);
            let bitmap = self.load_block_bitmap(group)?;
            let bit =
                |block: u64| u32::try_from(block.saturating_sub(blocks.start)).unwrap_or(u32::MAX);
            let last = bit(end.min(blocks.end));
            let mut next = bit(at);
            while let Some(start) = bitmap.first_free(next).filter(|start| *start < last) {
                let run = bitmap.free_run(start, last.saturating_sub(start));
                next = run.end;
                let block = |bit: u32| blocks.start.saturating_add(bit.into());
                let bytes = self.block_bytes(block(run.start)..block(run.end));
                let bytes = bytes.start.max(range.start)..bytes.end.min(range.end);
                match free.last_mut() {
                    Some(last) if last.end == bytes.start => last.end = bytes.end,
                    _ => free.push(bytes),
                }
            }
            at = blocks.end.max(at.saturating_add(1));
        }
        Ok(free)
    }

    /// The blocks of an attribute's value, no more than it has room for: thousands of attributes may
    /// name one inode, and a map may have millions of runs.
    fn value_blocks(&self, value: &Inode) -> Result<Vec<Range<u64>>, Error> {
        let blocks = self.superblock.blocks_for(value.size());
        let owned = self.owned_blocks(value)?;
        let most = usize::try_from(blocks.saturating_mul(2)).unwrap_or(usize::MAX);
        if owned.len() > most {
            return Err(CorruptKind::Inode {
                inode: value.number().get(),
                field: "i_size",
                value: value.size(),
                expected: "a value that has room for its blocks",
            }
            .into());
        }
        Ok(owned)
    }

    /// The blocks of a node's content and of its map.
    fn owned_blocks(&self, inode: &Inode) -> Result<Vec<Range<u64>>, Error> {
        if !inode.is_in_use() || !inode.has_mapped_content(&self.superblock)? {
            return Ok(Vec::new());
        }
        let mapping = self.mapping(inode)?;
        let nodes = mapping.nodes.iter();
        let nodes = nodes.map(|block| *block..block.saturating_add(1));
        let runs = mapping.runs().iter().map(Run::blocks);
        Ok(runs.chain(nodes).collect())
    }

    fn block_bytes(&self, blocks: Range<u64>) -> Range<u64> {
        self.superblock.position(blocks.start)..self.superblock.position(blocks.end)
    }
}

struct Found<'v> {
    volume: &'v Volume,
    structures: Vec<Structure>,
}

impl Found<'_> {
    fn push(&mut self, blocks: Range<u64>, kind: StructureKind) -> Result<(), Error> {
        if blocks.is_empty() {
            return Ok(());
        }
        let bytes = self.volume.block_bytes(blocks);
        if let Some(last) = self.structures.last_mut()
            && last.kind == kind
            && last.bytes.end == bytes.start
        {
            last.bytes.end = bytes.end;
            return Ok(());
        }
        if self.structures.len() >= MAX_STRUCTURES {
            // Those of flex groups lie beside each other, but not in the order of the groups.
            let all = std::mem::take(&mut self.structures);
            self.structures = fs::join_structures(all);
            if self.structures.len() >= MAX_STRUCTURES / 2 {
                return Err(UnsupportedKind::Other("more block groups than are looked at").into());
            }
        }
        self.structures.push(Structure { bytes, kind });
        Ok(())
    }

    /// What the inodes hold that no directory names.
    fn reserved_inodes(&mut self) -> Result<(), Error> {
        let superblock = &self.volume.superblock;
        let raw = superblock.raw();
        let mut inodes = vec![(RESIZE, StructureKind::Header)];
        if superblock.features.compat(compat::HAS_JOURNAL) {
            inodes.push((raw.s_journal_inum.get(), StructureKind::Journal));
        }
        if superblock.features.compat(compat::ORPHAN_FILE) {
            inodes.push((raw.s_orphan_file_inum.get(), StructureKind::Internal));
        }
        let quota = [
            &raw.s_usr_quota_inum,
            &raw.s_grp_quota_inum,
            &raw.s_prj_quota_inum,
        ];
        let others = quota.map(|number| number.get()).into_iter();
        let others = others.chain(OTHER_RESERVED);
        inodes.extend(others.map(|number| (number, StructureKind::Internal)));
        let mut seen = Vec::new();
        for (number, kind) in inodes {
            if number == 0 || seen.contains(&number) {
                continue;
            }
            seen.push(number);
            let number = InodeNumber::new(superblock, number.into())?;
            let inode = self.volume.inode(number)?;
            if number.get() == RESIZE {
                // Its indirect blocks are those that are reserved for descriptors, which headers
                // hold; only the block at the top lies elsewhere.
                let tree = inode.block().get(52..).and_then(<[u8]>::first_chunk::<4>);
                let block = tree.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
                if block != 0 && block < superblock.blocks_count {
                    self.push(block..block.saturating_add(1), kind)?;
                }
                continue;
            }
            for blocks in self.volume.owned_blocks(&inode)? {
                self.push(blocks, kind)?;
            }
        }
        Ok(())
    }
}
