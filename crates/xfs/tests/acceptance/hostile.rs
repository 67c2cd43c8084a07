//! Images that were damaged on purpose: errors are welcome, panics and endless loops are not.

use crate::features::{self, FeatureSet};
use crate::image::{Image, State, mkfs, mount, possible, run};
use crate::prototype;
use block::{BlockRead, BlockWrite, Memory, Overlay};
use fs::FileSystem;
use fs_acceptance::damage::{Outcomes, damage, used_sectors, visit, watched};
use fs_acceptance::fill;
use fs_acceptance::random::Random;
use fs_acceptance::runs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use xfs::Xfs;

#[path = "../../../../fuzz/bodies/xfs_seal.rs"]
#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which use it too"
)]
mod xfs_seal;

/// An image of some megabytes with some of everything; `dirty` ones have a log to recover.
fn small(dir: &Path, set: FeatureSet, dirty: bool) -> PathBuf {
    let image = dir.join("image");
    if !set.mounts {
        prototype::make(&image, set, 24);
        return image;
    }
    mkfs(&image, set.mkfs, 32);
    let kernel = mount(&image, "rw");
    fill::fill(&kernel);
    if dirty {
        let orphans = fill::orphans(&kernel);
        fill::change(&kernel);
        run("xfs_io", &["-x", "-c", "shutdown -f"], kernel.root());
        drop(orphans);
    }
    drop(kernel);
    image
}

#[test]
fn random_damage_never_panics_or_hangs() {
    if !possible() {
        return;
    }
    let count = runs(20, 1000);
    for (name, dirty) in [
        ("default", false),
        ("default", true),
        ("1k_rmapbt", false),
        ("rmapbt", true),
        ("1k_dir_8k", false),
        ("v4", false),
        ("v4_1k", false),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let image = small(dir.path(), features::named(name), dirty);
        let bytes = std::fs::read(&image).expect("it is there");
        let sectors = used_sectors(&bytes);
        let base: Arc<dyn BlockRead> = Arc::new(Memory::new(bytes));
        for sealed in [false, true] {
            if sealed && name.starts_with("v4") {
                continue;
            }
            let started = Instant::now();
            let mut outcomes = Outcomes::default();
            for seed in 0..count {
                let base = Arc::clone(&base);
                let sectors = sectors.clone();
                let what = format!("{name}, dirty {dirty}, sealed {sealed}, seed {seed}");
                outcomes.add(&watched(&what, move || {
                    let overlay = Arc::new(Overlay::new(base));
                    let touched = damage(&mut Random::new(seed), &overlay, &sectors);
                    if sealed {
                        seal(&overlay, &touched);
                    }
                    visit(Xfs::open(overlay))
                }));
            }
            println!(
                "{name}, dirty {dirty}, sealed {sealed}: {count} runs, {outcomes:?}, {:?}",
                started.elapsed()
            );
            assert!(outcomes.opened > 0, "damage everywhere tests nothing");
            // What is replayed from a log mends much.
            assert!(outcomes.errors > 0 || dirty, "damage nowhere tests nothing");
        }
    }
}

/// Gives damaged structures right sums.
fn seal(device: &Overlay, touched: &[u64]) {
    const AROUND: u64 = 64 << 10;
    let mut head = vec![0; 512];
    device.read_at(0, &mut head).expect("it is on the device");
    for offset in touched {
        // The window begins with the superblock, from which sizes are taken.
        let start = (offset & !(AROUND - 1)).saturating_sub(AROUND);
        let len = (3 * AROUND).min(device.size() - start);
        let mut window = vec![0; ondisk::width::usize_of(AROUND + len)];
        window[..512].copy_from_slice(&head);
        let skip = if start == 0 {
            0
        } else {
            ondisk::width::usize_of(AROUND)
        };
        let end = skip + ondisk::width::usize_of(len);
        device
            .read_at(start, &mut window[skip..end])
            .expect("it is on the device");
        let at = ondisk::width::usize_of(offset - start) + skip;
        xfs_seal::seal(&mut window, [at]);
        xfs_seal::seal_log(&mut window, [at]);
        device
            .write_at(start, &window[skip..end])
            .expect("it is on the device");
    }
}

