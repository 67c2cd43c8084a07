//! Work that the log announced and the machine did not come to: done here as the kernel does when
//! it mounts.

use crate::allocator::{Blocks, Purpose};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::extent::Extent;
use crate::group::{Changed, header_error};
use crate::inode::Fork;
use crate::log::{Mapping, OwnerChange, OwnerUpdate, ShareChange, Work};
use crate::rmap::{Owner, Owners};
use crate::sharing::Sharing;
use crate::tree::Tree;
use crate::volume::Volume;
use ondisk::width::u64_of;
use std::collections::VecDeque;
use std::ops::Range;

/// Records that all work together looks through at most, some minutes: each thing to do may need
/// all owners of a group, or the whole map of a file. A machine that stopped leaves some hundred
/// things to do.
const MAX_EFFORT: u64 = 1 << 31;

impl Volume {
    /// Does the work, and what follows from it, in this order. Groups are not yet written.
    ///
    /// # Errors
    /// Work on blocks that are not as it expects them, and more work than is done.
    pub(crate) fn finish_work(&mut self, work: Vec<Work>) -> Result<(), Error> {
        let mut effort = 0;
        self.count_effort(&work, &mut effort)?;
        let mut work = VecDeque::from(work);
        while let Some(next) = work.pop_front() {
            let more: Vec<Work> = match next {
                Work::Free(blocks) => {
                    self.free_unowned(blocks)?;
                    Vec::new()
                }
                Work::Owner(update) => {
                    self.update_owner(update)?;
                    Vec::new()
                }
                Work::Share(change, blocks) => {
                    let free = self.update_share(change, blocks)?;
                    free.into_iter().map(Work::Free).collect()
                }
                Work::Mapping(mapping) => {
                    let update = self.update_map(mapping)?;
                    update.map(Work::Owner).into_iter().collect()
                }
            };
            self.count_effort(&more, &mut effort)?;
            // What follows comes last: other work may be about the same blocks.
            work.extend(more);
        }
        Ok(())
    }

    /// Adds to `effort` how many records doing the work looks through.
    fn count_effort(&self, work: &[Work], effort: &mut u64) -> Result<(), Error> {
        for next in work {
            let records = match next {
                Work::Free(blocks) => {
                    let (number, _) = self.group_range(*blocks)?;
                    let group = self.group(number)?;
                    u64_of(group.owners.as_ref().map_or(0, Owners::count))
                }
                Work::Share(_, blocks) => {
                    let (number, range) = self.group_range(*blocks)?;
                    let group = self.group(number)?;
                    let pieces = |sharing: &Sharing| sharing.pieces(range).len();
                    u64_of(group.sharing.as_ref().map_or(0, pieces))
                }
                Work::Mapping(mapping) => {
                    let inode = self.live_inode(mapping.inode)?;
                    inode.extents(fork_of(mapping))
                }
                Work::Owner(_) => 0,
            };
            *effort = effort.saturating_add(records);
            if *effort > MAX_EFFORT {
                return Err(UnsupportedKind::TooLarge {
                    field: "the number of records that unfinished work in the log looks through",
                    value: *effort,
                    cap: MAX_EFFORT,
                }
                .into());
            }
        }
        Ok(())
    }

    /// Frees blocks whose owner is not known: it may still be recorded, or not any more.
    fn free_unowned(&mut self, blocks: Blocks) -> Result<(), Error> {
        let (number, range) = self.group_range(blocks)?;
        self.forget(blocks.start, blocks.count.into());
        let group = self.group_mut(number)?;
        let extent = (range.start, blocks.count);
        if let Some(owners) = &mut group.owners {
            if !owners.remove_any(extent) {
                return Err(unexpected(
                    number,
                    range.start,
                    "blocks of one owner or none",
                ));
            }
            group.changed.insert(Changed::Owners);
        }
        if !group.free.give(range.start, blocks.count) {
            return Err(unexpected(number, range.start, "blocks that are in use"));
        }
        group.changed.insert(Changed::Space);
        Ok(())
    }

    fn update_owner(&mut self, update: OwnerUpdate) -> Result<(), Error> {
        let (number, range) = self.group_range(update.blocks)?;
        let Purpose {
            owner,
            offset,
            unwritten,
        } = update.purpose;
        let group = self.group_mut(number)?;
        let Some(owners) = &mut group.owners else {
            return Err(unexpected(
                number,
                range.start,
                "no work on owners without rmapbt",
            ));
        };
        let extent = (range.start, update.blocks.count);
        let as_expected = match update.change {
            OwnerChange::Map => {
                owners.add(owner, offset, extent, unwritten);
                true
            }
            OwnerChange::Unmap => owners.remove(owner, offset, extent, unwritten),
            OwnerChange::Convert => {
                let removed = owners.remove(owner, offset, extent, !unwritten);
                owners.add(owner, offset, extent, unwritten);
                removed
            }
        };
        if !as_expected {
            return Err(unexpected(number, range.start, "blocks of the owner"));
        }
        group.changed.insert(Changed::Owners);
        Ok(())
    }

