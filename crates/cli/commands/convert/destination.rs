//! Where converted disks go.

use super::Job;
use crate::args::ConvertArgs;
use crate::locator::Destination;
use crate::machine::Opened;
use crate::snapshot_home::{Home, New, Role, Set, Snapshot};
use crate::target::{self, Output};
use crate::terminal::Terminal;
use crate::write_format::{self, Chosen};
use anyhow::{Context, Result, bail};
use block::BlockRead;
use image::WriteOptions;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where converted disks go, with everything decided before work starts.
pub(super) enum Target {
    Files {
        place: Place,
        chosen: Chosen,
        options: WriteOptions,
    },
    Snapshots(Home),
}

pub(super) enum Place {
    File(PathBuf),
    Dir(PathBuf),
}

impl Target {
    pub(super) fn new(destination: Destination, several: bool, args: &ConvertArgs) -> Result<Self> {
        let home = Home::open(&destination, &args.source.aws, &args.upload)?;
        let path = match (destination, home) {
            (_, Some(_)) if args.format.is_given() => {
                bail!("formats and their options are about image files, not about stores or EBS")
            }
            (_, Some(home)) => return Ok(Self::Snapshots(home)),
            (Destination::Path(path), None) => path,
            (Destination::Store(_) | Destination::Ebs, None) => {
                bail!("nothing can be written there")
            }
        };
        let named_as_dir = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let place = if several || named_as_dir || path.is_dir() {
            Place::Dir(path)
        } else {
            Place::File(path)
        };
        let named = match &place {
            Place::File(path) => Some(path.as_path()),
            Place::Dir(_) => None,
        };
        let chosen = write_format::choose(&args.format, named)?;
        if let Place::Dir(path) = &place {
            std::fs::create_dir_all(path).with_context(|| {
                format!(
                    "several disks need a directory, and {} is none",
                    path.display()
                )
            })?;
        }
        Ok(Self::Files {
            place,
            options: WriteOptions {
                format: chosen.format,
                overwrite: args.force,
                ..WriteOptions::default()
            },
            chosen,
        })
    }

    pub(super) fn overwrites(&self) -> bool {
        match self {
            Self::Files { options, .. } => options.overwrite,
            Self::Snapshots(_) => false,
        }
    }

    pub(super) fn write(
        &self,
        disk: &ToWrite<'_>,
        device: &dyn BlockRead,
        terminal: &Terminal,
    ) -> Result<Output> {
        match self {
            Self::Files {
                chosen, options, ..
            } => target::write_file(disk.name, device, disk.path, chosen, options, terminal),
            Self::Snapshots(home) => disk.write_snapshot(device, home, terminal),
        }
    }

    /// Begins what is made of a machine.
    pub(super) fn begin(&self, job: &Job, opened: &Opened) -> Result<Option<Set>> {
        let Self::Snapshots(home) = self else {
            return Ok(None);
        };
        let mut what = vec![job.machine.as_str()];
        what.extend(opened.machine.disks().iter().map(|disk| disk.name.as_str()));
        home.begin(Role::Converted, &what).map(Some)
    }
}

/// A converted disk on its way out.
pub(super) struct ToWrite<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a Path,
    pub(super) machine: &'a str,
    /// Its number in the machine.
    pub(super) number: &'a str,
    /// What it was made from, if that is a snapshot.
    pub(super) from: Option<&'a Snapshot>,
    /// Bytes that differ from what it was made from.
    pub(super) changed: &'a [Range<u64>],
    /// What it belongs to, if it becomes a snapshot.
    pub(super) set: Option<&'a Set>,
}

impl ToWrite<'_> {
    /// Made from a snapshot of the same place it inherits of that one, and only what the conversion
    /// wrote is read and stored.
    fn write_snapshot(
        &self,
        device: &dyn BlockRead,
        home: &Home,
        terminal: &Terminal,
    ) -> Result<Output> {
        let set = self.set.context("nothing was begun")?;
        let parent = match self.from {
            Some(from) => home.parent(from, self.changed, terminal)?,
            None => None,
        };
        let of = self.from.and_then(Snapshot::of);
        let (machine, number) = match &of {
            Some((machine, number)) => (machine.as_str(), number.as_str()),
            None => (self.machine, self.number),
        };
        let new = New {
            name: self.name,
            device,
            machine,
            number,
            place: self.number,
            role: Role::Converted,
            parent: parent.as_ref(),
            changed: parent.is_some().then_some(self.changed),
            only_if_changed: false,
        };
        home.write(set, &new, terminal)
    }
}

/// The paths of the outputs of each job.
pub(super) struct Places(pub(super) Vec<Vec<PathBuf>>);

impl Places {
    /// Gives every disk of every machine its path, before anything is written: no two of them the
    /// same, and none a file that any machine is read from.
    pub(super) fn claim(jobs: &[Job], opened: &[Result<Opened>], target: &Target) -> Result<Self> {
        let mut sources: Vec<PathBuf> = Vec::new();
        for (job, opened) in jobs.iter().zip(opened) {
            sources.extend(job.images.iter().map(PathBuf::from));
            sources.extend(
                opened
                    .iter()
                    .flat_map(|opened| opened.files.iter().cloned()),
            );
        }
        let mut seen = BTreeSet::new();
        let mut places = Vec::new();
        for opened in opened {
            let paths = opened
                .as_ref()
                .map_or_else(|_| Vec::new(), |opened| paths(opened, target));
            for path in &paths {
                if let Target::Snapshots(_) = target {
                    break;
                }
                if !seen.insert(path.clone()) {
                    bail!(
                        "two disks would both be written to {}; rename one",
                        path.display()
                    );
                }
                target::claim(path, &sources, target.overwrites())?;
            }
            places.push(paths);
        }
        Ok(Self(places))
    }
}

/// The path of each disk's output.
fn paths(opened: &Opened, target: &Target) -> Vec<PathBuf> {
    let path = |stem: &String| match target {
        Target::Files {
            place: Place::File(path),
            ..
        } => path.clone(),
        Target::Files {
            place: Place::Dir(dir),
            chosen,
            ..
        } => dir.join(format!("{stem}.{}", chosen.name())),
        Target::Snapshots(_) => PathBuf::new(),
    };
    opened.stems.iter().map(path).collect()
}
