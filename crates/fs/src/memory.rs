//! A file system in memory, for tests of what stands above the drivers.

use crate::{
    Entry, Error, FileSystem, FileSystemEdit, FsInfo, FsKind, Kind, Meta, NewNode, NodeId, Places,
    Problem, Space, Structure, Time, Xattr,
};
use ondisk::width::{u64_of, usize_of};
use std::collections::BTreeMap;
use std::ops::Range;

/// A file system in memory.
#[derive(Clone, Debug)]
pub struct MemoryFs {
    info: FsInfo,
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    now: Time,
    free_bytes: u64,
}

#[derive(Clone, Debug)]
struct Node {
    meta: Meta,
    content: Content,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Content {
    File(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, NodeId>),
    Link(Vec<u8>),
}

const ROOT: NodeId = NodeId(2);

impl MemoryFs {
    /// An empty file system with this identifier and label, and a GiB of room.
    pub fn new(uuid: &str, label: Option<&str>) -> Self {
        let info = FsInfo {
            kind: FsKind::Memory,
            label: label.map(str::to_owned),
            uuid: Some(uuid.to_owned()),
            features: Vec::new(),
            recovered: false,
            last_write: None,
        };
        let mut fs = Self {
            info,
            nodes: BTreeMap::new(),
            next: ROOT.0,
            now: Time::default(),
            free_bytes: 1 << 30,
        };
        fs.add(
            Kind::Dir,
            NewNode::root(0o755),
            Content::Dir(BTreeMap::new()),
        );
        fs
    }

    /// Sets how many bytes the file system says are free.
    pub fn set_free_bytes(&mut self, free: u64) {
        self.free_bytes = free;
    }

    fn add(&mut self, kind: Kind, new: NewNode, content: Content) -> NodeId {
        let id = NodeId(self.next);
        self.next = self.next.saturating_add(1);
        let size = match &content {
            Content::File(bytes) | Content::Link(bytes) => u64_of(bytes.len()),
            Content::Dir(_) => 4096,
        };
        let meta = Meta {
            kind,
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            size,
            links: 1,
            mtime: self.now,
            ctime: self.now,
            atime: self.now,
            device: None,
        };
        self.nodes.insert(
            id,
            Node {
                meta,
                content,
                xattrs: BTreeMap::new(),
            },
        );
        id
    }

    fn node(&self, id: NodeId) -> Result<&Node, Error> {
        self.nodes.get(&id).ok_or(Error::NotFound)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Error> {
        self.nodes.get_mut(&id).ok_or(Error::NotFound)
    }

    fn names(&self, dir: NodeId) -> Result<&BTreeMap<Vec<u8>, NodeId>, Error> {
        match &self.node(dir)?.content {
            Content::Dir(names) => Ok(names),
            _ => Err(Error::NotADirectory),
        }
    }

    fn names_mut(&mut self, dir: NodeId) -> Result<&mut BTreeMap<Vec<u8>, NodeId>, Error> {
        match &mut self.node_mut(dir)?.content {
            Content::Dir(names) => Ok(names),
            _ => Err(Error::NotADirectory),
        }
    }

    fn insert(
        &mut self,
        dir: NodeId,
        name: &[u8],
        kind: Kind,
        new: NewNode,
        content: Content,
    ) -> Result<NodeId, Error> {
        if name.is_empty()
            || name.len() > 255
            || name == b"."
            || name == b".."
            || name.contains(&b'/')
        {
            return Err(Error::BadName);
        }
        if self.names(dir)?.contains_key(name) {
            return Err(Error::Exists);
        }
        let id = self.add(kind, new, content);
        self.names_mut(dir)?.insert(name.to_vec(), id);
        Ok(id)
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let (now, free) = (self.now, self.free_bytes);
        let node = self.node_mut(node)?;
        let Content::File(bytes) = &mut node.content else {
            return Err(Error::NotAFile);
        };
        let before = u64_of(bytes.len());
        change(bytes);
        let after = u64_of(bytes.len());
        let grown = after.saturating_sub(before);
        if grown > free {
            return Err(Error::NoSpace {
                needed: grown,
                free,
            });
        }
        node.meta.size = after;
        node.meta.mtime = now;
        node.meta.ctime = now;
        self.free_bytes = free.saturating_sub(grown);
        Ok(())
    }
}

fn no_volume() -> Error {
    Error::Unsupported("a file system in memory lies on no volume".into())
}

impl FileSystem for MemoryFs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn space(&self) -> Result<Space, Error> {
        Ok(Space {
            total_bytes: 2 << 30,
            free_bytes: self.free_bytes,
            free_inodes: None,
            block_size: 4096,
        })
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId, Error> {
        self.names(dir)?.get(name).copied().ok_or(Error::NotFound)
    }

