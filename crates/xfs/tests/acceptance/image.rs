//! Making images.

use crate::features::FeatureSet;
use crate::prototype;
use fs_acceptance::fill;
use fs_acceptance::kernel::{self, Mount};
use fs_acceptance::random::Random;
use fs_acceptance::tree::Tree;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What an image has been through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Some of everything, and much room.
    Fresh,
    /// Free space lies in small pieces, and chunks of inodes are partly free.
    Aged,
    /// As aged, and 97 % in use.
    Full,
}

/// An image and what is on it.
#[derive(Debug)]
pub(crate) struct Image {
    dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) tree: Tree,
}

impl Image {
    /// Makes an image with some of everything.
    pub(crate) fn new(set: FeatureSet, state: State, megabytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("image");
        if !set.mounts {
            assert_eq!(state, State::Fresh, "only the kernel lets images age");
            let tree = prototype::make(&path, set, megabytes);
            return Self { dir, path, tree };
        }
        mkfs(&path, set.mkfs, megabytes);
        let mount = mount(&path, "rw");
        fill::fill(&mount);
        if state != State::Fresh {
            age(&mount, megabytes);
        }
        if state == State::Full {
            fill_up(&mount);
        }
        let tree = mount.tree();
        drop(mount);
        Self { dir, path, tree }
    }

    /// Another image of the same content.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        copy_sparse(&self.path, &path);
        path
    }
}

/// Whether images can be made and mounted here; says so once if not.
pub(crate) fn possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("image");
        let reason = match try_mkfs(&path, &[], 64) {
            Err(reason) => reason,
            Ok(()) => match Mount::new(&path, "xfs", "nouuid,ro") {
                Ok(_) => return true,
                Err(reason) => reason,
            },
        };
        println!("skipped: images cannot be made and mounted here: {reason}");
        false
    })
}

/// Mounts an image that must be mountable. Several images have the same UUID.
pub(crate) fn mount(image: &Path, options: &str) -> Mount {
    Mount::new(image, "xfs", &format!("nouuid,{options}"))
        .unwrap_or_else(|reason| panic!("the kernel does not mount it: {reason}"))
}

pub(crate) fn mkfs(path: &Path, arguments: &[&str], megabytes: u64) {
    if let Err(reason) = try_mkfs(path, arguments, megabytes) {
        panic!("mkfs.xfs {arguments:?}: {reason}");
    }
}

fn try_mkfs(path: &Path, arguments: &[&str], megabytes: u64) -> Result<(), String> {
    let file = File::create(path).map_err(|error| error.to_string())?;
    file.set_len(megabytes << 20)
        .map_err(|error| error.to_string())?;
    let output = Command::new("mkfs.xfs")
        .args([
            "-q",
            "-f",
            "-m",
            "uuid=6c1a52a0-6a4e-4b9c-9f53-5e8ad1f0c0de",
        ])
        .args(arguments)
        .arg(path)
        // Without these it makes nothing below 300 MB.
        .envs([("TEST_DIR", "1"), ("TEST_DEV", "1"), ("QA_CHECK_FS", "1")])
        .output()
        .map_err(|error| format!("mkfs.xfs: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(crate) fn copy_sparse(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("--sparse=always")
        .args([from, to])
        .status()
        .expect("cp runs");
    assert!(status.success());
}

/// Runs a command, which must succeed, and says what it printed.
pub(crate) fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Leaves free space in pieces of one to eight blocks all over the volume, and most chunks of
/// inodes with some that are free.
fn age(mount: &Mount, megabytes: u64) {
    const PIECE: u64 = 4096;
    let mut random = Random::new(5);
    let dir = mount.path(b"keep/old");
    fs::create_dir(&dir).expect("room");
    let name = |number: usize| dir.join(format!("file-{number:05}"));
    for number in 0..900 {
        fs::write(name(number), vec![1; random.below(3000)]).expect("room");
    }
    for number in (0..900).filter(|number| number % 9 != 4) {
        if random.below(10) < 8 {
            fs::remove_file(name(number)).expect("it is there");
        }
    }
    let large = mount.path(b"keep/large");
    let file = File::create(&large).expect("room");
    let pieces = (megabytes << 20) / PIECE * 4 / 10;
    for piece in (0..pieces).step_by(256) {
        let bytes = random.bytes(256 * 4096);
        file.write_all_at(&bytes, piece * PIECE).expect("room");
    }
    file.sync_all().expect("room");
    let mut piece = 0;
    while piece < pieces {
        let most = if random.one_in(10) { 8 } else { 2 };
        let gap = ondisk::width::u64_of(1 + random.below(most));
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, piece * PIECE, gap * PIECE).expect("holes are made");
        piece += gap + 1 + ondisk::width::u64_of(random.below(3));
    }
    file.sync_all().expect("room");
    kernel::sync(mount);
}

/// Leaves 3 % of the room.
fn fill_up(mount: &Mount) {
    let free = || {
        let room = rustix::fs::statvfs(mount.root()).expect("it is mounted");
        (room.f_bavail * room.f_bsize, room.f_blocks * room.f_frsize)
    };
    let (now, total) = free();
    let wanted = total / 100 * 3;
    let file = File::create(mount.path(b"keep/filler")).expect("room");
    let mut random = Random::new(6);
    let mut at = 0;
    let len = now.saturating_sub(wanted);
    while at < len {
        let part = (len - at).min(1 << 20);
        let bytes = random.bytes(ondisk::width::usize_of(part));
        file.write_all_at(&bytes, at).expect("room");
        at += part;
    }
    file.sync_all().expect("room");
    let (left, _) = free();
    assert!(left < total / 10, "{left} of {total} bytes left");
}
