//! Snapshots and their parents.

use crate::files::{self, corrupt, io_error};
use crate::{Error, Manifest, Role, SnapshotId, SourceState, Store, Survey};
use ondisk::Interrupt;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

/// What becomes of the children of a snapshot that is removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Children {
    /// A snapshot that has children is not removed.
    #[default]
    Refuse,
    /// They stay, whole, and name a parent that is no longer there.
    Keep,
}

impl Survey {
    /// The snapshot that the next one of a disk is made from: of those that are no parent of another
    /// one of the same role, the one that was made last.
    pub fn latest(&self, machine: &str, disk: &str, role: Role) -> Option<&Manifest> {
        let is_meant =
            |one: &&Manifest| one.machine == machine && one.disk == disk && one.role == role;
        let of_disk = || self.manifests.iter().filter(is_meant);
        let parents: HashSet<_> = of_disk().filter_map(|one| one.parent.as_ref()).collect();
        let ends = of_disk().filter(|one| !parents.contains(&one.id));
        // The clock of the host may have been set back, so it decides between branches alone.
        ends.max_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)))
    }
}

impl Store {
    /// [`Survey::latest`] of all snapshots that can be read.
    ///
    /// # Errors
    /// As [`survey`](Self::survey).
    pub fn latest(&self, machine: &str, disk: &str, role: Role) -> Result<Option<Manifest>, Error> {
        Ok(self.survey()?.latest(machine, disk, role).cloned())
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

    /// The snapshots that were made from this one, by id, as far as they can be read.
    ///
    /// # Errors
    /// As [`survey`](Self::survey).
    pub fn children(&self, id: &SnapshotId) -> Result<Vec<Manifest>, Error> {
        let mut children = self.survey()?.manifests;
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

    /// Removes snapshots, all or none of them unless it is interrupted or the host fails, after
    /// everybody who writes is done. A damaged one can be removed too, or what is left of it. Their
    /// blocks stay until [`gc`](Self::gc).
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::HasChildren`] for a snapshot that others besides these were
    /// made from, [`Error::Full`], [`Error::Io`], [`Error::Interrupted`].
    pub fn remove(
        &self,
        ids: &[SnapshotId],
        children: Children,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let _lock = self.lock_alone(interrupt)?;
        for id in ids {
            if !files::is_there(&self.manifest_path(id))? && !files::is_there(&self.index_path(id))?
            {
                return Err(Error::NoSnapshot {
                    store: self.dir.clone(),
                    id: id.clone(),
                });
            }
        }
        let all = self.survey()?.manifests;
        let of = |id: &SnapshotId| {
            let found = all.binary_search_by(|one| one.id.cmp(id));
            found.ok().map(|at| &all[at])
        };
        let going: HashSet<_> = ids.iter().collect();
        if children == Children::Refuse {
            let mut staying = HashMap::<_, Vec<_>>::new();
            for one in all.iter().filter(|one| !going.contains(&one.id)) {
                if let Some(parent) = &one.parent {
                    staying.entry(parent).or_default().push(one);
                }
            }
            for id in ids {
                if let Some([child, others @ ..]) = staying.get(id).map(Vec::as_slice) {
                    return Err(Error::HasChildren {
                        id: id.clone(),
                        child: child.id.clone(),
                        others: others.len(),
                    });
                }
            }
        }
        // Children first: whenever this is cut short, what is left are chains with their beginnings.
        let depth = |id: &SnapshotId| {
            let parent = |id: &&SnapshotId| of(id)?.parent.as_ref();
            let chain = std::iter::successors(Some(id), |id| parent(id));
            // An id is made of the parent's, so that no chain comes back to itself.
            chain.take(all.len()).count()
        };
        let mut ordered: Vec<_> = going.into_iter().collect();
        ordered.sort_by_cached_key(|id| (Reverse(depth(id)), (*id).clone()));
        let mut given_up = Vec::new();
        let ended = ordered.into_iter().try_for_each(|id| {
            interrupt.check()?;
            self.give_up(id)?;
            given_up.push(id);
            Ok(())
        });
        // Those that were given up before something failed are removed whole.
        self.remove_given_up(&given_up)?;
        ended
    }

    /// Without its manifest a snapshot does not exist. What the manifest becomes explains the index
    /// until that is gone as well.
    fn give_up(&self, id: &SnapshotId) -> Result<(), Error> {
        let manifest = self.manifest_path(id);
        if files::is_dir(&manifest) {
            return Err(corrupt(&manifest, "it is a directory".to_owned()));
        }
        let renamed = fs::rename(&manifest, self.given_up_path(id));
        match renamed.map_err(|source| io_error(&manifest, source)) {
            // A longer name may need room of which there is none.
            Err(Error::Full { .. }) => files::remove(&manifest).map(drop),
            Err(error) if files::is_missing(&error) => Ok(()),
            renamed => renamed,
        }
    }

    fn remove_given_up(&self, ids: &[&SnapshotId]) -> Result<(), Error> {
        files::sync_dir(&self.snapshots_dir())?;
        for id in ids {
            files::remove(&self.index_path(id))?;
        }
        files::sync_dir(&self.snapshots_dir())?;
        for id in ids {
            files::remove(&self.given_up_path(id))?;
        }
        Ok(())
    }

    fn given_up_path(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots_dir().join(Self::under_way(id) + "removed")
    }
}
