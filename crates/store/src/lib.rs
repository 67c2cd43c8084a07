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
//! | `.partial-…` in any of these | a file that is not whole; one that is named after an ID says that a run makes or removes that snapshot |
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
mod sha256;
mod write;
mod zeros;

use manifest::Marker;
use std::fs;
use std::path::{Path, PathBuf};

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
const BLOCKS: &str = "blocks";
const SNAPSHOTS: &str = "snapshots";

/// Whether a name says nothing about what a directory is for.
fn is_incidental(name: &str) -> bool {
    name.starts_with(files::PARTIAL) || name == files::LOST_AND_FOUND
}

/// A directory of snapshots.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Whether somebody makes or removes a snapshot, or was killed while doing so; `names` ascend.
fn is_under_way(id: &SnapshotId, names: &[String]) -> bool {
    let prefix = Store::under_way(id);
    let at = names.partition_point(|name| *name < prefix);
    names.get(at).is_some_and(|name| name.starts_with(&prefix))
}

/// What is known about the snapshots of a store.
#[derive(Debug, Default)]
pub struct Survey {
    /// The manifests, by id.
    pub manifests: Vec<Manifest>,
    /// Why others cannot be read; each names the file.
    pub damaged: Vec<Error>,
}

impl Store {
    /// Opens the store in `dir`, or makes one if the directory is absent or empty. What is made is
    /// for its owner alone.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if the directory holds something else; [`Error::Corrupt`] if it is a
    /// store without its marker; [`Error::Io`].
    pub fn create(dir: &Path) -> Result<Self, Error> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(|source| files::io_error(parent, source))?;
        }
        files::make_dir(dir)?;
        let marker = dir.join(MARKER);
        if !files::is_there(&marker)? {
            match Self::without_marker(dir)? {
                Error::NoStore(_) => {
                    files::publish(&marker, &Marker { format: FORMAT }.encode(), true)?;
                }
                // Somebody else may be creating it at the same time, and starts with the marker.
                error if !files::is_there(&marker)? => return Err(error),
                _ => {}
            }
        }
        let store = Self::open(dir)?;
        for sub in [store.blocks_dir(), store.snapshots_dir()] {
            files::make_dir(&sub)?;
        }
        // So that whoever may only read can lock it.
        lock::open(&dir.join(lock::NAME))?;
        Ok(store)
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::NotAStore`] if there is something else; [`Error::Format`] if
    /// another version made it; [`Error::Corrupt`] if its marker is damaged or lost; [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        match Marker::read(&dir.join(MARKER)) {
            Err(error) if files::is_missing(&error) => Err(Self::without_marker(dir)?),
            Err(error) => Err(error),
            Ok(_) => Ok(Self {
                dir: dir.to_owned(),
            }),
        }
    }

    /// What a directory without a marker is.
    fn without_marker(dir: &Path) -> Result<Error, Error> {
        let names = match files::names(dir) {
            Err(error) if files::is_missing(&error) => Vec::new(),
            names => names?,
        };
        let is_there = |name: &str| names.iter().any(|one| one == name);
        Ok(if is_there(BLOCKS) && is_there(SNAPSHOTS) {
            let what = "it is missing, and a store has it".to_owned();
            files::corrupt(&dir.join(MARKER), what)
        // A creation that was killed leaves no more than the marker's temporary file.
        } else if names.iter().any(|name| !is_incidental(name)) {
            Error::NotAStore(dir.to_owned())
        } else {
            Error::NoStore(dir.to_owned())
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
        let survey = self.survey()?;
        match survey.damaged.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(survey.manifests),
        }
    }

    /// The manifests of all snapshots, and what is wrong with those that cannot be read: one damaged
    /// file must not keep all machines from being looked after.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub fn survey(&self) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        for id in self.ids()? {
            match Manifest::read(&self.manifest_path(&id)) {
                Ok(manifest) => survey.manifests.push(manifest),
                // Somebody removed it a moment ago.
                Err(error) if files::is_missing(&error) => {}
                Err(error) => survey.damaged.push(error),
            }
        }
        Ok(survey)
    }

    /// The ids of all snapshots, ascending, of damaged ones too: no manifest is read.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub fn ids(&self) -> Result<Vec<SnapshotId>, Error> {
        let names = match files::names(&self.snapshots_dir()) {
            // Whoever began to make the store was killed right after the marker.
            Err(error) if files::is_missing(&error) => Vec::new(),
            names => names?,
        };
        let id = |name: &String| name.strip_suffix(".json")?.parse().ok();
        Ok(names.iter().filter_map(id).collect())
    }

    /// The indexes whose manifest was lost: neither is it there, nor does a run that was killed explain
    /// why not. `names` are those in the directory.
    fn orphans(&self, names: &[String]) -> Vec<SnapshotId> {
        let mut orphans = Vec::new();
        for name in names {
            let id = name.strip_suffix(".index");
            let Some(Ok(id)) = id.map(str::parse::<SnapshotId>) else {
                continue;
            };
            let manifest = format!("{id}.json");
            if names.binary_search(&manifest).is_err() && !is_under_way(&id, names) {
                orphans.push(id);
            }
        }
        orphans
    }

    fn snapshots_dir(&self) -> PathBuf {
        self.dir.join(SNAPSHOTS)
    }

    fn manifest_path(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots_dir().join(format!("{id}.json"))
    }

    fn index_path(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots_dir().join(format!("{id}.index"))
    }
}
