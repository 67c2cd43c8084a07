//! Taking blocks and giving them back.

use crate::error::Error;
use crate::group::{Changed, Group, header_error};
use crate::rmap::Owner;
use crate::superblock::FsBlock;
use crate::tree::Tree;
use crate::volume::Volume;
use ondisk::width::u64_of;
use std::sync::{Arc, PoisonError};

/// Groups that are kept although nothing of them was changed.
const KEPT_GROUPS: usize = 64;
/// Blocks of every group that stay free for its trees: what the kernel sets aside,
/// `XFS_ALLOCBT_AGFL_RESERVE` and four more, and as much again for our own rewriting.
const SET_ASIDE: u64 = 16;

/// Blocks on end, of one group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Blocks {
    pub(crate) start: FsBlock,
    pub(crate) count: u32,
}

/// Who blocks are for, and from which place of the file on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    pub(crate) owner: Owner,
    /// Block of the file; 0 where blocks have no place in one.
    pub(crate) offset: u64,
    pub(crate) unwritten: bool,
}

impl Purpose {
    /// Blocks without a place in a file.
    pub(crate) fn of(owner: Owner) -> Self {
        Self {
            owner,
            offset: 0,
            unwritten: false,
        }
    }
}

impl Volume {
    /// What is known about a group.
    ///
    /// # Errors
    /// As [`Volume::load_group`].
    pub(crate) fn group(&self, number: u32) -> Result<Arc<Group>, Error> {
        let lock = || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = lock().get(&number) {
            return Ok(Arc::clone(group));
        }
        let group = Arc::new(self.load_group(number)?);
        let mut groups = lock();
        if groups.len() >= KEPT_GROUPS {
            groups.retain(|_, group| !group.changed.is_empty());
        }
        groups.insert(number, Arc::clone(&group));
        Ok(group)
    }

    /// Whether a group is in memory.
    pub(crate) fn is_loaded(&self, number: u32) -> bool {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.contains_key(&number)
    }

    /// A group to change; callers note what they changed in it.
    ///
    /// # Errors
    /// As [`Volume::load_group`].
    pub(crate) fn group_mut(&mut self, number: u32) -> Result<&mut Group, Error> {
        self.group(number)?;
        let groups = self
            .groups
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let group = groups.get_mut(&number);
        let missing = || header_error(number, "group", 0, "a group that was just read");
        Ok(Arc::make_mut(group.ok_or_else(missing)?))
    }

