//! Taking and giving back blocks and inodes.
//!
//! Bitmaps and descriptors of the groups that change are kept in memory until they are written
//! together. What a descriptor says is checked against its bitmap before either is changed.

use crate::bitmap::Bitmap;
use crate::error::{CorruptKind, Error};
use crate::group_descriptor::{BLOCK_UNINIT, GroupDescriptor, INODE_UNINIT};
use crate::inode::InodeNumber;
use crate::superblock::Superblock;
use crate::volume::Volume;
use ondisk::width::u64_of;
use std::collections::BTreeMap;
use std::ops::Range;

/// The groups that were touched.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    groups: BTreeMap<u32, Group>,
}

#[derive(Debug)]
struct Group {
    descriptor: GroupDescriptor,
    blocks: Option<Bitmap>,
    inodes: Option<Bitmap>,
    changed: Changed,
}

#[derive(Debug, Default)]
struct Changed {
    descriptor: bool,
    blocks: bool,
    inodes: bool,
}

/// Blocks taken at once at most: large enough that maps stay short, small enough to find.
const LONGEST_RUN: u32 = 8192;
/// Blocks that make a run right behind the last one worth more than a longer one elsewhere.
const GOOD_RUN: u32 = 16;
/// Groups that are searched for a run of the full length before the longest one is taken.
const PATIENCE: u32 = 32;

impl Allocator {
    /// The descriptor of a group that was touched.
    pub(crate) fn descriptor(&self, group: u32) -> Option<&GroupDescriptor> {
        self.groups.get(&group).map(|group| &group.descriptor)
    }
}

impl Volume {
    /// Takes between 1 and `want` blocks that follow on each other, as near behind `goal` as can be.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or a damaged bitmap.
    pub(crate) fn allocate_blocks(&mut self, goal: u64, want: u64) -> Result<Range<u64>, Error> {
        let longest = LONGEST_RUN.min(self.superblock.blocks_per_group);
        let want = u32::try_from(want).unwrap_or(u32::MAX).clamp(1, longest);
        let first = self.superblock.group_of_block(goal);
        let goal_bit = bit_in_group(&self.superblock, first, goal);

        let mut best: Option<(u32, Range<u32>)> = None;
        let mut searched = 0_u32;
        let groups = (first..self.superblock.group_count).chain(0..first);
        for group in groups {
            let longest = best.as_ref().map_or(0, |(_, run)| run.len());
            let free = self.descriptor(group)?.free_blocks();
            if u64::from(free) <= u64_of(longest) {
                continue;
            }
            let bitmap = self.block_bitmap(group)?;
            let run = if group == first {
                let near = bitmap.free_run(goal_bit, want);
                if near.len() >= ondisk::width::usize_of_u32(want.min(GOOD_RUN)) {
                    Some(near)
                } else {
                    longer(bitmap.best_run(goal_bit, want), bitmap.best_run(0, want))
                }
            } else {
                bitmap.best_run(0, want)
            };
            if let Some(run) = run.filter(|run| run.len() > longest) {
                best = Some((group, run));
            }
            searched = searched.saturating_add(1);
            let found = best.as_ref().map_or(0, |(_, run)| run.len());
            let near_enough =
                group == first && found >= ondisk::width::usize_of_u32(want.min(GOOD_RUN));
            if found >= ondisk::width::usize_of_u32(want)
                || near_enough
                || (found > 0 && searched >= PATIENCE)
            {
                break;
            }
        }
        let Some((group, run)) = best else {
            return Err(Error::NoSpace {
                needed: self.superblock.position(u64::from(want)),
                free: self.superblock.position(self.superblock.free_blocks()),
            });
        };
        self.mark_blocks(group, run.clone(), true)?;
        let start = self.superblock.group_blocks(group).start;
        let blocks = start.saturating_add(run.start.into())..start.saturating_add(run.end.into());
        self.forget(blocks.clone());
        Ok(blocks)
    }

    /// Takes one block.
    ///
    /// # Errors
    /// As [`allocate_blocks`](Self::allocate_blocks).
    pub(crate) fn allocate_block(&mut self, goal: u64) -> Result<u64, Error> {
        Ok(self.allocate_blocks(goal, 1)?.start)
    }

    /// Gives blocks back.
    ///
    /// # Errors
    /// Blocks that are free already, or a damaged bitmap.
    pub(crate) fn free_blocks(&mut self, blocks: Range<u64>) -> Result<(), Error> {
        self.forget(blocks.clone());
        let mut at = blocks.start;
        while at < blocks.end {
            let group = self.superblock.group_of_block(at);
            let within = self.superblock.group_blocks(group);
            let end = blocks.end.min(within.end);
            if end <= at {
                return Err(CorruptKind::FreeBlockFreed { block: at }.into());
            }
            let bits = bit_in_group(&self.superblock, group, at)
                ..bit_in_group(&self.superblock, group, end);
            if !self.block_bitmap(group)?.all_set(bits.clone()) {
                return Err(CorruptKind::FreeBlockFreed { block: at }.into());
            }
            self.mark_blocks(group, bits, false)?;
            at = end;
        }
        Ok(())
    }

