//! Why a FAT file system could not be read or edited.

use thiserror::Error;

/// Why a FAT file system could not be read or edited.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The device below failed.
    #[error("the device cannot be read or written")]
    Block(#[from] block::Error),
    /// There is no FAT file system.
    #[error("no FAT file system")]
    NotFat,
    /// The file system breaks its specification.
    #[error("damaged FAT file system")]
    Corrupt(#[source] Corrupt),
    /// Legal, but not done here.
    #[error("not supported on FAT")]
    Unsupported(#[source] Unsupported),
}

/// How a file system breaks its specification.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Corrupt {
    /// The boot sector's numbers contradict each other.
    #[error("boot sector: {0}")]
    BootSector(&'static str),
    /// The volume is larger than what it is on.
    #[error("volume of {volume} bytes on a device of {device} bytes")]
    LargerThanDevice {
        /// Bytes that the boot sector gives.
        volume: u64,
        /// Bytes of the device.
        device: u64,
    },
    /// A cluster number that no cluster has.
    #[error("cluster {cluster} does not exist, the last one is {last}")]
    NoSuchCluster {
        /// The number.
        cluster: u32,
        /// The last valid number.
        last: u32,
    },
    /// A chain goes into a free or bad cluster.
    #[error("the chain from cluster {first} reaches cluster {cluster}, which is free or bad")]
    ChainBroken {
        /// First cluster of the chain.
        first: u32,
        /// The cluster that is no part of any chain.
        cluster: u32,
    },
    /// A chain does not end where it has to.
    #[error("the chain from cluster {first} has more than {expected} clusters")]
    ChainTooLong {
        /// First cluster of the chain.
        first: u32,
        /// How many it may have.
        expected: u32,
    },
    /// A chain ends before the file does.
    #[error(
        "the chain from cluster {first} ends after {clusters} clusters, the file needs {needed}"
    )]
    ChainTooShort {
        /// First cluster of the chain; 0 for none.
        first: u32,
        /// How many it has.
        clusters: u32,
        /// How many the size asks for.
        needed: u32,
    },
    /// Two chains, or one twice, use the same cluster.
    #[error("cluster {cluster} is used twice, the second time in the chain from cluster {first}")]
    UsedTwice {
        /// The cluster.
        cluster: u32,
        /// First cluster of the chain that found it used.
        first: u32,
    },
    /// A directory has no cluster, or one that is not a directory's.
    #[error("directory without a cluster, in the slot at byte {at}")]
    DirectoryWithoutCluster {
        /// Where its slot is on the volume.
        at: u64,
    },
    /// Directories nest deeper than any path goes: some directory holds itself.
    #[error("directories nest more than {0} deep")]
    TooDeep(usize),
    /// A directory's slot has gone while it was in use.
    #[error("a name is read differently by the editing side: {0}")]
    ReadDifferently(String),
}

/// What is legal but not done here.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Unsupported {
    /// FAT keeps no links.
    #[error("symbolic links")]
    SymbolicLinks,
    /// FAT keeps no attributes by name.
    #[error("extended attributes")]
    ExtendedAttributes,
    /// A file of 4 GiB or more.
    #[error("a file of {0} bytes; FAT holds 4294967295 at most")]
    FileTooLarge(u64),
    /// A directory cannot become its own descendant.
    #[error("moving a directory into itself")]
    MoveIntoItself,
    /// More names than are kept in memory.
    #[error("more than {0} files")]
    TooManyNodes(usize),
    /// FAT32 with so few clusters that the specification would call it FAT16: read, not edited.
    #[error("editing FAT32 with only {0} clusters")]
    SmallFat32(u32),
    /// The table has no entries for the last clusters: read, not edited.
    #[error("editing a volume whose table is too small for its clusters")]
    TableTooSmall,
    /// `fatfs` will not open the volume.
    #[error("editing this volume: {0}")]
    Refused(String),
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

impl From<Error> for fs::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Block(error) => Self::Block(error),
            Error::Unsupported(unsupported) => Self::Unsupported(unsupported.into()),
            Error::NotFat => Self::Unsupported(Error::NotFat.into()),
            Error::Corrupt(corrupt) => Self::Corrupt(corrupt.into()),
        }
    }
}
