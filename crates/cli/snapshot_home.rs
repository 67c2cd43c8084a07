//! Where snapshots live: a local store, or Amazon EBS.
//!
//! Commands speak of a [`Home`] and do not know which one it is; `crate::ebs` alone knows EBS.

use crate::args::{AwsArgs, UploadArgs};
use crate::ebs;
use crate::locator::{Destination, Source};
use crate::since::Last;
use crate::target::{self, Output};
use crate::terminal::Terminal;
use anyhow::{Result, bail};
use block::BlockRead;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use store::{NewSnapshot, SnapshotId, SourceState, Store};

/// Where snapshots are made.
#[derive(Debug)]
pub(crate) enum Home {
    Store(Store),
    Ebs(Box<ebs::Home>),
}

/// A snapshot that a disk is read from.
#[derive(Clone, Debug)]
pub(crate) enum Snapshot {
    Store(Arc<store::Snapshot>),
    Ebs(Arc<ebs::Snapshot>),
}

/// A snapshot that a new one is made from.
#[derive(Debug)]
pub(crate) enum Parent {
    Store(SnapshotId),
    Ebs(Box<ebs::Parent>),
}

/// Snapshots of the disks of a machine that are made together.
#[derive(Debug)]
pub(crate) enum Set {
    Store,
    Ebs(Box<ebs::Set>),
}

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// The disk as the source has it.
    Staging,
    /// The disk as it boots on EC2.
    Converted,
    /// A disk as such.
    Copy,
}

/// A snapshot to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New<'a> {
    /// The disk in messages.
    pub(crate) name: &'a str,
    pub(crate) device: &'a dyn BlockRead,
    pub(crate) machine: &'a str,
    /// The disk among those of the machine.
    pub(crate) number: &'a str,
    /// The disk among those of the run: two of them may be of one and the same disk of a machine.
    #[cfg_attr(
        not(feature = "aws"),
        expect(dead_code, reason = "a store needs no name of an upload")
    )]
    pub(crate) place: &'a str,
    pub(crate) role: Role,
    pub(crate) parent: Option<&'a Parent>,
    /// Bytes that can differ from the parent's; everything if absent.
    pub(crate) changed: Option<&'a [Range<u64>]>,
    /// Makes none if the disk is as its parent has it.
    pub(crate) only_if_changed: bool,
}

impl Home {
    /// Opens where snapshots go; `None` if the destination is no place of snapshots.
    pub(crate) fn open(
        destination: &Destination,
        aws: &AwsArgs,
        upload: &UploadArgs,
    ) -> Result<Option<Self>> {
        if *destination != Destination::Ebs && upload.is_given() {
            bail!(
                "--encrypt, --kms-key, --unencrypted, --tag, --no-zero-fill and --state are about \
                 snapshots in EBS (ebs:)"
            );
        }
        Ok(match destination {
            Destination::Path(_) => None,
            Destination::Store(dir) => Some(Self::Store(Store::create(dir)?)),
            Destination::Ebs => Some(Self::Ebs(Box::new(ebs::Home::open(aws, upload)?))),
        })
    }

    /// Opens where snapshots went before; `None` if nothing is there yet. Nothing is made.
    pub(crate) fn existing(home: &str, aws: &AwsArgs, upload: &UploadArgs) -> Result<Option<Self>> {
        match Destination::parse(home)? {
            Destination::Store(dir) if dir.is_dir() => Ok(Some(Self::Store(Store::open(&dir)?))),
            Destination::Ebs => Self::open(&Destination::Ebs, aws, upload),
            Destination::Store(_) | Destination::Path(_) => Ok(None),
        }
    }

    /// In which state the files were that a snapshot was made of, if that was kept here; `name` is
    /// the snapshot as an argument.
    pub(crate) fn source_of(&self, name: &str) -> Result<Option<String>> {
        Ok(match (self, Source::parse(name)?) {
            (Self::Store(store), Source::Snapshot { id, .. }) => {
                let manifest = store.manifest(&id)?;
                manifest.source.map(String::from)
            }
            (Self::Ebs(home), Source::Ebs(id)) => home.source_of(&id),
            _ => None,
        })
    }

    /// Begins a set of snapshots; `what` tells this run from every other kind of run.
    pub(crate) fn begin(&self, role: Role, what: &[&str]) -> Result<Set> {
        Ok(match self {
            Self::Store(_) => Set::Store,
            Self::Ebs(home) => Set::Ebs(Box::new(home.begin(role, what)?)),
        })
    }

    /// The staging snapshot of a disk that the next one is made from; `sure` if it has to be the last
    /// one, and not the last that is sound.
    pub(crate) fn latest(
        &self,
        machine: &str,
        number: &str,
        sure: bool,
        terminal: &Terminal,
    ) -> Result<Option<Parent>> {
        Ok(match self {
            Self::Store(store) => {
                let mut survey = store.survey()?;
                for problem in std::mem::take(&mut survey.damaged) {
                    if sure {
                        let what =
                            "which is the last snapshot cannot be told, so no list is believed";
                        return Err(anyhow::Error::new(problem).context(what));
                    }
                    eprintln!(
                        "rehost: {problem}, and may be the last snapshot of {machine}; see `rehost \
                         snapshots fsck`"
                    );
                }
                let latest = survey.latest(machine, number, store::Role::Staging);
                latest.map(|latest| Parent::Store(latest.id.clone()))
            }
            Self::Ebs(home) => {
                let latest = home.latest(machine, number, terminal)?;
                latest.map(|latest| Parent::Ebs(Box::new(latest)))
            }
        })
    }

