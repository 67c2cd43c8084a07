//! Writing an allocation group: room for its trees, the trees, the headers.
//!
//! The trees of free space and of owners describe the blocks that they themselves take, so room is
//! made for them until nothing changes any more.

use crate::checksum::{self, place};
use crate::chunk;
use crate::error::Error;
use crate::group::{AGFL_MAGIC, Changed, Group, header_error};
use crate::raw::RawAgflHeader;
use crate::rmap::{Owner, Owners};
use crate::sharing::Sharing;
use crate::superblock::Superblock;
use crate::tree::{NO_BLOCK, Tree, list_capacity};
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of_u32};
use zerocopy::{FromZeros, IntoBytes};

/// Rounds of making room. What the trees take grows by a part of what was taken in the round before,
/// so that a few are enough.
const MAX_ROUNDS: u32 = 100;
/// The trees whose blocks come from the list of reserved blocks.
const LISTED: [Tree; 3] = [Tree::FreeByBlock, Tree::FreeByLength, Tree::Owners];

impl Volume {
    /// Writes the groups that were changed.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if a group has no room for its own trees, or what writing meets.
    pub(crate) fn write_groups(&mut self) -> Result<(), Error> {
        for number in self.changed_groups() {
            let mut group = self.take_group(number)?;
            settle(&self.superblock, &mut group)?;
            self.write_trees(&mut group)?;
            self.write_headers(&group)?;
            group.changed.clear();
            let (before, after) = (group.counted, group.count());
            group.counted = after;
            self.superblock.count(before, after);
            self.keep_group(group);
        }
        Ok(())
    }

    fn write_trees(&mut self, group: &mut Group) -> Result<(), Error> {
        let number = group.number;
        let mut write = |group: &Group, tree: Tree, records: &[u8]| {
            self.write_tree(tree, number, records, group.blocks_of(tree))
        };
        if group.changed.contains(&Changed::Space) {
            let (root, levels) = write(group, Tree::FreeByBlock, &group.free.records_by_block())?;
            group.agf.agf_bno_root.set(root);
            group.agf.agf_bno_level.set(levels);
            let (root, levels) = write(group, Tree::FreeByLength, &group.free.records_by_length())?;
            group.agf.agf_cnt_root.set(root);
            group.agf.agf_cnt_level.set(levels);
        }
        if group.changed.contains(&Changed::Owners)
            && let Some(owners) = &group.owners
        {
            let (root, levels) = write(group, Tree::Owners, &owners.records())?;
            group.agf.agf_rmap_root.set(root);
            group.agf.agf_rmap_level.set(levels);
        }
        if group.changed.contains(&Changed::Sharing)
            && let Some(sharing) = &group.sharing
        {
            let (root, levels) = write(group, Tree::Sharing, &sharing.records())?;
            group.agf.agf_refcount_root.set(root);
            group.agf.agf_refcount_level.set(levels);
        }
        if group.changed.contains(&Changed::Inodes) {
            let features = self.superblock.features;
            let sparse = features.sparse_inodes();
            let mut write = |group: &Group, tree: Tree, records: &[u8]| {
                self.write_tree(tree, number, records, group.blocks_of(tree))
            };
            let records = chunk::records(&group.chunks, sparse, false);
            let (root, levels) = write(group, Tree::Inodes, &records)?;
            group.agi.agi_root.set(root);
            group.agi.agi_level.set(levels);
            if features.finobt() {
                let records = chunk::records(&group.chunks, sparse, true);
                let (root, levels) = write(group, Tree::FreeInodes, &records)?;
                group.agi.agi_free_root.set(root);
                group.agi.agi_free_level.set(levels);
            }
        }
        self.count_group(group);
        Ok(())
    }

    /// Brings the counters in the headers up to date.
    fn count_group(&self, group: &mut Group) {
        let features = self.superblock.features;
        let length =
            |group: &Group, tree| u32::try_from(group.blocks_of(tree).len()).unwrap_or(u32::MAX);
        let (count, free_count) = group.inodes();
        let list = u32::try_from(group.list.len()).unwrap_or(u32::MAX);
        group.agf.agf_freeblks.set(group.free.total());
        group.agf.agf_longest.set(group.free.longest());
        group.agf.agf_btreeblks.set(group.tree_blocks());
        group.agf.agf_flfirst.set(0);
        let capacity = list_capacity(features.v5(), self.superblock.sector_size);
        let last = list.checked_sub(1).unwrap_or(capacity.saturating_sub(1));
        group.agf.agf_fllast.set(last);
        group.agf.agf_flcount.set(list);
        if features.rmapbt() {
            group.agf.agf_rmap_blocks.set(length(group, Tree::Owners));
        }
        if features.reflink() {
            group
                .agf
                .agf_refcount_blocks
                .set(length(group, Tree::Sharing));
        }
        group.agi.agi_count.set(count);
        group.agi.agi_freecount.set(free_count);
        if features.inobtcount() {
            group.agi.agi_iblocks.set(length(group, Tree::Inodes));
            group.agi.agi_fblocks.set(length(group, Tree::FreeInodes));
        }
    }

