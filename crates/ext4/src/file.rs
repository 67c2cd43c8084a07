//! Changing what nodes hold.

use crate::block_map;
use crate::content::refuse_encrypted;
use crate::error::{Error, UnsupportedKind};
use crate::features::{incompat, ro_compat};
use crate::inode::{Inode, flag};
use crate::mapping::{Mapping, Piece, Run};
use crate::volume::Volume;
use crate::{extent, inline_data};
use ondisk::width::{u64_of, usize_of};
use std::ops::Range;

/// The largest file without the feature `large_file`.
const SMALL_FILE: u64 = 0x7fff_ffff;

impl Volume {
    /// Writes content at `offset`; a gap behind the old end reads as zeros. The inode is changed in
    /// memory only.
    ///
    /// # Errors
    /// [`Error::NoSpace`], sizes that the map cannot say, and what writing meets.
    pub(crate) fn write_content(
        &mut self,
        inode: &mut Inode,
        offset: u64,
        content: &[u8],
    ) -> Result<(), Error> {
        refuse_unwritable(inode)?;
        if content.is_empty() {
            return Ok(());
        }
        let Some(end) = offset.checked_add(u64_of(content.len())) else {
            return Err(self.too_large(inode, u64::MAX));
        };
        if inode.has_flag(flag::INLINE_DATA) {
            if inline_data::write(self, inode, offset, content)? {
                return Ok(());
            }
            self.move_out(inode)?;
        }
        self.check_size(inode, end)?;
        let mut mapping = Mapping::clone(&*self.mapping(inode)?);
        let before = mapping.clone();
        if offset > inode.size() {
            self.zero_tail(inode, &mapping)?;
        }
        let write = Write {
            offset,
            end,
            content,
        };
        let block_bytes = self.superblock.block_bytes();
        let first = offset.checked_div(block_bytes).unwrap_or(0);
        for piece in mapping.pieces(first..self.superblock.blocks_for(end)) {
            match piece {
                Piece::Run(run) if run.unwritten => {
                    self.write_new(&write, &run)?;
                    mapping.mark_written(u64::from(run.logical)..run.end());
                }
                Piece::Run(run) => self.write_over(&write, &run)?,
                Piece::Hole(hole) => self.fill_hole(inode, &write, &mut mapping, hole)?,
            }
        }
        if mapping != before {
            self.set_mapping(inode, mapping)?;
        }
        if end > inode.size() {
            self.grow_size(inode, end);
        }
        Ok(())
    }

    /// Cuts the content to `size` bytes or grows it with a hole. The inode is changed in memory
    /// only.
    ///
    /// # Errors
    /// Sizes that the map cannot say, and what writing meets.
    pub(crate) fn set_content_size(&mut self, inode: &mut Inode, size: u64) -> Result<(), Error> {
        refuse_unwritable(inode)?;
        if inode.has_flag(flag::INLINE_DATA) {
            if inline_data::resize(self, inode, size)? {
                return Ok(());
            }
            self.move_out(inode)?;
        }
        self.check_size(inode, size)?;
        let mut mapping = Mapping::clone(&*self.mapping(inode)?);
        if size > inode.size() {
            self.zero_tail(inode, &mapping)?;
            self.grow_size(inode, size);
            return Ok(());
        }
        let cut = mapping.cut(self.superblock.blocks_for(size));
        for run in &cut {
            self.free_blocks(run.blocks())?;
        }
        inode.set_size(size);
        self.zero_tail(inode, &mapping)?;
        if !cut.is_empty() {
            self.set_mapping(inode, mapping)?;
        }
        Ok(())
    }

    /// Gives back all blocks of the content and of its map. The inode is changed in memory only.
    ///
    /// # Errors
    /// A damaged map, and what writing meets.
    pub(crate) fn free_content(&mut self, inode: &mut Inode) -> Result<(), Error> {
        if inode.has_mapped_content(&self.superblock)? {
            let mapping = self.mapping(inode)?;
            for run in mapping.runs() {
                self.free_blocks(run.blocks())?;
            }
            for block in &mapping.nodes {
                self.free_blocks(*block..block.saturating_add(1))?;
            }
            if inode.has_flag(flag::EXTENTS) {
                extent::clear(inode);
            } else {
                inode.block_mut().fill(0);
            }
            inode.set_blocks(&self.superblock, u64::from(inode.file_acl() != 0))?;
        }
        self.forget_mapping(inode.number());
        Ok(())
    }

    /// Makes the inode map its content in the way of new nodes, and map nothing yet.
    pub(crate) fn start_mapping(&mut self, inode: &mut Inode) {
        let extents = self.superblock.features.incompat(incompat::EXTENTS);
        inode.set_flag(flag::EXTENTS, extents);
        if extents {
            extent::clear(inode);
        } else {
            inode.block_mut().fill(0);
        }
        self.forget_mapping(inode.number());
    }

    /// Moves the content of a file out of its inode.
    fn move_out(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let size = inode.size();
        let mut content = inline_data::content(self, inode)?;
        content.resize(usize_of(size.min(u64_of(content.len()))), 0);
        self.remove_inline_value(inode)?;
        inode.set_flag(flag::INLINE_DATA, false);
        self.start_mapping(inode);
        inode.set_size(0);
        self.write_content(inode, 0, &content)?;
        inode.set_size(size);
        Ok(())
    }

