//! What the kernel will have unpacked.

mod path;

use crate::cpio::{FileType, Header};
use path::Resolved;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The files of an initramfs once all its archives are unpacked over each other, as the kernel
/// unpacks them: later members replace earlier ones, paths lead through the archive's own symbolic
/// links, a member whose directory does not exist is dropped.
///
/// Of small configuration files and module indexes the contents are kept, of everything else only
/// the size. Paths have no slash at their start or end; the empty path is the root.
#[derive(Clone, Debug)]
pub struct Contents {
    nodes: BTreeMap<Vec<u8>, Node>,
    files: Vec<File>,
    /// Files with several names, by inode number, device and kind, until their archive ends.
    linked: HashMap<(u32, (u32, u32), u32), usize>,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File(&'a File),
    /// A symbolic link and its target.
    Symlink(&'a [u8]),
    /// A device, pipe or socket.
    Special,
}

/// A regular file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    size: u64,
    names: u32,
    data: Option<Arc<[u8]>>,
}

impl File {
    /// Bytes of contents.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Paths that lead to this same file without a symbolic link.
    pub fn names(&self) -> u32 {
        self.names
    }

    /// The contents, if they were kept.
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(usize),
    Symlink(Arc<[u8]>),
    Special,
}

impl Contents {
    /// What stands before the first archive is unpacked: the kernel's own small initramfs
    /// (`usr/default_cpio_list`).
    pub(crate) fn new() -> Self {
        let nodes = [
            ("dev", Node::Directory),
            ("dev/console", Node::Special),
            ("root", Node::Directory),
        ];
        Self {
            nodes: nodes
                .into_iter()
                .map(|(path, node)| (path.as_bytes().to_vec(), node))
                .collect(),
            files: Vec::new(),
            linked: HashMap::new(),
        }
    }

    /// What stands at `path`, links followed but for the last name.
    pub fn entry(&self, path: &str) -> Option<Entry<'_>> {
        let Resolved::Found { path } = self.resolve(path.as_bytes(), false) else {
            return None;
        };
        if path.is_empty() {
            return Some(Entry::Directory);
        }
        self.nodes.get(&path).and_then(|node| self.view(node))
    }

    /// The regular file at `path`, all links followed.
    pub fn file(&self, path: &str) -> Option<&File> {
        let Resolved::Found { path } = self.resolve(path.as_bytes(), true) else {
            return None;
        };
        match self.nodes.get(&path) {
            Some(Node::File(file)) => self.files.get(*file),
            _ => None,
        }
    }

