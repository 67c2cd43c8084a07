//! What the kernel, or `mkfs` where the kernel cannot, wrote is read.

use crate::features::{self, FeatureSet};
use crate::image::{Image, State, mkfs, mount, possible};
use crate::oracle::{open, seen};
use crate::prototype;
use fs::{FileSystem, Time};
use fs_acceptance::fill;
use fs_acceptance::kernel::{Mount, set_xattr};
use fs_acceptance::operation::resolve;
use fs_acceptance::random::Random;
use fs_acceptance::tree::{self, Depth, assert_same, show};
use rustix::fs::{AtFlags, FallocateFlags, Timespec, Timestamps};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::time::Instant;

#[test]
fn what_the_kernel_wrote_is_read() {
    if !possible() {
        return;
    }
    for set in features::covered().filter(|set| set.mounts) {
        let started = Instant::now();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let image = dir.path().join("image");
        mkfs(&image, set.mkfs, 128);
        let kernel = mount(&image, "rw");
        fill::fill(&kernel);
        directories(&kernel);
        attributes(&kernel);
        files(&kernel, *set);
        links_and_owners(&kernel);
        drop(kernel);
        let kernel = mount(&image, "ro,noatime");
        let want = seen(&kernel);
        let fs = open(&image);
        assert!(!fs.info().recovered, "{}", set.name);
        let read = tree::read(&fs).unwrap_or_else(|error| panic!("{}: {error:?}", set.name));
        assert_same(set.name, &want, &read, Depth::All);
        for path in want.keys() {
            same_metadata(set.name, &kernel, &fs, path);
        }
        assert_eq!(fs.check().expect("readable"), [], "{}", set.name);
        println!(
            "{}: {} nodes in {:?}",
            set.name,
            want.len(),
            started.elapsed()
        );
    }
}

#[test]
fn aged_and_full_volumes_are_read() {
    if !possible() {
        return;
    }
    for set in features::ALL.iter().filter(|set| set.mounts && set.always) {
        let image = Image::new(*set, State::Full, 64);
        let fs = open(&image.path);
        let read = tree::read(&fs).unwrap_or_else(|error| panic!("{}: {error:?}", set.name));
        let want = crate::oracle::without_stored_acls(image.tree.clone());
        assert_same(set.name, &want, &read, Depth::All);
        assert_eq!(fs.check().expect("readable"), [], "{}", set.name);
    }
}

#[test]
fn what_mkfs_wrote_is_read() {
    if !possible() {
        return;
    }
    for set in features::ALL.iter().filter(|set| !set.mounts) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let image = dir.path().join("image");
        let want = prototype::make(&image, *set, 64);
        let fs = open(&image);
        let read = tree::read(&fs).unwrap_or_else(|error| panic!("{}: {error:?}", set.name));
        assert_same(set.name, &want, &read, Depth::All);
        if set.ignores_case() {
            let upper = resolve(&fs, b"ETC/FsTab").expect("names are the same in either case");
            let lower = resolve(&fs, b"etc/fstab").expect("it is there");
            assert_eq!(upper, lower);
        }
        assert_eq!(fs.check().expect("readable"), [], "{}", set.name);
    }
}

/// Sizes, links and times, which trees do not hold.
fn same_metadata(what: &str, kernel: &Mount, fs: &dyn FileSystem, path: &[u8]) {
    let host = std::fs::symlink_metadata(kernel.path(path)).expect("it was listed");
    let node = resolve(fs, path).expect("it was read");
    let meta = fs.stat(node).expect("it was read");
    let time = |seconds, nanoseconds: i64| Time {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).expect("below a billion"),
    };
    let ours = (meta.links, meta.mtime, meta.ctime, meta.atime);
    let theirs = (
        u32::try_from(host.nlink()).expect("the kernel counts links in 32 bits"),
        time(host.mtime(), host.mtime_nsec()),
        time(host.ctime(), host.ctime_nsec()),
        time(host.atime(), host.atime_nsec()),
    );
    assert_eq!(ours, theirs, "{what}: {}: links and times", show(path));
    // What a directory has as its size differs by its form; both tell what is stored.
    assert_eq!(meta.size, host.size(), "{what}: {}: size", show(path));
}

/// Directories in the inode, in a block, with leaves, with nodes; such as have shrunk.
fn directories(kernel: &Mount) {
    let mut random = Random::new(23);
    for count in [1, 3, 25, 90, 400, 3000] {
        let dir = kernel.path(format!("dirs-{count}").as_bytes());
        std::fs::create_dir(&dir).expect("room");
        let len = |random: &mut Random| 6 + random.below(if count > 500 { 60 } else { 250 });
        for number in 0..count {
            let mut name = format!("{number:05}").into_bytes();
            let len = len(&mut random);
            name.resize(len, b'n');
            if number % 7 == 0 {
                name[5] = 0xff;
            }
            File::create(dir.join(OsStr::from_bytes(&name))).expect("room");
        }
    }
    for (name, count, step) in [("shrunk", 2500, 10), ("shrunk-much", 1000, 400)] {
        let dir = kernel.path(name.as_bytes());
        std::fs::create_dir(&dir).expect("room");
        let path = |number: usize| dir.join(format!("{number:04}-{}", "x".repeat(number % 90)));
        (0..count).for_each(|number| drop(File::create(path(number)).expect("room")));
        let gone = (0..count).filter(|number| number % step != 3);
        gone.for_each(|number| std::fs::remove_file(path(number)).expect("it is there"));
    }
    let deep: String = (0..40).map(|level| format!("/level-{level}")).collect();
    std::fs::create_dir_all(kernel.path(&deep.as_bytes()[1..])).expect("room");
}

