//! Why a store could not be read or written.

use crate::{SinkError, SnapshotId};
use ondisk::Interrupted;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a store could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The host failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The host has no room for a file.
    #[error(
        "there is no room for {}; make some, or remove snapshots and collect what nobody needs",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// There is no such directory, or nothing is in it.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// The directory is no store, and not empty.
    #[error("{} holds something else than a rehost store; name another directory", .0.display())]
    NotAStore(PathBuf),
    /// The store was made by another version.
    #[error("{} has format {found}, this rehost reads format {expected}", path.display())]
    Format {
        /// The file that says it.
        path: PathBuf,
        /// The store's.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A manifest cannot be understood.
    #[error("{} is damaged", path.display())]
    Json {
        /// The manifest.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file of the store breaks its format.
    #[error("{} is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is no such snapshot.
    #[error("{} has no snapshot {id}", store.display())]
    NoSnapshot {
        /// The store.
        store: PathBuf,
        /// The snapshot asked for.
        id: SnapshotId,
    },
    /// Other snapshots were made from it.
    #[error("{id} is the parent of {child}{}; nothing was removed", match others {
        0 => String::new(),
        others => format!(" and {others} others"),
    })]
    HasChildren {
        /// The snapshot that was to be removed.
        id: SnapshotId,
        /// One that was made from it.
        child: SnapshotId,
        /// How many others were.
        others: usize,
    },
    /// A snapshot id is `snap-` and 17 lower-case hex digits.
    #[error("{0:?} is no snapshot id")]
    BadId(String),
    /// The state of a source is 1 to 64 lower-case hex digits.
    #[error("{0:?} is no state of a source: 1 to 64 hex digits")]
    BadSourceState(String),
    /// The disk is larger than any snapshot can be.
    #[error("a disk of {0} bytes is larger than the 64 TiB that a snapshot can hold")]
    TooLarge(u64),
    /// The source could not be read.
    #[error("cannot read the disk")]
    Block(#[from] block::Error),
    /// A block could not be put into the snapshot.
    #[error("cannot put block {block} into the snapshot")]
    Put {
        /// The block: its byte on the disk, divided by [`BLOCK`](crate::BLOCK).
        block: u32,
        /// What the sink said.
        source: SinkError,
    },
    /// An earlier run of the snapshot put a block that the disk does not have.
    #[error(
        "an interrupted run put block {block}, and the disk has only {disk_blocks}: it shrank since; \
         start a new snapshot"
    )]
    Resume {
        /// The block.
        block: u32,
        /// Blocks of the disk.
        disk_blocks: u32,
    },
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
