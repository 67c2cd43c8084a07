//! Whether somebody else writes to a disk while it is read.

use crate::identity::{self, block_device, shares_bytes_with};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A device that the kernel of this host writes to.
#[derive(Debug, Eq, PartialEq)]
struct InUse {
    rdev: u64,
    /// In the words of a message.
    how: String,
}

/// Refuses a disk that is read from files of which one is mounted for writing, or used as swap: the
/// disk itself, a partition of it, or what is below or above it.
pub(crate) fn refuse(files: &[PathBuf]) -> Result<()> {
    let in_use = in_use();
    for file in files {
        let found = in_use.iter().find(|one| shares_bytes_with(file, one.rdev));
        if let Some(found) = found {
            bail!(
                "{} is in use: {}. What is read while somebody writes is no state that the disk \
                 ever had. Replicate a snapshot of it instead: of LVM (lvcreate --snapshot), of the \
                 hypervisor, or after it is mounted read-only; --allow-mounted reads it as it is",
                file.display(),
                found.how
            );
        }
    }
    Ok(())
}

/// As far as the kernel tells: a host without these files tells nothing.
fn in_use() -> Vec<InUse> {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let swaps = fs::read("/proc/swaps").unwrap_or_default();
    let mut found: Vec<InUse> = lines(&mounts).flat_map(mounted).collect();
    // The first line says what the columns are.
    found.extend(lines(&swaps).skip(1).filter_map(swap));
    found
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The devices of a line of `mountinfo`, if their file system is written to: proc_pid_mountinfo(5).
/// It is so whatever one of its mounts says, so the options of the file system count.
fn mounted(line: &[u8]) -> Vec<InUse> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-");
    let after = dash.and_then(|dash| fields.get(dash + 1..));
    let (Some([_, source, options, ..]), Some(point)) = (after, fields.get(4)) else {
        return Vec::new();
    };
    if !options.split(|byte| *byte == b',').any(|one| one == b"rw") {
        return Vec::new();
    }
    let number = fields
        .get(2)
        .and_then(|number| std::str::from_utf8(number).ok());
    // Some file systems have numbers of their own, and only name the device: Btrfs.
    let devices = [
        number.and_then(identity::number),
        block_device(&unescaped(source)),
    ];
    let how = format!("mounted for writing at {}", unescaped(point).display());
    let in_use = |rdev| InUse {
        rdev,
        how: how.clone(),
    };
    devices.into_iter().flatten().map(in_use).collect()
}

/// The device of a line of `/proc/swaps`; a swap file is on a file system that is mounted.
fn swap(line: &[u8]) -> Option<InUse> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let path = unescaped(&line[..end]);
    Some(InUse {
        rdev: block_device(&path)?,
        how: format!("{} is swap", path.display()),
    })
}

/// A name in which the kernel wrote spaces and the like as `\` and three octal digits.
fn unescaped(name: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Path::new(&OsString::from_vec(bytes)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_to_counts() {
        let line =
            b"36 35 98:1 / /mnt/a\\040b ro,noatime master:1 - ext4 /nowhere/x rw,errors=continue";
        let found = mounted(line);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].rdev, rustix::fs::makedev(98, 1));
        assert_eq!(found[0].how, "mounted for writing at /mnt/a b");
        for quiet in [
            &b"36 35 98:1 / /mnt rw,noatime - ext4 /nowhere/x ro"[..],
            b"36 35 98:1 / /mnt rw,noatime",
            b"36 35 98:1 / /mnt rw,noatime -",
            b"",
        ] {
            assert_eq!(mounted(quiet), []);
        }
    }

    #[test]
    fn names_are_read_as_the_kernel_writes_them() {
        let name = unescaped(b"/a\\040b\\134\\9x\\04");
        assert_eq!(name.as_os_str().as_encoded_bytes(), b"/a b\\\\9x\\04");
    }
}
