//! Trees of extents that changed hands: when the contents of two files are exchanged, each block of
//! the trees names another owner, and only the inodes are logged.

use super::area::{be32, be64};
use crate::checksum;
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::superblock::{FsBlock, Superblock};
use block::BlockWrite;
use ondisk::width::u64_of;
use std::collections::BTreeSet;

/// BMA3
const MAGIC: u32 = 0x424d_4133;
/// Bytes before the records of a block of an extent tree of version 5.
const HEADER: usize = 72;
/// Where a block of an extent tree names its owner.
const OWNER: usize = 56;
/// Levels below a root; the kernel has at most nine in all.
const MAX_LEVELS: u16 = 9;
/// Blocks of all trees of one log: enough for 2^27 extents, and read within seconds.
const MAX_BLOCKS: usize = 1 << 20;

/// Says to every block of the tree under an inode's `fork` that `inode` owns it, and counts the
/// blocks in `visited`: the same log may name a tree again and again.
///
/// # Errors
/// A tree that is damaged, too many blocks, and what the device says.
pub(super) fn change(
    device: &dyn BlockWrite,
    superblock: &Superblock,
    inode: u64,
    fork: &[u8],
    visited: &mut usize,
) -> Result<(), Error> {
    let damaged = |field, value| CorruptKind::Inode {
        inode,
        field,
        value,
        expected: "a sound tree of extents",
    };
    let word = be32(fork, 0);
    let (root_level, count) = ((word >> 16), word & 0xffff);
    let root_level = u16::try_from(root_level).unwrap_or(u16::MAX);
    if root_level == 0 || root_level > MAX_LEVELS {
        return Err(damaged("bb_level of the root", root_level.into()).into());
    }
    let room = fork.len().saturating_sub(4).saturating_div(16);
    let mut waiting = Vec::new();
    pointers(fork, 4, room, count, root_level, &mut waiting);
    let mut seen = BTreeSet::new();
    while let Some((block, level)) = waiting.pop() {
        let exists = superblock.has_blocks(FsBlock(block), 1);
        if !exists || !seen.insert(block) {
            return Err(damaged("a pointer", block).into());
        }
        *visited = visited.saturating_add(1);
        if *visited > MAX_BLOCKS {
            return Err(UnsupportedKind::TooLarge {
                field: "blocks of trees that change hands in the log",
                value: u64_of(*visited),
                cap: u64_of(MAX_BLOCKS),
            }
            .into());
        }
        let position = superblock.position(FsBlock(block));
        let mut bytes = vec![0; superblock.block_len()];
        device.read_at(position, &mut bytes)?;
        let word = be32(&bytes, 4);
        if be32(&bytes, 0) != MAGIC || word >> 16 != u32::from(level) {
            return Err(damaged("bb_magic or bb_level of block", block).into());
        }
        if level > 0 {
            let room = bytes.len().saturating_sub(HEADER).saturating_div(16);
            pointers(&bytes, HEADER, room, word & 0xffff, level, &mut waiting);
        }
        if be64(&bytes, OWNER) == inode {
            continue;
        }
        if let Some(place) = bytes.get_mut(OWNER..).and_then(<[u8]>::first_chunk_mut) {
            *place = inode.to_be_bytes();
        }
        checksum::set(&mut bytes, checksum::place::LONG_BLOCK);
        device.write_at(position, &bytes)?;
    }
    tracing::debug!(inode, blocks = u64_of(seen.len()), "owner changed");
    Ok(())
}

/// Adds the blocks that a node at `level` points to, with their level.
fn pointers(
    node: &[u8],
    header: usize,
    room: usize,
    count: u32,
    level: u16,
    into: &mut Vec<(u64, u16)>,
) {
    let at = room.saturating_mul(8).saturating_add(header);
    let bytes = node.get(at..).unwrap_or_default();
    let count = ondisk::width::usize_of_u32(count).min(room);
    let below = level.saturating_sub(1);
    into.extend(
        bytes
            .chunks_exact(8)
            .take(count)
            .map(|pointer| (be64(pointer, 0), below)),
    );
}