    fn stat(&self, node: NodeId) -> Result<Meta, Error> {
        self.node(node).map(|node| node.meta)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let Content::File(bytes) = &self.node(node)?.content else {
            return Err(Error::NotAFile);
        };
        let rest = bytes.get(usize_of(offset)..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn entries(&self, dir: NodeId) -> Result<Vec<Entry>, Error> {
        let entry = |(name, node): (&Vec<u8>, &NodeId)| {
            let kind = self.nodes.get(node).map(|node| node.meta.kind);
            Entry {
                name: name.clone(),
                node: *node,
                kind,
            }
        };
        Ok(self.names(dir)?.iter().map(entry).collect())
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        match &self.node(node)?.content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err(Error::NotFound),
        }
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>, Error> {
        let xattr = |(name, value): (&Vec<u8>, &Vec<u8>)| Xattr {
            name: name.clone(),
            value: value.clone(),
        };
        Ok(self.node(node)?.xattrs.iter().map(xattr).collect())
    }

    fn places(&self, node: NodeId) -> Result<Places, Error> {
        self.node(node)?;
        Err(no_volume())
    }

    fn structures(&self) -> Result<Vec<Structure>, Error> {
        Err(no_volume())
    }

    fn free(&self, _: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        Err(no_volume())
    }

    fn numbers_are_places(&self) -> bool {
        false
    }

    fn edit(&mut self) -> Result<&mut dyn FileSystemEdit, Error> {
        Ok(self)
    }

    fn check(&self) -> Result<Vec<Problem>, Error> {
        Ok(Vec::new())
    }
}

impl FileSystemEdit for MemoryFs {
    fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    fn create(&mut self, dir: NodeId, name: &[u8], new: NewNode) -> Result<NodeId, Error> {
        self.insert(dir, name, Kind::File, new, Content::File(Vec::new()))
    }

    fn make_dir(&mut self, dir: NodeId, name: &[u8], new: NewNode) -> Result<NodeId, Error> {
        self.insert(dir, name, Kind::Dir, new, Content::Dir(BTreeMap::new()))
    }

    fn symlink(
        &mut self,
        dir: NodeId,
        name: &[u8],
        target: &[u8],
        new: NewNode,
    ) -> Result<NodeId, Error> {
        let new = NewNode { mode: 0o777, ..new };
        self.insert(
            dir,
            name,
            Kind::Symlink,
            new,
            Content::Link(target.to_vec()),
        )
    }

    fn replace(&mut self, node: NodeId, content: &[u8]) -> Result<(), Error> {
        self.change(node, |bytes| *bytes = content.to_vec())
    }

    fn write_at(&mut self, node: NodeId, offset: u64, content: &[u8]) -> Result<(), Error> {
        let start = usize_of(offset);
        let end = start.saturating_add(content.len());
        self.change(node, |bytes| {
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(content);
        })
    }

    fn truncate(&mut self, node: NodeId, size: u64) -> Result<(), Error> {
        self.change(node, |bytes| bytes.resize(usize_of(size), 0))
    }

    fn remove(&mut self, dir: NodeId, name: &[u8]) -> Result<(), Error> {
        let node = self.lookup(dir, name)?;
        if let Content::Dir(names) = &self.node(node)?.content
            && !names.is_empty()
        {
            return Err(Error::NotEmpty);
        }
        self.names_mut(dir)?.remove(name);
        self.nodes.remove(&node);
        Ok(())
    }

    fn rename(&mut self, from: (NodeId, &[u8]), to: (NodeId, &[u8])) -> Result<(), Error> {
        let node = self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(same) if same == node => return Ok(()),
            Ok(_) => self.remove(to.0, to.1)?,
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_vec(), node);
        Ok(())
    }

    fn set_owner(&mut self, node: NodeId, new: NewNode) -> Result<(), Error> {
        let meta = &mut self.node_mut(node)?.meta;
        (meta.mode, meta.uid, meta.gid) = (new.mode, new.uid, new.gid);
        Ok(())
    }

    fn set_mtime(&mut self, node: NodeId, mtime: Time) -> Result<(), Error> {
        self.node_mut(node)?.meta.mtime = mtime;
        Ok(())
    }

    fn set_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let xattrs = &mut self.node_mut(node)?.xattrs;
        match value {
            Some(value) => drop(xattrs.insert(name.to_vec(), value.to_vec())),
            None => drop(xattrs.remove(name).ok_or(Error::NotFound)?),
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_over_replaces() {
        let mut fs = MemoryFs::new("1", None);
        let root = fs.root();
        let a = fs.create(root, b"a", NewNode::root(0o644)).unwrap();
        fs.replace(a, b"new").unwrap();
        fs.create(root, b"b", NewNode::root(0o644)).unwrap();
        fs.rename((root, b"a"), (root, b"b")).unwrap();
        assert_eq!(
            crate::read_file(&fs, fs.lookup(root, b"b").unwrap(), 10).unwrap(),
            b"new"
        );
        assert!(matches!(fs.lookup(root, b"a"), Err(Error::NotFound)));
    }

    #[test]
    fn growth_needs_room() {
        let mut fs = MemoryFs::new("1", None);
        fs.set_free_bytes(3);
        let file = fs.create(fs.root(), b"a", NewNode::root(0o644)).unwrap();
        fs.write_at(file, 0, b"abc").unwrap();
        assert!(matches!(
            fs.write_at(file, 3, b"d"),
            Err(Error::NoSpace { .. })
        ));
    }
}
