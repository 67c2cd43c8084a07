//! Logs that were left dirty: what recovery makes of a volume is what the kernel makes of it.

use crate::features;
use crate::image::{copy_sparse, mkfs, mount, possible};
use crate::oracle::{everybody_reads, open, others_read, seen, xfs_repair_finds};
use fs::FileSystem;
use fs_acceptance::fill;
use fs_acceptance::kernel::{Mount, set_xattr, sync};
use fs_acceptance::random::Random;
use fs_acceptance::runs;
use fs_acceptance::tree::{self, Depth, assert_same};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The feature sets whose logs differ.
const SETS: [&str; 7] = [
    "default",
    "rhel7",
    "rmapbt",
    "1k",
    "dir_64k",
    "sectors_4k",
    "stripes",
];

#[test]
fn volumes_that_stopped_in_the_middle_are_recovered_as_the_kernel_does() {
    if !possible() {
        return;
    }
    for set in features::covered().filter(|set| SETS.contains(&set.name)) {
        let name = set.name;
        let mut recovered = 0;
        for seed in 0..runs(3, 40) {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let image = dir.path().join("image");
            mkfs(&image, set.mkfs, 64);
            let kernel = mount(&image, "rw");
            fill::fill(&kernel);
            if seed % 3 == 0 {
                sync(&kernel);
            }
            let orphans = fill::orphans(&kernel);
            busy(
                &kernel,
                seed,
                &AtomicBool::new(false),
                100 + 200 * (seed % 5),
            );
            // With "-f" the log is flushed before; without, what was only in memory is lost.
            let flush = if seed % 4 == 3 {
                "shutdown"
            } else {
                "shutdown -f"
            };
            let output = Command::new("xfs_io")
                .args(["-x", "-c", flush])
                .arg(kernel.root())
                .output();
            let output = output.expect("xfs_io runs");
            assert!(output.status.success(), "{output:?}");
            drop(orphans);
            drop(kernel);
            let label = format!("{name}: stopped, seed {seed}");
            recovered += usize::from(recovers_as_the_kernel(&label, &image, *set));
        }
        assert!(recovered > 0, "{name}: no log was dirty");
        println!("{name}: {recovered} volumes recovered");
    }
}

/// Copies that share blocks with a file are made at once, as snapshots of a disk are: the image
/// lies on another XFS for that.
#[test]
fn copies_of_a_busy_volume_are_recovered_as_the_kernel_does() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let outer = dir.path().join("outer");
    mkfs(&outer, &[], 4096);
    for set in features::covered().filter(|set| SETS.contains(&set.name)) {
        let name = set.name;
        let started = Instant::now();
        let host = mount(&outer, "rw");
        let image = host.path(b"image");
        mkfs(&image, set.mkfs, 96);
        let kernel = mount(&image, "rw");
        fill::fill(&kernel);
        sync(&kernel);
        let stop = AtomicBool::new(false);
        let count = runs(4, 100);
        let copies: Vec<PathBuf> = std::thread::scope(|scope| {
            for seed in 0..2 {
                let (kernel, stop) = (&kernel, &stop);
                scope.spawn(move || {
                    busy(kernel, 1000 + seed, stop, u64::MAX);
                });
            }
            let copies = (0..count).map(|number| {
                std::thread::sleep(Duration::from_millis(20 + 37 * (number % 11)));
                let copy = host.path(format!("copy-{number}").as_bytes());
                let from = File::open(&image).expect("it is there");
                let to = File::create(&copy).expect("room");
                rustix::fs::ioctl_ficlone(&to, &from).expect("blocks can be shared");
                copy
            });
            let copies = copies.collect();
            stop.store(true, Ordering::Relaxed);
            copies
        });
        drop(kernel);
        let mut recovered = 0;
        for copy in copies {
            let label = format!("{name}: {}", copy.display());
            recovered += usize::from(recovers_as_the_kernel(&label, &copy, *set));
            std::fs::remove_file(&copy).expect("it is there");
        }
        std::fs::remove_file(&image).expect("it is there");
        assert!(recovered > 0, "{name}: no log was dirty");
        println!(
            "{name}: {recovered} of {count} copies recovered, {:?}",
            started.elapsed()
        );
    }
}

/// Recovers one copy by the kernel and one by the driver; whether there was anything to recover.
fn recovers_as_the_kernel(label: &str, image: &Path, set: features::FeatureSet) -> bool {
    let kernels = image.with_extension("kernel");
    copy_sparse(image, &kernels);
    // Unmounting leaves a clean log, and a second look sees what lies on the disk.
    drop(mount(&kernels, "rw"));
    let want = seen(&mount(&kernels, "ro"));
    let left_by_the_kernel = xfs_repair_finds(&kernels);
    std::fs::remove_file(&kernels).expect("it is there");
    let mut fs = open(image);
    let recovered = fs.info().recovered;
    let read = tree::read(&fs).unwrap_or_else(|error| panic!("{label}: the driver: {error:?}"));
    assert_same(label, &want, &read, Depth::All);
    let edit = fs.edit().expect("editable");
    edit.commit().expect("the device does not fail");
    drop(fs);
    match left_by_the_kernel {
        None => everybody_reads(label, image, set, &want),
        // Attributes that were half written when the machine stopped stay so.
        Some(left) => {
            assert!(left.contains("INCOMPLETE"), "{label}: {left}");
            println!("{label}: the kernel leaves {left}");
            let ours = xfs_repair_finds(image).unwrap_or_default();
            assert_eq!(ours, left, "{label}");
            others_read(label, image, set, &want);
        }
    }
    assert!(
        !open(image).info().recovered,
        "{label}: the log is clean afterwards"
    );
    recovered
}

/// Changes of all kinds, one after the other, until it is told to stop or did enough.
fn busy(kernel: &Mount, seed: u64, stop: &AtomicBool, most: u64) {
    let mut random = Random::new(seed);
    let dir = kernel.path(format!("busy-{seed}").as_bytes());
    std::fs::create_dir(&dir).expect("room");
    let path = |number: usize| dir.join(format!("{number}-{}", "b".repeat(number % 80)));
    let mut done = 0;
    while done < most && !stop.load(Ordering::Relaxed) {
        done += 1;
        let (one, other) = (path(random.below(300)), path(random.below(300)));
        // What is not there, or is something else, is left alone.
        let _unlikely = match random.below(16) {
            0..5 => std::fs::write(&one, vec![1; random.below(20_000)]),
            5 | 6 => std::fs::remove_file(&one).or_else(|_| std::fs::remove_dir_all(&one)),
            7 => std::fs::create_dir(&one),
            8 => std::fs::rename(&one, &other),
            9 => std::fs::hard_link(&one, &other),
            10 => std::os::unix::fs::symlink("t".repeat(random.below(900) + 1), &one),
            11 => set_xattr(
                &one,
                b"user.a",
                Some(&random.bytes(random.clone().below(6000))),
            ),
            12 => set_xattr(&one, b"user.a", None),
            13 => File::options().write(true).open(&one).and_then(|file| {
                // In pieces, and over what is shared with another file.
                let piece = random.bytes(3000);
                (0..8).try_for_each(|number| file.write_all_at(&piece, number * 12_288))
            }),
            14 => File::options().write(true).open(&one).and_then(|file| {
                let from = File::open(&other)?;
                Ok(rustix::fs::ioctl_ficlone(&file, &from)?)
            }),
            _ => File::open(&one).and_then(|file| match random.below(3) {
                0 => file.sync_all(),
                _ => file.set_len(ondisk::width::u64_of(random.below(9000))),
            }),
        };
    }
}
