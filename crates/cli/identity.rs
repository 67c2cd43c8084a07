//! Whether two paths lead to one file, or to places that share bytes.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What stays the same whatever path leads to a file: links of both kinds are seen through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Identity {
    File {
        dev: u64,
        ino: u64,
    },
    /// A device may have several nodes.
    BlockDevice {
        rdev: u64,
    },
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        // Arguments name stdin by a dash.
        let path = if path == Path::new("-") {
            Path::new("/dev/stdin")
        } else {
            path
        };
        std::fs::metadata(path).ok().as_ref().map(Self::from)
    }
}

impl From<&Metadata> for Identity {
    fn from(meta: &Metadata) -> Self {
        if meta.file_type().is_block_device() {
            Self::BlockDevice { rdev: meta.rdev() }
        } else {
            Self::File {
                dev: meta.dev(),
                ino: meta.ino(),
            }
        }
    }
}

/// Whether `path` leads to one of some files, or shares bytes with one: as a disk does with its
/// partitions, a logical volume with the disks below it, a loop device with its file.
pub(crate) fn is_one_of<P: AsRef<Path>>(path: &Path, files: &[P]) -> bool {
    let kernel = Kernel::default();
    let Some(identity) = Identity::of(path) else {
        return false;
    };
    let below = kernel.with_all_below(identity);
    files
        .iter()
        .filter_map(|file| Identity::of(file.as_ref()))
        .any(|file| below.contains(&file) || kernel.with_all_below(file).contains(&identity))
}

/// Whether a path leads to a device, to one that holds its bytes, or to one whose bytes it holds:
/// a disk and its partitions, the disks below a logical volume, a loop device and its file.
pub(crate) fn shares_bytes_with(path: &Path, rdev: u64) -> bool {
    let kernel = Kernel::default();
    let device = Identity::BlockDevice { rdev };
    Identity::of(path).is_some_and(|identity| {
        kernel.with_all_below(identity).contains(&device)
            || kernel.with_all_below(device).contains(&identity)
    })
}

/// The number of the block device at a path.
pub(crate) fn block_device(path: &Path) -> Option<u64> {
    match Identity::of(path)? {
        Identity::BlockDevice { rdev } => Some(rdev),
        Identity::File { .. } => None,
    }
}

/// What the kernel says about the devices it knows.
#[derive(Debug)]
struct Kernel {
    /// A directory for each block device, named `MAJOR:MINOR`.
    devices: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            devices: PathBuf::from("/sys/dev/block"),
        }
    }
}

impl Kernel {
    /// A file or device, and all that holds its bytes.
    fn with_all_below(&self, identity: Identity) -> Vec<Identity> {
        let mut found = vec![identity];
        let mut at = 0;
        while let Some(identity) = found.get(at).copied() {
            at += 1;
            if let Identity::BlockDevice { rdev } = identity {
                for below in self.below(rdev) {
                    if !found.contains(&below) {
                        found.push(below);
                    }
                }
            }
        }
        found
    }

    /// What is right below a device, as far as the kernel tells: a host without this directory
    /// tells nothing.
    fn below(&self, rdev: u64) -> Vec<Identity> {
        let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
        let link = self.devices.join(format!("{major}:{minor}"));
        let Ok(device) = link.canonicalize() else {
            return Vec::new();
        };
        let mut numbers = Vec::new();
        if device.join("partition").exists()
            && let Some(disk) = device.parent()
        {
            numbers.push(disk.join("dev"));
        }
        if let Ok(slaves) = device.join("slaves").read_dir() {
            numbers.extend(slaves.flatten().map(|slave| slave.path().join("dev")));
        }
        let text = |path: &Path| std::fs::read_to_string(path).ok();
        let mut below: Vec<_> = numbers
            .iter()
            .filter_map(|path| number(text(path)?.trim()))
            .map(|rdev| Identity::BlockDevice { rdev })
            .collect();
        let file = text(&device.join("loop/backing_file"));
        below.extend(file.and_then(|file| Identity::of(Path::new(file.trim_end_matches('\n')))));
        below
    }
}

/// The number of a device, as the kernel writes it: `MAJOR:MINOR`.
pub(crate) fn number(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(rustix::fs::makedev(
        major.parse().ok()?,
        minor.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_holds_the_bytes_of_a_device_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel {
            devices: dir.path().join("block"),
        };
        fs::create_dir(&kernel.devices).unwrap();
        let add = |number: &str, path: &str| {
            let device = dir.path().join(path);
            fs::create_dir_all(device.join("slaves")).unwrap();
            fs::write(device.join("dev"), format!("{number}\n")).unwrap();
            symlink(&device, kernel.devices.join(number)).unwrap();
            device
        };
        // A logical volume on a partition of a loop device over a file, and a disk of its own.
        let disk = add("7:0", "loop0");
        let file = dir.path().join("disk image.raw");
        fs::write(&file, "").unwrap();
        fs::create_dir(disk.join("loop")).unwrap();
        let named = format!("{}\n", file.display());
        fs::write(disk.join("loop/backing_file"), named).unwrap();
        let part = add("259:1", "loop0/loop0p1");
        fs::write(part.join("partition"), "1\n").unwrap();
        let volume = add("253:4", "dm-4");
        symlink(&part, volume.join("slaves/loop0p1")).unwrap();
        add("8:0", "sda");
        let device = |text| Identity::BlockDevice {
            rdev: number(text).unwrap(),
        };
        let file = Identity::of(&file).unwrap();
        let (disk, part, volume) = (device("7:0"), device("259:1"), device("253:4"));
        for (from, all) in [
            (volume, &[volume, part, disk, file][..]),
            (part, &[part, disk, file]),
            (disk, &[disk, file]),
            (file, &[file]),
            (device("8:0"), &[device("8:0")]),
            (device("9:9"), &[device("9:9")]),
        ] {
            assert_eq!(kernel.with_all_below(from), all);
        }
    }
}
