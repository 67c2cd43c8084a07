//! Making a snapshot of a disk.

use crate::engine::{self, Job, SinkError, SnapshotSink};
use crate::index::{self, Digest, Index, hex};
use crate::manifest::{self, Manifest, SnapshotId};
use crate::{BLOCK, Error, FORMAT, Store};
use block::BlockRead;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// A snapshot that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its name.
    pub id: SnapshotId,
    /// Blocks it holds: those that are not all zeros.
    pub blocks: u64,
    /// Blocks that the store did not hold before.
    pub new_blocks: u64,
}

impl Store {
    /// Makes a snapshot of `disk`. Holes are not read; blocks are read, hashed and compressed on
    /// all cores, with one block in memory for each.
    ///
    /// # Errors
    /// [`Error::Block`] if the disk cannot be read, [`Error::Io`] if the store cannot be written,
    /// [`Error::Interrupted`]. No snapshot exists then; blocks that were stored stay.
    pub fn write(
        &self,
        disk: &dyn BlockRead,
        description: &str,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Written, Error> {
        let job = Job {
            disk,
            parent: None,
            encrypted: false,
            zero_fill: false,
            changed: None,
        };
        let sink = Blocks {
            store: self,
            new: Mutex::default(),
        };
        let index = engine::run(&job, &sink, progress, interrupt)
            .map_err(of_the_store)?
            .index;
        let new = sink
            .new
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let blocks = u64_of(index.len());
        let new_blocks = u64_of(new.len());
        let id = self.publish(&index, disk.size(), description)?;
        Ok(Written {
            id,
            blocks,
            new_blocks,
        })
    }

    /// Makes the snapshot visible once everything it needs is on disk.
    fn publish(
        &self,
        index: &Index,
        disk_size: u64,
        description: &str,
    ) -> Result<SnapshotId, Error> {
        let encoded = index.encode();
        let index_sha256 = hex(&Sha256::digest(&encoded));
        let identity = format!("{disk_size} {index_sha256}");
        let id = SnapshotId::of_digest(&hex(&Sha256::digest(identity.as_bytes())));
        let io = |error: rustix::io::Errno| Error::Io {
            path: self.dir.clone(),
            source: error.into(),
        };
        let dir = File::open(&self.dir).map_err(|source| Error::Io {
            path: self.dir.clone(),
            source,
        })?;
        // One flush for all blocks, instead of one for each.
        rustix::fs::syncfs(&dir).map_err(io)?;
        manifest::publish(&self.index_path(&id), &encoded, true)?;
        let manifest = Manifest {
            format: FORMAT,
            id: id.clone(),
            description: description.to_owned(),
            disk_size,
            block_size: BLOCK,
            blocks: u64_of(index.len()),
            linear_sha256: hex(&index::linear(index.records())),
            index_sha256,
        };
        manifest::write_json(&self.manifest_path(&id), &manifest)?;
        Ok(id)
    }
}

/// Puts blocks into a store.
struct Blocks<'s> {
    store: &'s Store,
    /// What the store did not hold. Two cores may store the same block at the same time.
    new: Mutex<BTreeSet<Digest>>,
}

impl SnapshotSink for Blocks<'_> {
    fn put(&self, _: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError> {
        if self.store.put_block(&digest, &content)? {
            let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
            new.insert(digest);
        }
        Ok(())
    }
}

/// What the sink above said is an error of the store already.
fn of_the_store(error: Error) -> Error {
    match error {
        Error::Put { block, source } => match source.downcast() {
            Ok(error) => *error,
            Err(source) => Error::Put { block, source },
        },
        error => error,
    }
}
