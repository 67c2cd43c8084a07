use super::{HAS_CHILDREN, HAS_PREFIX, HAS_VALUES, MAGIC, OFFSET, VERSION};
use std::collections::BTreeMap;

/// Builds an index, byte for byte as depmod of kmod 30 does.
#[derive(Debug)]
pub(crate) struct Writer {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    prefix: Vec<u8>,
    /// By the key's next byte: the node's place in the list.
    children: BTreeMap<u8, usize>,
    /// By ascending priority.
    values: Vec<(u32, Vec<u8>)>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds a value; of several with one key those with a lower priority come first. Keys that are
    /// not ASCII cannot be looked up and are left out.
    pub(crate) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        if !key.is_ascii() || key.contains('\0') || value.contains('\0') {
            return;
        }
        let mut key = key.as_bytes();
        let mut at = 0;
        loop {
            let Some(node) = self.nodes.get_mut(at) else {
                return;
            };
            let common = common_len(&node.prefix, key);
            if common < node.prefix.len() {
                self.split(at, common);
                continue;
            }
            key = key.get(common..).unwrap_or(&[]);
            let Some((first, rest)) = key.split_first() else {
                let place = node
                    .values
                    .partition_point(|(existing, _)| *existing < priority);
                node.values.insert(place, (priority, value.into()));
                return;
            };
            let new = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else {
                return;
            };
            match node.children.get(first) {
                Some(child) => at = *child,
                None => {
                    node.children.insert(*first, new);
                    self.nodes.push(Node {
                        prefix: rest.into(),
                        children: BTreeMap::new(),
                        values: vec![(priority, value.into())],
                    });
                    return;
                }
            }
            key = rest;
        }
    }

    /// The file's bytes; nothing if they would reach beyond what a reference can hold.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 12];
        let mut references: Vec<u32> = vec![0; self.nodes.len()];
        // children are written before their parents, and in the order of their bytes
        let mut todo = vec![(0, false)];
        while let Some((at, children_are_written)) = todo.pop() {
            let node = self.nodes.get(at)?;
            if children_are_written {
                *references.get_mut(at)? = node.write(&mut bytes, &references)?;
            } else {
                todo.push((at, true));
                todo.extend(node.children.values().rev().map(|child| (*child, false)));
            }
        }
        let root = references.first()?;
        let header = [MAGIC, VERSION, *root].map(u32::to_be_bytes);
        bytes
            .first_chunk_mut::<12>()?
            .copy_from_slice(header.as_flattened());
        Some(bytes)
    }

    /// Ends the prefix of a node before its byte `common`; a new child takes over the rest.
    fn split(&mut self, at: usize, common: usize) {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        let mut rest = node.prefix.split_off(common).into_iter();
        let Some(first) = rest.next() else {
            return;
        };
        let child = Node {
            prefix: rest.collect(),
            children: std::mem::take(&mut node.children),
            values: std::mem::take(&mut node.values),
        };
        node.children.insert(first, new);
        self.nodes.push(child);
    }
}

impl Node {
    fn write(&self, bytes: &mut Vec<u8>, references: &[u32]) -> Option<u32> {
        let mut reference = u32::try_from(bytes.len())
            .ok()
            .filter(|offset| *offset <= OFFSET)?;
        if !self.prefix.is_empty() {
            reference |= HAS_PREFIX;
            bytes.extend_from_slice(&self.prefix);
            bytes.push(0);
        }
        if let (Some((first, _)), Some((last, _))) = (
            self.children.first_key_value(),
            self.children.last_key_value(),
        ) {
            reference |= HAS_CHILDREN;
            bytes.extend([*first, *last]);
            for byte in *first..=*last {
                let child = match self.children.get(&byte) {
                    Some(child) => *references.get(*child)?,
                    None => 0,
                };
                bytes.extend(child.to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            reference |= HAS_VALUES;
            bytes.extend(u32::try_from(self.values.len()).ok()?.to_be_bytes());
            for (priority, value) in &self.values {
                bytes.extend(priority.to_be_bytes());
                bytes.extend_from_slice(value);
                bytes.push(0);
            }
        }
        Some(reference)
    }
}

fn common_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_tree_has_these_bytes() {
        let mut writer = Writer::new();
        writer.insert("ab", "x", 1);
        writer.insert("ac", "y", 0);
        let bytes = writer.finish().unwrap();
        let expected = [
            &[0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1, 0x20, 0, 0, 0x2a][..],
            // at 12 and 22: the leaves
            &[0, 0, 0, 1, 0, 0, 0, 1, b'x', 0],
            &[0, 0, 0, 1, 0, 0, 0, 0, b'y', 0],
            // at 32: behind "a"
            &[b'b', b'c', 0x40, 0, 0, 12, 0x40, 0, 0, 22],
            // at 42: the root
            &[b'a', b'a', 0x20, 0, 0, 32],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn an_empty_index_has_an_empty_root() {
        let bytes = Writer::new().finish().unwrap();
        assert_eq!(bytes[8..], [0, 0, 0, 12]);
    }

    #[test]
    fn a_long_key_needs_no_stack() {
        let mut writer = Writer::new();
        for len in 0..5000 {
            writer.insert(&"a".repeat(len), "v", 0);
        }
        assert!(writer.finish().is_some());
    }
}
