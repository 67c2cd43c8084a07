//! Counting whom bytes belong to on one file system.

use super::{Owner, Ranges};
use fs::{FileSystem, StructureKind};
use std::collections::{BTreeMap, HashSet};

/// Bytes that differ on a file system, by whom they belong to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    owners: BTreeMap<Owner, u64>,
    /// Bytes of files.
    files: u64,
    /// Where blocks of attributes start that are counted: nodes share them.
    shared: HashSet<u64>,
}

impl Tally {
    pub(super) fn add(&mut self, owner: Owner, bytes: u64) {
        if bytes > 0 {
            let sum = self.owners.entry(owner).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }

    pub(super) fn add_file(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(bytes);
    }

    pub(super) fn add_shared(&mut self, owner: Owner, start: u64, bytes: u64) {
        if bytes > 0 && self.shared.insert(start) {
            self.add(owner, bytes);
        }
    }

    /// Adds what belongs to the file system itself, what is free, and what is left. What cannot be
    /// told is among the rest.
    pub(super) fn finish(
        &mut self,
        file_system: &dyn FileSystem,
        changed: &Ranges,
    ) -> Result<(), fs::Error> {
        let counted = self.structures(file_system, changed);
        let counted = counted.and_then(|()| self.free(file_system, changed));
        let known = self
            .owners
            .values()
            .fold(self.files, |a, b| a.saturating_add(*b));
        self.add(Owner::Unnamed, changed.bytes().saturating_sub(known));
        counted
    }

    fn structures(
        &mut self,
        file_system: &dyn FileSystem,
        changed: &Ranges,
    ) -> Result<(), fs::Error> {
        for structure in file_system.structures()? {
            let owner = match structure.kind {
                StructureKind::Header => Owner::Header,
                StructureKind::Allocation => Owner::Allocation,
                StructureKind::Nodes => Owner::Nodes,
                StructureKind::Journal => Owner::Journal,
                StructureKind::Internal => Owner::Internal,
            };
            self.add(owner, changed.bytes_in(&structure.bytes));
        }
        Ok(())
    }

    fn free(&mut self, file_system: &dyn FileSystem, changed: &Ranges) -> Result<(), fs::Error> {
        for range in changed.iter() {
            for free in file_system.free(range)? {
                self.add(Owner::Free, free.end.saturating_sub(free.start));
            }
        }
        Ok(())
    }

    /// Everything but files.
    pub(super) fn owners(&self) -> impl Iterator<Item = (Owner, u64)> + '_ {
        self.owners.iter().map(|(owner, bytes)| (*owner, *bytes))
    }
}