    /// The contents of the file at `path`, if it is one whose contents are kept.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.file(path).and_then(File::data)
    }

    /// Whether anything stands at `path`, all links followed.
    pub fn exists(&self, path: &str) -> bool {
        matches!(self.resolve(path.as_bytes(), true), Resolved::Found { .. })
    }

    /// Every path and what stands there, in the order of the paths' bytes.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Entry<'_>)> {
        self.nodes
            .iter()
            .filter_map(|(path, node)| Some((path.as_slice(), self.view(node)?)))
    }

    /// Every path below the directory `path`, relative to it.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&[u8], Entry<'_>)> {
        let mut start = match self.resolve(path.as_bytes(), true) {
            Resolved::Found { path } => path,
            _ => path.as_bytes().to_vec(),
        };
        if !start.is_empty() {
            start.push(b'/');
        }
        let prefix = start.clone();
        self.nodes
            .range(start..)
            .map_while(move |(path, node)| Some((path.strip_prefix(&*prefix)?, node)))
            .filter_map(|(path, node)| Some((path, self.view(node)?)))
    }

    /// Where a file written to `path` would stand: links of its directories followed, names that
    /// do not exist taken as they are. Nothing if a name on the way is no directory or if the links
    /// go in circles.
    pub fn real_path(&self, path: &str) -> Option<String> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut real = match self.resolve(directory.as_bytes(), true) {
            Resolved::Found { path } => path,
            Resolved::Missing { mut path, rest } => {
                for name in rest {
                    path::push(&mut path, &name);
                }
                path
            }
            Resolved::Blocked => return None,
        };
        path::push(&mut real, name.as_bytes());
        String::from_utf8(real).ok()
    }

    /// Where a member named `name` goes; nothing if it is dropped.
    pub(crate) fn destination(&self, name: &[u8]) -> Option<Vec<u8>> {
        let mut names = name.split(|byte| *byte == b'/').collect::<Vec<_>>();
        while names.last().is_some_and(|name| name.is_empty()) {
            names.pop();
        }
        let last = names.pop()?;
        let directory = names.join(&b'/');
        let Resolved::Found { mut path } = self.resolve(&directory, true) else {
            return None;
        };
        let directory = path.is_empty() || matches!(self.nodes.get(&path), Some(Node::Directory));
        if !directory || last == b"." || last == b".." {
            return None;
        }
        path::push(&mut path, last);
        Some(path)
    }

    /// Unpacks one member over what is there. `data` is a file's contents where they are kept, and
    /// a link's target.
    pub(crate) fn unpack(&mut self, header: &Header, data: Option<Vec<u8>>) {
        let (Some(path), Some(file_type)) = (self.destination(&header.name), header.file_type())
        else {
            return;
        };
        match file_type {
            FileType::Directory => {
                self.make_way(&path, FileType::Directory);
                self.nodes.entry(path).or_insert(Node::Directory);
            }
            FileType::Symlink => {
                self.make_way_whatever(&path);
                let mut target = data.unwrap_or_default();
                let end = target.iter().position(|byte| *byte == 0);
                target.truncate(end.unwrap_or(target.len()));
                self.nodes
                    .entry(path)
                    .or_insert(Node::Symlink(target.into()));
            }
            FileType::Special => {
                self.make_way(&path, FileType::Special);
                self.nodes.entry(path).or_insert(Node::Special);
            }
            FileType::Regular => self.unpack_file(path, header, data),
        }
    }

    /// An archive ended: inode numbers start anew.
    pub(crate) fn end_archive(&mut self) {
        self.linked.clear();
    }

    fn unpack_file(&mut self, path: Vec<u8>, header: &Header, data: Option<Vec<u8>>) {
        self.make_way(&path, FileType::Regular);
        let identity = (header.ino, header.dev, FileType::Regular.bits());
        let known = (header.nlink >= 2)
            .then(|| self.linked.get(&identity).copied())
            .flatten();
        if let Some(file) = known {
            self.make_way_whatever(&path);
            if self.nodes.contains_key(&path) {
                return;
            }
            if let Some(file) = self.files.get_mut(file) {
                file.names = file.names.saturating_add(1);
            }
            self.nodes.insert(path, Node::File(file));
            if header.filesize > 0 {
                self.fill(file, header, data);
            }
            return;
        }
        let file = match self.nodes.get(&path) {
            Some(Node::File(file)) => *file,
            Some(_) => return,
            None => {
                let file = self.files.len();
                self.files.push(File {
                    size: 0,
                    names: 1,
                    data: None,
                });
                self.nodes.insert(path, Node::File(file));
                file
            }
        };
        if header.nlink >= 2 {
            self.linked.insert(identity, file);
        }
        self.fill(file, header, data);
    }

    fn fill(&mut self, file: usize, header: &Header, data: Option<Vec<u8>>) {
        if let Some(file) = self.files.get_mut(file) {
            file.size = u64::from(header.filesize);
            file.data = data.map(Arc::from);
        }
    }

    /// Removes what stands at `path` if it is of another kind (`clean_path` of the kernel).
    fn make_way(&mut self, path: &[u8], file_type: FileType) {
        let same = match self.nodes.get(path) {
            None => true,
            Some(Node::Directory) => file_type == FileType::Directory,
            Some(Node::File(_)) => file_type == FileType::Regular,
            Some(Node::Symlink(_)) => file_type == FileType::Symlink,
            Some(Node::Special) => file_type == FileType::Special,
        };
        if !same {
            self.make_way_whatever(path);
        }
    }

    /// Removes what stands at `path`, but for a directory that is not empty.
    fn make_way_whatever(&mut self, path: &[u8]) {
        if let Some(Node::Directory) = self.nodes.get(path) {
            let mut start = path.to_vec();
            start.push(b'/');
            let next = self.nodes.range(start.clone()..).next();
            if next.is_some_and(|(path, _)| path.starts_with(&start)) {
                return;
            }
        }
        if let Some(Node::File(file)) = self.nodes.remove(path)
            && let Some(file) = self.files.get_mut(file)
        {
            file.names = file.names.saturating_sub(1);
        }
    }

    fn view<'a>(&'a self, node: &'a Node) -> Option<Entry<'a>> {
        Some(match node {
            Node::Directory => Entry::Directory,
            Node::File(file) => Entry::File(self.files.get(*file)?),
            Node::Symlink(target) => Entry::Symlink(target),
            Node::Special => Entry::Special,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::{Item, Reader, Writer};

    fn unpacked(archives: &[Vec<u8>]) -> Contents {
        let mut contents = Contents::new();
        for archive in archives {
            let mut reader = Reader::plain(&archive[..], 0);
            while let Some(item) = reader.next().unwrap() {
                match item {
                    Item::Member(header) => {
                        let data = reader.data().unwrap();
                        contents.unpack(&header, Some(data));
                    }
                    Item::Trailer => contents.end_archive(),
                }
            }
        }
        contents
    }

    fn archive(build: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new();
        build(&mut writer);
        writer.finish()
    }

    fn merged_usr() -> Vec<u8> {
        archive(|writer| {
            writer.directory("usr").unwrap();
            writer.directory("usr/lib").unwrap();
            writer.symlink("lib", "usr/lib").unwrap();
            writer.file("lib/libc.so", 0o755, b"libc").unwrap();
        })
    }

    /// One file with two names, the contents with the second, as GNU cpio writes it.
    fn hard_links() -> Vec<u8> {
        let mut bytes = archive(|writer| {
            writer.file("one", 0o644, b"").unwrap();
            writer.file("two", 0o644, b"both").unwrap();
        });
        // header fields ino and nlink of both
        bytes[6..14].copy_from_slice(b"00000007");
        bytes[38..46].copy_from_slice(b"00000002");
        bytes[122..130].copy_from_slice(b"00000007");
        bytes[154..162].copy_from_slice(b"00000002");
        bytes
    }

    #[test]
    fn files_land_behind_the_archives_own_links() {
        let contents = unpacked(&[merged_usr()]);
        assert_eq!(contents.read("usr/lib/libc.so"), Some(&b"libc"[..]));
        assert_eq!(contents.read("lib/libc.so"), Some(&b"libc"[..]));
        assert_eq!(
            contents.real_path("lib/modules/6.1/x.ko").unwrap(),
            "usr/lib/modules/6.1/x.ko"
        );
    }

    #[test]
    fn a_directory_over_a_link_hides_what_was_behind_it() {
        let broken = archive(|writer| writer.directory("lib").unwrap());
        let contents = unpacked(&[merged_usr(), broken]);
        assert_eq!(contents.read("lib/libc.so"), None);
        assert!(contents.exists("usr/lib/libc.so"));
    }

    #[test]
    fn a_file_without_its_directory_is_dropped() {
        let contents = unpacked(&[archive(|writer| {
            writer.file("not/there", 0o644, b"x").unwrap();
            writer.file("dev/here", 0o644, b"x").unwrap();
        })]);
        assert!(!contents.exists("not/there"));
        assert!(contents.exists("dev/here"));
    }

    #[test]
    fn later_files_replace_earlier_ones() {
        let first = archive(|writer| writer.file("init", 0o755, b"long first").unwrap());
        let second = archive(|writer| writer.file("./init", 0o755, b"second").unwrap());
        let contents = unpacked(&[first, second]);
        assert_eq!(contents.read("init"), Some(&b"second"[..]));
    }

    #[test]
    fn writing_one_of_two_hard_links_changes_both() {
        let contents = unpacked(&[hard_links()]);
        assert_eq!(contents.file("one").map(File::names), Some(2));
        assert_eq!(contents.read("one"), Some(&b"both"[..]));
        let overwritten = archive(|writer| writer.file("two", 0o644, b"new").unwrap());
        let contents = unpacked(&[hard_links(), overwritten]);
        assert_eq!(contents.read("one"), Some(&b"new"[..]));
    }

    #[test]
    fn a_link_in_between_parts_hard_linked_files() {
        let parted = archive(|writer| {
            writer.symlink("two", "one").unwrap();
            writer.file("two", 0o644, b"new").unwrap();
        });
        let contents = unpacked(&[hard_links(), parted]);
        assert_eq!(contents.read("one"), Some(&b"both"[..]));
        assert_eq!(contents.read("two"), Some(&b"new"[..]));
        assert_eq!(contents.file("one").map(File::names), Some(1));
    }

    #[test]
    fn links_in_circles_lead_nowhere() {
        let contents = unpacked(&[archive(|writer| {
            writer.symlink("a", "b").unwrap();
            writer.symlink("b", "a/c").unwrap();
            writer.file("a/x", 0o644, b"").unwrap();
        })]);
        assert!(!contents.exists("a"));
        assert_eq!(contents.real_path("a/x"), None);
        assert!(contents.entry("a").is_some());
    }

    #[test]
    fn dots_never_lead_out_of_the_root() {
        let contents = unpacked(&[archive(|writer| {
            writer.file("../../etc-passwd", 0o644, b"x").unwrap();
            writer.file("dev/../x", 0o644, b"x").unwrap();
            writer.file("..", 0o644, b"x").unwrap();
        })]);
        let paths: Vec<_> = contents.entries().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [&b"dev"[..], b"dev/console", b"etc-passwd", b"root", b"x"]
        );
    }

    #[test]
    fn below_gives_paths_relative_to_a_link_too() {
        let contents = unpacked(&[merged_usr()]);
        let paths: Vec<_> = contents.below("lib").map(|(path, _)| path).collect();
        assert_eq!(paths, [b"libc.so"]);
    }
}
