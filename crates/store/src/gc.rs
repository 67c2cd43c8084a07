//! Removing what no snapshot needs.

use crate::files::corrupt;
use crate::index::Digest;
use crate::{Error, Index, SnapshotId, Store, blocks, files};
use ondisk::{Interrupt, Progress, Unit};
use std::path::Path;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Collected {
    /// Blocks that no snapshot needs.
    pub blocks: u64,
    /// Files that a killed run left: unfinished ones, and indexes without a manifest.
    pub leftovers: u64,
    /// Bytes of all these files.
    pub bytes: u64,
    /// Blocks that stay.
    pub kept: u64,
}

impl Store {
    /// Removes the blocks that no snapshot needs, after everybody who writes is done. Files that are
    /// not the store's are left alone.
    ///
    /// # Errors
    /// Whatever makes a manifest or an index unreadable, an index without its manifest among it: which
    /// blocks are needed is not known then, and nothing was removed. [`Error::Io`],
    /// [`Error::Interrupted`].
    pub fn gc(&self, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Collected, Error> {
        let _lock = self.lock_alone(interrupt)?;
        // Who removed a snapshot may have been killed before that was on disk: after a crash of the
        // host it would be there again, without the blocks that are removed now.
        files::sync_dir(&self.snapshots_dir())?;
        let names = files::names(&self.snapshots_dir())?;
        for name in names
            .iter()
            .filter(|name| !name.starts_with(files::PARTIAL))
        {
            let id = name.strip_suffix(".json").or(name.strip_suffix(".index"));
            if id.is_some_and(|id| id.parse::<SnapshotId>().is_err()) {
                // It may be a snapshot that somebody renamed.
                return Err(foreign(&self.snapshots_dir().join(name)));
            }
        }
        if let Some(id) = self.orphans(&names).first() {
            return Err(no_manifest(self, id));
        }
        let manifests = self.snapshots()?;
        let mut needed = Collector::default();
        for manifest in &manifests {
            interrupt.check()?;
            needed.add(&self.index(manifest)?);
        }
        let needed = needed.done();
        let mut collected = Collected::default();
        self.collect_leftovers(&names, &mut collected)?;
        let dirs = files::names(&self.blocks_dir())?;
        let task = progress.start("collecting", Unit::Items, u64::try_from(dirs.len()).ok());
        for name in dirs {
            let dir = self.blocks_dir().join(&name);
            if files::is_dir(&dir) {
                for file in files::names(&dir)? {
                    interrupt.check()?;
                    let path = dir.join(&file);
                    match blocks::digest_of_name(&name, &file) {
                        Some(digest) if needed.position(&digest).is_some() => {
                            collected.kept = collected.kept.saturating_add(1);
                        }
                        Some(_) if files::is_dir(&path) => {}
                        Some(_) => {
                            remove(&path, &mut collected.bytes)?;
                            collected.blocks = collected.blocks.saturating_add(1);
                        }
                        None => collected.leftover(&path)?,
                    }
                }
            }
            task.advance(1);
        }
        Ok(collected)
    }

    /// Removes what killed runs left, `names` of which are in the directory of snapshots.
    fn collect_leftovers(&self, names: &[String], collected: &mut Collected) -> Result<(), Error> {
        let dir = self.snapshots_dir();
        for name in names {
            let id = name.strip_suffix(".index").map(str::parse::<SnapshotId>);
            if let Some(Ok(id)) = id
                && !files::is_there(&self.manifest_path(&id))?
            {
                remove(&dir.join(name), &mut collected.bytes)?;
                collected.leftovers = collected.leftovers.saturating_add(1);
            }
        }
        // Only now what explains why these had no manifest.
        files::sync_dir(&dir)?;
        for dir in [self.dir.clone(), dir, self.blocks_dir()] {
            for name in files::names(&dir)? {
                collected.leftover(&dir.join(name))?;
            }
        }
        Ok(())
    }
}

/// Says that a file does not belong where it is.
pub(crate) fn foreign(path: &Path) -> Error {
    corrupt(path, "it is no file of a store".to_owned())
}

/// Says that a snapshot's manifest was lost.
pub(crate) fn no_manifest(store: &Store, id: &SnapshotId) -> Error {
    let what = format!("its manifest, {id}.json, is missing; remove the snapshot if it is lost");
    corrupt(&store.index_path(id), what)
}

impl Collected {
    /// Removes a file that was never finished; nobody is writing it now.
    fn leftover(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(files::PARTIAL.as_bytes()) && !files::is_dir(path) {
            remove(path, &mut self.bytes)?;
            self.leftovers = self.leftovers.saturating_add(1);
        }
        Ok(())
    }
}

fn remove(path: &Path, bytes: &mut u64) -> Result<(), Error> {
    let size = path.symlink_metadata().map_or(0, |meta| meta.len());
    files::remove(path)?;
    *bytes = bytes.saturating_add(size);
    Ok(())
}

/// The digests of all blocks of some snapshots, each once: 32 bytes for each.
#[derive(Debug)]
pub(crate) struct Needed(Vec<Digest>);

/// Gathers them: at most twice as many at a time as there are, and those of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    digests: Vec<Digest>,
    /// How many of them are known to come once, in order.
    sorted: usize,
}

impl Collector {
    pub(crate) fn add(&mut self, index: &Index) {
        let digests = index.records().iter().map(|(_, digest)| *digest);
        self.digests.extend(digests);
        // Sorting after each snapshot would sort the digests of all once for each.
        const FEW: usize = 1 << 16;
        if self.digests.len() / 2 > self.sorted.max(FEW) {
            self.sort();
        }
    }

    pub(crate) fn done(mut self) -> Needed {
        self.sort();
        Needed(self.digests)
    }

    fn sort(&mut self) {
        self.digests.sort_unstable();
        self.digests.dedup();
        self.sorted = self.digests.len();
    }
}

impl Needed {
    /// Where a digest is among them.
    pub(crate) fn position(&self, digest: &Digest) -> Option<usize> {
        self.0.binary_search(digest).ok()
    }

    pub(crate) fn digests(&self) -> &[Digest] {
        &self.0
    }
}
