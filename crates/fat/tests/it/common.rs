//! Volumes made by mkfs.fat, and what mtools and fsck.fat say about them.

use block::{BlockRead, BlockWrite, Error};
use fat::Fat;
use fs::{FileSystem, NodeId};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// Paths with their content; directories have none.
pub(crate) type Tree = Vec<(String, Option<Vec<u8>>)>;

/// A file as a device.
#[derive(Debug)]
pub(crate) struct FileDevice {
    file: File,
    size: u64,
}

impl BlockRead for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let read = self.file.read_exact_at(buf, offset);
        read.map_err(|source| Error::Io { offset, source })
    }
}

impl BlockWrite for FileDevice {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all_at(buf, offset);
        written.map_err(|source| Error::Io { offset, source })
    }
}

/// A volume in a file.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Volume {
    /// Makes one of as many bits. What was on the disk before is not zero.
    pub(crate) fn new(bits: u32) -> Self {
        let (kib, args): (usize, &[&str]) = match bits {
            12 => (4 << 10, &["-s", "4"]),
            16 => (34 << 10, &["-s", "4"]),
            _ => (40 << 10, &["-s", "1"]),
        };
        Self::with(bits, kib, args)
    }

    pub(crate) fn with(bits: u32, kib: usize, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        std::fs::write(&path, vec![0xa5; kib << 10]).unwrap();
        let mut mkfs = Command::new("mkfs.fat");
        // Without "--invariant" the label carries the time at which it was made.
        mkfs.args(["-F", &bits.to_string(), "-n", "ESP"]);
        mkfs.args(["--invariant", "-i", "1234abcd"]);
        run(mkfs.args(args).arg(&path));
        Self { dir, path }
    }

    pub(crate) fn device(&self) -> Arc<FileDevice> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(&self.path)
            .unwrap();
        let size = file.metadata().unwrap().len();
        Arc::new(FileDevice { file, size })
    }

    pub(crate) fn open(&self) -> Fat {
        Fat::open(self.device()).unwrap()
    }

    /// Runs a program of mtools on the volume.
    pub(crate) fn mtools(&self, program: &str, args: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program);
        command
            .env("MTOOLS_SKIP_CHECK", "1")
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8");
        run(command.arg("-i").arg(&self.path).args(args))
    }

    /// Asserts that fsck.fat, and our own check, find nothing.
    pub(crate) fn assert_clean(&self) {
        let output = Command::new("fsck.fat")
            .arg("-n")
            .arg(&self.path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert_eq!(self.open().check().unwrap(), []);
    }

    /// Every file with its content as mtools reads it, and every directory, sorted.
    pub(crate) fn tree_by_mtools(&self) -> Tree {
        let out = tempfile::tempdir_in(self.dir.path()).unwrap();
        let mut command = Command::new("mcopy");
        command
            .env("MTOOLS_SKIP_CHECK", "1")
            .env("LC_ALL", "C.UTF-8");
        command
            .args(["-s", "-n", "-i"])
            .arg(&self.path)
            .arg("::/")
            .arg(out.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut tree = Vec::new();
        let mut pending = vec![(String::new(), out.path().to_owned())];
        while let Some((at, dir)) = pending.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{at}/{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    tree.push((path.clone(), None));
                    pending.push((path, entry.path()));
                } else {
                    tree.push((path, Some(std::fs::read(entry.path()).unwrap())));
                }
            }
        }
        tree.sort();
        tree
    }
}

/// The same as our driver reads it.
pub(crate) fn tree(fat: &Fat) -> Result<Tree, fs::Error> {
    let mut tree = Vec::new();
    let mut pending = vec![(String::new(), fat.root())];
    while let Some((at, dir)) = pending.pop() {
        for entry in fat.entries(dir)? {
            let path = format!("{at}/{}", String::from_utf8(entry.name).unwrap());
            if entry.kind == Some(fs::Kind::Dir) {
                tree.push((path.clone(), None));
                pending.push((path, entry.node));
            } else {
                tree.push((path, Some(fs::read_file(fat, entry.node, 1 << 30)?)));
            }
        }
    }
    tree.sort();
    Ok(tree)
}

/// The node of a path.
pub(crate) fn at(fat: &dyn FileSystem, path: &str) -> Result<NodeId, fs::Error> {
    path.split('/')
        .filter(|name| !name.is_empty())
        .try_fold(fat.root(), |dir, name| fat.lookup(dir, name.as_bytes()))
}

pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.stdout
}

/// Content that no block of repeats.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.next().to_le_bytes())
        .take(len.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(len);
    bytes
}

/// A small generator; the same numbers on every run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % bound
    }
}
