//! What is known about a snapshot without reading it, and finding and removing snapshots.

use crate::failure::Kind;
use crate::retry::{Asked, End};
use crate::{Action, Ebs, Error, tag};
use ondisk::Interrupt;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// What is known about a snapshot without reading it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: State,
    /// What the service says about the state; often nothing.
    pub message: String,
    /// When it was begun.
    pub started: SystemTime,
    /// GiB.
    pub volume_size: u32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// What its maker calls it.
    pub description: String,
    /// Its tags, key and value.
    pub tags: Vec<(String, String)>,
}

/// The state of a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Blocks are put, or the service checks them.
    Pending,
    /// It can be read and be a parent.
    Completed,
    /// It is of no use.
    Error,
    /// Another one, by its name.
    Other(String),
}

/// Pages of an answer, at most: with 1000 snapshots each, ten times the quota of a region.
const MAX_PAGES: u32 = 1000;
/// Empty pages are legal. So many in a row of them are no list.
const MAX_EMPTY: u32 = 100;

impl SnapshotInfo {
    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        let found = self.tags.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

impl Ebs {
    /// Our own snapshots that have all of these tags, the latest first.
    ///
    /// # Errors
    /// As the service says; [`Error::Interrupted`].
    pub fn find(
        &self,
        tags: &[(&str, &str)],
        interrupt: &Interrupt,
    ) -> Result<Vec<SnapshotInfo>, Error> {
        self.wait(interrupt, self.find_async(tags))
    }

    /// The latest completed snapshot of a disk of a machine in a role (see [`tag`]): of those that are
    /// no parent of another one of the same role, the one that was begun last.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn latest(
        &self,
        project: &str,
        machine: &str,
        disk: &str,
        role: crate::Role,
        interrupt: &Interrupt,
    ) -> Result<Option<SnapshotInfo>, Error> {
        let tags = [
            (tag::MACHINE, machine),
            (tag::DISK, disk),
            (tag::ROLE, role.as_str()),
        ];
        let mut found = self.find(&tags, interrupt)?;
        let of_project =
            |info: &SnapshotInfo| info.tag(tag::PROJECT).unwrap_or_default() == project;
        found.retain(|info| info.state == State::Completed && of_project(info));
        // Times of the service are whole seconds, so they decide between branches alone.
        let parents: HashSet<_> = found
            .iter()
            .filter_map(|info| info.tag(tag::PARENT))
            .collect();
        let end = found
            .iter()
            .position(|info| !parents.contains(info.id.as_str()));
        Ok(end.map(|end| found.swap_remove(end)))
    }

    /// What is known about one snapshot.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], and as the service says.
    pub fn info(&self, id: &str, interrupt: &Interrupt) -> Result<SnapshotInfo, Error> {
        check_id(id)?;
        self.wait(interrupt, async {
            let found = self.describe(id).await?;
            found.ok_or_else(|| Error::NoSnapshot(id.to_owned()))
        })
    }

    /// Snapshots of rehost with all of these tags that were begun longer than `age` ago and are still
    /// pending: uploads that nobody continued. [`delete`](Self::delete) removes them.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn abandoned(
        &self,
        tags: &[(&str, &str)],
        age: Duration,
        interrupt: &Interrupt,
    ) -> Result<Vec<SnapshotInfo>, Error> {
        let mut ours = vec![(tag::TOOL, tag::TOOL_VALUE)];
        ours.extend_from_slice(tags);
        let mut found = self.find(&ours, interrupt)?;
        let now = SystemTime::now();
        found.retain(|info| {
            let old = now.duration_since(info.started);
            info.state == State::Pending && old.is_ok_and(|old| old >= age)
        });
        Ok(found)
    }

    /// Removes a snapshot, pending or not.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], and as the service says.
    pub fn delete(&self, id: &str, interrupt: &Interrupt) -> Result<(), Error> {
        check_id(id)?;
        self.wait(interrupt, async {
            let asked = Asked::plain(Action::DeleteSnapshot);
            match self.0.traffic.ask(asked, || self.0.ec2.delete(id)).await {
                Ok(()) => Ok(()),
                Err(End::Failed(failure, attempts)) if failure.kind == Kind::NotFound => {
                    // An attempt whose answer was lost has removed it.
                    if attempts.maybe_done {
                        Ok(())
                    } else {
                        Err(Error::NoSnapshot(id.to_owned()))
                    }
                }
                Err(end) => Err(end.into_error(asked.action)),
            }
        })
    }

    pub(crate) async fn find_async(
        &self,
        tags: &[(&str, &str)],
    ) -> Result<Vec<SnapshotInfo>, Error> {
        let filter: Vec<_> = tags
            .iter()
            .map(|(key, value)| (format!("tag:{key}"), literal(value)))
            .collect();
        let asked = Asked::plain(Action::DescribeSnapshots);
        let mut found: Vec<SnapshotInfo> = Vec::new();
        let (mut next, mut empty) = (None, 0_u32);
        for _ in 0..MAX_PAGES {
            let token: Option<&str> = next.as_deref();
            let page = self
                .0
                .traffic
                .ask(asked, || self.0.ec2.find(&filter, token))
                .await
                .map_err(|end| end.into_error(asked.action))?;
            empty = if page.snapshots.is_empty() {
                empty.saturating_add(1)
            } else {
                0
            };
            found.extend(page.snapshots);
            next = page.next;
            if next.is_none() {
                // What the filter means is the service's to say, and ours to check.
                found.retain(|info| {
                    tags.iter()
                        .all(|(key, value)| info.tag(key) == Some(*value))
                });
                found.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.id.cmp(&b.id)));
                return Ok(found);
            }
            if empty > MAX_EMPTY {
                break;
            }
        }
        Err(Error::Answer {
            action: asked.action,
            what: "the list does not end".to_owned(),
        })
    }

    /// What is known about a snapshot; `None` if the service does not know it, or not yet.
    pub(crate) async fn describe(&self, id: &str) -> Result<Option<SnapshotInfo>, Error> {
        let asked = Asked::plain(Action::DescribeSnapshots);
        let ec2 = &self.0.ec2;
        match self.0.traffic.ask(asked, || ec2.describe(id)).await {
            Ok(page) => Ok(page.snapshots.into_iter().find(|info| info.id == id)),
            Err(End::Failed(failure, _)) if failure.kind == Kind::NotFound => Ok(None),
            Err(end) => Err(end.into_error(asked.action)),
        }
    }
}

/// Ids go into paths of URLs and files.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let digits = id.strip_prefix("snap-").unwrap_or_default();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if (1..=59).contains(&digits.len()) && digits.bytes().all(hex) {
        Ok(())
    } else {
        Err(Error::Setting {
            what: "the snapshot's id",
            why: format!("{id:?} is not snap- and hex digits"),
        })
    }
}

/// A value that a filter takes as it is: `*` and `?` are wildcards there.
fn literal(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '*' | '?' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_go_into_paths() {
        assert!(check_id("snap-0123456789abcdef0").is_ok());
        for bad in [
            "",
            "snap-",
            "snap-../x",
            "snap-12?a=b",
            "snap-ABC",
            "vol-12",
        ] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
        assert!(check_id(&format!("snap-{}", "0".repeat(60))).is_err());
    }

    #[test]
    fn a_name_with_a_star_names_itself_alone() {
        assert_eq!(literal(r"web*1?\"), r"web\*1\?\\");
    }
}