    fn write_headers(&mut self, group: &Group) -> Result<(), Error> {
        let number = group.number;
        self.write_header(number, 1, group.agf.as_bytes(), place::AGF)?;
        self.write_header(number, 2, group.agi.as_bytes(), place::AGI)?;
        let v5 = self.superblock.features.v5();
        let capacity = list_capacity(v5, self.superblock.sector_size);
        let mut bytes = Vec::new();
        if v5 {
            let position = self.superblock.header_position(number, 3);
            let mut header = RawAgflHeader::new_zeroed();
            self.device.read_at(position, header.as_mut_bytes())?;
            header.agfl_magicnum.set(AGFL_MAGIC);
            header.agfl_seqno.set(number);
            header.agfl_uuid = self.superblock.meta_uuid;
            bytes.extend_from_slice(header.as_bytes());
        }
        let unused = std::iter::repeat(&NO_BLOCK);
        for block in group.list.iter().chain(unused).take(usize_of_u32(capacity)) {
            bytes.extend_from_slice(&block.to_be_bytes());
        }
        self.write_header(number, 3, &bytes, place::AGFL)
    }

    /// Writes the front of a sector of a group's headers, with the checksum of the whole.
    fn write_header(
        &mut self,
        group: u32,
        sector: u32,
        front: &[u8],
        sum_at: usize,
    ) -> Result<(), Error> {
        let position = self.superblock.header_position(group, sector);
        let mut bytes = vec![0; usize_of_u32(self.superblock.sector_size)];
        self.device.read_at(position, &mut bytes)?;
        // Version 4 has the same layout; what version 5 added is zero there.
        if let Some(place) = bytes.get_mut(..front.len()) {
            place.copy_from_slice(front);
        }
        if self.superblock.features.v5() {
            checksum::set(&mut bytes, sum_at);
        }
        self.device.write_at(position, &bytes)?;
        Ok(())
    }
}

/// What a tree is part of when it is written.
fn change_of(tree: Tree) -> Changed {
    match tree {
        Tree::FreeByBlock | Tree::FreeByLength => Changed::Space,
        Tree::Inodes | Tree::FreeInodes => Changed::Inodes,
        Tree::Owners => Changed::Owners,
        Tree::Sharing => Changed::Sharing,
    }
}

/// Blocks that a tree needs for the records that it has now, and its levels. What is not written
/// keeps the blocks that it has, which may be more than we would take.
fn needed(superblock: &Superblock, group: &Group, tree: Tree) -> (usize, u32) {
    let records = match tree {
        Tree::FreeByBlock | Tree::FreeByLength => group.free.count(),
        Tree::Inodes => group.chunks.len(),
        Tree::FreeInodes => group.free_chunks(),
        Tree::Owners => group.owners.as_ref().map_or(0, Owners::count),
        Tree::Sharing => group.sharing.as_ref().map_or(0, Sharing::count),
    };
    let shape = tree.shape(superblock.features.v5(), superblock.block_len(), records);
    let levels = u32::try_from(shape.len()).unwrap_or(u32::MAX);
    if group.changed.contains(&change_of(tree)) {
        (shape.iter().sum(), levels)
    } else {
        (group.blocks_of(tree).len(), levels)
    }
}

