//! Who uses which blocks of a group, against what its trees say.

use crate::group::Group;
use crate::rmap::{Owner, Owners};
use crate::sharing::Sharing;
use std::collections::BTreeMap;
use std::ops::Range;

/// Blocks that somebody uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Block of the group.
    pub(super) start: u32,
    pub(super) count: u32,
    pub(super) owner: Owner,
    /// Block of the file; 0 where blocks have no place in one.
    pub(super) offset: u64,
    pub(super) unwritten: bool,
    /// Whether others may use the same blocks.
    pub(super) may_be_shared: bool,
}

impl Claim {
    /// Blocks from the start of the group on without a place in a file.
    pub(super) fn plain(count: u32, owner: Owner) -> Self {
        Self {
            start: 0,
            count,
            owner,
            offset: 0,
            unwritten: false,
            may_be_shared: false,
        }
    }

    /// The same blocks elsewhere.
    pub(super) fn at(self, start: u32) -> Self {
        Self { start, ..self }
    }

    fn blocks(&self) -> Range<u32> {
        self.start..self.start.saturating_add(self.count)
    }
}

/// All that is used of a group.
#[derive(Debug, Default)]
pub(super) struct Claims {
    all: Vec<Claim>,
    /// Blocks of those that may not be shared.
    unshared: u64,
}

impl Claims {
    /// Notes that blocks are in use.
    pub(super) fn add(&mut self, claim: Claim) {
        if !claim.may_be_shared {
            self.unshared = self.unshared.saturating_add(claim.count.into());
        }
        self.all.push(claim);
    }

    /// How many blocks are used by somebody alone.
    pub(super) fn unshared(&self) -> u64 {
        self.unshared
    }

    /// What does not fit to the trees of the group, in words.
    pub(super) fn compare(mut self, group: &Group) -> Vec<String> {
        self.all
            .sort_unstable_by_key(|claim| (claim.start, claim.owner, claim.offset));
        let mut problems = Vec::new();
        self.compare_with_free_space(group, &mut problems);
        self.compare_with_each_other(&mut problems);
        if let Some(sharing) = &group.sharing {
            self.compare_with_sharing(sharing, &mut problems);
        }
        if let Some(owners) = &group.owners {
            self.compare_with_owners(owners, &mut problems);
        }
        problems
    }

    fn compare_with_free_space(&self, group: &Group, problems: &mut Vec<String>) {
        for claim in &self.all {
            if let Some(free) = group.free.within(claim.blocks()).next() {
                problems.push(format!(
                    "blocks {free:?} are free, but {} uses them",
                    claim.owner
                ));
            }
        }
    }

    fn compare_with_each_other(&self, problems: &mut Vec<String>) {
        let mut last: Option<Claim> = None;
        for claim in &self.all {
            let behind = last.map_or(0, |last| last.blocks().end);
            if let Some(last) = last
                && claim.start < behind
                && !(last.may_be_shared && claim.may_be_shared)
            {
                let (start, one, other) = (claim.start, last.owner, claim.owner);
                problems.push(format!("block {start}: both {one} and {other} use it"));
            }
            if claim.blocks().end > behind {
                last = Some(*claim);
            }
        }
    }

    /// Blocks with several users must be counted as such: else giving back one user's blocks would
    /// give back those of the others.
    fn compare_with_sharing(&self, sharing: &Sharing, problems: &mut Vec<String>) {
        let mut changes: BTreeMap<u32, i64> = BTreeMap::new();
        for claim in self.all.iter().filter(|claim| claim.may_be_shared) {
            let Range { start, end } = claim.blocks();
            let change = |at, by: i64, changes: &mut BTreeMap<u32, i64>| {
                let users = changes.entry(at).or_default();
                *users = users.saturating_add(by);
            };
            change(start, 1, &mut changes);
            change(end, -1, &mut changes);
        }
        let (mut at, mut users) = (0, 0_i64);
        for (next, change) in changes {
            if users > 0 {
                for (blocks, counted) in sharing.pieces(at..next) {
                    if i64::from(counted) != users {
                        problems.push(format!(
                            "blocks {blocks:?}: {counted} users counted, {users} found"
                        ));
                    }
                }
            }
            users = users.saturating_add(change);
            at = next;
        }
    }

    fn compare_with_owners(&self, owners: &Owners, problems: &mut Vec<String>) {
        let mut found = Owners::default();
        for claim in &self.all {
            let blocks = (claim.start, claim.count);
            found.add(claim.owner, claim.offset, blocks, claim.unwritten);
        }
        problems.extend(owners.difference(&found));
    }
}