/// Attributes in the inode, in one block, in many, and in blocks of their own.
fn attributes(kernel: &Mount) {
    let mut random = Random::new(29);
    let file = |name: String| {
        let path = kernel.path(name.as_bytes());
        File::create(&path).expect("room");
        path
    };
    for len in [
        0, 1, 10, 100, 254, 255, 256, 1000, 2000, 3000, 4000, 4096, 9000, 65_535, 65_536,
    ] {
        let path = file(format!("xattr-{len}"));
        set_xattr(&path, b"user.one", Some(&random.bytes(len))).expect("room");
        set_xattr(&path, b"security.selinux", Some(b"a_u:b_r:c_t:s0\0")).expect("room");
    }
    for (count, len) in [(5, 12), (40, 40), (600, 90), (30, 5000)] {
        let path = file(format!("xattrs-{count}-{len}"));
        for number in 0..count {
            let mut name = format!("user.{number}-").into_bytes();
            name.resize(name.len() + random.below(200), b'n');
            set_xattr(&path, &name, Some(&random.bytes(len))).expect("room");
        }
        for number in (0..count).filter(|number| number % 3 == 1) {
            let name = format!("user.{number}-");
            // Those whose names got longer stay.
            if set_xattr(&path, name.as_bytes(), None).is_err() {
                continue;
            }
        }
    }
    let longest = [&b"user."[..], &[b'l'; 255 - 5]].concat();
    set_xattr(&file("xattr-long-name".into()), &longest, Some(b"v")).expect("room");
    for space in ["trusted", "security", "user"] {
        let path = file(format!("xattr-{space}"));
        set_xattr(
            &path,
            format!("{space}.same").as_bytes(),
            Some(space.as_bytes()),
        )
        .expect("room");
    }
    let acl = [
        &[2, 0, 0, 0][..],
        &[1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff],
        &[4, 0, 5, 0, 0xff, 0xff, 0xff, 0xff],
        &[8, 0, 4, 0, 0xd0, 7, 0, 0],
        &[0x10, 0, 5, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x20, 0, 1, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    let dir = kernel.path(b"dirs-3");
    set_xattr(&dir, b"system.posix_acl_default", Some(&acl)).expect("room");
}

/// Maps of extents in the inode and in trees, holes, reserved and shared blocks.
fn files(kernel: &Mount, set: FeatureSet) {
    let mut random = Random::new(31);
    for (name, count, step) in [("few", 8, 2), ("pieces", 300, 3), ("crumbs", 4000, 2)] {
        let file = File::create(kernel.path(name.as_bytes())).expect("room");
        for number in 0..count {
            let bytes = random.bytes(1024);
            file.write_all_at(&bytes, number * step * 4096)
                .expect("room");
        }
    }
    let file = File::create(kernel.path(b"reserved")).expect("room");
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 10_000, 300_000).expect("room");
    file.write_all_at(&random.bytes(20_000), 100_000)
        .expect("room");
    let file = File::create(kernel.path(b"reserved-behind-the-end")).expect("room");
    file.write_all_at(&random.bytes(5000), 0).expect("room");
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20).expect("room");
    let file = File::create(kernel.path(b"hole")).expect("room");
    file.set_len((1 << 40) + 5).expect("holes cost nothing");
    // Nobody reads a terabyte of zeros: what is tested is its end.
    file.set_len((8 << 20) + 5).expect("it is shorter now");
    if !set
        .mkfs
        .iter()
        .any(|argument| argument.contains("reflink=0"))
    {
        let from = File::open(kernel.path(b"pieces")).expect("it was just made");
        let shared = File::create(kernel.path(b"shared")).expect("room");
        rustix::fs::ioctl_ficlone(&shared, &from).expect("blocks can be shared");
        shared
            .write_all_at(&random.bytes(5000), 50_000)
            .expect("room");
    }
}

/// Links of all lengths, nodes of all kinds, and times before and after what 32 bits hold.
fn links_and_owners(kernel: &Mount) {
    for len in [1, 100, 335, 336, 337, 400, 848, 850, 1023] {
        let target: String = "t"
            .repeat(len)
            .chars()
            .enumerate()
            .map(|(at, c)| if at % 50 == 49 { '/' } else { c })
            .collect();
        let path = kernel.path(format!("link-{len}").as_bytes());
        std::os::unix::fs::symlink(target, path).expect("room");
    }
    UnixListener::bind(kernel.path(b"socket")).expect("room");
    let second = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    for (name, seconds, nanoseconds) in [
        ("time-old", -2_000_000_000, 999_999_999),
        ("time-just-before", -1, 1),
        ("time-zero", 0, 0),
        ("time-last", 2_147_483_647, 5),
        ("time-late", 5_000_000_000, 123_456_789),
        ("time-beyond", 99_000_000_000, 7),
    ] {
        let path = kernel.path(name.as_bytes());
        File::create(&path).expect("room");
        let times = Timestamps {
            last_access: second(seconds, nanoseconds),
            last_modification: second(seconds, nanoseconds),
        };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty())
            .expect("it is there");
        std::os::unix::fs::chown(&path, Some(4_000_000_000), Some(70_000)).expect("it is there");
    }
}
