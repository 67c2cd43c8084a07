//! The volumes of a target: files with its disks.

use super::Error;
use block::BlockRead;
use image::{WriteFormat, WriteOptions};
use ondisk::{Interrupt, Progress};
use serde::Serialize;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// A disk in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Volume {
    /// The file.
    pub path: PathBuf,
    /// What the file is; its content is not asked.
    pub format: VolumeFormat,
    /// Whether it is the target's own: what the target writes stays in it. Otherwise the file is
    /// opened read-only, and what the target writes is lost when it ends.
    pub own: bool,
}

/// What QEMU opens without our help.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeFormat {
    /// The bytes of the disk.
    Raw,
    /// QEMU copy-on-write. Files that it names are opened by QEMU without a question, so the caller
    /// knows that there are none.
    Qcow2,
}

impl VolumeFormat {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// EBS makes volumes of whole GiB.
const GIB: u64 = 1 << 30;

/// The size of the volume that EBS makes of a disk, in bytes; `least` is what the user asks for.
pub(super) fn volume_size(disk: u64, least: u64) -> Option<u64> {
    disk.max(least).max(1).checked_next_multiple_of(GIB)
}

/// Writes the content of a device into a sparse raw file, and lets it grow to the size that its
/// volume would have in EBS. What is there under that name is replaced.
pub(super) fn write(
    device: &dyn BlockRead,
    least: u64,
    path: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Volume, Error> {
    let size = volume_size(device.size(), least).ok_or_else(|| {
        Error::Machine(format!(
            "{} bytes are more than a volume can have",
            device.size()
        ))
    })?;
    let options = WriteOptions {
        format: WriteFormat::Raw,
        overwrite: true,
        // It can be made again at any time.
        sync: false,
        ..WriteOptions::default()
    };
    image::write(device, path, &options, progress, interrupt).map_err(|source| Error::Volume {
        path: path.to_owned(),
        source,
    })?;
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(size))
        .map_err(|error| Error::io(path, "enlarge", error))?;
    Ok(Volume {
        path: path.to_owned(),
        format: VolumeFormat::Raw,
        own: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_whole_gib() {
        assert_eq!(volume_size(0, 0), Some(GIB));
        assert_eq!(volume_size(GIB, 0), Some(GIB));
        assert_eq!(volume_size(GIB + 512, 0), Some(2 * GIB));
        assert_eq!(volume_size(GIB, 8 * GIB), Some(8 * GIB));
        assert_eq!(volume_size(u64::MAX, 0), None);
    }
}
