//! The index of a large directory: a tree of blocks sorted by hash. Its root stays where the index
//! starts; other blocks lie behind it wherever there is a hole.
//!
//! What is found is a path from the root to a leaf; what changed is written from its end to its
//! start, as far as the level above has to know.
//!
//! Source: the kernel's `libxfs/xfs_da_btree.c`.

use super::format::Format;
use crate::da::{Fault, Header, IndexBlock, IndexEntry, MAX_LEVEL};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::fork::{ForkEdit, ForkRead};
use ondisk::width::u64_of;
use std::collections::HashSet;

/// Where every name of a hash is, in the order of the index.
///
/// # Errors
/// A damaged index, or more names of one hash than are looked at.
pub(super) fn find(format: &Format, fork: &dyn ForkRead, hash: u32) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    each(format, fork, hash, &mut |_, entry| {
        found.push(entry.value);
        found.len() >= MOST_OF_ONE_HASH
    })?;
    if found.len() >= MOST_OF_ONE_HASH {
        return Err(UnsupportedKind::TooLarge {
            field: "number of names with one hash",
            value: u64_of(found.len()),
            cap: u64_of(MOST_OF_ONE_HASH),
        }
        .into());
    }
    Ok(found)
}

/// Adds an entry.
///
/// # Errors
/// A damaged index, no room, and what writing meets.
pub(super) fn insert(
    format: &Format,
    fork: &mut dyn ForkEdit,
    entry: IndexEntry,
) -> Result<(), Error> {
    let mut path = Path::to(format, fork, entry.hash)?;
    if let Some(leaf) = path.0.last_mut() {
        let at = leaf.node.entries.partition_point(|e| e.hash <= entry.hash);
        leaf.node.entries.insert(at, entry);
    }
    path.store_grown(format, fork)
}

/// Removes an entry that is there.
///
/// # Errors
/// A damaged index, also one that does not hold the entry, and what writing meets.
pub(super) fn remove(
    format: &Format,
    fork: &mut dyn ForkEdit,
    entry: IndexEntry,
) -> Result<(), Error> {
    let mut place = None;
    let path = each(format, fork, entry.hash, &mut |at, found| {
        let is_it = found == entry;
        if is_it {
            place = Some(at);
        }
        is_it
    })?;
    let (Some(mut path), Some(at)) = (path, place) else {
        let fault = Fault {
            at: 0,
            reason: "the index does not lead to a name that was found in it",
            value: entry.value.into(),
        };
        return Err(format.corrupt(format.leaf_block(), fault));
    };
    if let Some(leaf) = path.0.last_mut() {
        leaf.node.entries.remove(at);
    }
    path.store_shrunk(format, fork)
}

/// The root, if it is a leaf.
///
/// # Errors
/// A damaged root.
pub(super) fn only_leaf(format: &Format, fork: &dyn ForkRead) -> Result<Option<IndexBlock>, Error> {
    let root = read(format, fork, format.leaf_block())?;
    Ok((root.level == 0).then_some(root))
}

/// Writes a leaf as the root.
///
/// # Errors
/// What writing meets.
pub(super) fn write_only_leaf(
    format: &Format,
    fork: &mut dyn ForkEdit,
    entries: Vec<IndexEntry>,
) -> Result<(), Error> {
    let leaf = IndexBlock {
        entries,
        ..IndexBlock::default()
    };
    write(format, fork, format.leaf_block(), &leaf)
}

