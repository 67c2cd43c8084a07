//! The hash index of a directory: blocks of names sorted by the hash of the names.

pub(super) mod node;

use super::block::Leaf;
use super::entry::{Found, Name};
use super::{Format, ReadBlocks, WriteBlocks};
use crate::Error;
use crate::error::UnsupportedKind;
use crate::hash::{HashVersion, NameHash};
use node::Node;
use std::ops::ControlFlow;

/// One step of the way from the root to a block of names.
struct Step {
    node: Node,
    /// The entry that the way takes.
    index: u16,
}

/// Whether names can be hashed as the root says; if not, only a linear search finds them.
pub(super) fn has_known_hash(format: &Format, blocks: &dyn ReadBlocks) -> Result<bool, Error> {
    let root = Node::read(format, blocks, 0)?;
    Ok(HashVersion::from_raw(root.hash_version()).is_some())
}

/// Visits the blocks that may hold `name`, until one says that it does.
pub(super) fn each_leaf_of(
    format: &Format,
    blocks: &dyn ReadBlocks,
    name: &[u8],
    look: &mut dyn FnMut(Leaf) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    if name == b"." || name == b".." {
        return look(Leaf::read(format, blocks, 0)?).map(|_| ());
    }
    let (mut way, hash) = descend(format, blocks, name)?;
    // No more blocks of names than blocks: a tree that shares nodes ends here, too.
    for _ in 0..blocks.count() {
        let leaf = Leaf::read_names(format, blocks, end_of(format, &way)?)?;
        if look(leaf)?.is_break() || !next_of_hash(format, blocks, &mut way, hash)? {
            break;
        }
    }
    Ok(())
}

/// Puts a name into the block that its hash belongs to, and makes room where there is none.
pub(super) fn insert(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    name: &[u8],
    target: Found,
) -> Result<(), Error> {
    // Each round that does not end makes room on one level of the index.
    for _ in 0..=ROUNDS {
        let (mut way, hash) = descend(format, blocks, name)?;
        let mut leaf = Leaf::read_names(format, blocks, end_of(format, &way)?)?;
        if leaf.insert(name, target)? {
            return leaf.write(blocks);
        }
        let levels = way.len();
        let Some(last) = way.last_mut() else { break };
        if last.node.is_full() {
            make_room(format, blocks, &mut way, levels)?;
            continue;
        }
        return split_leaf(format, blocks, last, leaf, (name, target, hash));
    }
    Err(format.corrupt(0, 0, "no room in the index after splitting it", 0))
}

/// Makes the first block, which holds all names, the root of an index over one block of names.
pub(super) fn build(format: &Format, blocks: &mut dyn WriteBlocks) -> Result<(), Error> {
    let first = Leaf::read(format, blocks, 0)?;
    let names = first.names()?;
    let (dot, dotdot) = first.both_dots()?;
    let logical = blocks.append()?;
    let mut leaf = Leaf::empty(format, logical);
    if !leaf.refill(&names)? {
        return Err(format.corrupt(0, 0, "the names of one block do not fit into one", 0));
    }
    leaf.write(blocks)?;
    let mut dots = [0; 24];
    let dir = |inode| Found {
        inode,
        kind: Some(fs::Kind::Dir),
    };
    let area = format.area();
    area.put(&mut dots, 0, 12, b".", dir(dot));
    area.put(&mut dots, 12, 12, b"..", dir(dotdot));
    let rest = format.block_size.saturating_sub(12);
    area.put_rec_len(&mut dots, 12, rest);
    Node::new_root(format, &dots, logical).write(format, blocks)
}

/// Finds the way to the first block of names that may hold `name`.
fn descend(
    format: &Format,
    blocks: &(impl ReadBlocks + ?Sized),
    name: &[u8],
) -> Result<(Vec<Step>, NameHash), Error> {
    let root = Node::read(format, blocks, 0)?;
    let levels = root.indirect_levels();
    if levels >= max_levels(format) {
        return Err(format.corrupt(
            0,
            30,
            "indirect_levels is higher than an index may be",
            u64::from(levels),
        ));
    }
    let version = root.hash_version();
    let Some(hash) = format.hasher.hash(version, name) else {
        return Err(UnsupportedKind::Inode {
            inode: format.inode,
            what: "names hashed in an unknown way",
        }
        .into());
    };
    let index = root.find(hash);
    let mut way = vec![Step { node: root, index }];
    for _ in 0..levels {
        let node = read_below(format, blocks, &way)?;
        let index = node.find(hash);
        way.push(Step { node, index });
    }
    Ok((way, hash))
}

/// Reads the node that the last step leads to, which may not be on the way already.
fn read_below(
    format: &Format,
    blocks: &(impl ReadBlocks + ?Sized),
    way: &[Step],
) -> Result<Node, Error> {
    Node::read(format, blocks, end_of(format, way)?)
}

