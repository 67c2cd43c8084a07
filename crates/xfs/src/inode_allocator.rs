//! Taking inodes and giving them back.

use crate::allocator::Purpose;
use crate::chunk::{Chunk, INODES, INODES_OF_HOLE};
use crate::error::{CorruptKind, Error};
use crate::group::Changed;
use crate::inode::Inode;
use crate::rmap::Owner;
use crate::superblock::FsBlock;
use crate::volume::Volume;

impl Volume {
    /// Takes a free inode of `group` or of one after it, and says its number and generation.
    ///
    /// # Errors
    /// [`Error::NoInodes`] if there is none and no room for more, or damaged groups.
    pub(crate) fn allocate_inode(&mut self, group: u32) -> Result<(u64, u32), Error> {
        let groups = self.superblock.group_count;
        let first = group.min(groups.saturating_sub(1));
        let order: Vec<u32> = (first..groups).chain(0..first).collect();
        // A new chunk in the directory's own group is better than a free inode far away.
        for number in &order {
            if let Some(inode) = self.take_inode(*number)? {
                return Ok(inode);
            }
            if self.add_chunk(*number)?
                && let Some(inode) = self.take_inode(*number)?
            {
                return Ok(inode);
            }
        }
        Err(Error::NoInodes)
    }

    /// Takes a free inode of a group, if it has one.
    fn take_inode(&mut self, number: u32) -> Result<Option<(u64, u32)>, Error> {
        if self.read_free_inodes(number)? == 0 {
            return Ok(None);
        }
        let group = self.group_mut(number)?;
        let mut chunks = group.chunks.values_mut();
        let Some(chunk) = chunks.find(|chunk| chunk.free_count() > 0) else {
            return Ok(None);
        };
        let index = chunk.available().trailing_zeros();
        chunk.free &= !(1_u64.checked_shl(index).unwrap_or(0));
        let within = chunk.start.saturating_add(index);
        group.changed.insert(Changed::Inodes);
        let inode = self.superblock.inode_number(number, within);
        let old = self.inode(inode)?;
        if old.is_in_use() {
            return Err(CorruptKind::Inode {
                inode,
                field: "di_mode",
                value: u64::from(old.links()),
                expected: "0 of an inode that is free",
            }
            .into());
        }
        Ok(Some((inode, old.generation())))
    }

    /// Free inodes of a group, without reading its trees.
    fn read_free_inodes(&self, number: u32) -> Result<u32, Error> {
        if self.is_loaded(number) {
            return Ok(self.group(number)?.inodes().1);
        }
        Ok(self.read_agi(number)?.agi_freecount.get())
    }

    /// Inodes in all groups, and how many of them are free.
    ///
    /// # Errors
    /// Damaged headers.
    pub(crate) fn count_inodes(&self) -> Result<(u64, u64), Error> {
        let (mut all, mut free) = (0_u64, 0_u64);
        for number in 0..self.superblock.group_count {
            let (count, free_count) = if self.is_loaded(number) {
                self.group(number)?.inodes()
            } else {
                let agi = self.read_agi(number)?;
                (agi.agi_count.get(), agi.agi_freecount.get())
            };
            all = all.saturating_add(count.into());
            free = free.saturating_add(free_count.into());
        }
        Ok((all, free))
    }

    /// How many inodes there may be: `sb_imax_pct` of the volume, if that is not zero.
    pub(crate) fn most_inodes(&self) -> u64 {
        let percent = u64::from(self.superblock.raw().sb_imax_pct);
        if percent == 0 {
            return u64::MAX;
        }
        let blocks = self.superblock.blocks_count.saturating_mul(percent) / 100;
        blocks.saturating_mul(self.superblock.inodes_per_block.into())
    }

    /// Makes room for more inodes in a group, and says whether there was any.
    fn add_chunk(&mut self, number: u32) -> Result<bool, Error> {
        if self.count_inodes()?.0 >= self.most_inodes() {
            return Ok(false);
        }
        let features = self.superblock.features;
        let per_block = self.superblock.inodes_per_block.max(1);
        let raw = self.superblock.raw();
        let alignment = if features.aligned_inodes() {
            raw.sb_inoalignmt.get().max(1)
        } else {
            1
        };
        let sparse_blocks = raw.sb_spino_align.get();
        // A block of more than 64 inodes holds several chunks.
        let blocks = INODES.div_ceil(per_block);
        let purpose = Purpose::of(Owner::INODES);
        if let Some(found) = self.allocate_aligned(number, (blocks, alignment), purpose)? {
            let (_, block) = self.superblock.split_block(found.start);
            let count = blocks.saturating_mul(per_block);
            self.start_inodes(found.start, count)?;
            let group = self.group_mut(number)?;
            let first = block.saturating_mul(per_block);
            let end = first.saturating_add(count);
            let mut start = first;
            while start < end {
                let chunk = Chunk {
                    start,
                    holes: 0,
                    free: u64::MAX,
                };
                group.chunks.insert(start, chunk);
                start = start.saturating_add(INODES);
            }
            group.agi.agi_newino.set(first);
            group.changed.insert(Changed::Inodes);
            return Ok(true);
        }
        if !features.sparse_inodes() || sparse_blocks == 0 || sparse_blocks >= blocks {
            return Ok(false);
        }
        self.add_sparse_chunk(number, sparse_blocks, blocks)
    }

