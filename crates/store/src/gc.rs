//! Removing what no snapshot needs.

use crate::index::Digest;
use crate::{Error, Index, Manifest, Store, blocks, files};
use ondisk::{Interrupt, Progress, Unit};
use std::collections::HashSet;
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
    /// Whatever makes a manifest or an index unreadable: which blocks are needed is not known then,
    /// and nothing was removed. [`Error::Io`], [`Error::Interrupted`].
    pub fn gc(&self, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Collected, Error> {
        let _lock = self.lock_alone(interrupt)?;
        let manifests = self.snapshots()?;
        let mut needed = Needed::default();
        for manifest in &manifests {
            interrupt.check()?;
            needed.add(&self.index(manifest)?);
        }
        let mut collected = Collected::default();
        self.collect_leftovers(&manifests, &mut collected)?;
        let dirs = files::names(&self.blocks_dir())?;
        let task = progress.start("collecting", Unit::Items, u64::try_from(dirs.len()).ok());
        for name in dirs {
            let dir = self.blocks_dir().join(&name);
            if dir.is_dir() {
                for file in files::names(&dir)? {
                    interrupt.check()?;
                    let path = dir.join(&file);
                    match blocks::digest_of_name(&name, &file) {
                        Some(digest) if needed.position(&digest).is_some() => {
                            collected.kept = collected.kept.saturating_add(1);
                        }
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

    fn collect_leftovers(
        &self,
        manifests: &[Manifest],
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let known: HashSet<_> = manifests.iter().map(|one| one.id.to_string()).collect();
        for dir in [self.dir.clone(), self.snapshots_dir(), self.blocks_dir()] {
            for name in files::names(&dir)? {
                collected.leftover(&dir.join(name))?;
            }
        }
        for name in files::names(&self.snapshots_dir())? {
            let id = name.strip_suffix(".index").unwrap_or_default();
            if id.parse::<crate::SnapshotId>().is_ok() && !known.contains(id) {
                remove(&self.snapshots_dir().join(&name), &mut collected.bytes)?;
                collected.leftovers = collected.leftovers.saturating_add(1);
            }
        }
        Ok(())
    }
}

impl Collected {
    /// Removes a file that was never finished; nobody is writing it now.
    fn leftover(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(files::PARTIAL.as_bytes()) && path.is_file() {
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
#[derive(Debug, Default)]
pub(crate) struct Needed(Vec<Digest>);

impl Needed {
    pub(crate) fn add(&mut self, index: &Index) {
        self.0
            .extend(index.records().iter().map(|(_, digest)| *digest));
        self.0.sort_unstable();
        self.0.dedup();
    }

    /// Where a digest is among them.
    pub(crate) fn position(&self, digest: &Digest) -> Option<usize> {
        self.0.binary_search(digest).ok()
    }

    pub(crate) fn digests(&self) -> &[Digest] {
        &self.0
    }
}
