//! What is known about a file system as a whole.

use serde::{Deserialize, Serialize};

/// The kinds of file system that drivers exist for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FsKind {
    /// Second extended file system: no journal, no extents.
    Ext2,
    /// Third extended file system: journal, no extents.
    Ext3,
    /// Fourth extended file system.
    Ext4,
    /// XFS, version 4 or 5.
    Xfs,
    /// FAT with 12, 16 or 32-bit clusters.
    Vfat,
    /// In memory, in tests.
    Memory,
}

impl FsKind {
    /// The name that fstab uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Vfat => "vfat",
            Self::Memory => "memory",
        }
    }
}

/// What a file system says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FsInfo {
    /// What kind it is.
    pub kind: FsKind,
    /// The volume label, if there is one.
    pub label: Option<String>,
    /// The identifier that `UUID=` in fstab compares: lower-case hex with dashes, on FAT `ABCD-1234`.
    pub uuid: Option<String>,
    /// Feature names as the file system's own tools print them.
    pub features: Vec<String>,
    /// Whether a journal was replayed when it was opened.
    pub recovered: bool,
    /// When the file system was last written by its own system, for reproducible times.
    pub last_write: Option<crate::Time>,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free for data, without what is reserved for the file system itself.
    pub free_bytes: u64,
    /// Inodes free; absent where nodes take none.
    pub free_inodes: Option<u64>,
    /// Bytes of the unit of allocation.
    pub block_size: u32,
}
