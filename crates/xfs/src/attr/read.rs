//! Reading all attributes of a fork, whatever form it has.

use super::leaf::{self, LeafEntry, Value};
use super::{Attribute, remote, short};
use crate::da::{Geometry, Header, IndexBlock};
use crate::error::{Error, UnsupportedKind};
use crate::fork::ForkRead;
use ondisk::width::u64_of;
use std::collections::HashSet;

/// Bytes of names and values that are read whole, of one inode.
const LARGEST: u64 = 32 << 20;

/// All complete attributes: those of the inode in their order, others by hash.
///
/// # Errors
/// Damaged attributes, more of them than are read whole, or what reading meets.
pub(super) fn all(fork: &dyn ForkRead) -> Result<Vec<Attribute>, Error> {
    let geometry = Geometry::of_attributes(fork);
    if let Some(bytes) = fork.inline() {
        return short::decode(bytes).map_err(|fault| geometry.corrupt(0, fault));
    }
    if fork.end()? == 0 {
        return Ok(Vec::new());
    }
    let mut attributes = Vec::new();
    let mut total = 0_u64;
    for (block, entries) in leaves(&geometry, fork)?.0 {
        for LeafEntry { key, value, .. } in entries {
            let len = match &value {
                Value::Local(value) => value.len(),
                Value::Remote { len, .. } => {
                    leaf::value_len(*len).map_err(|fault| geometry.corrupt(block, fault))?
                }
            };
            total = total
                .saturating_add(u64_of(len))
                .saturating_add(u64_of(key.name.len()));
            cap(total)?;
            let value = match value {
                Value::Local(value) => value,
                Value::Remote { block, .. } => remote::read(&geometry, fork, block, len)?,
            };
            attributes.push(Attribute { key, value });
        }
    }
    Ok(attributes)
}

/// Says what is wrong with attributes whose parts can all be read.
///
/// # Errors
/// A part that cannot be read.
pub(crate) fn check(fork: &dyn ForkRead) -> Result<Vec<String>, Error> {
    let attributes = all(fork)?;
    let geometry = Geometry::of_attributes(fork);
    let mut problems = Vec::new();
    let mut known = HashSet::new();
    for Attribute { key, .. } in &attributes {
        // A node may have one name in several directories.
        if !known.insert((key.space, &key.name)) && key.full_name().is_some() {
            problems.push("two attributes have one name");
        }
    }
    if fork.inline().is_none() && fork.end()? > 0 {
        let (leaves, wrong) = leaves(&geometry, fork)?;
        problems.extend(wrong);
        let entries = leaves.iter().flat_map(|(_, entries)| entries);
        for (entry, attribute) in entries.zip(&attributes) {
            if entry.hash != attribute.key.hash(&attribute.value) {
                problems.push("an attribute is sorted by a wrong hash");
            }
        }
    }
    let inode = geometry.owner.inode;
    let problems = problems.into_iter();
    Ok(problems
        .map(|problem| format!("attributes of inode {inode}: {problem}"))
        .collect())
}

/// Leaves, with the block of each, from left to right.
type Leaves = Vec<(u64, Vec<LeafEntry>)>;

/// Reads all leaves, and says what is wrong with the index that leads to them.
fn leaves(geometry: &Geometry, fork: &dyn ForkRead) -> Result<(Leaves, Vec<&'static str>), Error> {
    let v5 = geometry.v5();
    let root = geometry.read(fork, 0, Header::Index)?;
    if !IndexBlock::is_node(v5, &root) {
        let entries = leaf::decode(v5, &root).map_err(|fault| geometry.corrupt(0, fault))?;
        return Ok((vec![(0, entries)], Vec::new()));
    }
    let mut problems = Vec::new();
    let mut known = HashSet::from([0]);
    let decode = |block, bytes: &[u8]| {
        IndexBlock::decode(v5, bytes).map_err(|fault| geometry.corrupt(block, fault))
    };
    let mut nodes = vec![decode(0, &root)?];
    loop {
        let level = nodes.first().map_or(0, |node| node.level);
        let children: Vec<_> = nodes.iter().flat_map(|node| node.entries.clone()).collect();
        let mut leaves = Vec::new();
        nodes.clear();
        let mut hash_before = 0;
        for child in children {
            let block = u64::from(child.value);
            if !known.insert(block) {
                let fault = crate::da::Fault {
                    at: 0,
                    reason: "the index leads to the block twice",
                    value: block,
                };
                return Err(geometry.corrupt(block, fault));
            }
            cap(u64_of(known.len()).saturating_mul(u64_of(geometry.block_size)))?;
            let bytes = geometry.read(fork, block, Header::Index)?;
            if level > 1 {
                let node = decode(block, &bytes)?;
                if node.level.checked_add(1) != Some(level) {
                    let fault = crate::da::Fault {
                        at: 0,
                        reason: "the block lies on another level than what leads to it says",
                        value: node.level.into(),
                    };
                    return Err(geometry.corrupt(block, fault));
                }
                if node.last_hash() != child.hash {
                    problems.push("the index knows a block by another hash than its last");
                }
                nodes.push(node);
                continue;
            }
            let leaf = leaf::decode(v5, &bytes).map_err(|fault| geometry.corrupt(block, fault))?;
            let first = leaf.first().map_or(hash_before, |entry| entry.hash);
            let last = leaf.last().map_or(hash_before, |entry| entry.hash);
            // What is incomplete may be the last, but is not seen here.
            if first < hash_before || last > child.hash {
                problems.push("a leaf has hashes that belong to another");
            }
            hash_before = child.hash;
            leaves.push((block, leaf));
        }
        if level <= 1 {
            return Ok((leaves, problems));
        }
    }
}

fn cap(total: u64) -> Result<(), Error> {
    if total <= LARGEST {
        return Ok(());
    }
    Err(UnsupportedKind::TooLarge {
        field: "bytes of attributes",
        value: total,
        cap: LARGEST,
    }
    .into())
}
