//! Making images.

use crate::features::FeatureSet;
use crate::kernel::{self, Mount};
use crate::tree::Tree;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// How an image came to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Unmounted.
    Clean,
    /// Copied while it was mounted and had changes in its log.
    Dirty,
    /// As dirty, with a file that is open and has no name.
    Orphan,
}

/// An image that the kernel filled, and what is on it.
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
        mkfs(&path, set.mkfs, megabytes);
        let mount = mount(&path, "rw");
        fill(&mount);
        if state == State::Clean {
            let tree = mount.tree();
            drop(mount);
            return Self { dir, path, tree };
        }
        kernel::sync(&mount);
        change(&mount);
        let orphans = (state == State::Orphan).then(|| orphans(&mount));
        kernel::sync(&mount);
        let copy = dir.path().join("dirty");
        copy_sparse(&path, &copy);
        drop(orphans);
        drop(mount);
        // What the kernel makes of the copy is what recovery has to come to.
        let recovered = dir.path().join("recovered");
        copy_sparse(&copy, &recovered);
        let tree = self::mount(&recovered, "rw").tree();
        fs::remove_file(&recovered).expect("it was just made");
        Self {
            dir,
            path: copy,
            tree,
        }
    }

    /// An image without anything on it.
    pub(crate) fn empty(set: FeatureSet, megabytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("image");
        mkfs(&path, set.mkfs, megabytes);
        let tree = mount(&path, "ro").tree();
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
        let reason = match try_mkfs(&path, &["-t", "ext4"], 8) {
            Err(reason) => reason,
            Ok(()) => match Mount::new(&path, "ro") {
                Ok(_) => return true,
                Err(reason) => reason,
            },
        };
        println!("skipped: images cannot be made and mounted here: {reason}");
        false
    })
}

/// Mounts an image that must be mountable.
pub(crate) fn mount(image: &Path, options: &str) -> Mount {
    Mount::new(image, options)
        .unwrap_or_else(|reason| panic!("the kernel does not mount it: {reason}"))
}

pub(crate) fn mkfs(path: &Path, arguments: &[&str], megabytes: u64) {
    if let Err(reason) = try_mkfs(path, arguments, megabytes) {
        panic!("mkfs.ext4 {arguments:?}: {reason}");
    }
}

fn try_mkfs(path: &Path, arguments: &[&str], megabytes: u64) -> Result<(), String> {
    let file = File::create(path).map_err(|error| error.to_string())?;
    file.set_len(megabytes << 20)
        .map_err(|error| error.to_string())?;
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-U", "6c1a52a0-6a4e-4b9c-9f53-5e8ad1f0c0de"])
        .args([
            "-E",
            "hash_seed=93f2b1e0-9c38-4d0c-8a42-0d2f4a1b7e55,lazy_itable_init=1",
        ])
        // Without being told, small images get small blocks.
        .args(unless(arguments, &["-b", "4096"]))
        .args(unless(arguments, &["-N", "9000"]))
        .args(arguments)
        .arg(path)
        .output()
        .map_err(|error| format!("mkfs.ext4: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// An option that the arguments may set otherwise.
fn unless(arguments: &[&str], option: &'static [&'static str; 2]) -> &'static [&'static str] {
    if arguments.contains(&option[0]) {
        &[]
    } else {
        option
    }
}

fn copy_sparse(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("--sparse=always")
        .args([from, to])
        .status()
        .expect("cp runs");
    assert!(status.success());
}

/// Runs a command of e2fsprogs on an image.
pub(crate) fn change_image(path: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.expect("e2fsprogs are installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
}

/// Some of everything, made by the kernel.
fn fill(mount: &Mount) {
    let path = |path: &str| mount.path(path.as_bytes());
    let write = |name: &str, content: &[u8]| fs::write(path(name), content).expect("room");
    for dir in ["etc", "etc/sub", "many", "keep", "empty"] {
        fs::create_dir(path(dir)).expect("room");
    }
    write("etc/fstab", b"/dev/sda1 / ext4 defaults 0 1\n");
    write("etc/sub/empty", b"");
    write("etc/sub/fifty", &[7; 50]);
    write("etc/sub/hundred", &[8; 100]);
    write("large", &vec![9; 700_000]);
    for number in 0..300 {
        write(
            &format!("many/name-of-file-{number:04}"),
            number.to_string().as_bytes(),
        );
    }
    // Written with gaps, so that the map of blocks has several entries.
    let sparse = File::create(path("sparse")).expect("room");
    for block in [0, 5, 20, 300, 1000_u64] {
        sparse.write_all_at(&[3; 4096], block * 8192).expect("room");
    }
    write("keep/one", b"two names");
    fs::hard_link(path("keep/one"), path("keep/two")).expect("room");
    std::os::unix::fs::symlink("etc/fstab", path("short")).expect("room");
    std::os::unix::fs::symlink("x".repeat(150) + "/" + &"y".repeat(150), path("long"))
        .expect("room");
    for (name, arguments) in [
        ("keep/fifo", &["p"][..]),
        ("keep/null", &["c", "1", "3"]),
        ("keep/disk", &["b", "259", "70000"]),
    ] {
        let status = Command::new("mknod")
            .arg(path(name))
            .args(arguments)
            .status();
        assert!(status.expect("mknod runs").success());
    }
    let label = b"system_u:object_r:etc_t:s0\0";
    for (name, xattr, value) in [
        ("etc/fstab", &b"security.selinux"[..], &label[..]),
        ("etc/sub/fifty", b"user.large", &[1; 600]),
        ("etc/sub/hundred", b"user.large", &[1; 600]),
        ("short", b"security.selinux", label),
        ("keep/one", b"trusted.x", b"y"),
    ] {
        kernel::set_xattr(&path(name), xattr, Some(value)).expect("room");
    }
    let acl = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    kernel::set_xattr(&path("large"), b"system.posix_acl_access", Some(&acl)).expect("room");
}

/// What is only in the log when the image is copied.
fn change(mount: &Mount) {
    let path = |path: &str| mount.path(path.as_bytes());
    fs::write(path("etc/fstab"), b"changed\n").expect("room");
    for number in 0..100 {
        fs::write(path(&format!("etc/new-{number}")), vec![1; number * 90]).expect("room");
    }
    for number in (0..300).step_by(3) {
        fs::remove_file(path(&format!("many/name-of-file-{number:04}"))).expect("it is there");
    }
    fs::create_dir(path("etc/new")).expect("room");
    fs::rename(path("etc/sub/fifty"), path("etc/new/fifty")).expect("it is there");
    fs::remove_dir(path("empty")).expect("it is there");
    // Freed metadata blocks that become data must not be overwritten by older logged content.
    for number in 0..20 {
        fs::create_dir(path(&format!("gone-{number}"))).expect("room");
    }
    kernel::sync(mount);
    for number in 0..20 {
        fs::remove_dir(path(&format!("gone-{number}"))).expect("it is there");
    }
    fs::write(path("over"), vec![0x55; 300_000]).expect("room");
}

/// Files that are open without a name, one of them with much to free.
fn orphans(mount: &Mount) -> Vec<File> {
    let open = |name: &str, len: usize| {
        let path = mount.path(name.as_bytes());
        fs::write(&path, vec![6; len]).expect("room");
        kernel::sync(mount);
        let file = File::open(&path).expect("it was just made");
        fs::remove_file(&path).expect("it was just made");
        file
    };
    vec![
        open("open-1", 500_000),
        open("open-2", 10),
        open("open-3", 0),
    ]
}