/// Fields that name other things are set by hand, with right sums.
#[test]
fn structures_that_lead_to_themselves_or_outside_are_errors() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, at, field, value) in [
        // Trees whose root is their own child, lies outside, or is a header.
        ("default", "agf 0", "bnoroot", "0xffffff"),
        ("default", "agf 0", "cntlevel", "5"),
        ("default", "agf 0", "bnolevel", "0xffffffff"),
        ("default", "agf 0", "flcount", "100000"),
        ("default", "agf 0", "flfirst", "100000"),
        ("default", "agf 0", "length", "7"),
        ("rmapbt", "agf 0", "rmaproot", "0"),
        ("rmapbt", "agf 1", "rmaplevel", "200"),
        ("default", "agi 0", "root", "0"),
        ("default", "agi 0", "level", "7"),
        ("default", "agi 0", "free_root", "0x7fffffff"),
        ("default", "agi 0", "count", "0xffffffff"),
        ("default", "sb 0", "rootino", "1"),
        ("default", "sb 0", "agcount", "0x7fffffff"),
        ("default", "sb 0", "dblocks", "0x7fffffffffffffff"),
        ("default", "sb 0", "agblocks", "5"),
        ("default", "sb 0", "logstart", "0xffffffffffff"),
        ("default", "sb 0", "logblocks", "0x7fffffff"),
        ("default", "sb 0", "inopblock", "3"),
        ("default", "sb 0", "dirblklog", "40"),
        ("default", "path /large", "core.size", "0x7fffffffffffffff"),
        ("default", "path /large", "core.nextents", "0x7fffffff"),
        ("default", "path /large", "core.format", "3"),
        ("default", "path /large", "core.forkoff", "255"),
        ("default", "path /many", "core.size", "0x100000000000"),
        ("default", "path /many", "core.format", "1"),
        ("default", "path /etc", "u3.sfdir3.hdr.count", "255"),
        ("default", "path /etc", "u3.sfdir3.hdr.i8count", "255"),
        ("default", "path /short", "core.size", "1000000"),
        ("default", "path /long", "core.size", "1000000000"),
        ("v4", "path /many", "core.nextents", "70000"),
        ("v4", "path /large", "core.naextents", "30000"),
    ] {
        let image = dir.path().join(name);
        if !image.exists() {
            let other = tempfile::tempdir().expect("a temporary directory");
            let made = small(other.path(), features::named(name), false);
            std::fs::copy(made, &image).expect("room");
        }
        let copy = dir.path().join("copy");
        std::fs::copy(&image, &copy).expect("room");
        let write = format!("write -d {field} {value}");
        let output = Command::new("xfs_db")
            .args(["-x", "-c", at, "-c", &write])
            .arg(&copy)
            .output();
        let output = output.expect("xfs_db runs");
        let changed = std::fs::read(&copy).expect("it is there");
        let before = std::fs::read(&image).expect("it is there");
        assert!(changed != before, "{at} {field}: {output:?}");
        let outcomes = watched(&format!("{at} {field}"), move || {
            visit(Xfs::open(Arc::new(Memory::new(changed))))
        });
        assert!(
            outcomes.opened == 0 || outcomes.errors > 0 || outcomes.problems > 0,
            "{name}: {at} {field} {value}: nobody minds"
        );
    }
}

/// What the check is for: damage that reading alone does not meet.
#[test]
fn the_check_finds_what_was_planted() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, at, field, value) in [
        ("default", "sb 0", "fdblocks", "77"),
        ("default", "sb 0", "icount", "640"),
        ("default", "sb 0", "ifree", "5"),
        ("default", "agf 1", "freeblks", "7"),
        ("default", "agf 1", "longest", "7"),
        ("default", "agf 0", "flcount", "3"),
        ("default", "agi 0", "count", "64"),
        ("default", "agi 0", "freecount", "60"),
        ("default", "path /etc/fstab", "core.nlinkv2", "2"),
        ("default", "path /etc", "core.nlinkv2", "9"),
        ("default", "path /large", "core.nblocks", "3"),
        ("default", "path /large", "u3.bmx[0].startblock", "12"),
        ("rmapbt", "agf 0", "rmapblocks", "40"),
        ("v4", "sb 0", "fdblocks", "77"),
        ("v4", "agf 0", "freeblks", "7"),
        ("v4", "path /etc/fstab", "core.nlinkv2", "2"),
        ("v4", "path /large", "core.nblocks", "3"),
    ] {
        let image = dir.path().join(name);
        if !image.exists() {
            let other = tempfile::tempdir().expect("a temporary directory");
            let made = small(other.path(), features::named(name), false);
            std::fs::copy(made, &image).expect("room");
        }
        let copy = dir.path().join("copy");
        std::fs::copy(&image, &copy).expect("room");
        run(
            "xfs_db",
            &["-x", "-c", at, "-c", &format!("write -d {field} {value}")],
            &copy,
        );
        let fs = crate::oracle::open(&copy);
        let problems = fs.check().expect("readable");
        assert!(
            !problems.is_empty(),
            "{name}: {at} {field} {value}: not found"
        );
        println!("{name}: {at} {field} {value}: {}", problems[0].0);
    }
    // Images with these trees do not lie on the way of the loop above.
    for name in ["1k", "1k_rmapbt"] {
        let image = Image::new(features::named(name), State::Aged, 40);
        let mut bytes = std::fs::read(&image.path).expect("it is there");
        assert_eq!(
            Xfs::open(Arc::new(Memory::new(bytes.clone())))
                .expect("sound")
                .check()
                .expect("readable"),
            []
        );
        for magic in [b"AB3B", b"AB3C", b"IAB3", b"FIB3", b"RMB3", b"BMA3"] {
            if magic == b"RMB3" && name == "1k" {
                continue;
            }
            let blocks = (0..bytes.len())
                .step_by(1024)
                .filter(|at| &bytes[*at..*at + 4] == magic);
            let blocks: Vec<usize> = blocks.collect();
            let mut found = 0;
            let header = if magic == b"BMA3" { 72 } else { 56 };
            // Large trees have much of the same.
            for block in blocks.iter().step_by(blocks.len() / 30 + 1) {
                // The first record or key: a block more, or a chunk elsewhere.
                let at = block + header + if magic == b"BMA3" { 7 } else { 3 };
                bytes[at] ^= 1;
                xfs_seal::seal(&mut bytes, [at]);
                let fs = Xfs::open(Arc::new(Memory::new(bytes.clone())));
                let damaged = fs.map_or(true, |fs| {
                    fs.check().map_or(true, |problems| !problems.is_empty())
                });
                found += usize::from(damaged);
                bytes[at] ^= 1;
                xfs_seal::seal(&mut bytes, [at]);
            }
            // Blocks that were given back keep their magic number.
            let name = format!("{name} {}", magic.escape_ascii());
            println!(
                "{name}: {found} of at most 30 of {} blocks matter",
                blocks.len()
            );
            assert!(
                found > 0,
                "{name}: nothing found in {} blocks",
                blocks.len()
            );
        }
    }
}
