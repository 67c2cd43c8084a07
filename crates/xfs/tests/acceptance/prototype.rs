//! Images that only `mkfs` and `xfs_db` can fill.

use crate::features::FeatureSet;
use crate::image::{mkfs, run};
use fs::Kind;
use fs_acceptance::random::Random;
use fs_acceptance::tree::{Node, Tree, join, split};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Makes an image with some of everything and says what is on it.
pub(crate) fn make(image: &Path, set: FeatureSet, megabytes: u64) -> Tree {
    let mut tree = content(set);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut text = String::from("x\n0 0\nd--755 0 0\n");
    below(&tree, b"", dir.path(), &mut text);
    let prototype = dir.path().join("prototype");
    std::fs::write(&prototype, text).expect("room");
    let prototype = prototype.to_str().expect("plain text").to_owned();
    mkfs(image, &[set.mkfs, &["-p", &prototype]].concat(), megabytes);
    add_attributes(image, set, &mut tree);
    tree
}

fn content(set: FeatureSet) -> Tree {
    let mut random = Random::new(17);
    let mut tree = Tree::new();
    let mut add = |path: &str, kind, content: Vec<u8>| {
        let device = match kind {
            Kind::CharDevice => Some((1, 3)),
            Kind::BlockDevice => Some((8, 200)),
            _ => None,
        };
        let (mode, uid, gid) = match kind {
            Kind::Dir => (0o755, 0, 0),
            Kind::Symlink => (0o777, 0, 0),
            Kind::File if path == "etc/special" => (0o6711, 70_000, 5),
            _ => (0o644, 1000, 100),
        };
        let node = Node {
            kind,
            mode,
            uid,
            gid,
            content,
            device,
            xattrs: BTreeMap::new(),
        };
        tree.insert(path.into(), node);
    };
    add("", Kind::Dir, vec![]);
    for dir in [
        "etc",
        "etc/sub",
        "many",
        "some",
        "empty",
        "keep",
        "lost+found",
    ] {
        add(dir, Kind::Dir, vec![]);
    }
    for (path, len) in [
        ("etc/fstab", 40),
        ("etc/special", 0),
        ("etc/sub/one-block", 4096),
        ("etc/sub/hundred", 100),
        ("large", 3_000_000),
    ] {
        add(path, Kind::File, random.bytes(len));
    }
    // Blocks, leaf and nodes of names; the last makes many of those with 256 bytes an inode.
    for number in 0..40 {
        add(
            &format!("some/name-of-file-{number:04}"),
            Kind::File,
            vec![],
        );
    }
    let many = if set.name == "v4_1k" { 1500 } else { 700 };
    for number in 0..many {
        let path = format!("many/name-of-file-{number:04}-{}", "n".repeat(number % 120));
        add(&path, Kind::File, format!("{number}").into_bytes());
    }
    add("short", Kind::Symlink, b"etc/fstab".to_vec());
    // In version 5 mkfs 6.1 writes long links without their header.
    if !set.ignores_case() {
        add("long", Kind::Symlink, [[b'x'; 200], [b'/'; 200]].concat());
    }
    add("keep/fifo", Kind::Fifo, vec![]);
    add("keep/null", Kind::CharDevice, vec![]);
    add("keep/disk", Kind::BlockDevice, vec![]);
    tree
}

/// The lines of a directory's content and of its end.
fn below(tree: &Tree, dir: &[u8], host: &Path, text: &mut String) {
    for (path, node) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        let (parent, name) = split(path);
        if parent != dir {
            continue;
        }
        let name = str::from_utf8(name).expect("plain names");
        let letter = match node.kind {
            Kind::File => '-',
            Kind::Dir => 'd',
            Kind::Symlink => 'l',
            Kind::CharDevice => 'c',
            Kind::BlockDevice => 'b',
            Kind::Fifo => 'p',
            Kind::Socket => unreachable!("prototypes have no sockets"),
        };
        let bit = |bit: u16, letter| if node.mode & bit == 0 { '-' } else { letter };
        let (mode, uid, gid) = (node.mode & 0o777, node.uid, node.gid);
        let (user, group) = (bit(0o4000, 'u'), bit(0o2000, 'g'));
        write!(text, "{name} {letter}{user}{group}{mode:03o} {uid} {gid}").expect("a string grows");
        match node.kind {
            Kind::File => {
                let from = host.join(text.len().to_string());
                std::fs::write(&from, &node.content).expect("room");
                writeln!(text, " {}", from.display()).expect("a string grows");
            }
            Kind::Symlink => {
                let target = str::from_utf8(&node.content).expect("plain targets");
                writeln!(text, " {target}").expect("a string grows");
            }
            Kind::Dir => {
                text.push('\n');
                below(tree, path, host, text);
            }
            _ => {
                if let Some((major, minor)) = node.device {
                    write!(text, " {major} {minor}").expect("a string grows");
                }
                text.push('\n');
            }
        }
    }
    text.push_str("$\n");
}

/// Attributes in the inode, in one block, in many, and in blocks of their own. Those without
/// "-r" and "-s" are of the user.
fn add_attributes(image: &Path, set: FeatureSet, tree: &mut Tree) {
    // There xfs_db 6.1 fails.
    if set.name == "v4_attr1" {
        return;
    }
    // Names are looked up by a hash that xfs_db 6.1 does not make of both cases.
    let most = if set.ignores_case() { 0 } else { 120 };
    let mut wanted = vec![
        ("short", "-s", "selinux".to_owned(), 20),
        ("etc/fstab", "-s", "selinux".to_owned(), 27),
        ("etc/fstab", "-u", "a".to_owned(), 10),
        // Not the first one: xfs_db 6.1 fails if that does not fit into the inode.
        ("etc/sub/hundred", "-u", "first".to_owned(), 3),
        ("etc/sub/hundred", "-u", "block".to_owned(), 700),
        ("etc/sub/one-block", "-r", "far".to_owned(), 20_000),
    ];
    for number in 0..most {
        wanted.push(("large", "-u", format!("number-{number:04}"), number * 3 + 1));
    }
    let mut by_path: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, space, name, len) in wanted {
        let prefix = match space {
            "-s" => "security.",
            "-r" => "trusted.",
            _ => "user.",
        };
        let node = tree.get_mut(path.as_bytes()).expect("it was just made");
        let full = join(b"", format!("{prefix}{name}").as_bytes());
        node.xattrs.insert(full, vec![b'v'; len]);
        let command = format!("attr_set {space} -v {len} {name}");
        by_path.entry(path).or_default().push(command);
    }
    for (path, commands) in by_path {
        let find = format!("path /{path}");
        let mut arguments = vec!["-x", "-c", &find];
        for command in &commands {
            arguments.extend(["-c", command]);
        }
        run("xfs_db", &arguments, image);
    }
}
