//! Interpreting a plan.

use crate::change::{After, Content};
use crate::{Change, Error, PLAN_FORMAT, Plan, Stale, State};
use fs::Time;
use guest::{Guest, GuestPath};
use std::collections::BTreeMap;

/// What applying a plan did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Changes made now.
    pub changed: usize,
    /// Objects that were already as the plan wants them.
    pub in_place: usize,
}

/// What the changes on one file system take.
#[derive(Clone, Copy, Default)]
struct Need {
    bytes: u64,
    inodes: u64,
}

/// Blocks that a new object may cost beside its content: its inode's extent block, and a block of
/// its directory.
const BLOCKS_PER_OBJECT: u64 = 2;

impl Plan {
    /// Makes the changes; new and changed objects get the time `now`.
    ///
    /// All preconditions, the room and whether each file system can be written are checked before
    /// the first byte is written. The guest lies on an overlay: after an error it is thrown away.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::NoSpace`], or what writing the guest meets.
    pub fn apply(&self, guest: &mut Guest, now: Time) -> Result<Applied, Error> {
        if self.format != PLAN_FORMAT {
            return Err(Error::PlanFormat {
                found: self.format,
                expected: PLAN_FORMAT,
            });
        }
        let mut to_do = Vec::new();
        let mut applied = Applied::default();
        for change in &self.changes {
            if in_place(guest, change)? {
                applied.in_place += 1;
            } else {
                to_do.push(change);
                applied.changed += 1;
            }
        }
        self.check_space(guest)?;
        guest.set_now(now);
        for change in &to_do {
            guest.check_editable(&change.path)?;
        }
        for change in to_do {
            tracing::debug!(path = %change.path, "changing");
            change.apply(guest)?;
        }
        guest.commit()?;
        Ok(applied)
    }

    /// Checks that each file system has room for what the plan writes there.
    ///
    /// # Errors
    /// [`Error::NoSpace`] for the first one that has not.
    pub fn check_space(&self, guest: &Guest) -> Result<(), Error> {
        let mut needs = BTreeMap::new();
        for change in &self.changes {
            let (mount, space) = guest.space(&change.path)?;
            let (need, _) = needs.entry(mount).or_insert((Need::default(), space));
            let block = u64::from(space.block_size.max(512));
            if change.before == State::Absent {
                need.inodes += 1;
                need.bytes += BLOCKS_PER_OBJECT * block;
                // A label that does not fit into the inode takes a block.
                if change.after.state().selinux().is_some() {
                    need.bytes += block;
                }
            }
            need.bytes = need
                .bytes
                .saturating_add(change.growth().next_multiple_of(block));
        }
        for (mount, (need, space)) in needs {
            let short_of_inodes = space.free_inodes.is_some_and(|free| free < need.inodes);
            if need.bytes > space.free_bytes || short_of_inodes {
                let (needed, free) = (need.bytes, space.free_bytes);
                return Err(Error::NoSpace {
                    mount,
                    needed,
                    free,
                });
            }
        }
        Ok(())
    }
}

/// Whether the object is already as wanted; an error if it is neither that nor as it was.
fn in_place(guest: &Guest, change: &Change) -> Result<bool, Error> {
    let now = State::of(guest, &change.path)?;
    if now.same(&change.after.state()) {
        return Ok(true);
    }
    expect(&change.path, &change.before, &now)?;
    if let After::File {
        content: Content::Copy { from, size, sha256 },
        ..
    } = &change.after
    {
        let source = State::of(guest, from)?;
        let as_planned = matches!(&source, State::File { size: s, sha256: d, .. }
            if (s, d) == (size, sha256));
        if !as_planned {
            let expected = format!("a file of {size} bytes with SHA-256 {sha256}");
            let found = source.describe();
            return Err(Error::Stale(Box::new(Stale {
                path: from.clone(),
                expected,
                found,
            })));
        }
    }
    Ok(false)
}

fn expect(path: &GuestPath, expected: &State, found: &State) -> Result<(), Error> {
    if expected.same(found) {
        return Ok(());
    }
    let (expected, found) = (expected.describe(), found.describe());
    Err(Error::Stale(Box::new(Stale {
        path: path.clone(),
        expected,
        found,
    })))
}
