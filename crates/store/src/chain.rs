//! Snapshots and their parents.

use crate::{Error, Manifest, Role, SnapshotId, SourceState, Store, files};
use ondisk::Interrupt;
use std::collections::HashSet;
use std::ops::Range;

/// What becomes of the children of a snapshot that is removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Children {
    /// A snapshot that has children is not removed.
    #[default]
    Refuse,
    /// They stay, whole, and name a parent that is no longer there.
    Keep,
}

impl Store {
    /// The snapshot that the next one of a disk is made from: of those that are no parent of another
    /// one of the same role, the one that was made last.
    ///
    /// # Errors
    /// As [`snapshots`](Self::snapshots).
    pub fn latest(&self, machine: &str, disk: &str, role: Role) -> Result<Option<Manifest>, Error> {
        let mut of_disk = self.snapshots()?;
        of_disk.retain(|one| one.machine == machine && one.disk == disk && one.role == role);
        let parents: HashSet<_> = of_disk
            .iter()
            .filter_map(|one| one.parent.clone())
            .collect();
        let ends = of_disk.into_iter().filter(|one| !parents.contains(&one.id));
        // The clock of the host may have been set back, so it decides between branches alone.
        Ok(ends.max_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id))))
    }

    /// Keeps with a snapshot in which state the files are that hold exactly what it holds, in place
    /// of what was kept before: [`Manifest::source`]. Its id stays.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], as [`read`](Self::read) for a manifest that is damaged,
    /// [`Error::Interrupted`].
    pub fn keep_source(
        &self,
        id: &SnapshotId,
        source: &SourceState,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        // Nobody removes it meanwhile.
        let _lock = self.lock_shared(interrupt)?;
        let mut manifest = self.manifest(id)?;
        if manifest.source.as_ref() == Some(source) {
            return Ok(());
        }
        manifest.source = Some(source.clone());
        let bytes = manifest.sealed().encode();
        files::publish(&self.manifest_path(id), &bytes, true)
    }

    /// The snapshots that were made from this one, by id.
    ///
    /// # Errors
    /// As [`snapshots`](Self::snapshots).
    pub fn children(&self, id: &SnapshotId) -> Result<Vec<Manifest>, Error> {
        let mut children = self.snapshots()?;
        children.retain(|one| one.parent.as_ref() == Some(id));
        Ok(children)
    }

    /// Where two snapshots differ, as bytes of the disk in whole blocks, ascending and not touching;
    /// a disk counts as if zeros followed it. Reads no block.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn diff(&self, a: &SnapshotId, b: &SnapshotId) -> Result<Vec<Range<u64>>, Error> {
        let (a, b) = (self.manifest(a)?, self.manifest(b)?);
        let mut ranges = self.index(&a)?.diff(&self.index(&b)?);
        if let Some(last) = ranges.last_mut() {
            last.end = last.end.min(a.disk_size.max(b.disk_size));
        }
        Ok(ranges)
    }

    /// Removes a snapshot, after everybody who writes is done. Its blocks stay until
    /// [`gc`](Self::gc).
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::HasChildren`], [`Error::Io`], [`Error::Interrupted`].
    pub fn remove(
        &self,
        id: &SnapshotId,
        children: Children,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let _lock = self.lock_alone(interrupt)?;
        if children == Children::Refuse {
            let children = self.children(id)?;
            if let Some(child) = children.first() {
                return Err(Error::HasChildren {
                    id: id.clone(),
                    child: child.id.clone(),
                    others: children.len().saturating_sub(1),
                });
            }
        }
        // Without its manifest it does not exist; a damaged one can be removed too.
        if !files::remove(&self.manifest_path(id))? {
            return Err(Error::NoSnapshot {
                store: self.dir.clone(),
                id: id.clone(),
            });
        }
        files::sync_dir(&self.snapshots_dir())?;
        files::remove(&self.index_path(id))?;
        Ok(())
    }
}