    /// Takes the first free inode of `group` or of one after it.
    ///
    /// # Errors
    /// [`Error::NoInodes`], or a damaged bitmap.
    pub(crate) fn allocate_inode(
        &mut self,
        group: u32,
        is_dir: bool,
    ) -> Result<InodeNumber, Error> {
        let first = group.min(self.superblock.group_count.saturating_sub(1));
        let groups = (first..self.superblock.group_count).chain(0..first);
        for group in groups {
            if self.descriptor(group)?.free_inodes() == 0 {
                continue;
            }
            // The bitmap of blocks of a group with inodes is always written, as by the kernel.
            self.block_bitmap(group)?;
            let reserved = self.superblock.first_inode.saturating_sub(1);
            let from = if group == 0 { reserved } else { 0 };
            let Some(index) = self.inode_bitmap(group)?.first_free(from) else {
                let counter = "bg_free_inodes_count";
                return Err(CorruptKind::FullGroup { group, counter }.into());
            };
            self.mark_inode(group, index, true, is_dir)?;
            let number = u64::from(group)
                .saturating_mul(u64::from(self.superblock.inodes_per_group))
                .saturating_add(u64::from(index))
                .saturating_add(1);
            return InodeNumber::new(&self.superblock, number);
        }
        Err(Error::NoInodes)
    }

    /// Gives an inode back.
    ///
    /// # Errors
    /// An inode that is free already, or a damaged bitmap.
    pub(crate) fn free_inode(&mut self, number: InodeNumber, is_dir: bool) -> Result<(), Error> {
        let (group, index) = number.place(&self.superblock);
        if !self.inode_bitmap(group)?.is_set(index) {
            return Err(CorruptKind::FreeInodeFreed {
                inode: number.get(),
            }
            .into());
        }
        self.mark_inode(group, index, false, is_dir)
    }

    /// Whether an inode is marked as in use.
    ///
    /// # Errors
    /// A damaged bitmap.
    pub(crate) fn inode_is_marked(&mut self, number: InodeNumber) -> Result<bool, Error> {
        let (group, index) = number.place(&self.superblock);
        Ok(self.inode_bitmap(group)?.is_set(index))
    }

    /// Counts free blocks and inodes over all groups. Kernels write the superblock's own counters
    /// rarely, so that those of a copied disk are often old.
    ///
    /// # Errors
    /// Damaged descriptors.
    pub(crate) fn count_free(&self) -> Result<(u64, u32), Error> {
        let mut blocks = 0_u64;
        let mut inodes = 0_u32;
        for group in 0..self.superblock.group_count {
            let descriptor = self.descriptor(group)?;
            blocks = blocks.saturating_add(u64::from(descriptor.free_blocks()));
            inodes = inodes.saturating_add(descriptor.free_inodes());
        }
        Ok((blocks, inodes))
    }

    /// Makes the superblock's counters those of the groups.
    ///
    /// # Errors
    /// Damaged descriptors.
    pub(crate) fn recount(&mut self) -> Result<(), Error> {
        let (clusters, inodes) = self.count_free()?;
        // Descriptors count clusters, the superblock blocks: the same without bigalloc.
        let blocks = clusters.saturating_mul(self.superblock.cluster_blocks());
        self.superblock.set_free_blocks(blocks);
        self.superblock.set_free_inodes(inodes);
        Ok(())
    }

