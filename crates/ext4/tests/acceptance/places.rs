//! Where things lie on the device, by us and by e2fsprogs.

use crate::features::{ALL, named};
use crate::image::{self, Image, State};
use crate::workload::open;
use fs::{FileSystem, Kind, NodeId, Places, Role, Xattr};
use fs_acceptance::long;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

type Blocks = BTreeSet<u64>;

fn blocks(bytes: &Range<u64>, size: u64) -> Range<u64> {
    assert!(bytes.start.is_multiple_of(size) && bytes.end.is_multiple_of(size));
    bytes.start / size..bytes.end / size
}

/// Every node that has a name, with its places.
fn nodes(fs: &dyn FileSystem) -> BTreeMap<NodeId, Places> {
    let mut nodes = BTreeMap::new();
    let mut rest = vec![fs.root()];
    while let Some(node) = rest.pop() {
        let places = fs.places(node).unwrap();
        if nodes.contains_key(&node) {
            continue;
        }
        if places.meta.kind == Kind::Dir {
            rest.extend(
                fs.entries(node)
                    .unwrap()
                    .into_iter()
                    .map(|entry| entry.node),
            );
        }
        nodes.insert(node, places);
    }
    nodes
}

/// What `debugfs` says are the blocks of each node, those of its map included.
fn blocks_by_debugfs(
    image: &Path,
    nodes: impl Iterator<Item = NodeId>,
) -> BTreeMap<NodeId, Blocks> {
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-f", "-"]).arg(image);
    debugfs
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = debugfs.spawn().expect("e2fsprogs are installed");
    let requests: String = nodes.map(|node| format!("blocks <{}>\n", node.0)).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(requests.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let mut found: BTreeMap<NodeId, Blocks> = BTreeMap::new();
    let mut node = NodeId(0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(request) = line.strip_prefix("debugfs: blocks <") {
            node = NodeId(request.trim_end().trim_end_matches('>').parse().unwrap());
            found.entry(node).or_default();
            continue;
        }
        let numbers = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse::<u64>().ok());
        found.entry(node).or_default().extend(numbers);
    }
    found
}

/// The free blocks that `dumpe2fs` lists.
fn free_by_dumpe2fs(image: &Path) -> Blocks {
    let output = Command::new("dumpe2fs").arg(image).output().unwrap();
    let mut free = Blocks::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(list) = line.strip_prefix("  Free blocks: ") else {
            continue;
        };
        for run in list.split(", ").filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            free.extend(first.parse::<u64>().unwrap()..=last.parse().unwrap());
        }
    }
    free
}

#[test]
fn files_lie_where_debugfs_says_and_every_block_belongs_to_one_thing() {
    if !image::possible() {
        return;
    }
    for set in ALL.iter().filter(|set| set.always || long()) {
        let image = Image::new(*set, State::Clean, 48);
        let fs = open(&image.copy("copy"));
        let size = u64::from(fs.space().unwrap().block_size);
        let nodes = nodes(&fs);
        let by_debugfs = blocks_by_debugfs(&image.path, nodes.keys().copied());
        assert!(
            by_debugfs
                .values()
                .filter(|blocks| !blocks.is_empty())
                .count()
                > 5
        );
        let mut owned: BTreeMap<u64, String> = BTreeMap::new();
        let mut own = |block: u64, owner: String| {
            if let Some(other) = owned.insert(block, owner.clone()) {
                panic!("{}: block {block} belongs to {other} and {owner}", set.name);
            }
        };
        let device = File::open(&image.path).unwrap();
        let (mut shared, mut maps) = (Blocks::new(), 0);
        for (node, places) in &nodes {
            let mut mine = Blocks::new();
            for part in &places.parts {
                match part.role {
                    Role::Record => {
                        assert_eq!(part.bytes.end - part.bytes.start, record_len(set.name));
                        continue;
                    }
                    Role::Attributes => {
                        shared.extend(blocks(&part.bytes, size));
                        continue;
                    }
                    Role::Map => maps += 1,
                    Role::Content { offset, unwritten } => {
                        assert!(!unwritten);
                        if places.meta.kind == Kind::File {
                            assert_holds(&device, &fs, *node, offset, &part.bytes);
                        }
                    }
                }
                mine.extend(blocks(&part.bytes, size));
            }
            // `debugfs` takes the target of a short link, and the numbers of a device, for blocks.
            let is_mapped = match places.meta.kind {
                Kind::File | Kind::Dir => true,
                Kind::Symlink => places.meta.size >= 60,
                _ => false,
            };
            if is_mapped {
                assert_eq!(Some(&mine), by_debugfs.get(node), "{} {node:?}", set.name);
            } else {
                assert!(mine.is_empty());
            }
            for block in mine {
                own(block, format!("{node:?}"));
            }
        }
        assert!(maps > 0 || set.name != "ext2_1k", "{}", set.name);
        for block in shared {
            own(block, "attributes".to_owned());
        }
        for structure in fs.structures().unwrap() {
            for block in blocks(&structure.bytes, size) {
                own(block, format!("{:?}", structure.kind));
            }
        }
        let end = fs.space().unwrap().total_bytes;
        let free = fs.free(0..end).unwrap();
        let free: Blocks = free.iter().flat_map(|bytes| blocks(bytes, size)).collect();
        assert_eq!(free, free_by_dumpe2fs(&image.path), "{}", set.name);
        for block in &free {
            own(*block, "nobody".to_owned());
        }
        let unknown: Vec<u64> = (0..end / size)
            .filter(|block| !owned.contains_key(block))
            .collect();
        assert_eq!(unknown, [], "{}", set.name);
        // A part of a block is free as its block is.
        if let Some(block) = free.first() {
            let part = block * size + 1..block * size + 5;
            assert_eq!(fs.free(part.clone()).unwrap(), [part]);
        }
    }
}

