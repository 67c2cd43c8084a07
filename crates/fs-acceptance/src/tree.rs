//! What a file system holds, as a value that can be compared.

use fs::{FileSystem, Kind, NodeId};
use std::collections::BTreeMap;

/// Everything below a root: paths without a leading slash; the root itself is the empty path.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// One node with its content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Content of a file, target of a link.
    pub content: Vec<u8>,
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What two trees must agree on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// Everything.
    All,
    /// For readers that know neither attributes nor the numbers of devices.
    Content,
}

/// Puts a name under a directory's path.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}

/// Splits a path into that of its directory and its name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Reads everything through the driver under test.
///
/// # Errors
/// What the driver answers.
pub fn read(fs: &dyn FileSystem) -> Result<Tree, fs::Error> {
    let mut tree = Tree::new();
    read_below(fs, fs.root(), b"", &mut tree, 60)?;
    Ok(tree)
}

fn read_below(
    fs: &dyn FileSystem,
    node: NodeId,
    path: &[u8],
    tree: &mut Tree,
    depth: usize,
) -> Result<(), fs::Error> {
    let meta = fs.stat(node)?;
    let content = match meta.kind {
        Kind::File => fs::read_file(fs, node, 1 << 30)?,
        Kind::Symlink => fs.read_link(node)?,
        _ => Vec::new(),
    };
    let xattrs = fs.xattrs(node)?.into_iter();
    tree.insert(
        path.to_vec(),
        Node {
            kind: meta.kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            content,
            device: meta.device,
            xattrs: xattrs.map(|xattr| (xattr.name, xattr.value)).collect(),
        },
    );
    if meta.kind == Kind::Dir {
        assert!(depth > 0, "directories nest too deeply");
        for entry in fs.entries(node)? {
            assert_eq!(
                fs.lookup(node, &entry.name)?,
                entry.node,
                "lookup and listing differ"
            );
            read_below(fs, entry.node, &join(path, &entry.name), tree, depth - 1)?;
        }
    }
    Ok(())
}

/// Fails with the first differences between two trees.
pub fn assert_same(what: &str, want: &Tree, got: &Tree, depth: Depth) {
    let mut differences = Vec::new();
    for (path, node) in want {
        match got.get(path) {
            None => differences.push(format!("{}: missing", show(path))),
            Some(other) => differences.extend(difference(path, node, other, depth)),
        }
    }
    for path in got.keys() {
        if !want.contains_key(path) {
            differences.push(format!("{}: should not be there", show(path)));
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {} differences\n{}",
        differences.len(),
        differences[..differences.len().min(10)].join("\n")
    );
}

fn difference(path: &[u8], want: &Node, got: &Node, depth: Depth) -> Option<String> {
    let meta = |node: &Node| {
        let device = node.device.filter(|_| depth == Depth::All);
        (node.kind, node.mode, node.uid, node.gid, device)
    };
    let path = show(path);
    if meta(want) != meta(got) {
        return Some(format!("{path}: {:?}, not {:?}", meta(got), meta(want)));
    }
    if want.content != got.content {
        let mut pairs = want.content.iter().zip(&got.content);
        let at = pairs.position(|(a, b)| a != b);
        return Some(format!(
            "{path}: content of {} bytes, not {}, first difference at {at:?}",
            got.content.len(),
            want.content.len()
        ));
    }
    if depth == Depth::All && want.xattrs != got.xattrs {
        let names = |node: &Node| -> Vec<(String, usize)> {
            let each = node.xattrs.iter();
            each.map(|(name, value)| (show(name), value.len()))
                .collect()
        };
        return Some(format!(
            "{path}: attributes {:?}, not {:?}",
            names(got),
            names(want)
        ));
    }
    None
}

/// A path as text.
pub fn show(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}