    /// The groups that have to be written.
    pub(crate) fn changed_groups(&self) -> Vec<u32> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = groups.iter().filter(|(_, group)| !group.changed.is_empty());
        changed.map(|(number, _)| *number).collect()
    }

    /// A group of its own, out of those that are kept.
    pub(crate) fn take_group(&mut self, number: u32) -> Result<Group, Error> {
        let group = self.group(number)?;
        let groups = self
            .groups
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        groups.remove(&number);
        Ok(Arc::unwrap_or_clone(group))
    }

    /// Puts a group back.
    pub(crate) fn keep_group(&mut self, group: Group) {
        let groups = self
            .groups
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        groups.insert(group.number, Arc::new(group));
    }

    /// Blocks of a group that must stay free: those that its trees may grow into, as the kernel
    /// reserves them at mount.
    fn reserve(&self, number: u32, used: impl Fn(Tree) -> u64) -> u64 {
        let superblock = &self.superblock;
        let features = superblock.features;
        let blocks = u64::from(superblock.blocks_of_group(number));
        let (v5, len) = (features.v5(), superblock.block_len());
        let mut reserve = SET_ASIDE;
        let mut add = |tree: Tree, most: u64| {
            reserve = reserve.saturating_add(most.saturating_sub(used(tree)));
        };
        if features.reflink() {
            add(Tree::Sharing, Tree::Sharing.max_blocks(v5, len, blocks));
        }
        if features.rmapbt() {
            let most = Tree::Owners.max_blocks(v5, len, blocks);
            add(Tree::Owners, most.max(blocks / 100));
        }
        if features.finobt() {
            let inodes = blocks.saturating_mul(superblock.inodes_per_block.into());
            add(
                Tree::FreeInodes,
                Tree::FreeInodes.max_blocks(v5, len, inodes / 64),
            );
        }
        reserve
    }

    /// Blocks that may be taken from a group, and how many of them lie together.
    ///
    /// # Errors
    /// A damaged header.
    pub(crate) fn usable(&self, number: u32) -> Result<(u64, u32), Error> {
        let loaded = {
            let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.get(&number).cloned()
        };
        let (free, longest, reserve) = if let Some(group) = loaded {
            let used = |tree| u64_of(group.blocks_of(tree).len());
            let reserve = self.reserve(number, used);
            (group.free.total(), group.free.longest(), reserve)
        } else {
            let agf = self.read_agf(number)?;
            let used = |tree| match tree {
                Tree::Owners => agf.agf_rmap_blocks.get().into(),
                Tree::Sharing => agf.agf_refcount_blocks.get().into(),
                // That they are counted is not sure.
                _ => 1,
            };
            let reserve = self.reserve(number, used);
            (agf.agf_freeblks.get(), agf.agf_longest.get(), reserve)
        };
        let usable = u64::from(free).saturating_sub(reserve);
        let longest = u64::from(longest).min(usable);
        Ok((usable, u32::try_from(longest).unwrap_or(u32::MAX)))
    }

    /// Blocks that may be taken from all groups, and how many of them lie together.
    ///
    /// # Errors
    /// Damaged headers.
    pub(crate) fn usable_blocks(&self) -> Result<(u64, u32), Error> {
        let (mut all, mut longest) = (0_u64, 0);
        for group in 0..self.superblock.group_count {
            let (blocks, together) = self.usable(group)?;
            all = all.saturating_add(blocks);
            longest = together.max(longest);
        }
        Ok((all, longest))
    }

    /// No room for so many blocks.
    pub(crate) fn no_space(&self, blocks: u64) -> Error {
        let free = match self.usable_blocks() {
            Ok((free, _)) => free.saturating_mul(self.superblock.block_bytes()),
            Err(error) => return error,
        };
        let needed = blocks.saturating_mul(self.superblock.block_bytes());
        Error::NoSpace { needed, free }
    }

    /// Takes up to `count` blocks on end, at `goal` if it is free, else near it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if there is not one, or damaged groups.
    pub(crate) fn allocate(
        &mut self,
        goal: FsBlock,
        count: u32,
        purpose: Purpose,
    ) -> Result<Blocks, Error> {
        let groups = self.superblock.group_count;
        let (first, block) = self.superblock.split_block(goal);
        let first = first.min(groups.saturating_sub(1));
        let mut best: Option<(u32, u32)> = None;
        for number in (first..groups).chain(0..first) {
            let (_, longest) = self.usable(number)?;
            if longest > best.map_or(0, |(_, longest)| longest) {
                best = Some((number, longest));
            }
            if longest >= count {
                break;
            }
        }
        let Some((number, longest)) = best else {
            return Err(self.no_space(count.into()));
        };
        let goal = (number == first).then_some(block);
        let group = self.group_mut(number)?;
        let found = group.free.find(goal, count.min(longest));
        let taken = found.filter(|(start, count)| group.free.take(*start, *count));
        let Some((start, count)) = taken else {
            // The header says that there is a longer one, and agrees with the tree.
            return Err(header_error(
                number,
                "agf_longest",
                longest.into(),
                "free blocks",
            ));
        };
        self.own(number, (start, count), purpose)
    }

    /// Takes exactly `count` blocks of a group whose first one is a multiple of `alignment`; none
    /// if there are no such blocks.
    ///
    /// # Errors
    /// Damaged groups.
    pub(crate) fn allocate_aligned(
        &mut self,
        number: u32,
        (count, alignment): (u32, u32),
        purpose: Purpose,
    ) -> Result<Option<Blocks>, Error> {
        if self.usable(number)?.0 < count.into() {
            return Ok(None);
        }
        let group = self.group_mut(number)?;
        let found = group.free.find_aligned(count, alignment);
        let Some(start) = found.filter(|start| group.free.take(*start, count)) else {
            return Ok(None);
        };
        self.own(number, (start, count), purpose).map(Some)
    }

    /// Notes who has blocks that were just taken.
    fn own(
        &mut self,
        number: u32,
        (start, count): (u32, u32),
        purpose: Purpose,
    ) -> Result<Blocks, Error> {
        let group = self.group_mut(number)?;
        group.changed.insert(Changed::Space);
        if let Some(owners) = &mut group.owners {
            owners.add(
                purpose.owner,
                purpose.offset,
                (start, count),
                purpose.unwritten,
            );
            group.changed.insert(Changed::Owners);
        }
        let start = self.superblock.fs_block(number, start);
        self.forget(start, count.into());
        Ok(Blocks { start, count })
    }

    /// Takes blocks from their owner. Those that nobody else has become free.
    ///
    /// # Errors
    /// Blocks that the owner does not have, that are free already or lie outside.
    pub(crate) fn release(&mut self, blocks: Blocks, purpose: Purpose) -> Result<(), Error> {
        let Blocks { start, count } = blocks;
        let (number, first) = self.superblock.split_block(start);
        if !self.superblock.has_blocks(start, count.into()) {
            let expected = "blocks within the group";
            return Err(header_error(
                number,
                "block to free",
                first.into(),
                expected,
            ));
        }
        self.forget(start, count.into());
        let group = self.group_mut(number)?;
        if let Some(owners) = &mut group.owners {
            let extent = (first, count);
            if !owners.remove(purpose.owner, purpose.offset, extent, purpose.unwritten) {
                let expected = "a block that its user owns";
                return Err(header_error(
                    number,
                    "block to free",
                    first.into(),
                    expected,
                ));
            }
            group.changed.insert(Changed::Owners);
        }
        // `has_blocks` above says that the end is within the group.
        let range = first..first.saturating_add(count);
        let unused = match &mut group.sharing {
            Some(sharing) => {
                let unused = sharing.drop_user(range.clone());
                if unused != [range] {
                    group.changed.insert(Changed::Sharing);
                }
                unused
            }
            None => vec![range],
        };
        for run in unused {
            let count = run.end.saturating_sub(run.start);
            if !group.free.give(run.start, count) {
                let expected = "a block that is in use";
                return Err(header_error(
                    number,
                    "block to free",
                    run.start.into(),
                    expected,
                ));
            }
            group.changed.insert(Changed::Space);
        }
        Ok(())
    }

    /// Notes that blocks of a file are written now that were only reserved.
    ///
    /// # Errors
    /// Blocks that the owner does not have.
    pub(crate) fn note_written(&mut self, blocks: Blocks, purpose: Purpose) -> Result<(), Error> {
        let (number, first) = self.superblock.split_block(blocks.start);
        let group = self.group_mut(number)?;
        let Some(owners) = &mut group.owners else {
            return Ok(());
        };
        let extent = (first, blocks.count);
        if !owners.remove(purpose.owner, purpose.offset, extent, true) {
            let expected = "a reserved block that its user owns";
            return Err(header_error(
                number,
                "block to write",
                first.into(),
                expected,
            ));
        }
        owners.add(purpose.owner, purpose.offset, extent, false);
        group.changed.insert(Changed::Owners);
        Ok(())
    }

    /// How many of `blocks`, from the first on, are alike: all shared or none; and whether they are
    /// shared.
    ///
    /// # Errors
    /// Damaged groups.
    pub(crate) fn shared_run(&self, blocks: Blocks) -> Result<(u32, bool), Error> {
        let (number, first) = self.superblock.split_block(blocks.start);
        let group = self.group(number)?;
        let range = first..first.saturating_add(blocks.count);
        let pieces = group.sharing.as_ref().map(|sharing| sharing.pieces(range));
        let Some((piece, users)) = pieces.and_then(|pieces| pieces.into_iter().next()) else {
            return Ok((blocks.count, false));
        };
        Ok((piece.end.saturating_sub(piece.start), users > 1))
    }
}
