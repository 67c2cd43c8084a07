//! Snapshots in a local directory: 512 KiB blocks by digest, and a manifest for each snapshot.
//!
//! A snapshot holds the blocks of a disk that are not all zeros, each once however many snapshots
//! share it. It exists from the moment its manifest has its final name; everything it needs is on
//! disk by then.
//!
//! # The directory
//! | name | content |
//! |---|---|
//! | `rehost-store.json` | `{"format":1}`; a directory without it is no store |
//! | `blocks/ab/abcd….zst` | one block, compressed with zstd, under the SHA-256 of its 524,288 bytes |
//! | `snapshots/ID.index` | for each block in ascending order: index (u32, little endian), SHA-256 (32 bytes) |
//! | `snapshots/ID.json` | the manifest: [`Manifest`] |
//!
//! The last block of a disk whose size is no multiple of 512 KiB is padded with zeros. The id is
//! made of the content, so the same disk gives the same id.
//!
//! ```
//! use block::{BlockRead, Memory};
//! use ondisk::{Interrupt, NoProgress};
//! use store::Store;
//!
//! let dir = tempfile::tempdir()?;
//! let store = Store::create(&dir.path().join("store"))?;
//! let disk = Memory::new(vec![7; 1 << 20]);
//! let written = store.write(&disk, "web1 disk 1", &NoProgress, &Interrupt::default())?;
//! assert_eq!((written.blocks, written.new_blocks), (2, 1));
//!
//! let snapshot = store.read(&written.id)?;
//! assert_eq!(snapshot.size(), 1 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
pub mod engine;
mod error;
mod index;
mod manifest;
mod read;
mod write;
mod zeros;

use std::fs;
use std::path::{Path, PathBuf};

pub use engine::{Job, Outcome, SinkError, SnapshotSink};
pub use error::Error;
pub use index::{Digest, Index, Record, ZERO, linear};
pub use manifest::{Manifest, SnapshotId};
pub use read::Snapshot;
pub use write::Written;

/// Bytes of a block: what the EBS direct APIs take.
pub const BLOCK: u64 = 512 << 10;

/// The largest EBS volume.
const MAX_DISK: u64 = 64 << 40;
/// The version of the directory's layout.
const FORMAT: u32 = 1;
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
        if !dir.join(MARKER).exists() {
            for entry in fs::read_dir(dir).map_err(io)? {
                // A creation that was killed leaves no more than the marker's temporary file.
                let name = entry.map_err(io)?.file_name();
                if !name.as_encoded_bytes().starts_with(b".partial-") {
                    return Err(Error::NotAStore(dir.to_owned()));
                }
            }
            manifest::write_json(&dir.join(MARKER), &manifest::Marker { format: FORMAT })?;
        }
        for sub in ["blocks", "snapshots"] {
            fs::create_dir_all(dir.join(sub)).map_err(io)?;
        }
        Self::open(dir)
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if there is none; [`Error::Format`] if it is a newer one.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let marker = dir.join(MARKER);
        if !marker.exists() {
            return Err(Error::NotAStore(dir.to_owned()));
        }
        let manifest::Marker { format } = manifest::read_json(&marker)?;
        if format != FORMAT {
            return Err(Error::Format {
                path: marker,
                found: format,
                expected: FORMAT,
            });
        }
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
    /// [`Error::Io`], or [`Error::Json`] for a manifest that cannot be understood.
    pub fn snapshots(&self) -> Result<Vec<Manifest>, Error> {
        let dir = self.dir.join("snapshots");
        let io = |source| Error::Io {
            path: dir.clone(),
            source,
        };
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                manifests.push(manifest::read_json::<Manifest>(&path)?);
            }
        }
        manifests.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(manifests)
    }

    fn manifest_path(&self, id: &SnapshotId) -> PathBuf {
        self.dir.join("snapshots").join(format!("{id}.json"))
    }

    fn index_path(&self, id: &SnapshotId) -> PathBuf {
        self.dir.join("snapshots").join(format!("{id}.index"))
    }
}
