//! What becomes of blocks: shared ones, reserved ones, and the last ones of a group.

use crate::editing::NOW;
use crate::features::{self, FeatureSet};
use crate::image::{mkfs, mount, possible, run};
use crate::oracle::{everybody_reads, open};
use fs::{Error, FileSystem, FileSystemEdit, NewNode, NodeId};
use fs_acceptance::long;
use fs_acceptance::random::Random;
use fs_acceptance::tree::{self, Tree};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Runs a test on feature sets: with `REHOST_LONG` on all of them, else on the first two.
fn each_set(names: &[&str], test: impl Fn(FeatureSet, &Path)) {
    if !possible() {
        return;
    }
    let names = if long() { names } else { &names[..2] };
    for set in features::ALL.iter().filter(|set| names.contains(&set.name)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let image: PathBuf = dir.path().join("image");
        mkfs(&image, set.mkfs, 64);
        test(*set, &image);
    }
}

fn find(fs: &dyn FileSystem, name: &str) -> NodeId {
    let found = fs.lookup(fs.root(), name.as_bytes());
    found.unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

/// Writes into a file, and into what is known of it.
fn write(edit: &mut dyn FileSystemEdit, want: &mut Tree, name: &str, offset: usize, bytes: &[u8]) {
    let node = find(edit, name);
    let at = u64::try_from(offset).expect("small");
    let done = edit.write_at(node, at, bytes);
    done.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let known = want.get_mut(name.as_bytes()).expect("it is known");
    let end = known.content.len().max(offset + bytes.len());
    known.content.resize(end, 0);
    known.content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn cut(edit: &mut dyn FileSystemEdit, want: &mut Tree, name: &str, size: usize) {
    let node = find(edit, name);
    let done = edit.truncate(node, u64::try_from(size).expect("small"));
    done.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let known = want.get_mut(name.as_bytes()).expect("it is known");
    known.content.resize(size, 0);
}

/// Lets a file take all room but `left` bytes, and says how long it is.
fn fill(edit: &mut dyn FileSystemEdit, file: NodeId, random: &mut Random, left: u64) -> u64 {
    let mut size = 0;
    loop {
        let space = edit.space().expect("readable");
        // Some room is for the map of the file itself.
        let kept = left + 8 * u64::from(space.block_size);
        let step = space.free_bytes.saturating_sub(kept).min(1 << 20);
        if step == 0 {
            return size;
        }
        let bytes = random.bytes(usize::try_from(step).expect("small"));
        edit.write_at(file, size, &bytes).expect("there is room");
        size += step;
    }
}

/// Sets whose blocks can be shared.
const SHARING: [&str; 4] = ["rmapbt", "1k", "default", "1k_rmapbt"];

#[test]
fn shared_blocks_are_never_written_in_place() {
    each_set(&SHARING, |set, image| {
        let kernel = mount(image, "rw");
        let mut random = Random::new(71);
        let path = |name: &str| kernel.path(name.as_bytes());
        std::fs::write(path("a"), random.bytes(700_000)).expect("room");
        // One in many pieces too.
        let pieces = File::create(path("pieces")).expect("room");
        for number in 0..200 {
            let bytes = random.bytes(4096);
            pieces.write_all_at(&bytes, number * 8192).expect("room");
        }
        for (from, to) in [
            ("a", "b"),
            ("a", "c"),
            ("b", "d"),
            ("a", "e"),
            ("pieces", "p2"),
            ("pieces", "p3"),
        ] {
            let to = File::create(path(to)).expect("room");
            rustix::fs::ioctl_ficlone(&to, File::open(path(from)).expect("it is there"))
                .expect("blocks can be shared");
        }
        // Counts differ along the extent.
        let c = File::options().write(true).open(path("c")).expect("there");
        c.write_all_at(&random.bytes(30_000), 200_000)
            .expect("room");
        drop((c, pieces));
        let mut want = kernel.tree();
        drop(kernel);

        let mut fs = open(image);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        for (name, offset, len) in [
            ("b", 5, 10),
            ("b", 100_001, 50_000),
            ("c", 190_000, 100_000),
            ("d", 699_990, 5000),
            ("p2", 4090, 100_000),
            ("p3", 0, 4096),
        ] {
            write(edit, &mut want, name, offset, &random.bytes(len));
        }
        cut(edit, &mut want, "e", 333_333);
        cut(edit, &mut want, "e", 340_000);
        edit.commit().expect("room");
        everybody_reads(&format!("{}: written", set.name), image, set, &want);

        edit.remove(edit.root(), b"a").expect("there");
        want.remove(&b"a"[..]);
        let content = random.bytes(400_000);
        edit.replace(find(edit, "d"), &content).expect("room");
        want.get_mut(&b"d"[..]).expect("known").content = content;
        cut(edit, &mut want, "pieces", 0);
        edit.commit().expect("room");
        everybody_reads(&format!("{}: given up", set.name), image, set, &want);

        for name in ["b", "c", "d", "e", "pieces", "p2", "p3"] {
            edit.remove(edit.root(), name.as_bytes()).expect("there");
            want.remove(name.as_bytes());
        }
        edit.commit().expect("room");
        everybody_reads(&format!("{}: removed", set.name), image, set, &want);
    });
}

#[test]
fn reserved_blocks_read_as_zeros_until_they_are_written() {
    each_set(&SHARING, |set, image| {
        let kernel = mount(image, "rw");
        let mut random = Random::new(73);
        for (name, flags) in [
            ("r", FallocateFlags::empty()),
            ("k", FallocateFlags::KEEP_SIZE),
        ] {
            let file = File::create(kernel.path(name.as_bytes())).expect("room");
            rustix::fs::fallocate(&file, flags, 0, 900_000).expect("room");
            file.write_all_at(&random.bytes(3000), 50_000)
                .expect("room");
        }
        let mut want = kernel.tree();
        drop(kernel);
        let mut fs = open(image);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        for (offset, len) in [(7, 1), (49_000, 6000), (300_000, 8192), (610_000, 3)] {
            write(edit, &mut want, "r", offset, &random.bytes(len));
            write(edit, &mut want, "k", offset, &random.bytes(len));
        }
        edit.commit().expect("room");
        everybody_reads(set.name, image, set, &want);
    });
}

#[test]
fn free_space_in_crumbs_is_taken_and_given_back() {
    each_set(&["1k_rmapbt", "default", "1k", "rmapbt"], |set, image| {
        let mut fs = open(image);
        let block = usize::try_from(fs.space().expect("readable").block_size).expect("small");
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        let root = edit.root();
        let mut random = Random::new(79);
        let new = NewNode::root(0o644);
        let dir = edit
            .make_dir(root, b"crumbs", NewNode::root(0o755))
            .expect("room");
        let room = edit.space().expect("readable").free_bytes;
        let room = usize::try_from(room).expect("small");
        let count = if long() { 12_000 } else { 3000 }.min(room / (2 * block));
        let name = |number: usize| format!("{number:05}").into_bytes();
        for number in 0..count {
            let node = edit.create(dir, &name(number), new).expect("room");
            let len = block * (1 + number % 2);
            edit.write_at(node, 0, &random.bytes(len)).expect("room");
        }
        // All that is left becomes one file, and then every second crumb is given up.
        let big = edit.create(root, b"big", new).expect("room");
        fill(edit, big, &mut random, 0);
        edit.commit().expect("room for the trees was kept");
        let want = tree::read(edit).expect("readable");
        everybody_reads(&format!("{}: full", set.name), image, set, &want);
        for number in (0..count).step_by(2) {
            edit.remove(dir, &name(number)).expect("there");
        }
        edit.commit().expect("room");
        let want = tree::read(edit).expect("readable");
        everybody_reads(&format!("{}: in crumbs", set.name), image, set, &want);
        // A file that is nothing but crumbs.
        let node = edit.create(root, b"of-crumbs", new).expect("room");
        let content = random.bytes(block * count / 3);
        edit.write_at(node, 0, &content).expect("room");
        edit.commit().expect("room");
        let want = tree::read(edit).expect("readable");
        assert_eq!(want[&b"of-crumbs"[..]].content, content);
        everybody_reads(&format!("{}: of crumbs", set.name), image, set, &want);
        edit.remove(root, b"big").expect("there");
        edit.remove(root, b"of-crumbs").expect("there");
        for number in (1..count).step_by(2) {
            edit.remove(dir, &name(number)).expect("there");
        }
        edit.commit().expect("room");
        let want = tree::read(edit).expect("readable");
        everybody_reads(&format!("{}: empty again", set.name), image, set, &want);
    });
}

/// Bytes that are free while holes are made.
const SPARE: u64 = 6 << 20;

#[test]
fn chunks_of_inodes_get_holes_where_room_is_scattered() {
    each_set(&["default", "1k_rmapbt", "1k", "inode_1k"], |set, image| {
        let mut fs = open(image);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        let root = edit.root();
        let mut random = Random::new(83);
        let new = NewNode::root(0o644);
        // A file that leaves an aligned hole of a few blocks every now and then.
        let file = edit.create(root, b"file", new).expect("room");
        // The kernel needs some room to make holes.
        let size = fill(edit, file, &mut random, SPARE);
        edit.commit().expect("room");
        drop(fs);
        let kernel = mount(image, "rw");
        let file = File::options()
            .write(true)
            .open(kernel.path(b"file"))
            .expect("there");
        // Half a chunk is never a whole one, and always has a quarter that begins where it may.
        let inode_size = run("xfs_db", &["-r", "-c", "sb 0", "-c", "p inodesize"], image);
        let inode_size = inode_size.trim().rsplit(' ').next().expect("a number");
        let piece = 32 * inode_size.parse::<u64>().expect("a number");
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let mut holes = 0;
        while holes * 6 * piece < size {
            let made = rustix::fs::fallocate(&file, punch, holes * 6 * piece, piece);
            made.expect("room for the map");
            holes += 1;
        }
        drop(file);
        // That room goes in one piece, so that the holes are what is left.
        let rest = File::create(kernel.path(b"rest")).expect("room");
        let taken = rustix::fs::fallocate(&rest, FallocateFlags::empty(), 0, SPARE - SPARE / 8);
        taken.expect("room");
        drop(rest);
        drop(kernel);

        let mut fs = open(image);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        let mut made = 0;
        let refused = loop {
            let name = format!("node-{made:05}");
            match edit.create(root, name.as_bytes(), new) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
            if made == 20_000 {
                break Error::NoInodes;
            }
        };
        assert!(
            matches!(refused, Error::NoInodes | Error::NoSpace { .. }),
            "{refused:?}"
        );
        println!("{}: {holes} holes, {made} nodes", set.name);
        edit.commit().expect("room");
        let want = tree::read(edit).expect("readable");
        everybody_reads(&format!("{}: scattered", set.name), image, set, &want);
        assert!(
            has_holes(image),
            "{}: a chunk of inodes has holes",
            set.name
        );
        for number in 0..made {
            let name = format!("node-{number:05}");
            edit.remove(root, name.as_bytes()).expect("there");
        }
        edit.commit().expect("room");
        let want = tree::read(edit).expect("readable");
        everybody_reads(&format!("{}: removed", set.name), image, set, &want);
    });
}

/// Whether the tree of inodes of some group has a chunk with holes, as `xfs_db` shows it:
/// `17:[32384,0xff00,32,0,0xffffffff00000000]`.
fn has_holes(image: &Path) -> bool {
    let holes = |record: &str| record.split(',').nth(1).is_some_and(|mask| mask != "0");
    (0..4).any(|group| {
        let agi = format!("agi {group}");
        let show = |more: &[&str]| {
            let mut commands = vec!["-r", "-c", &agi];
            commands.extend(more.iter().flat_map(|command| ["-c", command]));
            run("xfs_db", &commands, image)
        };
        let records = match show(&["p level"]).trim() {
            "level = 1" => show(&["addr root", "p recs"]),
            _ => show(&["addr root", "addr ptrs[2]", "p recs"]),
        };
        let mut records = records.lines().filter(|line| line.contains(":["));
        records.any(holes)
    })
}
