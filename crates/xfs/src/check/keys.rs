//! The nodes of a group's trees: that keys are those of what they lead to, and that neighbours know
//! each other. Reading a tree as a whole needs neither; the kernel, which looks things up, does.

use crate::error::{CorruptKind, Error};
use crate::group::Group;
use crate::raw::RawShortBlock;
use crate::tree::{NO_BLOCK, Tree};
use crate::volume::Volume;
use zerocopy::FromBytes;

/// Checks the nodes of all trees of a group, which was read.
///
/// # Errors
/// Keys or neighbours that are wrong, records out of order, or what reading meets.
pub(super) fn check(volume: &Volume, group: &Group) -> Result<(), Error> {
    let (agf, agi) = (&group.agf, &group.agi);
    for (tree, root, levels) in [
        (Tree::FreeByBlock, agf.agf_bno_root, agf.agf_bno_level),
        (Tree::FreeByLength, agf.agf_cnt_root, agf.agf_cnt_level),
        (Tree::Owners, agf.agf_rmap_root, agf.agf_rmap_level),
        (Tree::Sharing, agf.agf_refcount_root, agf.agf_refcount_level),
        (Tree::Inodes, agi.agi_root, agi.agi_level),
        (Tree::FreeInodes, agi.agi_free_root, agi.agi_free_level),
    ] {
        if group.blocks.contains_key(&tree) {
            let walk = Walk {
                volume,
                group: group.number,
                tree,
            };
            walk.levels(root.get(), levels.get())?;
        }
    }
    Ok(())
}

struct Walk<'v> {
    volume: &'v Volume,
    group: u32,
    tree: Tree,
}

/// A block of a tree, and the key by which the node above finds it.
struct Child {
    block: u32,
    key: Option<(Vec<u8>, Vec<u8>)>,
}

impl Walk<'_> {
    fn levels(&self, root: u32, levels: u32) -> Result<(), Error> {
        let mut row = vec![Child {
            block: root,
            key: None,
        }];
        for level in (0..levels).rev() {
            let mut below = Vec::new();
            let mut last_key: Option<Vec<u8>> = None;
            for (index, child) in row.iter().enumerate() {
                let neighbour = |at: Option<usize>| {
                    let neighbour = at.and_then(|at| row.get(at));
                    neighbour.map_or(NO_BLOCK, |neighbour| neighbour.block)
                };
                let around = (
                    neighbour(index.checked_sub(1)),
                    neighbour(index.checked_add(1)),
                );
                let keys = self.block(child, level, around, &mut below)?;
                for key in keys {
                    if last_key.as_ref().is_some_and(|last| *last >= key) {
                        return Err(self.wrong(child.block, "records in their order"));
                    }
                    last_key = Some(key);
                }
            }
            row = below;
        }
        Ok(())
    }

    /// Checks a block, adds what it leads to, and says the keys of its records or pointers, in the
    /// form that sorts as they must.
    fn block(
        &self,
        child: &Child,
        level: u32,
        (left, right): (u32, u32),
        below: &mut Vec<Child>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let block = self.volume.superblock.fs_block(self.group, child.block);
        let bytes = self.volume.read_block(block)?;
        let (header, _) = RawShortBlock::ref_from_prefix(&bytes)
            .map_err(|_| self.wrong(child.block, "a header"))?;
        if header.bb_leftsib.get() != left || header.bb_rightsib.get() != right {
            return Err(self.wrong(child.block, "its neighbours in bb_leftsib and bb_rightsib"));
        }
        let v5 = self.volume.superblock.features.v5();
        let count = usize::from(header.bb_numrecs.get());
        let body = Tree::body(v5, &bytes);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let (mut lowest, mut highest): (Option<Vec<u8>>, Vec<u8>) = (None, Vec::new());
        if level == 0 {
            for record in body.chunks_exact(self.tree.record_len()).take(count) {
                let (low, high) = self.tree.keys(record);
                keys.push(self.tree.order(&low));
                lowest.get_or_insert(low);
                highest = highest.max(high);
            }
        } else {
            let len = self.tree.key_len();
            let capacity = self.tree.node_capacity(v5, bytes.len());
            let pointers = body.get(capacity.saturating_mul(len)..).unwrap_or_default();
            let pairs = body.chunks_exact(len).zip(pointers.chunks_exact(4));
            for (key, pointer) in pairs.take(count) {
                let (low, high) = split(self.tree, key);
                keys.push(self.tree.order(&low));
                lowest.get_or_insert(low.clone());
                highest = highest.max(high.clone());
                let block = pointer
                    .first_chunk::<4>()
                    .map_or(NO_BLOCK, |bytes| u32::from_be_bytes(*bytes));
                below.push(Child {
                    block,
                    key: Some((low, high)),
                });
            }
        }
        let found = (lowest.unwrap_or_default(), highest);
        if child.key.as_ref().is_some_and(|key| *key != found) {
            return Err(self.wrong(child.block, "the key by which the node above finds it"));
        }
        Ok(keys)
    }

    fn wrong(&self, block: u32, expected: &'static str) -> Error {
        CorruptKind::Group {
            group: self.group,
            field: self.tree.name(),
            value: block.into(),
            expected,
        }
        .into()
    }
}

/// The lowest and the highest key of what a pointer leads to. Older kernels left in keys of owners
/// whether blocks are unwritten, which is no part of the order.
fn split(tree: Tree, key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (low, high) = match tree {
        Tree::Owners => key.split_at_checked(20).unwrap_or_default(),
        _ => (key, &[][..]),
    };
    let clean = |key: &[u8]| {
        let mut key = key.to_vec();
        if let Some(byte) = key.get_mut(12).filter(|_| tree == Tree::Owners) {
            *byte &= !0x20;
        }
        key
    };
    (clean(low), clean(high))
}
