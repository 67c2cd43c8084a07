//! Checking every bit of a store.

use crate::files::corrupt;
use crate::gc::{Collector, Needed, foreign, no_manifest};
use crate::index::{Digest, hex, linear};
use crate::{
    BLOCKS, Error, Index, MARKER, Manifest, SNAPSHOTS, SnapshotId, Store, ZERO, blocks, files,
    lock, manifest,
};
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress, Unit};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots that are whole but for their blocks.
    pub snapshots: u64,
    /// Blocks that are whole.
    pub blocks: u64,
    /// Of these, the ones that no snapshot needs.
    pub unneeded: u64,
    /// Files that a run has not finished: it was killed, or goes on. [`Store::gc`] removes them.
    pub unfinished: u64,
    /// What is wrong, the first thousand; each names the file.
    pub problems: Vec<Error>,
    /// How many problems there are besides these.
    pub more_problems: u64,
    /// The snapshots that need blocks which are damaged or missing, and how many.
    pub hurt: Vec<(SnapshotId, u64)>,
}

/// Most problems that are told: a store whose disk died has as many as blocks.
const MAX_PROBLEMS: usize = 1000;

/// Block files that are checked at a time; they are only names.
const BATCH: usize = 1024;

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether a name is that of a file that is not whole, which is counted.
    fn is_unfinished(&mut self, name: &str) -> bool {
        let unfinished = name.starts_with(files::PARTIAL);
        self.unfinished = self.unfinished.saturating_add(u64::from(unfinished));
        unfinished
    }

    /// The names in a directory, none if it cannot be read.
    fn names(&mut self, dir: &Path) -> Vec<String> {
        files::names(dir).unwrap_or_else(|problem| {
            self.add(problem);
            Vec::new()
        })
    }

    fn add(&mut self, problem: Error) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems = self.more_problems.saturating_add(1);
        }
    }
}

