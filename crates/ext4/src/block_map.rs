//! Indirect block maps, as ext2 and ext3 map content: 12 direct block numbers, and three blocks of
//! block numbers of one, two and three levels.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::extent::check_count;
use crate::inode::Inode;
use crate::mapping::{Mapping, Piece, Run};
use crate::raw::low_32;
use crate::superblock::Superblock;
use crate::volume::Volume;
use ondisk::width::u64_of;
use std::collections::HashSet;

/// Block numbers in the inode that point at content.
const DIRECT: usize = 12;
/// Bytes of a block number.
const POINTER: usize = 4;
/// Levels of the three last numbers in the inode.
const LEVELS: [u32; 3] = [1, 2, 3];

/// Reads the whole map of an inode.
///
/// # Errors
/// Blocks outside the file system, indirect blocks that occur twice, too many runs.
pub(crate) fn read(volume: &Volume, inode: &Inode) -> Result<Mapping, Error> {
    let mut reader = Reader {
        volume,
        inode,
        mapping: Mapping::default(),
        seen: HashSet::new(),
        per_block: u64_of(volume.superblock.block_len() / POINTER),
        room: volume.superblock.blocks_count,
    };
    let mut logical = 0_u64;
    for (index, block) in pointers(inode.block()).enumerate() {
        let level = index.checked_sub(DIRECT).and_then(|tree| LEVELS.get(tree));
        logical = reader.pointer(block, level.copied().unwrap_or(0), logical)?;
    }
    Ok(reader.mapping)
}

struct Reader<'v> {
    volume: &'v Volume,
    inode: &'v Inode,
    mapping: Mapping,
    seen: HashSet<u64>,
    per_block: u64,
    /// Content blocks that the file system may still have.
    room: u64,
}

impl Reader<'_> {
    /// Reads what a number of the given level maps from `logical` on; returns where that ends.
    fn pointer(&mut self, block: u32, level: u32, logical: u64) -> Result<u64, Error> {
        let end = logical.saturating_add(self.per_block.saturating_pow(level));
        let number = self.inode.number();
        let block = u64::from(block);
        if block == 0 {
            return Ok(end);
        }
        self.volume.check_data_blocks(number, block, 1)?;
        let Some(below) = level.checked_sub(1) else {
            let Ok(logical) = u32::try_from(logical) else {
                return Err(CorruptKind::Inode {
                    inode: number.get(),
                    field: "i_block",
                    value: logical,
                    expected: "content blocks below 2^32",
                }
                .into());
            };
            // Two names for one block would make a map larger than the device.
            let Some(room) = self.room.checked_sub(1) else {
                return Err(CorruptKind::MapCycle {
                    inode: number.get(),
                    block,
                }
                .into());
            };
            self.room = room;
            self.mapping.push(Run {
                logical,
                len: 1,
                physical: block,
                unwritten: false,
            });
            check_count(self.inode, &self.mapping)?;
            return Ok(end);
        };
        if !self.seen.insert(block) {
            return Err(CorruptKind::MapCycle {
                inode: number.get(),
                block,
            }
            .into());
        }
        self.mapping.nodes.push(block);
        let bytes = self.volume.read_block(block)?;
        let mut at = logical;
        for pointer in pointers(&bytes) {
            at = self.pointer(pointer, below, at)?;
        }
        Ok(end)
    }
}

/// The content blocks that a map can name.
pub(crate) fn limit(superblock: &Superblock) -> u64 {
    let per_block = u64_of(superblock.block_len() / POINTER);
    let all = LEVELS.iter().fold(u64_of(DIRECT), |sum, level| {
        sum.saturating_add(per_block.saturating_pow(*level))
    });
    all.min(u64::from(u32::MAX))
}