    /// Whether [`latest`](Self::latest) gives a staging snapshot that was made without a parent; one
    /// that was there before may have children.
    pub(crate) fn is_last(&self, output: &Output, machine: &str, number: &str) -> Result<bool> {
        Ok(match (self, output) {
            (
                Self::Store(store),
                Output::Snapshot {
                    id, made: false, ..
                },
            ) => {
                let latest = store.latest(machine, number, store::Role::Staging)?;
                latest.is_none_or(|latest| latest.id == *id)
            }
            // Two of one content are two in EBS.
            _ => true,
        })
    }

    /// A source as the parent of what is made of it, if it is in this place; `changed` is what of it
    /// may change.
    pub(crate) fn parent(
        &self,
        source: &Snapshot,
        changed: &[Range<u64>],
        terminal: &Terminal,
    ) -> Result<Option<Parent>> {
        Ok(match (self, source) {
            (Self::Store(store), Snapshot::Store(source))
                if is_same_dir(source.store().dir(), store.dir()) =>
            {
                Some(Parent::Store(source.manifest().id.clone()))
            }
            (Self::Ebs(_), Snapshot::Ebs(source)) => {
                Some(Parent::Ebs(Box::new(source.as_parent(changed, terminal)?)))
            }
            _ => None,
        })
    }

    /// What is known about the last snapshot of a disk: see [`Last`].
    pub(crate) fn last(&self, parent: &Parent) -> Last {
        match (self, parent) {
            (Self::Store(store), Parent::Store(id)) => {
                // One that was removed a moment ago is missed when it is written to.
                let manifest = store.manifest(id).ok();
                Last {
                    disk_size: manifest.as_ref().map(|manifest| manifest.disk_size),
                    source: manifest
                        .and_then(|manifest| manifest.source)
                        .map(String::from),
                }
            }
            (Self::Ebs(home), Parent::Ebs(parent)) => home.last(parent),
            _ => Last {
                disk_size: None,
                source: None,
            },
        }
    }

    /// Keeps with a snapshot in which state the files are that it was made of; without that the next
    /// run reads more.
    pub(crate) fn keep_source(&self, output: &Output, source: &SourceState, terminal: &Terminal) {
        let kept = match (self, output) {
            (Self::Store(store), Output::Snapshot { id, .. }) => {
                let kept = store.keep_source(id, source, &terminal.interrupt);
                kept.map_err(anyhow::Error::new)
            }
            (Self::Ebs(home), Output::Ebs(made)) => home.keep_source(made, source),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            let id = output.line();
            tracing::warn!(%id, %error, "does not keep which files it was made of");
        }
    }

    /// Makes a snapshot of a disk.
    pub(crate) fn write(&self, set: &Set, new: &New<'_>, terminal: &Terminal) -> Result<Output> {
        match (self, set) {
            (Self::Ebs(home), Set::Ebs(set)) => {
                let parent = match new.parent {
                    Some(Parent::Ebs(parent)) => Some(&**parent),
                    _ => None,
                };
                Ok(Output::Ebs(home.write(set, new, parent, terminal)?))
            }
            (Self::Store(store), _) => {
                let snapshot = NewSnapshot {
                    parent: match new.parent {
                        Some(Parent::Store(id)) => Some(id),
                        _ => None,
                    },
                    changed: new.changed,
                    only_if_changed: new.only_if_changed,
                    ..NewSnapshot::default()
                };
                let snapshot = match new.role {
                    Role::Copy => snapshot,
                    Role::Staging | Role::Converted => NewSnapshot {
                        machine: new.machine,
                        disk: new.number,
                        role: new.role.of_store(),
                        ..snapshot
                    },
                };
                target::write_snapshot(new.name, new.device, &snapshot, store, terminal)
            }
            (Self::Ebs(_), Set::Store) => bail!("a set of snapshots is of another place"),
        }
    }
}

impl Set {
    /// All snapshots of it are made.
    pub(crate) fn end(self) -> Result<()> {
        match self {
            Self::Store => Ok(()),
            Self::Ebs(set) => set.end(),
        }
    }
}

impl Role {
    fn of_store(self) -> store::Role {
        match self {
            Self::Staging | Self::Copy => store::Role::Staging,
            Self::Converted => store::Role::Converted,
        }
    }
}

impl Snapshot {
    pub(crate) fn device(&self) -> Arc<dyn BlockRead> {
        match self {
            Self::Store(snapshot) => snapshot.clone(),
            Self::Ebs(snapshot) => snapshot.clone(),
        }
    }

    /// The name of its place where formats of images are named.
    pub(crate) fn format(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Ebs(_) => "ebs",
        }
    }

    /// The machine and the disk that it is of, if that is known.
    pub(crate) fn of(&self) -> Option<(String, String)> {
        match self {
            Self::Store(snapshot) => {
                let manifest = snapshot.manifest();
                Some((manifest.machine.clone(), manifest.disk.clone()))
            }
            Self::Ebs(snapshot) => snapshot.of(),
        }
    }

    /// Where another one differs from it, if that can be told without reading blocks.
    pub(crate) fn diff(&self, other: &Self) -> Result<Option<Vec<Range<u64>>>> {
        match (self, other) {
            (Self::Store(a), Self::Store(b)) if a.store().dir() == b.store().dir() => {
                let ranges = a.store().diff(&a.manifest().id, &b.manifest().id);
                Ok(Some(ranges?))
            }
            (Self::Ebs(a), Self::Ebs(b)) => a.diff(b),
            _ => Ok(None),
        }
    }
}

fn is_same_dir(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
