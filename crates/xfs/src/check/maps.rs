//! The nodes of the trees that map forks: that keys are those of what they lead to, and that
//! neighbours know each other.

use crate::error::{CorruptKind, Error};
use crate::extent_tree::{NO_BLOCK, Node};
use crate::inode::{Fork, Format, Inode};
use crate::raw::RawLongBlock;
use crate::superblock::FsBlock;
use crate::volume::Volume;
use zerocopy::FromBytes;

/// Checks the nodes of the tree that maps a fork, if that has one; the map was read.
///
/// # Errors
/// Keys or neighbours that are wrong, or what reading meets.
pub(super) fn check(volume: &Volume, inode: &Inode, fork: Fork) -> Result<(), Error> {
    if inode.format(fork)? != Format::Tree {
        return Ok(());
    }
    let root = volume.extent_root(inode, fork)?;
    let (mut level, mut row) = (root.level, root.items);
    while let Some(below) = level.checked_sub(1) {
        let mut next = Vec::new();
        for (index, (key, block)) in row.iter().enumerate() {
            let wrong = |field, value, expected| CorruptKind::Field {
                what: "block of extents",
                position: volume.superblock.position(*block),
                field,
                value,
                expected,
            };
            let bytes = volume.read_extent_block(inode, *block, below)?;
            let (header, _) =
                RawLongBlock::ref_from_prefix(&bytes).map_err(|_| wrong("length", 0, "a block"))?;
            let neighbour = |at: Option<usize>| {
                let neighbour = at.and_then(|at| row.get(at));
                neighbour.map_or(NO_BLOCK, |(_, FsBlock(block))| *block)
            };
            let left = neighbour(index.checked_sub(1));
            let right = neighbour(index.checked_add(1));
            if header.bb_leftsib.get() != left {
                return Err(
                    wrong("bb_leftsib", header.bb_leftsib.get(), "the block before").into(),
                );
            }
            if header.bb_rightsib.get() != right {
                let value = header.bb_rightsib.get();
                return Err(wrong("bb_rightsib", value, "the block behind").into());
            }
            let node = Node::parse(volume, &bytes, below);
            let first = node.first.unwrap_or(0);
            if first != *key {
                return Err(wrong("first offset", first, "the key in the node above").into());
            }
            next.extend(node.items);
        }
        (level, row) = (below, next);
    }
    Ok(())
}