impl Store {
    /// Reads everything and checks it: a bit that flipped in any file is found, a block that is
    /// missing, a file that does not belong there. Snapshots may be made meanwhile. What is not found
    /// is a snapshot of which no file is left, since that is what a removed one looks like.
    ///
    /// # Errors
    /// [`Error::Io`] if the store cannot be locked, [`Error::Interrupted`]. What is wrong with the
    /// store is in the report.
    pub fn fsck(&self, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Report, Error> {
        let _lock = self.lock_shared(interrupt)?;
        let mut report = Report::default();
        self.check_top(&mut report);
        if self.is_only_begun() {
            return Ok(report);
        }
        // A writer that runs now adds blocks before its manifest: needed first, then blocks.
        let (sound, needed) = self.check_snapshots(&mut report, interrupt)?;
        let bad = self.check_blocks(&needed, &mut report, progress, interrupt)?;
        if !bad.is_empty() {
            for manifest in sound {
                interrupt.check()?;
                let index = self.index(&manifest)?;
                let is_bad = |(_, digest): &&(u32, Digest)| bad.binary_search(digest).is_ok();
                let lost = index.records().iter().filter(is_bad).count();
                if lost > 0 {
                    report.hurt.push((manifest.id, u64_of(lost)));
                }
            }
        }
        Ok(report)
    }

    /// Checks the store's own directory.
    fn check_top(&self, report: &mut Report) {
        if let Err(problem) = manifest::Marker::read(&self.dir.join(MARKER)) {
            report.add(problem);
        }
        match files::read(&self.dir.join(lock::NAME), 0) {
            // On a store that is only read it may never have been made.
            Err(problem) if !files::is_missing(&problem) => report.add(problem),
            _ => {}
        }
        let known = [MARKER, lock::NAME, BLOCKS, SNAPSHOTS, files::LOST_AND_FOUND];
        for name in report.names(&self.dir) {
            if !report.is_unfinished(&name) && !known.contains(&name.as_str()) {
                report.add(foreign(&self.dir.join(name)));
            }
        }
    }

    /// Whether whoever made the store was killed before it could hold anything.
    fn is_only_begun(&self) -> bool {
        let is_missing = |dir: &Path| matches!(files::is_there(dir), Ok(false));
        let is_empty = |dir: &Path| files::names(dir).is_ok_and(|names| names.is_empty());
        let blocks = self.blocks_dir();
        is_missing(&self.snapshots_dir()) && (is_missing(&blocks) || is_empty(&blocks))
    }

    fn check_snapshots(
        &self,
        report: &mut Report,
        interrupt: &Interrupt,
    ) -> Result<(Vec<Manifest>, Needed), Error> {
        let dir = self.snapshots_dir();
        let (mut sound, mut needed) = (Vec::new(), Collector::default());
        let names = report.names(&dir);
        for name in &names {
            interrupt.check()?;
            if report.is_unfinished(name) {
                continue;
            }
            let id = name.strip_suffix(".json").or(name.strip_suffix(".index"));
            if id.is_none_or(|id| id.parse::<SnapshotId>().is_err()) {
                if name != files::LOST_AND_FOUND {
                    report.add(foreign(&dir.join(name)));
                }
                continue;
            }
            if !name.ends_with(".json") {
                continue;
            }
            let checked = Manifest::read(&dir.join(name)).and_then(|manifest| {
                let index = self.index(&manifest)?;
                self.check_put(&manifest, &index)?;
                Ok((manifest, index))
            });
            match checked {
                Ok((manifest, index)) => {
                    needed.add(&index);
                    sound.push(manifest);
                    report.snapshots = report.snapshots.saturating_add(1);
                }
                Err(problem) => report.add(problem),
            }
        }
        let orphans = self.orphans(&names);
        if !orphans.is_empty() {
            // A writer may have given an index its name while the directory was read, and the
            // manifest since.
            let again = report.names(&dir);
            for id in self
                .orphans(&again)
                .iter()
                .filter(|id| orphans.contains(id))
            {
                if matches!(files::is_there(&self.manifest_path(id)), Ok(false)) {
                    report.add(no_manifest(self, id));
                }
            }
        }
        Ok((sound, needed.done()))
    }

    /// Checks what a manifest says about the blocks that were put, if the parent is there to tell.
    fn check_put(&self, manifest: &Manifest, index: &Index) -> Result<(), Error> {
        let parent = match &manifest.parent {
            None => Index::default(),
            // A parent that is damaged is a problem of its own.
            Some(id) => match self.manifest(id).and_then(|parent| self.index(&parent)) {
                Ok(parent) => parent,
                Err(_) => return Ok(()),
            },
        };
        let put = index.changed_from(&parent, manifest.disk_blocks());
        if u64_of(put.len()) == manifest.put_blocks && hex(&linear(&put)) == manifest.linear_sha256
        {
            return Ok(());
        }
        let path = self.manifest_path(&manifest.id);
        let what = format!("{} blocks differ from its parent's", put.len());
        Err(corrupt(&path, what))
    }

    /// Checks all blocks, and returns the digests of needed ones that are damaged or missing.
    fn check_blocks(
        &self,
        needed: &Needed,
        report: &mut Report,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Vec<Digest>, Error> {
        let mut present = vec![false; needed.digests().len()];
        let names = report.names(&self.blocks_dir());
        let task = progress.start("checking", Unit::Items, Some(u64_of(names.len())));
        for name in names {
            // Blocks lie in directories by their first byte, evenly.
            task.advance(1);
            let dir = self.blocks_dir().join(&name);
            if report.is_unfinished(&name) || name == files::LOST_AND_FOUND {
                continue;
            }
            if !blocks::is_dir_name(&name) || !files::is_dir(&dir) {
                report.add(foreign(&dir));
                continue;
            }
            let mut known: Vec<(PathBuf, Digest)> = Vec::new();
            for file in report.names(&dir) {
                match blocks::digest_of_name(&name, &file) {
                    Some(digest) => known.push((dir.join(file), digest)),
                    None if report.is_unfinished(&file) => {}
                    None => report.add(foreign(&dir.join(file))),
                }
            }
            for batch in known.chunks(BATCH) {
                let results: Vec<Result<(), Error>> = batch
                    .par_iter()
                    .map(|(path, digest)| {
                        interrupt.check()?;
                        blocks::check(path, digest)
                    })
                    .collect();
                for ((_, digest), result) in batch.iter().zip(results) {
                    match (result, needed.position(digest)) {
                        (Err(interrupted @ Error::Interrupted(_)), _) => return Err(interrupted),
                        (Err(problem), _) => report.add(problem),
                        (Ok(()), position) => {
                            report.blocks = report.blocks.saturating_add(1);
                            match position {
                                Some(at) => present[at] = true,
                                None => report.unneeded = report.unneeded.saturating_add(1),
                            }
                        }
                    }
                }
            }
        }
        let absent = needed
            .digests()
            .iter()
            .zip(&present)
            .filter(|(_, present)| !**present);
        let bad: Vec<Digest> = absent.map(|(digest, _)| *digest).collect();
        for digest in &bad {
            let path = self.block_path(digest);
            if path.symlink_metadata().is_err() {
                report.add(corrupt(
                    &path,
                    "it is missing, and a snapshot needs it".to_owned(),
                ));
            }
        }
        Ok(bad)
    }
}

impl Index {
    /// What has to be put over `parent` to have this index on a disk of `disk_blocks` blocks.
    fn changed_from(&self, parent: &Self, disk_blocks: u64) -> Vec<(u32, Digest)> {
        let mut put = Vec::new();
        for range in self.diff(parent) {
            for block in range.start / crate::BLOCK..range.end / crate::BLOCK {
                // A block of an index is numbered in 32 bits.
                if let Ok(number) = u32::try_from(block)
                    && block < disk_blocks
                {
                    put.push((number, self.get(number).copied().unwrap_or(ZERO)));
                }
            }
        }
        put
    }
}
