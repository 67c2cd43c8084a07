//! Checking every bit of a store.

use crate::files::corrupt;
use crate::gc::Needed;
use crate::index::{Digest, hex, linear};
use crate::{
    Error, Index, MARKER, Manifest, SnapshotId, Store, ZERO, blocks, files, lock, manifest,
};
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress, Unit};
use rayon::prelude::*;
use std::path::PathBuf;

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots that are whole but for their blocks.
    pub snapshots: u64,
    /// Blocks that are whole.
    pub blocks: u64,
    /// Of these, the ones that no snapshot needs.
    pub unneeded: u64,
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
    /// missing, a file that does not belong there. Snapshots may be made meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`] if a directory cannot be read, [`Error::Interrupted`]. What is wrong with the
    /// store is in the report.
    pub fn fsck(&self, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Report, Error> {
        let _lock = self.lock_shared(interrupt)?;
        let mut report = Report::default();
        let marker = self.dir.join(MARKER);
        if let Err(problem) = manifest::Marker::read(&marker) {
            report.add(problem);
        }
        // A writer that runs now adds blocks before its manifest: needed first, then blocks.
        let (sound, needed) = self.check_snapshots(&mut report, interrupt)?;
        let bad = self.check_blocks(&needed, &mut report, progress, interrupt)?;
        self.check_names(&mut report)?;
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

    fn check_snapshots(
        &self,
        report: &mut Report,
        interrupt: &Interrupt,
    ) -> Result<(Vec<Manifest>, Needed), Error> {
        let (mut sound, mut needed) = (Vec::new(), Needed::default());
        for name in files::names(&self.snapshots_dir())? {
            interrupt.check()?;
            let path = self.snapshots_dir().join(&name);
            if !name.ends_with(".json") || name.starts_with(files::PARTIAL) {
                continue;
            }
            let checked = Manifest::read(&path).and_then(|manifest| {
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
        Ok((sound, needed))
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
        let names = files::names(&self.blocks_dir())?;
        let task = progress.start("checking", Unit::Items, Some(u64_of(names.len())));
        for name in names {
            // Blocks lie in directories by their first byte, evenly.
            task.advance(1);
            let dir = self.blocks_dir().join(&name);
            if name.starts_with(files::PARTIAL) {
                continue;
            }
            if name.len() != 2 || !dir.is_dir() {
                report.add(corrupt(&dir, "it is no file of a store".to_owned()));
                continue;
            }
            let mut known: Vec<(PathBuf, Digest)> = Vec::new();
            for file in files::names(&dir)? {
                match blocks::digest_of_name(&name, &file) {
                    Some(digest) => known.push((dir.join(file), digest)),
                    None if file.starts_with(files::PARTIAL) => {}
                    None => {
                        let what = "it is no file of a store".to_owned();
                        report.add(corrupt(&dir.join(file), what));
                    }
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
            if !path.exists() {
                report.add(corrupt(
                    &path,
                    "it is missing, and a snapshot needs it".to_owned(),
                ));
            }
        }
        Ok(bad)
    }

    /// Reports what is in the directory and does not belong there.
    fn check_names(&self, report: &mut Report) -> Result<(), Error> {
        let top = [MARKER, lock::NAME, "blocks", "snapshots"];
        let foreign = |name: &&String| !name.starts_with(files::PARTIAL);
        let what = || "it is no file of a store".to_owned();
        for name in files::names(&self.dir)?.iter().filter(foreign) {
            if !top.contains(&name.as_str()) {
                report.add(corrupt(&self.dir.join(name), what()));
            }
        }
        for name in files::names(&self.snapshots_dir())?.iter().filter(foreign) {
            let id = name.strip_suffix(".json").or(name.strip_suffix(".index"));
            if id.is_none_or(|id| id.parse::<SnapshotId>().is_err()) {
                report.add(corrupt(&self.snapshots_dir().join(name), what()));
            }
        }
        Ok(())
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