/// Makes `mapping` the map of the inode, and updates the blocks in `mapping.nodes`.
///
/// The inode is changed in memory only. `i_blocks` is the caller's, and so is [`limit`].
///
/// # Errors
/// No room for indirect blocks, or what writing meets.
pub(crate) fn write(
    volume: &mut Volume,
    inode: &mut Inode,
    mapping: &mut Mapping,
) -> Result<(), Error> {
    let per_block = u64_of(volume.superblock.block_len() / POINTER);
    // The trees that begin at the last three numbers, by level and first content block.
    let last = mapping.runs().iter().map(|run| run.blocks().end).max();
    if last.is_some_and(|end| end > 1 << 32) {
        return Err(too_far(inode));
    }
    let mut trees = Vec::new();
    let mut start = u64_of(DIRECT);
    for level in LEVELS {
        trees.push((level, start));
        start = start.saturating_add(per_block.saturating_pow(level));
    }
    let builder = Builder { mapping, per_block };
    let needed = trees
        .iter()
        .map(|(level, start)| builder.count_nodes(*level, *start))
        .fold(0, usize::saturating_add);
    let mut nodes = mapping.nodes.clone();
    volume.resize_nodes(inode, &mut nodes, needed)?;
    if nodes.iter().any(|block| *block > u64::from(u32::MAX)) {
        return Err(too_far(inode));
    }
    let mut unused = nodes.iter().copied();
    let mut numbers = Vec::new();
    for logical in 0..DIRECT {
        numbers.push(builder.content(u64_of(logical)));
    }
    for (level, start) in trees {
        numbers.push(builder.tree(volume, &mut unused, level, start)?);
    }
    for (field, number) in inode.block_mut().chunks_exact_mut(POINTER).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    mapping.nodes = nodes;
    Ok(())
}

struct Builder<'m> {
    mapping: &'m Mapping,
    per_block: u64,
}

impl Builder<'_> {
    /// The block number of a content block, 0 in a hole.
    fn content(&self, logical: u64) -> u32 {
        let block = u32::try_from(logical)
            .ok()
            .and_then(|at| self.mapping.block(at));
        // Larger numbers were refused before.
        block.map_or(0, low_32)
    }

    fn is_mapped(&self, level: u32, start: u64) -> bool {
        let end = start.saturating_add(self.per_block.saturating_pow(level));
        let Ok(last) = u32::try_from(end.saturating_sub(1)) else {
            return self.mapping.end() > start;
        };
        self.mapping
            .before(last)
            .is_some_and(|run| run.end() > start)
    }

    fn children(&self, level: u32, start: u64) -> impl Iterator<Item = u64> + use<> {
        let step = self.per_block.saturating_pow(level.saturating_sub(1));
        (0..self.per_block).map(move |child| start.saturating_add(child.saturating_mul(step)))
    }

    fn count_nodes(&self, level: u32, start: u64) -> usize {
        if level == 0 || !self.is_mapped(level, start) {
            return 0;
        }
        let below = level.saturating_sub(1);
        if below == 0 {
            return 1;
        }
        self.children(level, start)
            .map(|child| self.count_nodes(below, child))
            .fold(1, usize::saturating_add)
    }

    fn tree(
        &self,
        volume: &mut Volume,
        unused: &mut impl Iterator<Item = u64>,
        level: u32,
        start: u64,
    ) -> Result<u32, Error> {
        if !self.is_mapped(level, start) {
            return Ok(0);
        }
        let Some(below) = level.checked_sub(1) else {
            return Ok(self.content(start));
        };
        // As many nodes were taken as were counted by the same rule.
        let block = unused.next().expect("counted");
        let mut bytes = Vec::with_capacity(volume.superblock.block_len());
        if below == 0 {
            self.leaf(start, &mut bytes);
        } else {
            for child in self.children(level, start) {
                bytes.extend(self.tree(volume, unused, below, child)?.to_le_bytes());
            }
        }
        volume.write_block(block, &bytes)?;
        Ok(low_32(block))
    }

    /// The numbers of one indirect block, run by run.
    fn leaf(&self, start: u64, bytes: &mut Vec<u8>) {
        for piece in self
            .mapping
            .pieces(start..start.saturating_add(self.per_block))
        {
            match piece {
                Piece::Run(run) => {
                    for block in run.blocks() {
                        bytes.extend(low_32(block).to_le_bytes());
                    }
                }
                Piece::Hole(range) => {
                    for _ in range {
                        bytes.extend([0; POINTER]);
                    }
                }
            }
        }
    }
}

/// The map has room for numbers of 32 bits only.
fn too_far(inode: &Inode) -> Error {
    UnsupportedKind::Inode {
        inode: inode.number().get(),
        what: "no block below 2^32 is free for content without extents",
    }
    .into()
}

fn pointers(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let (numbers, _) = bytes.as_chunks::<POINTER>();
    numbers.iter().map(|number| u32::from_le_bytes(*number))
}