/// All entries, in their order, with what is wrong with the tree.
///
/// # Errors
/// A block that cannot be read, or more blocks than are read whole.
pub(super) fn check(
    format: &Format,
    fork: &dyn ForkRead,
) -> Result<(Vec<IndexEntry>, Vec<&'static str>), Error> {
    let mut problems = Vec::new();
    let mut known = HashSet::new();
    // Of each level, what leads to its blocks, from left to right.
    let mut level = vec![(format.leaf_block(), None)];
    loop {
        let mut below = Vec::new();
        let mut leaves = Vec::new();
        let mut back = 0;
        let mut promised = 0;
        for (at, (block, last_hash)) in level.iter().enumerate() {
            super::form::cap_listed(known.len(), format)?;
            if !known.insert(*block) {
                problems.push("two entries of the index lead to one block");
                continue;
            }
            let bytes = format.geometry.read(fork, *block, Header::Index)?;
            let node = decode(format, *block, &bytes)?;
            let stored = IndexBlock::stored_last_hash(format.v5(), &bytes);
            if last_hash.is_some_and(|hash| hash != stored) {
                problems.push("the index knows a block by another hash than its last");
            }
            if u64::from(node.back) != back || (at > 0 && promised != *block) {
                problems.push("neighbours in the index do not know each other");
            }
            if node.entries.is_empty() || (node.level > 0 && node.entries.len() < 2) {
                problems.push("a block of the index holds too little");
            }
            (back, promised) = (*block, node.forw.into());
            if node.level == 0 {
                leaves.extend(node.entries);
            } else {
                let children = node.entries.iter();
                below.extend(children.map(|e| (u64::from(e.value), Some(e.hash), node.level)));
            }
        }
        if promised != 0 {
            problems.push("the last block of a level has another one behind it");
        }
        if below.is_empty() {
            return Ok((leaves, problems));
        }
        if !leaves.is_empty() {
            problems.push("the index is not equally high everywhere");
        }
        level.clear();
        for (block, hash, above) in below {
            read_below(format, fork, block, above)?;
            level.push((block, hash));
        }
    }
}

/// Names of one hash that are looked at. Names can be made to have one hash, and every one of them
/// has to be read.
const MOST_OF_ONE_HASH: usize = 1 << 16;

/// The way from the root to a leaf.
#[derive(Debug)]
struct Path(Vec<Step>);

#[derive(Debug)]
struct Step {
    block: u64,
    node: IndexBlock,
    /// Which entry leads on; of a leaf, the first that does not have a smaller hash.
    index: usize,
}

/// Shows every entry of a hash with its place in its leaf until `until` is true, and gives the path
/// to it then.
fn each(
    format: &Format,
    fork: &dyn ForkRead,
    hash: u32,
    until: &mut dyn FnMut(usize, IndexEntry) -> bool,
) -> Result<Option<Path>, Error> {
    let mut path = Path::to(format, fork, hash)?;
    let mut seen = HashSet::new();
    loop {
        let Some(leaf) = path.0.last() else {
            return Ok(None);
        };
        if !seen.insert(leaf.block) {
            let fault = Fault {
                at: 0,
                reason: "the index leads to one leaf twice",
                value: 0,
            };
            return Err(format.corrupt(leaf.block, fault));
        }
        let entries = leaf.node.entries.iter().enumerate().skip(leaf.index);
        for (at, entry) in entries {
            if entry.hash != hash {
                return Ok(None);
            }
            if until(at, *entry) {
                return Ok(Some(path));
            }
        }
        if !path.advance(format, fork)? {
            return Ok(None);
        }
    }
}

impl Path {
    /// To the first leaf that can hold `hash`.
    fn to(format: &Format, fork: &dyn ForkRead, hash: u32) -> Result<Self, Error> {
        let root = read(format, fork, format.leaf_block())?;
        let mut path = Self(Vec::new());
        path.descend(format, fork, format.leaf_block(), root, |node| {
            // What is behind the last hash belongs to the last block.
            let last = node
                .entries
                .len()
                .saturating_sub(usize::from(node.level > 0));
            node.position(hash).min(last)
        })?;
        Ok(path)
    }

    /// From a block down to a leaf.
    fn descend(
        &mut self,
        format: &Format,
        fork: &dyn ForkRead,
        mut block: u64,
        mut node: IndexBlock,
        choose: impl Fn(&IndexBlock) -> usize,
    ) -> Result<(), Error> {
        loop {
            let index = choose(&node);
            let child = match node.entries.get(index) {
                Some(entry) if node.level > 0 => Some(u64::from(entry.value)),
                _ => None,
            };
            let level = node.level;
            self.0.push(Step { block, node, index });
            let Some(child) = child else {
                return Ok(());
            };
            block = child;
            node = read_below(format, fork, child, level)?;
        }
    }

