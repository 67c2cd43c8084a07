//! The kernel's own driver, through a loop device.

use crate::operation::{self, Operation, Step};
use crate::tree::{Node, Tree, join};
use fs::Kind;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self as host, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A mounted image; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    dir: tempfile::TempDir,
    /// Whether files are written whole: if a file lies in its inode, Linux 6.18 loses what is
    /// written behind its first page, and what was there when it grows by `truncate`.
    pub whole_files: bool,
}

impl Mount {
    /// Mounts an image of a file system that the kernel knows as `kind`; `options` go to `mount -o`
    /// beside `loop`.
    ///
    /// # Errors
    /// What `mount` says.
    pub fn new(image: &Path, kind: &str, options: &str) -> Result<Self, String> {
        let to_read = options.split(',').any(|option| option == "ro");
        for _ in 0..100 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let output = Command::new("mount")
                .args(["-t", kind, "-o", &format!("loop,{options}")])
                .arg(image)
                .arg(dir.path())
                .output()
                .map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            let mount = Self {
                dir,
                whole_files: false,
            };
            let room = rustix::fs::statvfs(mount.root()).map_err(|error| error.to_string())?;
            if to_read || !room.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
                return Ok(mount);
            }
            // The loop device of a look before was still there, and `mount` took it: read-only.
            drop(mount);
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{} is mounted read-only", image.display()))
    }

    /// Where the root is.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The host's path of a path on the image.
    pub fn path(&self, path: &[u8]) -> PathBuf {
        self.dir.path().join(OsStr::from_bytes(path))
    }

    /// Reads everything.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        read_below(self.root(), b"", &mut tree);
        tree
    }

    /// Does the same as the driver is asked to do.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn apply(&self, operation: &Operation) -> io::Result<()> {
        let path = self.path(&operation.path);
        match &operation.step {
            Step::Create { content, new } => {
                let file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?;
                file.write_all_at(content, 0)?;
                set_owner(&path, new.mode, new.uid, new.gid)
            }
            Step::MakeDir { new } => {
                host::create_dir(&path)?;
                set_owner(&path, new.mode, new.uid, new.gid)
            }
            Step::Symlink { target, new } => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path)?;
                std::os::unix::fs::lchown(&path, Some(new.uid), Some(new.gid))
            }
            Step::Replace { content } => {
                let file = OpenOptions::new().write(true).truncate(true).open(&path)?;
                file.write_all_at(content, 0)
            }
            Step::WriteAt { offset, content } if self.whole_files => {
                let mut whole = host::read(&path)?;
                operation::write_at(&mut whole, *offset, content);
                host::write(&path, whole)
            }
            Step::WriteAt { offset, content } => {
                let file = OpenOptions::new().write(true).open(&path)?;
                file.write_all_at(content, *offset)
            }
            Step::Truncate { size } if self.whole_files => {
                let mut whole = host::read(&path)?;
                whole.resize(ondisk::width::usize_of(*size), 0);
                host::write(&path, whole)
            }
            Step::Truncate { size } => OpenOptions::new().write(true).open(&path)?.set_len(*size),
            Step::Remove => {
                if host::symlink_metadata(&path)?.is_dir() {
                    host::remove_dir(&path)
                } else {
                    host::remove_file(&path)
                }
            }
            Step::Rename { to } => host::rename(&path, self.path(to)),
            Step::SetOwner { new } => set_owner(&path, new.mode, new.uid, new.gid),
            Step::SetXattr { name, value } => set_xattr(&path, name, value.as_deref()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A busy mount gets another chance: something on the host may have looked into it.
        for _ in 0..50 {
            let output = Command::new("umount").arg(self.dir.path()).output();
            if output.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let lazy = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
        eprintln!("{} stays busy: {lazy:?}", self.dir.path().display());
    }
}

fn set_owner(path: &Path, mode: u16, uid: u32, gid: u32) -> io::Result<()> {
    // The owner first: changing it takes away set-uid and set-gid.
    std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    host::set_permissions(path, host::Permissions::from_mode(mode.into()))
}

/// Sets an attribute, or removes it.
///
/// # Errors
/// What the kernel answers.
pub fn set_xattr(path: &Path, name: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    match value {
        Some(value) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())?,
        None => rustix::fs::lremovexattr(path, name)?,
    }
    Ok(())
}

fn read_below(host_path: &Path, path: &[u8], tree: &mut Tree) {
    let metadata = host::symlink_metadata(host_path).expect("the kernel reads what it lists");
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_dir() => Kind::Dir,
        () if kind.is_file() => Kind::File,
        () if kind.is_symlink() => Kind::Symlink,
        () if kind.is_fifo() => Kind::Fifo,
        () if kind.is_socket() => Kind::Socket,
        () if kind.is_block_device() => Kind::BlockDevice,
        () => Kind::CharDevice,
    };
    let content = match kind {
        Kind::File => host::read(host_path).expect("the kernel reads every file"),
        Kind::Symlink => {
            let target = host::read_link(host_path).expect("the kernel reads every link");
            target.into_os_string().as_bytes().to_vec()
        }
        _ => Vec::new(),
    };
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    let rdev = metadata.rdev();
    let device = is_device.then(|| (rustix::fs::major(rdev), rustix::fs::minor(rdev)));
    tree.insert(
        path.to_vec(),
        Node {
            kind,
            mode: u16::try_from(metadata.mode() & 0o7777).expect("twelve bits"),
            uid: metadata.uid(),
            gid: metadata.gid(),
            content,
            device,
            xattrs: read_xattrs(host_path),
        },
    );
    if kind == Kind::Dir {
        for entry in host::read_dir(host_path).expect("the kernel lists every directory") {
            let name = entry.expect("the kernel lists every directory").file_name();
            read_below(&host_path.join(&name), &join(path, name.as_bytes()), tree);
        }
    }
}

fn read_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let names = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut xattrs = BTreeMap::new();
    for name in names {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("it was listed");
        value.truncate(len);
        xattrs.insert(name.to_vec(), value);
    }
    xattrs
}

/// Flushes a mounted file system, which commits its journal.
pub fn sync(mount: &Mount) {
    let root = File::open(mount.root()).expect("the root is there");
    rustix::fs::syncfs(&root).expect("a mounted file system can be flushed");
}