    fn fill_hole(
        &mut self,
        inode: &Inode,
        write: &Write<'_>,
        mapping: &mut Mapping,
        hole: Range<u64>,
    ) -> Result<(), Error> {
        let mut at = hole.start;
        while at < hole.end {
            let Ok(logical) = u32::try_from(at) else {
                return Err(self.too_large(inode, write.end));
            };
            let goal = mapping
                .before(logical)
                .map_or_else(|| self.inode_goal(inode.number()), |run| run.blocks().end);
            let blocks = self.allocate_blocks(goal, hole.end.saturating_sub(at))?;
            let len = blocks.end.saturating_sub(blocks.start);
            let run = Run {
                logical,
                // An allocation is a few thousand blocks at most.
                len: u32::try_from(len).unwrap_or(u32::MAX),
                physical: blocks.start,
                unwritten: false,
            };
            self.write_new(write, &run)?;
            mapping.insert(run);
            at = run.end();
        }
        Ok(())
    }

    /// Writes the part of the content that falls on blocks which hold content already.
    fn write_over(&self, write: &Write<'_>, run: &Run) -> Result<(), Error> {
        let start = self.superblock.position(run.logical.into());
        let end = self.superblock.position(run.end());
        let from = write.offset.max(start);
        let position = self
            .superblock
            .position(run.physical)
            .saturating_add(from.saturating_sub(start));
        self.device
            .write_at(position, write.part(from..write.end.min(end)))?;
        Ok(())
    }

    /// Writes the part of the content that falls on blocks which hold nothing yet, with zeros
    /// around it.
    fn write_new(&self, write: &Write<'_>, run: &Run) -> Result<(), Error> {
        let start = self.superblock.position(run.logical.into());
        let end = self.superblock.position(run.end());
        let position = self.superblock.position(run.physical);
        let block_bytes = self.superblock.block_bytes();
        // What begins or ends within a block is written as a whole block.
        let from = write.offset.clamp(start, end);
        let to = write.end.clamp(from, end);
        let whole_from = from.next_multiple_of(block_bytes).min(end);
        let whole_to = to
            .saturating_sub(to.checked_rem(block_bytes).unwrap_or(0))
            .max(whole_from);
        let write_padded = |blocks: Range<u64>| -> Result<(), Error> {
            let mut at = blocks.start;
            while at < blocks.end {
                let next = at.saturating_add(block_bytes);
                let mut bytes = vec![0; self.superblock.block_len()];
                let part = write.part(from.clamp(at, next)..to.clamp(at, next));
                let skip = usize_of(from.clamp(at, next).saturating_sub(at));
                if let Some(place) = bytes.get_mut(skip..skip.saturating_add(part.len())) {
                    place.copy_from_slice(part);
                }
                let place = position.saturating_add(at.saturating_sub(start));
                self.device.write_at(place, &bytes)?;
                at = next;
            }
            Ok(())
        };
        write_padded(start..whole_from)?;
        write_padded(whole_to..end)?;
        let whole = write.part(whole_from..whole_to);
        if !whole.is_empty() {
            let place = position.saturating_add(whole_from.saturating_sub(start));
            self.device.write_at(place, whole)?;
        }
        Ok(())
    }

    /// Zeroes the rest of the last block, which may hold anything behind the end.
    fn zero_tail(&self, inode: &Inode, mapping: &Mapping) -> Result<(), Error> {
        let block_bytes = self.superblock.block_bytes();
        let size = inode.size();
        let within = size.checked_rem(block_bytes).unwrap_or(0);
        let last = size.checked_div(block_bytes).unwrap_or(0);
        let block = u32::try_from(last).ok().and_then(|at| mapping.block(at));
        if let Some(block) = block.filter(|_| within != 0) {
            let zeros = vec![0; usize_of(block_bytes.saturating_sub(within))];
            let position = self.superblock.position(block).saturating_add(within);
            self.device.write_at(position, &zeros)?;
        }
        Ok(())
    }

    fn check_size(&self, inode: &Inode, size: u64) -> Result<(), Error> {
        if size > self.largest_file(inode) {
            return Err(self.too_large(inode, size));
        }
        Ok(())
    }

    fn largest_file(&self, inode: &Inode) -> u64 {
        let blocks = if inode.has_flag(flag::EXTENTS) {
            u64::from(u32::MAX)
        } else {
            block_map::limit(&self.superblock)
        };
        self.superblock.position(blocks)
    }

    fn too_large(&self, inode: &Inode, size: u64) -> Error {
        UnsupportedKind::FileTooLarge {
            inode: inode.number().get(),
            size,
            limit: self.largest_file(inode),
        }
        .into()
    }

    fn grow_size(&mut self, inode: &mut Inode, size: u64) {
        if size > SMALL_FILE {
            self.superblock.add_ro_compat(ro_compat::LARGE_FILE);
        }
        inode.set_size(size);
    }
}

/// What is to be written where.
struct Write<'c> {
    offset: u64,
    end: u64,
    content: &'c [u8],
}

impl<'c> Write<'c> {
    /// The bytes for a range of the content, cut to what is there.
    fn part(&self, range: Range<u64>) -> &'c [u8] {
        let start = range.start.clamp(self.offset, self.end);
        let end = range.end.clamp(start, self.end);
        let at = |position: u64| usize_of(position.saturating_sub(self.offset));
        self.content.get(at(start)..at(end)).unwrap_or_default()
    }
}

/// Refuses content that others have summed or encrypted.
fn refuse_unwritable(inode: &Inode) -> Result<(), Error> {
    refuse_encrypted(inode)?;
    let what = if inode.has_flag(flag::VERITY) {
        "writing content that fs-verity seals"
    } else if inode.has_flag(flag::EA_INODE) {
        "writing content that is the value of an attribute"
    } else {
        return Ok(());
    };
    Err(UnsupportedKind::Inode {
        inode: inode.number().get(),
        what,
    }
    .into())
}