/// The block that the last step leads to.
fn end_of(format: &Format, way: &[Step]) -> Result<u32, Error> {
    // A way has at least the root.
    let logical = way.last().map_or(0, |step| step.node.block(step.index));
    if way.iter().any(|step| step.node.logical == logical) {
        return Err(format.corrupt(
            logical,
            0,
            "the index leads back to a block above",
            u64::from(logical),
        ));
    }
    Ok(logical)
}

/// Goes on to the next block of names if it may hold names of the same hash.
fn next_of_hash(
    format: &Format,
    blocks: &dyn ReadBlocks,
    way: &mut Vec<Step>,
    hash: NameHash,
) -> Result<bool, Error> {
    let levels = way.len();
    let more = |step: &Step| step.index.saturating_add(1) < step.node.count();
    let Some(level) = way.iter().rposition(more) else {
        return Ok(false);
    };
    let step = &mut way[level];
    step.index = step.index.saturating_add(1);
    if step.node.hash(step.index) & !1 != hash.0 {
        return Ok(false);
    }
    way.truncate(level.saturating_add(1));
    while way.len() < levels {
        let node = read_below(format, blocks, way)?;
        way.push(Step { node, index: 0 });
    }
    Ok(true)
}

/// Splits the lowest full node whose parent has room, or puts a level below the root.
fn make_room(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    way: &mut [Step],
    levels: usize,
) -> Result<(), Error> {
    let has_room = |step: &Step| !step.node.is_full();
    match way.iter().rposition(has_room) {
        Some(above) => {
            let (above, below) = way.split_at_mut(above.saturating_add(1));
            // Both ends exist: the last node is full, so the one with room is not the last.
            let (Some(above), Some(below)) = (above.last_mut(), below.first_mut()) else {
                return Ok(());
            };
            let half = below.node.count() / 2;
            let hash = below.node.hash(half);
            let logical = blocks.append()?;
            Node::new_node(format, logical, &below.node, half).write(format, blocks)?;
            below.node.truncate(half);
            below.node.write(format, blocks)?;
            above.node.insert_after(above.index, hash, logical);
            above.node.write(format, blocks)
        }
        None => {
            if levels >= usize::from(max_levels(format)) {
                return Err(UnsupportedKind::Inode {
                    inode: format.inode,
                    what: "a directory whose index is full",
                }
                .into());
            }
            let Some(root) = way.first_mut() else {
                return Ok(());
            };
            let logical = blocks.append()?;
            Node::new_node(format, logical, &root.node, 0).write(format, blocks)?;
            root.node.add_level(logical);
            root.node.write(format, blocks)
        }
    }
}

/// Moves the names with the higher hashes to a new block, and puts the new name where it belongs.
fn split_leaf(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    step: &mut Step,
    mut leaf: Leaf,
    (name, target, hash): (&[u8], Found, NameHash),
) -> Result<(), Error> {
    let root_version = Node::read(format, blocks, 0)?.hash_version();
    let mut names: Vec<(NameHash, Name)> = Vec::new();
    for name in leaf.names()? {
        // The same version hashed the new name.
        let hash = format.hasher.hash(root_version, &name.name);
        names.push((hash.unwrap_or(NameHash(0)), name));
    }
    names.sort_by_key(|(hash, _)| *hash);
    let split = split_point(format, &names);
    let (Some((first, _)), Some((before, _))) =
        (names.get(split), names.get(split.wrapping_sub(1)))
    else {
        return Err(format.corrupt(0, 0, "a full block holds fewer than two names", 0));
    };
    let first = *first;
    let continued = u32::from(first == *before);
    let logical = blocks.append()?;
    let mut upper = Leaf::empty(format, logical);
    let (kept, moved) = names.split_at(split);
    let fits = leaf.refill(kept.iter().map(|(_, name)| name))?
        && upper.refill(moved.iter().map(|(_, name)| name))?
        && if hash >= first {
            upper.insert(name, target)?
        } else {
            leaf.insert(name, target)?
        };
    if !fits {
        return Err(format.corrupt(logical, 0, "half a block of names fills a block", 0));
    }
    leaf.write(blocks)?;
    upper.write(blocks)?;
    step.node
        .insert_after(step.index, first.0 | continued, logical);
    step.node.write(format, blocks)
}

/// The first name that moves: both blocks end up about half full.
fn split_point(format: &Format, names: &[(NameHash, Name)]) -> usize {
    let half = format.block_size / 2;
    let mut size = 0_usize;
    for (index, (_, name)) in names.iter().enumerate().rev() {
        let len = super::entry::record_len(name.name.len());
        if size.saturating_add(len / 2) > half {
            return index.saturating_add(1).max(1);
        }
        size = size.saturating_add(len);
    }
    names.len() / 2
}

/// How many levels of nodes an index may have, with the root: `EXT4_HTREE_LEVEL`.
fn max_levels(format: &Format) -> u8 {
    if format.large_dir { 3 } else { 2 }
}

/// Rounds of making room before an insertion: one for each level and for adding one.
const ROUNDS: usize = 4;
