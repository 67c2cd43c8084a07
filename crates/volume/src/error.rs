//! Why the partitions of a disk cannot be told.

use crate::GptDamage;
use thiserror::Error;

/// Why a partition table could not be read, or a partition not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk below cannot be read.
    #[error("the disk cannot be read")]
    Block(#[from] block::Error),
    /// The table breaks its specification.
    #[error("damaged partition table")]
    Corrupt(#[source] Corrupt),
    /// Legal, but not read here.
    #[error("partition table not supported")]
    Unsupported(#[source] Unsupported),
    /// The partition does not lie inside the disk.
    #[error("partition {number} (bytes {start} to {end}) leaves the disk of {size} bytes")]
    LeavesDisk {
        /// Partition number.
        number: u32,
        /// Its first byte.
        start: u64,
        /// The byte after its last one.
        end: u64,
        /// Disk size in bytes.
        size: u64,
    },
}

/// How a table breaks its specification so that nothing can be read from it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Corrupt {
    /// The MBR says that there is a GPT, but neither copy can be used.
    #[error(
        "the protective MBR announces a GPT, but its primary ({primary}) and backup ({backup}) \
         cannot be used"
    )]
    NoUsableGpt {
        /// What is wrong with the copy at LBA 1.
        primary: GptDamage,
        /// What is wrong with the copy at the end of the disk.
        backup: GptDamage,
    },
}

/// A kind of table that is not read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Unsupported {
    /// Apple partition map.
    #[error("Apple partition map")]
    AppleMap,
    /// SGI disk label.
    #[error("SGI disk label")]
    SgiLabel,
    /// Sun disk label.
    #[error("Sun disk label")]
    SunLabel,
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::Unsupported(unsupported)
    }
}