fn record_len(set: &str) -> u64 {
    if set == "inode_128" { 128 } else { 256 }
}

/// Whether the device has at `bytes` what the file has from `offset` on.
fn assert_holds(device: &File, fs: &dyn FileSystem, node: NodeId, offset: u64, bytes: &Range<u64>) {
    let mut there = vec![0; usize::try_from(bytes.end - bytes.start).unwrap()];
    device.read_exact_at(&mut there, bytes.start).unwrap();
    let mut content = vec![0; there.len()];
    let read = fs.read_at(node, offset, &mut content).unwrap();
    assert!(there[..read] == content[..read]);
}

#[test]
fn reserved_blocks_are_marked_and_those_behind_a_hole_keep_their_offset() {
    if !image::possible() {
        return;
    }
    let image = Image::empty(named("default"), 48);
    {
        let mount = image::mount(&image.path, "rw");
        let file = mount.path(b"reserved");
        let status = Command::new("fallocate")
            .args(["-o", "40960", "-l", "20480"])
            .arg(&file)
            .status();
        assert!(status.expect("util-linux is installed").success());
        let file = File::options().write(true).open(&file).unwrap();
        file.write_all_at(&[7; 4096], 45056).unwrap();
    }
    let fs = open(&image.path);
    let node = fs.lookup(fs.root(), b"reserved").unwrap();
    let places = fs.places(node).unwrap();
    let content: Vec<_> = places.content().map(|part| part.role).collect();
    let part = |offset, unwritten| Role::Content { offset, unwritten };
    let expected = [part(40960, true), part(45056, false), part(49152, true)];
    assert_eq!(content, expected);
}

#[test]
fn a_value_in_an_inode_of_its_own_is_believed_only_with_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let path = at("image");
    image::mkfs(&path, &["-t", "ext4", "-b", "1024", "-O", "ea_inode"], 8);
    std::fs::write(at("content"), "content").unwrap();
    std::fs::write(at("value"), [7; 1024]).unwrap();
    let debugfs = |request: &str| {
        image::change_image(&path, "debugfs", &["-w", "-R", request]);
    };
    let file = |name: &str| at(name).display().to_string();
    debugfs(&format!("write {} file", file("content")));
    debugfs(&format!("ea_set -f {} file user.large", file("value")));
    let places = || {
        let fs = open(&path);
        let node = fs.lookup(fs.root(), b"file").unwrap();
        let value = fs.xattrs(node);
        (fs.places(node), value)
    };
    let (found, values) = places();
    let parts = found.unwrap().parts.into_iter();
    let attributes: Vec<_> = parts.filter(|part| part.role == Role::Attributes).collect();
    let [Xattr { value, .. }] = &values.unwrap()[..] else {
        panic!("there is one");
    };
    assert_eq!(value.len(), 1024);
    let device = File::open(&path).unwrap();
    let mut there = vec![0; value.len()];
    let [part] = &attributes[..] else {
        panic!("{attributes:?}");
    };
    device.read_exact_at(&mut there, part.bytes.start).unwrap();
    assert!(there == *value && part.bytes.end - part.bytes.start == 1024);
    // The inode after that of the file.
    debugfs("set_inode_field <13> size 67108864");
    let (found, values) = places();
    assert!(values.is_err());
    let error = format!("{:?}", found.unwrap_err());
    assert!(
        error.contains("i_size") && error.contains("67108864"),
        "{error}"
    );
}