    /// On to the next leaf; false if this is the last.
    fn advance(&mut self, format: &Format, fork: &dyn ForkRead) -> Result<bool, Error> {
        while self.0.pop().is_some() {
            let Some(step) = self.0.last_mut() else {
                break;
            };
            let next = step.index.saturating_add(1);
            if let Some(entry) = step.node.entries.get(next) {
                step.index = next;
                let block = u64::from(entry.value);
                let node = read_below(format, fork, block, step.node.level)?;
                self.descend(format, fork, block, node, |_| 0)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a path whose leaf got an entry, splitting what is too full.
    fn store_grown(mut self, format: &Format, fork: &mut dyn ForkEdit) -> Result<(), Error> {
        let capacity = capacity(format);
        while let Some(mut step) = self.0.pop() {
            let new = if step.node.entries.len() <= capacity {
                None
            } else if self.0.is_empty() {
                return grow_root(format, fork, step);
            } else {
                Some(split(format, fork, &mut step)?)
            };
            write(format, fork, step.block, &step.node)?;
            let Some(above) = self.0.last_mut() else {
                break;
            };
            let changed = above.know(step.node.last_hash());
            match new {
                Some(entry) => {
                    let next = above.index.saturating_add(1);
                    above.node.entries.insert(next, entry);
                }
                None if changed => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Writes a path whose leaf lost an entry, removing what is empty and joining what is nearly
    /// so.
    fn store_shrunk(mut self, format: &Format, fork: &mut dyn ForkEdit) -> Result<(), Error> {
        while let Some(mut step) = self.0.pop() {
            let Some(above) = self.0.last_mut() else {
                return lower_root(format, fork, step);
            };
            if step.node.entries.is_empty() {
                unlink(format, fork, &step.node)?;
                free(format, fork, step.block)?;
                above.node.entries.remove(above.index);
                continue;
            }
            if is_small(format, &step.node) && join(format, fork, above, &mut step)? {
                continue;
            }
            write(format, fork, step.block, &step.node)?;
            if !above.know(step.node.last_hash()) {
                break;
            }
        }
        Ok(())
    }
}

impl Step {
    /// Keeps the last hash of the block that the path goes to; says whether it is a new one.
    fn know(&mut self, hash: u32) -> bool {
        match self.node.entries.get_mut(self.index) {
            Some(entry) if entry.hash != hash => {
                entry.hash = hash;
                true
            }
            _ => false,
        }
    }
}

fn capacity(format: &Format) -> usize {
    IndexBlock::capacity(format.v5(), format.block_size())
}

/// Whether a block should be joined with a neighbour. A node with a single entry must be: the
/// format's checker does not take it.
fn is_small(format: &Format, node: &IndexBlock) -> bool {
    node.entries.len() <= (capacity(format) / 4).max(1)
}

/// Moves the upper half of a block to a new one behind it, whose entry for the level above is
/// given back.
fn split(format: &Format, fork: &mut dyn ForkEdit, step: &mut Step) -> Result<IndexEntry, Error> {
    let (block, value) = allocate(format, fork)?;
    let half = step.node.entries.len() / 2;
    let new = IndexBlock {
        level: step.node.level,
        forw: step.node.forw,
        back: number(format, step.block)?,
        entries: step.node.entries.split_off(half),
    };
    if new.forw != 0 {
        relink(format, fork, new.forw, &new, (Some(value), None))?;
    }
    step.node.forw = value;
    write(format, fork, block, &new)?;
    Ok(IndexEntry {
        hash: new.last_hash(),
        value,
    })
}

/// Moves what is in the root to two new blocks, to which the root then leads.
fn grow_root(format: &Format, fork: &mut dyn ForkEdit, mut root: Step) -> Result<(), Error> {
    let level = root.node.level.saturating_add(1);
    if level > MAX_LEVEL {
        return Err(UnsupportedKind::TooLarge {
            field: "height of a directory's index",
            value: level.into(),
            cap: MAX_LEVEL.into(),
        }
        .into());
    }
    let (left_block, left_value) = allocate(format, fork)?;
    let (right_block, right_value) = allocate(format, fork)?;
    let half = root.node.entries.len() / 2;
    let right = IndexBlock {
        level: root.node.level,
        forw: 0,
        back: left_value,
        entries: root.node.entries.split_off(half),
    };
    let left = IndexBlock {
        forw: right_value,
        back: 0,
        ..root.node
    };
    let entry = |block: &IndexBlock, value| IndexEntry {
        hash: block.last_hash(),
        value,
    };
    let root_node = IndexBlock {
        level,
        forw: 0,
        back: 0,
        entries: vec![entry(&left, left_value), entry(&right, right_value)],
    };
    write(format, fork, left_block, &left)?;
    write(format, fork, right_block, &right)?;
    write(format, fork, root.block, &root_node)
}

/// Writes the root; while it leads to one block only, that block becomes the root.
fn lower_root(format: &Format, fork: &mut dyn ForkEdit, mut root: Step) -> Result<(), Error> {
    while let ([only], true) = (&*root.node.entries, root.node.level > 0) {
        let block = u64::from(only.value);
        let child = read_below(format, fork, block, root.node.level)?;
        free(format, fork, block)?;
        root.node = IndexBlock {
            forw: 0,
            back: 0,
            ..child
        };
    }
    if root.node.entries.is_empty() && root.node.level > 0 {
        // Every block below was empty, which a sound index never is: it holds `.` and `..`.
        root.node.level = 0;
    }
    write(format, fork, root.block, &root.node)
}

/// Joins a block that holds little with its neighbour under the same block `above`, or takes
/// entries from the neighbour, and writes both; false, and nothing changed, if neither is needed or
/// possible.
fn join(
    format: &Format,
    fork: &mut dyn ForkEdit,
    above: &mut Step,
    step: &mut Step,
) -> Result<bool, Error> {
    let is_first = above.index == 0;
    let left_index = above.index.saturating_sub(usize::from(!is_first));
    let right_index = left_index.saturating_add(1);
    let other_index = if is_first { right_index } else { left_index };
    let Some(other_entry) = above.node.entries.get(other_index) else {
        return Ok(false);
    };
    let other_block = u64::from(other_entry.value);
    let other = read_sibling(format, fork, other_entry.value, &step.node)?;
    let step_node = std::mem::take(&mut step.node);
    let ((left_block, mut left), (right_block, mut right)) = if is_first {
        ((step.block, step_node), (other_block, other))
    } else {
        ((other_block, other), (step.block, step_node))
    };
    if u64::from(left.forw) != right_block || u64::from(right.back) != left_block {
        let fault = Fault {
            at: 0,
            reason: "neighbours do not know each other",
            value: left.forw.into(),
        };
        return Err(format.corrupt(left_block, fault));
    }

    let total = left.entries.len().saturating_add(right.entries.len());
    let full = capacity(format);
    let joins = total <= full.saturating_sub(full / 4);
    let lonely = left.level > 0 && left.entries.len().min(right.entries.len()) < 2;
    if !joins && !lonely {
        step.node = if is_first { left } else { right };
        return Ok(false);
    }
    left.entries.append(&mut right.entries);
    if joins {
        unlink(format, fork, &right)?;
        left.forw = right.forw;
        free(format, fork, right_block)?;
        above.node.entries.remove(right_index);
    } else {
        right.entries = left.entries.split_off(total / 2);
        write(format, fork, right_block, &right)?;
        if let Some(entry) = above.node.entries.get_mut(right_index) {
            entry.hash = right.last_hash();
        }
    }
    write(format, fork, left_block, &left)?;
    if let Some(entry) = above.node.entries.get_mut(left_index) {
        entry.hash = left.last_hash();
    }
    Ok(true)
}

/// Makes the neighbours of a block each other's.
fn unlink(format: &Format, fork: &mut dyn ForkEdit, node: &IndexBlock) -> Result<(), Error> {
    if node.back != 0 {
        relink(format, fork, node.back, node, (None, Some(node.forw)))?;
    }
    if node.forw != 0 {
        relink(format, fork, node.forw, node, (Some(node.back), None))?;
    }
    Ok(())
}

/// Changes the neighbours of another block of the level of `node`. It stays as it is otherwise, with
/// what it has forgotten: the level above knows it by the last hash of that.
fn relink(
    format: &Format,
    fork: &mut dyn ForkEdit,
    block: u32,
    node: &IndexBlock,
    (back, forw): (Option<u32>, Option<u32>),
) -> Result<(), Error> {
    read_sibling(format, fork, block, node)?;
    let block = u64::from(block);
    let mut bytes = format.geometry.read(fork, block, Header::Index)?;
    IndexBlock::relink(&mut bytes, back, forw);
    format.geometry.write(fork, block, Header::Index, bytes)
}

fn read(format: &Format, fork: &dyn ForkRead, block: u64) -> Result<IndexBlock, Error> {
    let bytes = format.geometry.read(fork, block, Header::Index)?;
    decode(format, block, &bytes)
}

fn decode(format: &Format, block: u64, bytes: &[u8]) -> Result<IndexBlock, Error> {
    IndexBlock::decode(format.v5(), bytes).map_err(|fault| format.corrupt(block, fault))
}

/// Reads a block that lies one level below `level`.
fn read_below(
    format: &Format,
    fork: &dyn ForkRead,
    block: u64,
    level: u16,
) -> Result<IndexBlock, Error> {
    let node = read(format, fork, block)?;
    // A root that leads to itself is found here as well.
    if node.level.checked_add(1) != Some(level) {
        return Err(wrong_level(format, block, &node));
    }
    Ok(node)
}

/// Reads another block of the level of `node`.
fn read_sibling(
    format: &Format,
    fork: &dyn ForkRead,
    block: u32,
    node: &IndexBlock,
) -> Result<IndexBlock, Error> {
    let sibling = read(format, fork, block.into())?;
    if sibling.level != node.level {
        return Err(wrong_level(format, block.into(), &sibling));
    }
    Ok(sibling)
}

fn wrong_level(format: &Format, block: u64, node: &IndexBlock) -> Error {
    let fault = Fault {
        at: 0,
        reason: "the block lies on another level of the index than what leads to it says",
        value: node.level.into(),
    };
    format.corrupt(block, fault)
}

fn write(
    format: &Format,
    fork: &mut dyn ForkEdit,
    block: u64,
    node: &IndexBlock,
) -> Result<(), Error> {
    let bytes = node.encode(format.v5(), format.block_size());
    format.geometry.write(fork, block, Header::Index, bytes)
}

/// Maps the first hole behind the root, and says where it is, for the fork and for an entry.
fn allocate(format: &Format, fork: &mut dyn ForkEdit) -> Result<(u64, u32), Error> {
    let count = u64::from(format.geometry.count);
    let mut block = format.leaf_block().saturating_add(count);
    // A map that goes on and on ends where the next part of the directory starts.
    while let Some(mapped) = fork.next_mapped(block)?
        && mapped < block.saturating_add(count)
    {
        block = block.saturating_add(count);
    }
    if block >= format.free_block(0) {
        return Err(UnsupportedKind::Other("a directory whose index takes 32 GiB").into());
    }
    fork.allocate(block, format.geometry.count)?;
    Ok((block, number(format, block)?))
}

fn free(format: &Format, fork: &mut dyn ForkEdit, block: u64) -> Result<(), Error> {
    fork.free(block, format.geometry.count)
}

/// A block of the fork as entries of the index have it.
fn number(format: &Format, block: u64) -> Result<u32, Error> {
    u32::try_from(block).map_err(|_| {
        let kind = CorruptKind::Hole {
            inode: format.geometry.owner.inode,
            logical: block,
        };
        kind.into()
    })
}
