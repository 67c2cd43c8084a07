//! Whether two paths lead to one file.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

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

/// Whether `path` leads to one of some files.
pub(crate) fn is_one_of<P: AsRef<Path>>(path: &Path, files: &[P]) -> bool {
    let Some(identity) = Identity::of(path) else {
        return false;
    };
    files
        .iter()
        .any(|file| Identity::of(file.as_ref()) == Some(identity))
}
