//! Where on its volume a file system keeps things.

use crate::Meta;
use std::ops::Range;

/// A node and everything on the volume that belongs to it alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    /// What the node's record says.
    pub meta: Meta,
    /// The parts: those of the content ascending by their offset, the others in any order.
    pub parts: Vec<Part>,
}

/// Bytes of the volume that belong to a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// Where: bytes of the volume, at least one.
    pub bytes: Range<u64>,
    /// What for.
    pub role: Role,
}

/// What a part of a node is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The node's record: an inode, or an entry of a directory. Content that is kept inside of it
    /// has no part of its own. It lies in a [`Structure`] or in the content of a directory.
    Record,
    /// What says where the content is: indirect blocks, nodes of an extent tree.
    Map,
    /// Extended attributes outside of the record. Nodes with the same attributes may share them.
    Attributes,
    /// Content: of a file its data, of a directory its names, of a link its target. The last part
    /// may go beyond the end of the content.
    Content {
        /// Where in the content it starts.
        offset: u64,
        /// Reserved only: reads as zeros, whatever is there.
        unwritten: bool,
    },
}

/// Bytes of the volume that belong to the file system itself, and to no node that has a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Structure {
    /// Where: bytes of the volume, at least one.
    pub bytes: Range<u64>,
    /// What for.
    pub kind: StructureKind,
}

/// What the structures of a file system are for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum StructureKind {
    /// The description of the whole and of its parts, and copies of it: boot sector, superblocks,
    /// group descriptors, headers of allocation groups.
    Header,
    /// What is in use and what is free: bitmaps, trees of free extents, FATs.
    Allocation,
    /// Tables of inodes.
    Nodes,
    /// The journal.
    Journal,
    /// What else has no name: quota, lists of orphans.
    Internal,
}

impl Places {
    /// The parts of the content.
    pub fn content(&self) -> impl Iterator<Item = &Part> {
        let is_content = |part: &&Part| matches!(part.role, Role::Content { .. });
        self.parts.iter().filter(is_content)
    }
}

/// Sorts structures and joins neighbours of one kind.
pub fn join_structures(mut structures: Vec<Structure>) -> Vec<Structure> {
    structures.sort_by_key(|structure| (structure.bytes.start, structure.kind));
    let mut joined: Vec<Structure> = Vec::new();
    for next in structures {
        match joined.last_mut() {
            Some(last) if last.kind == next.kind && last.bytes.end >= next.bytes.start => {
                last.bytes.end = last.bytes.end.max(next.bytes.end);
            }
            _ => joined.push(next),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_kind_are_joined() {
        let structure = |bytes, kind| Structure { bytes, kind };
        let (nodes, header) = (StructureKind::Nodes, StructureKind::Header);
        let joined = join_structures(vec![
            structure(20..30, nodes),
            structure(0..10, header),
            structure(30..40, nodes),
            structure(10..15, nodes),
            structure(2..5, header),
        ]);
        let expected = [
            structure(0..10, header),
            structure(10..15, nodes),
            structure(20..40, nodes),
        ];
        assert_eq!(joined, expected);
    }
}
