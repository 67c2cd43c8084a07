//! Logs that end anywhere: a machine may stop between any two records, so between any two steps of
//! work that takes many. Each cut of one log is recovered by the kernel and by the driver.

use crate::features;
use crate::image::{copy_sparse, mkfs, mount, possible, run};
use crate::oracle::{everybody_reads, open, seen, xfs_repair_is_content};
use fs::FileSystem;
use fs_acceptance::kernel::Mount;
use fs_acceptance::random::Random;
use fs_acceptance::tree::{self, Depth, assert_same};
use fs_acceptance::{long, runs};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The feature sets whose long work differs.
const SETS: [&str; 4] = ["rmapbt", "default", "1k", "rhel7"];
/// Bytes of a block of the log.
const BLOCK: usize = 512;

#[test]
fn a_log_may_end_between_any_two_records() {
    if !possible() {
        return;
    }
    let sets = if long() { &SETS[..] } else { &SETS[..2] };
    for (seed, name) in (1..).zip(sets) {
        let set = features::named(name);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let image = dir.path().join("image");
        mkfs(&image, set.mkfs, 96);
        let kernel = mount(&image, "rw");
        long_work(&kernel, seed);
        run("xfs_io", &["-x", "-c", "shutdown -f"], kernel.root());
        drop(kernel);
        let records = records(&image);
        assert!(records.len() > 20, "{name}: the log was forced");
        let cuts = usize::try_from(runs(4, 200)).expect("few");
        let step = records.len().div_ceil(cuts).max(1);
        for cut in (3..=records.len()).rev().step_by(step) {
            let copy = dir.path().join("cut");
            copy_sparse(&image, &copy);
            let end = records.last().map_or(0, |record| record.end);
            let start = records.get(cut).map_or(end, |record| record.start);
            let file = File::options().write(true).open(&copy);
            let file = file.expect("it was just made");
            let nothing = vec![0; ondisk::width::usize_of(end - start)];
            file.write_all_at(&nothing, start).expect("room");
            recovers_as_the_kernel(&format!("{name}: cut before record {cut}"), &copy, set);
        }
    }
}

/// Recovers one copy by the kernel and one by the driver. What was reserved for copies on write is
/// given back only when the driver is to change something, so `xfs_repair` has no say before.
fn recovers_as_the_kernel(label: &str, image: &Path, set: features::FeatureSet) {
    let kernels = image.with_extension("kernel");
    copy_sparse(image, &kernels);
    drop(mount(&kernels, "rw"));
    let want = seen(&mount(&kernels, "ro"));
    std::fs::remove_file(&kernels).expect("it is there");
    // Who looks for a guest opens a volume and closes it again. What was left unfinished must not be
    // done a second time then, by whoever comes next.
    drop(open(image));
    let looked_at = image.with_extension("looked-at");
    copy_sparse(image, &looked_at);
    drop(mount(&looked_at, "rw"));
    xfs_repair_is_content(label, &looked_at);
    std::fs::remove_file(&looked_at).expect("it is there");
    let mut fs = open(image);
    let read = tree::read(&fs).unwrap_or_else(|error| panic!("{label}: the driver: {error:?}"));
    assert_same(label, &want, &read, Depth::All);
    let edit = fs.edit().expect("editable");
    edit.commit().expect("the device does not fail");
    drop(fs);
    everybody_reads(label, image, set, &want);
    assert!(!open(image).info().recovered, "{label}: the log is clean");
}

/// Where the records lie in a log that never came to its end.
fn records(image: &Path) -> Vec<std::ops::Range<u64>> {
    let file = File::open(image).expect("it is there");
    let mut superblock = [0; BLOCK];
    file.read_exact_at(&mut superblock, 0).expect("a sector");
    let be32 = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(*bytes[at..].first_chunk().expect("within the block"))
    };
    let be64 = |bytes: &[u8], at: usize| {
        u64::from_be_bytes(*bytes[at..].first_chunk().expect("within the block"))
    };
    let (block_size, first) = (u64::from(be32(&superblock, 4)), be64(&superblock, 48));
    let (group_blocks, log) = (u64::from(be32(&superblock, 84)), superblock[124]);
    let (group, within) = (first >> log, first & ((1 << log) - 1));
    let mut at = (group * group_blocks + within) * block_size;
    let end = at + u64::from(be32(&superblock, 96)) * block_size;
    let mut records = Vec::new();
    let mut header = [0; BLOCK];
    while at < end {
        file.read_exact_at(&mut header, at).expect("a block");
        if be32(&header, 0) != 0xfeed_babe || be32(&header, 4) != 1 {
            break;
        }
        let (len, size) = (be32(&header, 12), be32(&header, 320));
        let blocks = len.div_ceil(512) + size.div_ceil(32 * 1024).max(1);
        let next = at + u64::from(blocks) * 512;
        records.push(at..next);
        at = next;
    }
    records
}