    /// Says which blocks become free.
    fn update_share(&mut self, change: ShareChange, blocks: Blocks) -> Result<Vec<Blocks>, Error> {
        let (number, range) = self.group_range(blocks)?;
        let superblock = self.superblock.clone();
        let group = self.group_mut(number)?;
        let Some(sharing) = &mut group.sharing else {
            return Err(unexpected(
                number,
                range.start,
                "no shared blocks without reflink",
            ));
        };
        let extent = (range.start, blocks.count);
        let mut free = Vec::new();
        let as_expected = match change {
            ShareChange::Increase => {
                sharing.add_user(range.clone());
                true
            }
            ShareChange::Decrease => {
                free = sharing.drop_user(range.clone());
                true
            }
            ShareChange::Reserve => sharing.reserve(extent),
            ShareChange::Unreserve => sharing.unreserve(extent),
        };
        if !as_expected {
            return Err(unexpected(number, range.start, "blocks reserved once"));
        }
        group.changed.insert(Changed::Sharing);
        let free = free.into_iter().map(|run| Blocks {
            start: superblock.fs_block(number, run.start),
            count: run.end.saturating_sub(run.start),
        });
        Ok(free.collect())
    }

    /// Says what becomes of the record of who owns the blocks, if there are such records.
    fn update_map(&mut self, mapping: Mapping) -> Result<Option<OwnerUpdate>, Error> {
        let fork = fork_of(&mapping);
        let Mapping {
            map: is_mapped,
            inode: number,
            blocks,
            offset,
            attributes,
            unwritten,
        } = mapping;
        self.group_range(blocks)?;
        let mut inode = self.live_inode(number)?;
        let mut map = (*self.map(&inode, fork)?).clone();
        let extent = Extent {
            offset,
            start: blocks.start,
            count: blocks.count,
            unwritten,
        };
        let range = offset..extent.end();
        let before = map.remove(&range);
        let as_expected = if is_mapped {
            map.insert(extent);
            before.is_empty()
        } else {
            before == [extent]
        };
        if !as_expected {
            return Err(CorruptKind::Inode {
                inode: number,
                field: "content block that unfinished work is about",
                value: offset,
                expected: "a hole to fill, or the blocks to take out",
            }
            .into());
        }
        self.set_map(&mut inode, fork, map)?;
        self.write_inode(&inode)?;
        let change = if is_mapped {
            OwnerChange::Map
        } else {
            OwnerChange::Unmap
        };
        Ok(self.superblock.features.rmapbt().then_some(OwnerUpdate {
            change,
            blocks,
            purpose: Purpose {
                owner: Owner::content(number, attributes),
                offset,
                unwritten,
            },
        }))
    }

    /// Frees blocks that were reserved for copies which nobody is going to write any more, and says
    /// how many.
    ///
    /// # Errors
    /// Reserved blocks that have another owner or are free.
    pub(crate) fn free_reserved(&mut self) -> Result<u64, Error> {
        let mut freed = 0_u64;
        if !self.superblock.features.reflink() {
            return Ok(0);
        }
        for number in 0..self.superblock.group_count {
            if self.reserved_of(number)?.is_empty() {
                continue;
            }
            let group = self.group_mut(number)?;
            let Some(sharing) = &mut group.sharing else {
                continue;
            };
            let reserved: Vec<_> = sharing.reserved().collect();
            for (start, count) in reserved {
                let extent = (start, count);
                let owned = match &mut group.owners {
                    Some(owners) => owners.remove(Owner::COPIES, 0, extent, false),
                    None => true,
                };
                if !sharing.unreserve(extent) || !owned || !group.free.give(start, count) {
                    return Err(unexpected(number, start, "blocks that are only reserved"));
                }
                freed = freed.saturating_add(count.into());
            }
            let changed = [Changed::Sharing, Changed::Owners, Changed::Space];
            let has_owners = group.owners.is_some();
            let changed = changed.into_iter();
            group
                .changed
                .extend(changed.filter(|what| has_owners || *what != Changed::Owners));
        }
        Ok(freed)
    }

    /// What is reserved in a group, without everything else about it.
    fn reserved_of(&self, group: u32) -> Result<Vec<(u32, u32)>, Error> {
        let agf = self.read_agf(group)?;
        let (root, levels) = (agf.agf_refcount_root.get(), agf.agf_refcount_level.get());
        let records = self.read_tree(Tree::Sharing, group, root, levels)?.records;
        let blocks = self.superblock.header_blocks()..self.superblock.blocks_of_group(group);
        let sharing = Sharing::parse(group, &records, blocks)?;
        Ok(sharing.reserved().collect())
    }

    fn group_range(&self, blocks: Blocks) -> Result<(u32, Range<u32>), Error> {
        let (number, first) = self.superblock.split_block(blocks.start);
        let inside = self
            .superblock
            .has_blocks(blocks.start, blocks.count.into());
        if !inside || first < self.superblock.header_blocks() {
            return Err(unexpected(number, first, "blocks of the group"));
        }
        // `has_blocks` says that the end is within the group.
        Ok((number, first..first.saturating_add(blocks.count)))
    }
}

fn fork_of(mapping: &Mapping) -> Fork {
    if mapping.attributes {
        Fork::Attributes
    } else {
        Fork::Data
    }
}

fn unexpected(group: u32, block: u32, expected: &'static str) -> Error {
    header_error(
        group,
        "block that unfinished work is about",
        block.into(),
        expected,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::Image;

    #[test]
    fn work_that_would_take_hours_is_refused_before_it_begins() {
        let Some(image) = Image::make(&["-m", "rmapbt=1"], None) else {
            return;
        };
        let mut volume = image.open();
        let start = volume.superblock.fs_block(0, 5000);
        let free = Work::Free(Blocks { start, count: 1 });
        let owners = volume.group_mut(0).unwrap().owners.as_mut().unwrap();
        for number in 0..1 << 16 {
            let owner = Owner::content(1 << 20, false);
            owners.add(owner, number * 2, (6000, 1), false);
        }
        let refused = volume.finish_work(vec![free; 1 << 15]);
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
        assert!(volume.changed_groups().is_empty());
    }
}