    /// Writes bitmaps and descriptors that changed.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn write_groups(&mut self) -> Result<(), Error> {
        let mut groups = std::mem::take(&mut self.allocator.groups);
        let written = groups
            .iter_mut()
            .try_for_each(|(number, group)| self.write_group(*number, group));
        self.allocator.groups = groups;
        written
    }

    fn write_group(&mut self, number: u32, group: &mut Group) -> Result<(), Error> {
        let summed = self.superblock.features.metadata_csum();
        let blocks = group.blocks.as_ref().filter(|_| group.changed.blocks);
        if let Some(bitmap) = blocks {
            if summed {
                let sum = block_bitmap_sum(&self.superblock, bitmap);
                group.descriptor.set_block_bitmap_sum(sum);
            }
            self.write_block(group.descriptor.block_bitmap(), bitmap.bytes())?;
        }
        let inodes = group.inodes.as_ref().filter(|_| group.changed.inodes);
        if let Some(bitmap) = inodes {
            if summed {
                let sum = inode_bitmap_sum(&self.superblock, bitmap);
                group.descriptor.set_inode_bitmap_sum(sum);
            }
            self.write_block(group.descriptor.inode_bitmap(), bitmap.bytes())?;
        }
        if group.changed.descriptor {
            let (block, at) = self.descriptor_place(number);
            let bytes = group.descriptor.encode(&self.superblock);
            let mut table = self.read_block(block)?.to_vec();
            if let Some(place) = table.get_mut(at..at.saturating_add(bytes.len())) {
                place.copy_from_slice(bytes);
            }
            self.write_block(block, &table)?;
        }
        group.changed = Changed::default();
        Ok(())
    }

    fn mark_blocks(&mut self, group: u32, bits: Range<u32>, used: bool) -> Result<(), Error> {
        let count = bits.end.saturating_sub(bits.start);
        self.block_bitmap(group)?;
        let touched = self.touched(group)?;
        let free = touched.descriptor.free_blocks();
        let (group_free, all) = (&mut touched.descriptor, u64::from(count));
        group_free.set_free_blocks(if used {
            free.saturating_sub(count)
        } else {
            free.saturating_add(count)
        });
        group_free.clear_flag(BLOCK_UNINIT);
        if let Some(bitmap) = &mut touched.blocks {
            bitmap.set(bits, used);
        }
        touched.changed.blocks = true;
        touched.changed.descriptor = true;
        let free = self.superblock.free_blocks();
        self.superblock.set_free_blocks(if used {
            free.saturating_sub(all)
        } else {
            free.saturating_add(all)
        });
        Ok(())
    }

    fn mark_inode(
        &mut self,
        group: u32,
        index: u32,
        used: bool,
        is_dir: bool,
    ) -> Result<(), Error> {
        let superblock = self.superblock.clone();
        let touched = self.touched(group)?;
        let descriptor = &mut touched.descriptor;
        let step = |count: u32, up: bool| {
            if up {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            }
        };
        if superblock.features.group_csum() && used {
            let per_group = superblock.inodes_per_group;
            let unused = if descriptor.has_flag(&superblock, INODE_UNINIT) {
                per_group
            } else {
                descriptor.itable_unused()
            };
            let behind = per_group.saturating_sub(index).saturating_sub(1);
            descriptor.set_itable_unused(unused.min(behind));
            descriptor.clear_flag(INODE_UNINIT);
            if descriptor.has_flag(&superblock, BLOCK_UNINIT) {
                descriptor.clear_flag(BLOCK_UNINIT);
                touched.changed.blocks = true;
            }
        }
        descriptor.set_free_inodes(step(descriptor.free_inodes(), !used));
        if is_dir {
            descriptor.set_used_dirs(step(descriptor.used_dirs(), used));
        }
        if let Some(bitmap) = &mut touched.inodes {
            bitmap.set(index..index.saturating_add(1), used);
        }
        touched.changed.inodes = true;
        touched.changed.descriptor = true;
        let free = self.superblock.free_inodes();
        self.superblock.set_free_inodes(step(free, !used));
        Ok(())
    }

    fn touched(&mut self, group: u32) -> Result<&mut Group, Error> {
        if !self.allocator.groups.contains_key(&group) {
            let descriptor = self.descriptor(group)?;
            self.allocator.groups.insert(
                group,
                Group {
                    descriptor,
                    blocks: None,
                    inodes: None,
                    changed: Changed::default(),
                },
            );
        }
        // Inserted above if it was not there.
        Ok(self.allocator.groups.get_mut(&group).expect("inserted"))
    }

    fn block_bitmap(&mut self, group: u32) -> Result<&Bitmap, Error> {
        if self.touched(group)?.blocks.is_none() {
            let bitmap = self.load_block_bitmap(group)?;
            self.touched(group)?.blocks = Some(bitmap);
        }
        // Loaded above if it was not there.
        Ok(self.touched(group)?.blocks.as_ref().expect("loaded"))
    }

    fn inode_bitmap(&mut self, group: u32) -> Result<&Bitmap, Error> {
        if self.touched(group)?.inodes.is_none() {
            let bitmap = self.load_inode_bitmap(group)?;
            self.touched(group)?.inodes = Some(bitmap);
        }
        // Loaded above if it was not there.
        Ok(self.touched(group)?.inodes.as_ref().expect("loaded"))
    }

    /// Reads a bitmap of blocks, or makes one that was never written, and checks sum and count.
    ///
    /// # Errors
    /// A wrong sum, or another count than the descriptor's.
    pub(crate) fn load_block_bitmap(&self, group: u32) -> Result<Bitmap, Error> {
        let touched = self.allocator.groups.get(&group);
        if let Some(bitmap) = touched.and_then(|group| group.blocks.as_ref()) {
            return Ok(bitmap.clone());
        }
        let descriptor = self.descriptor(group)?;
        let superblock = &self.superblock;
        let blocks = superblock.group_blocks(group);
        let bits = bit_in_group(superblock, group, blocks.end);
        let bitmap = if descriptor.has_flag(superblock, BLOCK_UNINIT) {
            let mut bitmap = Bitmap::empty(superblock.block_len(), bits);
            let backup = blocks.start..blocks.start.saturating_add(superblock.backup_blocks(group));
            for run in descriptor.metadata(superblock).into_iter().chain([backup]) {
                let start = run.start.clamp(blocks.start, blocks.end);
                let end = run.end.clamp(start, blocks.end);
                let bit = |block| bit_in_group(superblock, group, block);
                bitmap.set(bit(start)..bit(end), true);
            }
            bitmap
        } else {
            let block = descriptor.block_bitmap();
            let bitmap = Bitmap::new(self.read_block(block)?.to_vec(), bits);
            let sum = block_bitmap_sum(superblock, &bitmap);
            if superblock.features.metadata_csum()
                && !descriptor.block_bitmap_sum_is(superblock, sum)
            {
                return Err(bitmap_sum_wrong(group, "bg_block_bitmap_csum", sum));
            }
            bitmap
        };
        check_count(
            group,
            "bg_free_blocks_count",
            descriptor.free_blocks(),
            &bitmap,
        )?;
        Ok(bitmap)
    }

    /// Reads a bitmap of inodes, or makes one that was never written, and checks sum and count.
    ///
    /// # Errors
    /// A wrong sum, or another count than the descriptor's.
    pub(crate) fn load_inode_bitmap(&self, group: u32) -> Result<Bitmap, Error> {
        let touched = self.allocator.groups.get(&group);
        if let Some(bitmap) = touched.and_then(|group| group.inodes.as_ref()) {
            return Ok(bitmap.clone());
        }
        let descriptor = self.descriptor(group)?;
        let superblock = &self.superblock;
        let bits = superblock.inodes_per_group;
        let bitmap = if descriptor.has_flag(superblock, INODE_UNINIT) {
            Bitmap::empty(superblock.block_len(), bits)
        } else {
            let block = descriptor.inode_bitmap();
            let bitmap = Bitmap::new(self.read_block(block)?.to_vec(), bits);
            let sum = inode_bitmap_sum(superblock, &bitmap);
            if superblock.features.metadata_csum()
                && !descriptor.inode_bitmap_sum_is(superblock, sum)
            {
                return Err(bitmap_sum_wrong(group, "bg_inode_bitmap_csum", sum));
            }
            bitmap
        };
        check_count(
            group,
            "bg_free_inodes_count",
            descriptor.free_inodes(),
            &bitmap,
        )?;
        Ok(bitmap)
    }
}

