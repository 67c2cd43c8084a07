//! Real file systems, for tests of what has no public door: made by `mkfs.xfs`, read by
//! `xfs_repair` and by the kernel.
//!
//! Where that is not possible (no xfsprogs, no root) these functions say so, and tests pass.

use crate::error::Error;
use crate::inode::Inode;
use crate::volume::Volume;
use ::block::{BlockRead, BlockWrite};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Whether tests take their time.
pub(crate) fn is_long() -> bool {
    std::env::var_os("REHOST_LONG").is_some()
}

/// Bytes of an image: the least that `mkfs.xfs` takes.
const SIZE: u64 = 300 << 20;

/// An image in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct Image {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    /// Makes a file system with these options, and, if a prototype is given, what that describes;
    /// none if there is no `mkfs.xfs`.
    pub(crate) fn make(args: &[&str], prototype: Option<&str>) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        let mut mkfs = Command::new("mkfs.xfs");
        mkfs.args(["-q", "-f"]).args(args);
        if let Some(prototype) = prototype {
            let description = dir.path().join("prototype");
            std::fs::write(&description, prototype).unwrap();
            mkfs.arg("-p").arg(description);
        }
        let Ok(made) = mkfs.arg(&path).output() else {
            eprintln!("SKIPPED: there is no mkfs.xfs");
            return None;
        };
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{args:?}: {error}");
        Some(Self { dir, path })
    }

    /// The file system.
    pub(crate) fn open(&self) -> Volume {
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        Volume::open(Arc::new(FileDevice(file.unwrap()))).unwrap()
    }

    /// Writes everything that is in memory, and fails if `xfs_repair` finds anything.
    pub(crate) fn commit(&self, volume: &mut Volume, inode: &Inode) -> Result<(), Error> {
        volume.write_inode(inode)?;
        volume.commit()?;
        let mut repair = Command::new("xfs_repair");
        let repair = repair.arg("-n").arg(&self.path).output().unwrap();
        let said = [repair.stdout, repair.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(repair.status.success(), "{said}");
        for complaint in ["would", "bad", "rebuild", "warning", "correct"] {
            let found = said.lines().find(|line| line.contains(complaint));
            assert_eq!(found, None, "{said}");
        }
        Ok(())
    }

    /// Shows the mounted root; says so if that is not possible.
    pub(crate) fn mounted(&self, options: &str, look: impl FnOnce(&Path)) {
        let root = self.dir.path().join("root");
        std::fs::create_dir_all(&root).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "xfs", "-o", &format!("loop,nouuid,{options}")])
            .arg(&self.path)
            .arg(&root)
            .output()
            .unwrap();
        if !mount.status.success() {
            let error = String::from_utf8_lossy(&mount.stderr);
            eprintln!("SKIPPED: the kernel does not mount: {error}");
            return;
        }
        let _mounted = Mounted(&root);
        look(&root);
    }
}

/// Unmounts, also when a test fails.
struct Mounted<'p>(&'p Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        for _ in 0..50 {
            let unmounted = Command::new("umount").arg(self.0).status();
            if unmounted.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        eprintln!("{} stays mounted", self.0.display());
    }
}

/// An image file that is read and written in place.
#[derive(Debug)]
struct FileDevice(File);

impl BlockRead for FileDevice {
    fn size(&self) -> u64 {
        SIZE
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ::block::Error> {
        let read = self.0.read_exact_at(buf, offset);
        read.map_err(|source| ::block::Error::Io { offset, source })
    }
}

impl BlockWrite for FileDevice {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), ::block::Error> {
        let written = self.0.write_all_at(buf, offset);
        written.map_err(|source| ::block::Error::Io { offset, source })
    }
}