/// Work of many steps, by several hands, while others force the log all the time.
fn long_work(kernel: &Mount, seed: u64) {
    for number in 0..3 {
        scattered(
            &kernel.path(format!("file-{number}").as_bytes()),
            60 + 90 * number,
        );
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (kernel, stop) = (&kernel, &stop);
            scope.spawn(move || {
                let path = kernel.path(format!("force-{number}").as_bytes());
                let file = File::create(path).expect("room");
                while !stop.load(Ordering::Relaxed) {
                    file.write_all_at(b"forced", 0).expect("room");
                    file.sync_all().expect("the device does not fail");
                }
            });
        }
        let hands: Vec<_> = (0..3)
            .map(|hand| scope.spawn(move || work(kernel, hand, seed * 10 + hand)))
            .collect();
        for hand in hands {
            hand.join().expect("it does not fail");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn work(kernel: &Mount, hand: u64, seed: u64) {
    let mut random = Random::new(seed);
    for number in 0..5 {
        let from = kernel.path(format!("file-{}", random.below(3)).as_bytes());
        let path = kernel.path(format!("copy-{hand}-{number}").as_bytes());
        let shared = File::create(&path).and_then(|file| {
            rustix::fs::ioctl_ficlone(&file, &File::open(&from)?)?;
            // Over what is shared.
            (0..20).try_for_each(|piece| file.write_all_at(b"own", piece * 3 * 8192))?;
            file.sync_all()
        });
        if shared.is_err() {
            // Not all of them can share.
            scattered(&path, 60);
        }
        match random.below(4) {
            0 => {
                let file = File::options().write(true).open(&path);
                file.and_then(|file| file.set_len(50_000))
                    .expect("it is there");
            }
            1 => std::fs::remove_file(&path).expect("it is there"),
            // The other hands may do the same.
            2 => std::fs::rename(&path, &from).expect("it is there"),
            _ => {
                for name in 0..30 {
                    let name = format!("user.{name}");
                    let value = random.bytes(10 + 90 * (number % 3));
                    fs_acceptance::kernel::set_xattr(&path, name.as_bytes(), Some(&value))
                        .expect("room");
                }
                std::fs::remove_file(&path).expect("it is there");
            }
        }
    }
}

/// A file of which every other block is there, in pieces that lie apart.
fn scattered(path: &Path, pieces: u64) {
    let file = File::create(path).expect("room");
    for piece in 0..pieces {
        file.write_all_at(&[7; 4096], piece * 8192).expect("room");
        if piece % 16 == 15 {
            file.sync_all().expect("the device does not fail");
        }
    }
    file.sync_all().expect("the device does not fail");
}

/// The contents of two files change hands with the trees that map them, and only the inodes are
/// logged. Kernels up to 6.18 at least refuse their own log then: they check the inode's sum before
/// they set it.
#[test]
fn contents_that_changed_hands_are_recovered() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = dir.path().join("image");
    mkfs(&image, features::named("rhel7").mkfs, 96);
    let kernel = mount(&image, "rw");
    let (one, other) = (kernel.path(b"one"), kernel.path(b"other"));
    scattered(&one, 900);
    let len = std::fs::metadata(&one).expect("it is there").len();
    let content = std::fs::read(&one).expect("it is there");
    let file = File::create(&other).expect("room");
    let zeros = vec![0; ondisk::width::usize_of(len)];
    file.write_all_at(&zeros, 0).expect("room");
    file.sync_all().expect("the device does not fail");
    drop(file);
    let swap = format!("swapext {}", other.display());
    run("xfs_io", &["-c", &swap], &one);
    assert!(std::fs::read(&one).expect("it is there") == zeros);
    run("xfs_io", &["-x", "-c", "shutdown -f"], kernel.root());
    drop(kernel);
    let mut fs = open(&image);
    assert!(fs.info().recovered);
    fs.edit().expect("editable").commit().expect("room");
    drop(fs);
    xfs_repair_is_content("changed hands", &image);
    let kernel = mount(&image, "ro");
    assert!(std::fs::read(kernel.path(b"one")).expect("it is there") == zeros);
    assert!(std::fs::read(kernel.path(b"other")).expect("it is there") == content);
}
