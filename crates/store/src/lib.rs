//! Snapshots in a local directory: 512 KiB blocks by digest, and a manifest for each snapshot.
//!
//! A snapshot holds the blocks of a disk that are not all zeros, each once however many snapshots
//! share it. It exists from the moment its manifest has its final name; everything it needs is on
//! disk by then.
//!
//! A snapshot may have a parent: the state of the same disk before. Only blocks that differ from the
//! parent's are put, yet the index names all blocks, so a snapshot is read without its parent and
//! outlives it.
//!
//! # The directory
//! | name | content |
//! |---|---|
//! | `rehost-store.json` | the format, 2; a directory without it is no store |
//! | `lock` | nothing; whoever writes or removes locks it with flock |
//! | `blocks/ab/abcd….zst` | one block, compressed with zstd, under the SHA-256 of its 524,288 bytes; a skippable frame with the CRC-32C of the file before it |
//! | `snapshots/ID.index` | for each block in ascending order: index (u32, little endian), SHA-256 (32 bytes) |
//! | `snapshots/ID.json` | the manifest: [`Manifest`], with its own SHA-256 |
//!
//! The last block of a disk whose size is no multiple of 512 KiB is padded with zeros. The id is
//! made of the content, the parent, the machine, the disk and the role, so the same run gives the
//! same id. Every bit of every file is under a checksum: [`Store::fsck`].
//!
//! ```
//! use block::{BlockRead, Memory};
//! use ondisk::{Interrupt, NoProgress};
//! use store::{NewSnapshot, Store};
//!
//! let dir = tempfile::tempdir()?;
//! let store = Store::create(&dir.path().join("store"))?;
//! let disk = Memory::new(vec![7; 1 << 20]);
//! let new = NewSnapshot { machine: "web1", disk: "1", ..NewSnapshot::default() };
//! let first = store.write(&disk, &new, &NoProgress, &Interrupt::default())?;
//! assert_eq!((first.put_blocks, first.new_blocks), (2, 1));
//!
//! let mut bytes = vec![7; 1 << 20];
//! bytes[0] = 8;
//! let disk = Memory::new(bytes);
//! let new = NewSnapshot { parent: Some(&first.id), ..new };
//! let second = store.write(&disk, &new, &NoProgress, &Interrupt::default())?;
//! assert_eq!((second.blocks, second.put_blocks), (2, 1));
//! assert_eq!(store.diff(&first.id, &second.id)?, [0..512 << 10]);
//! assert_eq!(store.read(&second.id)?.size(), 1 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod chain;
pub mod engine;
mod error;
mod files;
mod fsck;
mod gc;
mod index;
mod job;
mod lock;
mod manifest;
mod read;
mod write;
mod zeros;

use manifest::Marker;
use std::path::{Path, PathBuf};
use std::{fs, io};

pub use chain::Children;
pub use error::Error;
pub use fsck::Report;
pub use gc::Collected;
pub use index::{Digest, Index, Record, ZERO, linear};
pub use job::{Job, Outcome, SinkError, SnapshotSink};
pub use manifest::{Manifest, Role, SnapshotId, SourceState};
pub use read::Snapshot;
pub use write::{NewSnapshot, Written};

/// Bytes of a block: what the EBS direct APIs take.
pub const BLOCK: u64 = 512 << 10;

/// The largest EBS volume.
const MAX_DISK: u64 = 64 << 40;
/// The version of the directory's layout.
const FORMAT: u32 = 2;
const MARKER: &str = "rehost-store.json";

/// A directory of snapshots.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the store in `dir`, or makes one if the directory is absent or empty.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if the directory holds something else; [`Error::Io`].
    pub fn create(dir: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let marker = dir.join(MARKER);
        if !marker.exists() {
            // A creation that was killed leaves no more than the marker's temporary file.
            let foreign = |name: &String| !name.starts_with(files::PARTIAL);
            // Somebody else may be creating it at the same time, and starts with the marker.
            if files::names(dir)?.iter().any(foreign) && !marker.exists() {
                return Err(Error::NotAStore(dir.to_owned()));
            }
            files::publish(&marker, &Marker { format: FORMAT }.encode(), true)?;
        }
        for sub in ["blocks", "snapshots"] {
            fs::create_dir_all(dir.join(sub)).map_err(io)?;
        }
        // So that whoever may only read can lock it.
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(lock::NAME))
            .map_err(io)?;
        Self::open(dir)
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if there is none; [`Error::Format`] if another version made it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let marker = dir.join(MARKER);
        if !marker.exists() {
            return Err(Error::NotAStore(dir.to_owned()));
        }
        Marker::read(&marker)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Where the store is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifests of all snapshots, by id.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`Manifest::decode`] for a manifest that is damaged.
    pub fn snapshots(&self) -> Result<Vec<Manifest>, Error> {
        let mut manifests = Vec::new();
        let names = match files::names(&self.snapshots_dir()) {
            Ok(names) => names,
            // Whoever began to make the store was killed right after the marker.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        for name in names {
            if !name.ends_with(".json") {
                continue;
            }
            match Manifest::read(&self.snapshots_dir().join(name)) {
                Ok(manifest) => manifests.push(manifest),
                // Somebody removed it a moment ago.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        manifests.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(manifests)
    }

    fn snapshots_dir(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    fn manifest_path(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots_dir().join(format!("{id}.json"))
    }

    fn index_path(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots_dir().join(format!("{id}.index"))
    }
}
