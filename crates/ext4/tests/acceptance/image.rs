//! Making images.

use crate::features::FeatureSet;
use fs_acceptance::fill::{change, fill, orphans};
use fs_acceptance::kernel::{self, Mount};
use fs_acceptance::tree::Tree;
use std::fs::{self, File};
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
            Ok(()) => match Mount::new(&path, "ext4", "ro") {
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
    Mount::new(image, "ext4", options)
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
