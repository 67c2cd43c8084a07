//! The B+trees of device-mapper's persistent data: drivers/md/persistent-data/dm-btree-internal.h.

use super::ThinDamage;
use super::block::{Blocks, Bytes, Kind, SIZE, u32_at, u64_at};
use ondisk::width::usize_of_u32;
use std::sync::Arc;

/// A tree by its root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) root: u64,
    /// Bytes of a value in the leaves.
    pub(super) value_size: usize,
}

/// What a tree says about a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// The bytes of its value, at most 24.
    Value(Vec<u8>),
    /// Neither the key nor any other from it on below this one.
    NothingBelow(u64),
}

/// `struct node_header`: sum, flags, number, entries, room, size of values.
const HEADER: usize = 32;
const INTERNAL_NODE: u32 = 1;
const LEAF_NODE: u32 = 2;
/// `MAX_SPINE_DEPTH` and more: each level has at least two entries.
const MAX_DEPTH: usize = 20;

impl Tree {
    pub(super) fn find(&self, blocks: &Blocks, key: u64) -> Result<Found, ThinDamage> {
        let (mut number, mut limit) = (self.root, u64::MAX);
        for _ in 0..MAX_DEPTH {
            let node = Node::read(blocks, number, self.value_size)?;
            // The last key that is not above.
            let after = node.upper_bound(key);
            let next = (after < node.entries).then(|| node.key(after));
            limit = limit.min(next.unwrap_or(u64::MAX));
            let Some(index) = after.checked_sub(1) else {
                return Ok(Found::NothingBelow(limit));
            };
            if node.is_leaf {
                return Ok(match node.key(index) == key {
                    true => Found::Value(node.value(index, self.value_size)),
                    false => Found::NothingBelow(limit),
                });
            }
            number = node.child(index);
        }
        Err(ThinDamage::Fields {
            what: Kind::Node.name(),
            block: number,
            why: "the tree is too deep",
        })
    }

    /// The number of keys, counted no farther than `most`.
    pub(super) fn count(&self, blocks: &Blocks, most: usize) -> Result<usize, ThinDamage> {
        let mut node = Node::read(blocks, self.root, self.value_size)?;
        for _ in 0..MAX_DEPTH {
            if node.is_leaf || node.entries >= most {
                return Ok(node.entries.min(most));
            }
            // A root with one child is as good as the child.
            node = Node::read(blocks, node.child(0), self.value_size)?;
        }
        Ok(most)
    }
}

/// A node whose numbers fit it.
struct Node {
    bytes: Arc<Bytes>,
    is_leaf: bool,
    entries: usize,
    room: usize,
}

impl Node {
    fn read(blocks: &Blocks, number: u64, leaf_value_size: usize) -> Result<Self, ThinDamage> {
        let bytes = blocks.read(number, Kind::Node)?;
        let bad = |why| {
            Err(ThinDamage::Fields {
                what: Kind::Node.name(),
                block: number,
                why,
            })
        };
        let is_leaf = match u32_at(&bytes, 4) {
            LEAF_NODE => true,
            INTERNAL_NODE => false,
            _ => return bad("neither leaf nor inner node"),
        };
        if u64_at(&bytes, 8) != number {
            return bad("it is of another place");
        }
        let [entries, room, value_size] = [16, 20, 24].map(|at| usize_of_u32(u32_at(&bytes, at)));
        let wanted = if is_leaf { leaf_value_size } else { 8 };
        let size = value_size.saturating_add(8).saturating_mul(room);
        if entries > room || value_size != wanted || size > SIZE.saturating_sub(HEADER) {
            return bad("its numbers do not fit");
        }
        let node = Self {
            bytes,
            is_leaf,
            entries,
            room,
        };
        if !node.is_leaf && entries == 0 {
            return bad("an inner node without entries");
        }
        let mut keys = (0..entries).map(|index| node.key(index));
        if !keys.by_ref().is_sorted_by(|a, b| a < b) {
            return bad("its keys are not in order");
        }
        Ok(node)
    }

    fn key(&self, index: usize) -> u64 {
        let at = index.saturating_mul(8).saturating_add(HEADER);
        u64_at(&self.bytes, at)
    }

    /// The number of keys that are not above `key`.
    fn upper_bound(&self, key: u64) -> usize {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) <= key {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low
    }

    fn values(&self) -> usize {
        self.room.saturating_mul(8).saturating_add(HEADER)
    }

    fn child(&self, index: usize) -> u64 {
        u64_at(
            &self.bytes,
            index.saturating_mul(8).saturating_add(self.values()),
        )
    }

    fn value(&self, index: usize, size: usize) -> Vec<u8> {
        let at = index.saturating_mul(size).saturating_add(self.values());
        let bytes = self.bytes.get(at..at.saturating_add(size));
        bytes.unwrap_or_default().to_vec()
    }
}
