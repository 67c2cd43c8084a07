//! Writing all attributes of a fork anew.

use super::leaf::{self, LeafEntry, Value};
use super::{Attribute, remote, short};
use crate::da::{Fault, Geometry, Header, IndexBlock, IndexEntry, MAX_LEVEL};
use crate::error::{Error, UnsupportedKind};
use crate::fork::ForkEdit;
use ondisk::width::u64_of;

/// Makes the fork hold these attributes and nothing else.
///
/// # Errors
/// No room, more attributes than an index can lead to, and what writing meets.
pub(super) fn store(fork: &mut dyn ForkEdit, attributes: &[Attribute]) -> Result<(), Error> {
    if attributes.is_empty() {
        return fork.set_inline(&[]);
    }
    if let Some(bytes) = short::encode(attributes)
        && bytes.len() <= fork.max_inline()
    {
        return fork.set_inline(&bytes);
    }
    let geometry = Geometry::of_attributes(fork);
    let blocks = build(&geometry, attributes)?;
    if fork.inline().is_some() || fork.end()? == 0 {
        fork.set_mapped()?;
    }
    let count = u64_of(blocks.len());
    map(fork, count)?;
    for (block, (header, bytes)) in (0_u64..).zip(blocks) {
        geometry.write(fork, block, header, bytes)?;
    }
    let rest = fork.end()?.saturating_sub(count);
    let rest = u32::try_from(rest).map_err(|_| {
        let fault = Fault {
            at: 0,
            reason: "attributes cannot have so many blocks",
            value: rest,
        };
        geometry.corrupt(count, fault)
    })?;
    if rest > 0 {
        fork.free(count, rest)?;
    }
    Ok(())
}

/// Maps what is not mapped of the first `count` blocks.
fn map(fork: &mut dyn ForkEdit, count: u64) -> Result<(), Error> {
    let mut block = 0;
    while block < count {
        let mapped = fork.next_mapped(block)?.unwrap_or(count).min(count);
        let missing = mapped.saturating_sub(block);
        if let Ok(missing) = u32::try_from(missing)
            && missing > 0
        {
            fork.allocate(block, missing)?;
        }
        block = mapped.saturating_add(1);
    }
    Ok(())
}

/// Blocks in their order in the fork, but for what their headers get when they are written.
type Blocks = Vec<(Header, Vec<u8>)>;

/// Lays out all attributes: the root of the index first, then leaves, nodes, and long values.
fn build(geometry: &Geometry, attributes: &[Attribute]) -> Result<Blocks, Error> {
    let (v5, block_size) = (geometry.v5(), geometry.block_size);
    let mut entries: Vec<LeafEntry> = attributes
        .iter()
        .map(|Attribute { key, value }| LeafEntry {
            hash: key.hash(value),
            key: key.clone(),
            value: if leaf::is_local(block_size, key.name.len(), value.len()) {
                Value::Local(value.clone())
            } else {
                Value::Remote {
                    // Which one is known when all leaves are.
                    block: 0,
                    len: u32::try_from(value.len()).unwrap_or(u32::MAX),
                }
            },
        })
        .collect();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| entries.get(*index).map_or(0, |entry| entry.hash));
    entries.sort_by_key(|entry| entry.hash);

    let mut leaves = pack(v5, block_size, entries);
    let tree = Tree::over(geometry, &leaves)?;
    let mut next = tree.block_count;
    let mut values = Vec::new();
    let in_order = order.iter().filter_map(|index| attributes.get(*index));
    for (entry, attribute) in leaves.iter_mut().flatten().zip(in_order) {
        if let Value::Remote { block, .. } = &mut entry.value {
            *block = next;
            let blocks = remote::encode(geometry, &attribute.value);
            let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
            next = next.saturating_add(count);
            values.extend(blocks.into_iter().map(|bytes| (Header::Value, bytes)));
        }
    }

    let mut blocks = Vec::new();
    let last = tree.leaf(leaves.len().saturating_sub(1));
    for (index, leaf) in leaves.iter().enumerate() {
        let here = tree.leaf(index);
        let back = if index == 0 {
            0
        } else {
            here.saturating_sub(1)
        };
        let forw = if here == last {
            0
        } else {
            here.saturating_add(1)
        };
        let bytes = leaf::encode(v5, block_size, leaf, (back, forw));
        blocks.push((Header::Index, bytes));
    }
    let nodes = tree.nodes.iter();
    blocks.extend(nodes.map(|node| (Header::Index, node.encode(v5, block_size))));
    if let Some(root) = tree.root {
        let bytes = root.encode(v5, block_size);
        blocks.insert(0, (Header::Index, bytes));
    }
    blocks.append(&mut values);
    Ok(blocks)
}