    /// Makes room for a part of a chunk.
    fn add_sparse_chunk(&mut self, number: u32, part: u32, whole: u32) -> Result<bool, Error> {
        let per_block = self.superblock.inodes_per_block.max(1);
        let inodes = part.saturating_mul(per_block);
        if !inodes.is_multiple_of(INODES_OF_HOLE) {
            return Ok(false);
        }
        let purpose = Purpose::of(Owner::INODES);
        let Some(found) = self.allocate_aligned(number, (part, part), purpose)? else {
            return Ok(false);
        };
        let (_, block) = self.superblock.split_block(found.start);
        let chunk_block = block.checked_div(whole).unwrap_or(0).saturating_mul(whole);
        let end = chunk_block.saturating_add(whole);
        // The place of the whole chunk must lie in the group, behind the headers.
        let inside = chunk_block >= whole && end <= self.superblock.blocks_of_group(number);
        let start = chunk_block.saturating_mul(per_block);
        let skipped = block.saturating_sub(chunk_block).saturating_mul(per_block);
        let first_bit = skipped / INODES_OF_HOLE;
        let bits = inodes / INODES_OF_HOLE;
        let mask = (first_bit..first_bit.saturating_add(bits).min(16)).fold(0_u16, |mask, bit| {
            mask | 1_u16.checked_shl(bit).unwrap_or(0)
        });
        let group = self.group_mut(number)?;
        let chunk = group.chunks.get(&start).copied().unwrap_or(Chunk {
            start,
            holes: u16::MAX,
            free: u64::MAX,
        });
        if !inside || chunk.holes & mask != mask {
            self.release(found, purpose)?;
            return Ok(false);
        }
        let holes = chunk.holes & !mask;
        group.chunks.insert(start, Chunk { holes, ..chunk });
        group.agi.agi_newino.set(start);
        group.changed.insert(Changed::Inodes);
        self.start_inodes(found.start, inodes)?;
        Ok(true)
    }

    /// Writes inodes that are not in use into new blocks.
    fn start_inodes(&mut self, start: FsBlock, count: u32) -> Result<(), Error> {
        let per_block = self.superblock.inodes_per_block.max(1);
        let first = start.0 << per_block.ilog2();
        let blocks = count.div_ceil(per_block);
        for index in 0..blocks {
            let block = FsBlock(start.0.saturating_add(index.into()));
            let mut bytes = Vec::with_capacity(self.superblock.block_len());
            for slot in 0..per_block {
                let within = index.saturating_mul(per_block).saturating_add(slot);
                let number = first.saturating_add(within.into());
                let inode = Inode::unused(&self.superblock, number, self.generation(number));
                bytes.extend_from_slice(&inode.encode(&self.superblock));
            }
            self.write_block(block, &bytes)?;
        }
        Ok(())
    }

    /// A generation for an inode that never had one: the kernel takes a random number, but the same
    /// conversion is to give the same disk.
    fn generation(&self, number: u64) -> u32 {
        let sum = crc32c::crc32c(&self.superblock.meta_uuid);
        crc32c::crc32c_append(sum, &number.to_be_bytes())
    }

    /// Gives an inode back; its forks are empty.
    ///
    /// # Errors
    /// An inode that is free already, or damaged groups.
    pub(crate) fn free_inode(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let number = inode.number();
        let log = self.superblock.group_inode_log();
        let group_number = u32::try_from(number >> log).unwrap_or(u32::MAX);
        let mask = 1_u64.checked_shl(log).unwrap_or(0).wrapping_sub(1);
        let within = u32::try_from(number & mask).unwrap_or(u32::MAX);
        let group = self.group_mut(group_number)?;
        let chunk = group.chunks.range_mut(..=within).next_back();
        let bit = chunk.as_ref().map_or(0, |(start, _)| {
            1_u64
                .checked_shl(within.saturating_sub(**start))
                .unwrap_or(0)
        });
        match chunk {
            Some((_, chunk)) if bit & chunk.present() & !chunk.free != 0 => chunk.free |= bit,
            _ => {
                return Err(CorruptKind::Inode {
                    inode: number,
                    field: "ir_free",
                    value: 1,
                    expected: "an inode that is in use",
                }
                .into());
            }
        }
        group.changed.insert(Changed::Inodes);
        inode.clear(&self.superblock);
        self.forget_maps(number);
        self.write_inode(inode)
    }
}