/// Gives every tree of the group the blocks that it needs, and the list of reserved blocks what the
/// kernel wants in it.
fn settle(superblock: &Superblock, group: &mut Group) -> Result<(), Error> {
    let capacity = list_capacity(superblock.features.v5(), superblock.sector_size);
    let mut took = false;
    for _ in 0..MAX_ROUNDS {
        let mut moved = false;
        for (tree, owner) in [
            (Tree::Inodes, Owner::INODE_TREES),
            (Tree::FreeInodes, Owner::INODE_TREES),
            (Tree::Sharing, Owner::SHARING),
        ] {
            if group.blocks.contains_key(&tree) {
                moved |= settle_own(superblock, group, (tree, owner))?;
            }
        }
        let (mut have, mut need, mut levels) = (0_usize, 0_usize, 0_u32);
        for tree in LISTED {
            if group.blocks.contains_key(&tree) {
                let (blocks, own_levels) = needed(superblock, group, tree);
                need = need.saturating_add(blocks);
                have = have.saturating_add(group.blocks_of(tree).len());
                levels = levels.saturating_add(own_levels).saturating_add(1);
                shrink(group, tree, blocks);
            }
        }
        let have = have.saturating_add(group.list.len());
        let wanted = need.saturating_add(usize_of_u32(levels.min(capacity)));
        let most = need.saturating_add(usize_of_u32(capacity));
        // Giving back may split an extent in two and so need a block again: once one was taken, the
        // rest stays in the list as long as it fits.
        let target = if took { most } else { wanted };
        for _ in have..wanted {
            if group.free.total() == 0 && have >= need {
                break;
            }
            let block = take(superblock, group, Owner::GROUP)?;
            group.list.push(block);
            (took, moved) = (true, true);
        }
        for _ in target..have {
            let Some(block) = group.list.pop() else {
                break;
            };
            give(group, block, Owner::GROUP)?;
            moved = true;
        }
        if !moved {
            for tree in LISTED {
                if group.blocks.contains_key(&tree) {
                    grow(superblock, group, tree)?;
                }
            }
            return Ok(());
        }
    }
    let expected = "room for its trees that stays the same";
    Err(header_error(
        group.number,
        "free blocks",
        group.free.total().into(),
        expected,
    ))
}

/// Moves blocks of a tree that it does not need to the list.
fn shrink(group: &mut Group, tree: Tree, need: usize) {
    if let Some(blocks) = group.blocks.get_mut(&tree) {
        let kept = need.min(blocks.len());
        group.list.extend(blocks.drain(kept..));
    }
}

/// Moves blocks from the list to a tree until the tree has what it needs.
fn grow(superblock: &Superblock, group: &mut Group, tree: Tree) -> Result<(), Error> {
    let (need, _) = needed(superblock, group, tree);
    let number = group.number;
    let blocks = group.blocks.entry(tree).or_default();
    while blocks.len() < need {
        let block = group.list.pop().ok_or_else(|| {
            // Room for all of them was made.
            let expected = "blocks in the AGFL for the trees of the group";
            header_error(number, tree.name(), u64_of(need), expected)
        })?;
        blocks.push(block);
    }
    Ok(())
}

/// Takes or gives back blocks of a tree that has its own; says whether it did.
fn settle_own(
    superblock: &Superblock,
    group: &mut Group,
    (tree, owner): (Tree, Owner),
) -> Result<bool, Error> {
    let (need, _) = needed(superblock, group, tree);
    let mut moved = false;
    while group.blocks_of(tree).len() > need {
        let block = group.blocks.get_mut(&tree).and_then(Vec::pop);
        if let Some(block) = block {
            give(group, block, owner)?;
            moved = true;
        }
    }
    while group.blocks_of(tree).len() < need {
        let block = take(superblock, group, owner)?;
        group.blocks.entry(tree).or_default().push(block);
        moved = true;
    }
    Ok(moved)
}

fn take(superblock: &Superblock, group: &mut Group, owner: Owner) -> Result<u32, Error> {
    let found = group.free.find(None, 1);
    let Some((block, _)) = found.filter(|(block, _)| group.free.take(*block, 1)) else {
        return Err(Error::NoSpace {
            needed: superblock.block_bytes(),
            free: 0,
        });
    };
    if let Some(owners) = &mut group.owners {
        owners.add(owner, 0, (block, 1), false);
        group.changed.insert(Changed::Owners);
    }
    group.changed.insert(Changed::Space);
    Ok(block)
}

fn give(group: &mut Group, block: u32, owner: Owner) -> Result<(), Error> {
    let owned = match &mut group.owners {
        Some(owners) => owners.remove(owner, 0, (block, 1), false),
        None => true,
    };
    if !owned || !group.free.give(block, 1) {
        let expected = "a block that is in use by its tree";
        return Err(header_error(
            group.number,
            "block to free",
            block.into(),
            expected,
        ));
    }
    group.changed.insert(Changed::Space);
    if group.owners.is_some() {
        group.changed.insert(Changed::Owners);
    }
    Ok(())
}