/// The bit of a block in its group's bitmap; of a block behind the group, the bits of the group.
fn bit_in_group(superblock: &Superblock, group: u32, block: u64) -> u32 {
    let blocks = superblock.group_blocks(group);
    let bit = block
        .clamp(blocks.start, blocks.end)
        .saturating_sub(blocks.start);
    // Groups have at most as many blocks as a block has bits.
    u32::try_from(bit).unwrap_or(u32::MAX)
}

fn block_bitmap_sum(superblock: &Superblock, bitmap: &Bitmap) -> u32 {
    let len = ondisk::width::usize_of_u32(superblock.blocks_per_group / 8);
    superblock
        .seed
        .bitmap(bitmap.bytes().get(..len).unwrap_or_default())
}

fn inode_bitmap_sum(superblock: &Superblock, bitmap: &Bitmap) -> u32 {
    let len = ondisk::width::usize_of_u32(superblock.inodes_per_group / 8);
    superblock
        .seed
        .bitmap(bitmap.bytes().get(..len).unwrap_or_default())
}

fn bitmap_sum_wrong(group: u32, field: &'static str, sum: u32) -> Error {
    CorruptKind::Group {
        group,
        field,
        value: sum.into(),
        expected: "the sum that the descriptor keeps",
    }
    .into()
}

fn check_count(group: u32, field: &'static str, count: u32, bitmap: &Bitmap) -> Result<(), Error> {
    if count == bitmap.free() {
        return Ok(());
    }
    Err(CorruptKind::Group {
        group,
        field,
        value: count.into(),
        expected: "the number of clear bits in the bitmap",
    }
    .into())
}

fn longer(a: Option<Range<u32>>, b: Option<Range<u32>>) -> Option<Range<u32>> {
    let len = |run: &Option<Range<u32>>| run.as_ref().map_or(0, ExactSizeIterator::len);
    if len(&b) > len(&a) { b } else { a }
}