/// Fills leaves, one after the other.
fn pack(v5: bool, block_size: usize, entries: Vec<LeafEntry>) -> Vec<Vec<LeafEntry>> {
    let room = leaf::room(v5, block_size);
    let mut leaves: Vec<Vec<LeafEntry>> = Vec::new();
    let mut left = 0;
    for entry in entries {
        let len = entry.len();
        match (leaves.last_mut(), usize::checked_sub(left, len)) {
            (Some(leaf), Some(rest)) => {
                leaf.push(entry);
                left = rest;
            }
            _ => {
                leaves.push(vec![entry]);
                left = room.saturating_sub(len);
            }
        }
    }
    leaves
}

/// The index over leaves.
struct Tree {
    /// The root in block 0; none if the only leaf lies there.
    root: Option<IndexBlock>,
    /// Nodes between root and leaves, in the blocks behind the leaves.
    nodes: Vec<IndexBlock>,
    /// Blocks of root, leaves and nodes.
    block_count: u32,
}

impl Tree {
    fn over(geometry: &Geometry, leaves: &[Vec<LeafEntry>]) -> Result<Self, Error> {
        let capacity = IndexBlock::capacity(geometry.v5(), geometry.block_size).max(2);
        let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        let mut tree = Self {
            root: None,
            nodes: Vec::new(),
            block_count: count,
        };
        if count <= 1 {
            return Ok(tree);
        }
        tree.block_count = count.saturating_add(1);
        let mut below: Vec<IndexEntry> = leaves
            .iter()
            .zip(1..)
            .map(|(leaf, value)| IndexEntry {
                hash: leaf.last().map_or(0, |entry| entry.hash),
                value,
            })
            .collect();
        for level in 1..=MAX_LEVEL {
            if below.len() <= capacity {
                tree.root = Some(IndexBlock {
                    level,
                    forw: 0,
                    back: 0,
                    entries: below,
                });
                return Ok(tree);
            }
            below = tree.add_level(level, &below, capacity);
        }
        Err(UnsupportedKind::TooLarge {
            field: "height of an index of attributes",
            value: u64::from(MAX_LEVEL).saturating_add(1),
            cap: MAX_LEVEL.into(),
        }
        .into())
    }

    /// Adds nodes, each with nearly as many entries as the others, and gives back what leads to
    /// them.
    fn add_level(&mut self, level: u16, below: &[IndexEntry], capacity: usize) -> Vec<IndexEntry> {
        let node_count = below.len().div_ceil(capacity);
        let mut above = Vec::new();
        let mut rest = below;
        for index in 0..node_count {
            let left = node_count.saturating_sub(index);
            let (entries, others) = rest
                .split_at_checked(rest.len().div_ceil(left))
                .unwrap_or((rest, &[]));
            rest = others;
            let here = self.block_count;
            let node = IndexBlock {
                level,
                forw: if left > 1 { here.saturating_add(1) } else { 0 },
                back: if index > 0 { here.saturating_sub(1) } else { 0 },
                entries: entries.to_vec(),
            };
            above.push(IndexEntry {
                hash: node.last_hash(),
                value: here,
            });
            self.nodes.push(node);
            self.block_count = here.saturating_add(1);
        }
        above
    }

    /// The block of leaf number `index`.
    fn leaf(&self, index: usize) -> u32 {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        index.saturating_add(u32::from(self.root.is_some()))
    }
}
