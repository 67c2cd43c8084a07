//! Random operations that make sense on what is there.

use crate::operation::{Operation, Step};
use crate::random::Random;
use crate::tree::{Tree, join, split};
use fs::{Kind, NewNode};

/// What a workload keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of content at most, so that small images suffice.
    pub content: usize,
    /// Nodes at most.
    pub nodes: usize,
    /// Bytes of an attribute's value, fewer than these.
    pub xattr: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content: 16 << 20,
            nodes: 700,
            xattr: 3000,
        }
    }
}

/// Makes the next operation for a tree.
pub fn next(random: &mut Random, tree: &Tree, limits: &Limits) -> Operation {
    loop {
        if let Some(operation) = attempt(random, tree, limits) {
            return operation;
        }
    }
}

fn attempt(random: &mut Random, tree: &Tree, limits: &Limits) -> Option<Operation> {
    let dirs = paths(tree, Kind::Dir);
    let files = paths(tree, Kind::File);
    let ours = tree.iter().filter(|(path, _)| is_ours(path));
    let (count, total) = ours.fold((0, 0), |(count, total), (_, node)| {
        (count + 1, total + node.content.len())
    });
    let crowded = total > limits.content || count > limits.nodes;
    let (path, step) = match random.below(100) {
        0..25 if !crowded => {
            let content = content(random);
            let new = owner(random);
            (
                new_path(random, tree, &dirs)?,
                Step::Create { content, new },
            )
        }
        25..32 => {
            let content = content(random);
            (random.pick(&files)?.clone(), Step::Replace { content })
        }
        32..40 => {
            let path = random.pick(&files)?.clone();
            let size = tree[&path].content.len();
            let gap = if random.one_in(4) { 100_000 } else { 3000 };
            let offset = random.below(size + gap);
            let len = 1 + random.below(9000);
            let content = random.bytes(len);
            let offset = ondisk::width::u64_of(offset);
            (path, Step::WriteAt { offset, content })
        }
        40..46 => {
            let path = random.pick(&files)?.clone();
            let size = tree[&path].content.len();
            let size = if random.one_in(4) {
                size + random.below(50_000)
            } else {
                random.below(size + 1)
            };
            let size = ondisk::width::u64_of(size);
            (path, Step::Truncate { size })
        }
        46..58 => {
            let all: Vec<_> = tree.keys().cloned().collect();
            let path = removable(tree, random.pick(&all)?)?;
            (path, Step::Remove)
        }
        58..68 => {
            let all: Vec<_> = tree.keys().filter(|path| is_ours(path)).cloned().collect();
            let from = random.pick(&all)?.clone();
            let to = if random.one_in(3) {
                over(random, tree, &from, &all)?
            } else {
                new_path(random, tree, &dirs)?
            };
            if to == from || to.starts_with(&join(&from, b"")) {
                return None;
            }
            (from, Step::Rename { to })
        }
        68..73 => {
            let len = if random.one_in(3) {
                60 + random.below(900)
            } else {
                1 + random.below(70)
            };
            let mut target = text(random, len);
            // No component of a path has more than 255 bytes.
            target
                .chunks_mut(100)
                .skip(1)
                .for_each(|part| part[0] = b'/');
            let new = owner(random);
            (
                new_path(random, tree, &dirs)?,
                Step::Symlink { target, new },
            )
        }
        73..79 if dirs.len() < 60 => {
            let new = owner(random);
            (new_path(random, tree, &dirs)?, Step::MakeDir { new })
        }
        79..86 => {
            let any = if random.one_in(3) { &dirs } else { &files };
            let new = owner(random);
            (random.pick(any)?.clone(), Step::SetOwner { new })
        }
        86.. => {
            let any = if random.one_in(4) { &dirs } else { &files };
            let path = random.pick(any)?.clone();
            let set: Vec<_> = tree[&path].xattrs.keys().cloned().collect();
            let (name, value) = if random.one_in(4) {
                (random.pick(&set)?.clone(), None)
            } else {
                let len = match random.below(10) {
                    0..5 => random.below(40),
                    5..8 => random.below(300),
                    _ => random.below(limits.xattr),
                };
                (
                    XATTRS[random.below(XATTRS.len())].to_vec(),
                    Some(random.bytes(len)),
                )
            };
            (path, Step::SetXattr { name, value })
        }
        _ => return None,
    };
    is_ours(&path).then_some(Operation { path, step })
}

/// Names with which the kernel does nothing of its own.
const XATTRS: [&[u8]; 6] = [
    b"user.a",
    b"user.longer-name",
    b"user.\xc3\xa9",
    b"trusted.overlay.opaque",
    b"security.selinux",
    b"security.other",
];

/// What random operations leave alone: the root, what `mkfs` made, and nodes with several names.
fn is_ours(path: &[u8]) -> bool {
    !path.is_empty() && !path.starts_with(b"lost+found") && !path.starts_with(b"keep")
}

fn paths(tree: &Tree, kind: Kind) -> Vec<Vec<u8>> {
    let matching = tree.iter().filter(|(path, node)| {
        node.kind == kind && !path.starts_with(b"lost+found") && !path.starts_with(b"keep")
    });
    matching.map(|(path, _)| path.clone()).collect()
}

fn removable(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    let below = join(path, b"");
    let is_full = tree
        .range(below.clone()..)
        .next()
        .is_some_and(|(key, _)| key.starts_with(&below));
    (is_ours(path) && !is_full).then(|| path.to_vec())
}

/// An existing path that `from` may take the place of.
fn over(random: &mut Random, tree: &Tree, from: &[u8], all: &[Vec<u8>]) -> Option<Vec<u8>> {
    let to = removable(tree, random.pick(all)?)?;
    let is_dir = |path: &[u8]| tree[path].kind == Kind::Dir;
    (is_dir(from) == is_dir(&to)).then_some(to)
}

fn new_path(random: &mut Random, tree: &Tree, dirs: &[Vec<u8>]) -> Option<Vec<u8>> {
    let dir = random.pick(dirs)?;
    let deep = dir.iter().filter(|byte| **byte == b'/').count() > 5;
    let len = match random.below(12) {
        0 => 200 + random.below(56),
        1..4 => 20 + random.below(60),
        _ => 1 + random.below(20),
    };
    let path = join(if deep { b"" } else { dir }, &text(random, len));
    let name = split(&path).1;
    // The host refuses paths beyond 4096 bytes.
    (!tree.contains_key(&path)
        && name != b"."
        && name != b".."
        && path.len() < 2000
        && is_ours(&path))
    .then_some(path)
}

fn text(random: &mut Random, len: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-_.\xc3\xa9\xff\x80 ";
    (0..len)
        .map(|_| LETTERS[random.below(LETTERS.len())])
        .collect()
}

fn content(random: &mut Random) -> Vec<u8> {
    let len = match random.below(40) {
        0 => 200_000 + random.below(1_200_000),
        1..5 => 20_000 + random.below(100_000),
        5..20 => random.below(200),
        _ => random.below(20_000),
    };
    random.bytes(len)
}

fn owner(random: &mut Random) -> NewNode {
    let mut mode = u16::try_from(random.below(0o1000)).expect("nine bits");
    if random.one_in(6) {
        mode |= 0o4000 >> random.below(3);
    }
    let mut id = || match random.below(4) {
        0 | 1 => 0,
        2 => 1000,
        _ => u32::try_from(random.below(4_000_000_000)).expect("below 2^32"),
    };
    let (uid, gid) = (id(), id());
    NewNode { mode, uid, gid }
}
