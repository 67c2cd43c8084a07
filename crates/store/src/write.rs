//! Making a snapshot of a disk.

use crate::files::{self, corrupt, io_error};
use crate::index::{self, Digest, hex};
use crate::manifest::{Manifest, Role, SnapshotId};
use crate::{BLOCK, Error, FORMAT, Job, SinkError, Snapshot, SnapshotSink, Store, ZERO, engine};
use block::BlockRead;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewSnapshot<'a> {
    /// The snapshot of the same store of which it inherits.
    pub parent: Option<&'a SnapshotId>,
    /// The machine, by a name that stays.
    pub machine: &'a str,
    /// The disk among those of the machine, by a name that stays.
    pub disk: &'a str,
    /// What it is for.
    pub role: Role,
    /// What the user calls it; part of no name.
    pub description: &'a str,
    /// When it is made, in seconds since 1970; part of no name.
    pub created: u64,
    /// Bytes that can differ from the parent's, in any order; everything if absent. Means nothing
    /// without a parent.
    pub changed: Option<&'a [Range<u64>]>,
    /// Makes no snapshot if the disk is as its parent has it: the parent stands for it.
    pub only_if_changed: bool,
}

/// A snapshot that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its name.
    pub id: SnapshotId,
    /// Blocks it holds, own and inherited: those that are not all zeros.
    pub blocks: u64,
    /// Blocks that differ from the parent's; without a parent, as many as `blocks`.
    pub put_blocks: u64,
    /// Blocks that the store did not hold before.
    pub new_blocks: u64,
    /// Bytes of the disk that were read.
    pub read: u64,
    /// Whether this run made it. Else it is the parent, as with [`NewSnapshot::only_if_changed`],
    /// or an earlier run made the same one.
    pub made: bool,
}

impl Store {
    /// Makes a snapshot of `disk`. Holes are not read; blocks are read, hashed and compressed on
    /// all cores, with as much memory as [`engine::run`] says. Nothing is removed from the store
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] for a parent that is not there, [`Error::Block`] if the disk cannot be
    /// read, [`Error::Io`] if the store cannot be written, [`Error::Interrupted`]. No snapshot
    /// exists then; blocks that were stored stay until [`gc`](Self::gc).
    pub fn write(
        &self,
        disk: &dyn BlockRead,
        new: &NewSnapshot<'_>,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Written, Error> {
        let _lock = self.lock_shared(interrupt)?;
        // Opened before anything is written, so that the flush below tells of every failed write. Its
        // directory may be on another file system than the rest.
        let blocks = File::open(self.blocks_dir());
        let blocks = blocks.map_err(|source| io_error(&self.blocks_dir(), source))?;
        let parent = new.parent.map(|id| self.read(id)).transpose()?;
        let mut changed = new.changed.map(<[_]>::to_vec);
        if let (Some(changed), Some(parent)) = (&mut changed, &parent) {
            // What the disk has grown by is not in the parent.
            changed.push(parent.size()..disk.size());
        }
        let job = Job {
            disk,
            parent: parent.as_ref().map(Snapshot::index),
            encrypted: false,
            zero_fill: false,
            changed: changed.as_deref(),
        };
        let sink = Blocks {
            store: self,
            new: AtomicU64::new(0),
        };
        let outcome = engine::run(&job, &sink, progress, interrupt).map_err(of_the_store)?;
        if let Some(parent) = &parent
            && new.only_if_changed
            && outcome.put.is_empty()
            && parent.size() == disk.size()
        {
            // Whoever made it may have been killed before its name was on disk.
            files::sync_dir(&self.snapshots_dir())?;
            return Ok(Written {
                id: parent.manifest().id.clone(),
                blocks: parent.manifest().blocks,
                put_blocks: 0,
                new_blocks: 0,
                read: outcome.read,
                made: false,
            });
        }
        let encoded = outcome.index.encode();
        let manifest = Manifest {
            format: FORMAT,
            id: SnapshotId::none(),
            parent: new.parent.cloned(),
            machine: new.machine.to_owned(),
            disk: new.disk.to_owned(),
            role: new.role,
            description: new.description.to_owned(),
            created: new.created,
            disk_size: disk.size(),
            block_size: BLOCK,
            blocks: u64_of(outcome.index.len()),
            put_blocks: u64_of(outcome.put.len()),
            linear_sha256: hex(&index::linear(&outcome.put)),
            index_sha256: hex(&Sha256::digest(&encoded)),
            source: None,
            manifest_sha256: String::new(),
        };
        let manifest = manifest.sealed();
        interrupt.check()?;
        // One flush for all blocks, instead of one for each.
        rustix::fs::syncfs(&blocks).map_err(|error| io_error(&self.blocks_dir(), error.into()))?;
        let made = self.publish(&manifest, &encoded)?;
        Ok(Written {
            id: manifest.id,
            blocks: manifest.blocks,
            put_blocks: manifest.put_blocks,
            new_blocks: sink.new.into_inner(),
            read: outcome.read,
            made,
        })
    }

    /// Makes the snapshot visible, once its blocks are on disk; says whether it was not there before.
    ///
    /// The index comes before the manifest, so that no snapshot is without one. A third file explains
    /// an index that is alone: without it the manifest was lost, and not given up.
    fn publish(&self, manifest: &Manifest, index: &[u8]) -> Result<bool, Error> {
        let path = self.manifest_path(&manifest.id);
        let there = Manifest::read(&path).ok();
        if there
            .as_ref()
            .is_some_and(|there| !there.is_of_the_same(manifest))
        {
            return Err(corrupt(
                &path,
                "another snapshot has the same id".to_owned(),
            ));
        }
        let staged = match there {
            // It was made before, and keeps its time.
            Some(_) => None,
            None => {
                let prefix = Self::under_way(&manifest.id);
                Some(files::stage(&path, &prefix, &manifest.encode(), true)?)
            }
        };
        let index_path = self.index_path(&manifest.id);
        let published = files::publish(&index_path, index, true);
        match (published, staged) {
            (Ok(()), Some(staged)) => staged.publish_or_keep(&path).map(|()| true),
            (Ok(()), None) => Ok(false),
            (Err(error), staged) => {
                // It may have got its name all the same, and that has to be explained.
                if files::is_there(&index_path)? {
                    staged.into_iter().for_each(files::Staged::keep);
                }
                Err(error)
            }
        }
    }

    /// How the names of files start that tell of a snapshot which is being made or removed.
    pub(crate) fn under_way(id: &SnapshotId) -> String {
        format!("{}{id}-", files::PARTIAL)
    }
}

/// Puts blocks into a store.
struct Blocks<'s> {
    store: &'s Store,
    /// How many of them the store did not hold.
    new: AtomicU64,
}

impl SnapshotSink for Blocks<'_> {
    fn put(&self, _: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError> {
        // Zeros need no block: what is not in the index is zeros.
        if digest != ZERO && self.store.put_block(&digest, &content)? {
            self.new.fetch_add(1, Ordering::Relaxed);
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
