//! The machines of a project file, and what a run may do with them.

mod blueprints;
mod conversions;
mod launch;
mod locally;
#[cfg(feature = "aws")]
mod on_ec2;
#[cfg(not(feature = "aws"))]
#[path = "no_ec2.rs"]
mod on_ec2;
mod recover;
mod status;
pub(crate) mod strays;
mod work;

use crate::args::{
    AwsArgs, ConvertArgs, ProjectArgs, ReplicateArgs, RuleArgs, SourceArgs, UploadArgs,
};
use crate::locator::{Destination, Source};
use crate::record::{Notes, Recorder};
use crate::target::Output;
use crate::terminal::Terminal;
use ::launch::document::{self, Problems};
use ::launch::project::{self, Machine, Project};
use ::launch::record::{Record, Snapshot};
use ::launch::records::{Locked, Records};
use ::launch::shard::Resolved;
use anyhow::{Context, Result, bail};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use launch::{Outcome, Request};
pub(crate) use on_ec2::{is_interruption, policy};
pub(crate) use status::{Behind, Status, of as status};
pub(crate) use work::{convert, dry_run, each, launch, mark, snapshot};

/// A project as one process works on it.
#[derive(Debug)]
pub(crate) struct Migration {
    pub(crate) project: Project,
    pub(crate) records: Records,
    /// The connection of the process, with this shard's share of the limits.
    pub(crate) aws: AwsArgs,
    /// Where snapshots go, as an argument of other commands.
    pub(crate) home: String,
    dir: PathBuf,
    shard: Option<Resolved>,
}

/// Where it is kept how far machines are, if the project file says nothing else.
const STATE: &str = ".rehost";
/// The directory of reports there, with one for each command.
const REPORTS: &str = "reports";
const EBS: &str = "ebs:";

impl Migration {
    /// Reads the project file and everything about it that can be wrong without looking at a disk.
    pub(crate) fn open(args: &ProjectArgs) -> Result<Self> {
        let path = &args.project;
        let project = read_project(path)?;
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let environment = |name: &str| std::env::var(name).ok();
        let shard = args.shard.map(|choice| choice.resolve(environment));
        let shard = shard.transpose()?;
        let state = project.state.clone().unwrap_or_else(|| STATE.into());
        let home = match Destination::parse(&project.store)? {
            Destination::Store(store) => format!("store:{}", dir.join(store).display()),
            Destination::Ebs => project.store.clone(),
            Destination::Path(_) => bail!(
                "{}: store: is {:?}; write store:DIR or ebs:",
                path.display(),
                project.store
            ),
        };
        let share = |limit: Option<f64>| match &shard {
            Some(shard) => limit.map(|limit| shard.shard.budget(limit)),
            None => limit,
        };
        let mut aws = args.aws.clone();
        aws.region = aws.region.or_else(|| project.region.clone());
        aws.max_mbps = share(aws.max_mbps.or(project.limits.max_mbps));
        aws.max_requests = share(aws.max_requests.or(project.limits.max_requests_per_second));
        Ok(Self {
            records: Records::new(dir.join(state), &project.metadata.name),
            project,
            aws,
            home,
            dir,
            shard,
        })
    }

    /// The machines that are named, or all; of these the shard's.
    pub(crate) fn machines(&self, names: &[String]) -> Result<Vec<&Machine>> {
        let mut chosen = Vec::new();
        for name in names {
            let Some(machine) = self.project.machine(name) else {
                let known = self.project.machines.iter();
                let known: Vec<_> = known.map(|machine| machine.name.as_str()).collect();
                bail!(
                    "the project {} has no machine {name:?}; it has {}",
                    self.project.metadata.name,
                    known.join(", ")
                );
            };
            if !chosen.iter().any(|other: &&Machine| other.name == *name) {
                chosen.push(machine);
            }
        }
        if names.is_empty() {
            chosen.extend(&self.project.machines);
        }
        Ok(match &self.shard {
            Some(shard) => shard.shard.members(&chosen).copied().collect(),
            None => chosen,
        })
    }

    /// Which part of the machines this process works on, if not on all.
    pub(crate) fn shard(&self) -> Option<&Resolved> {
        self.shard.as_ref()
    }

    /// Does `work` on a machine and writes a report of it, into the directory for reports or, if
    /// there is none, beside the records.
    pub(crate) fn recorded<T>(
        &self,
        command: &str,
        reports: Option<&Path>,
        machine: &Machine,
        terminal: &Terminal,
        work: impl FnOnce(&mut Notes) -> Result<T>,
    ) -> Result<T> {
        let beside = || self.records.dir().join(REPORTS).join(command);
        let dir = reports.map_or_else(beside, Path::to_owned);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.with_context(|| format!("cannot make the directory {}", dir.display()))?;
        let path = dir.join(format!("{}.json", machine.name));
        let mut recorder = Recorder::begin(command, Some(&path))?;
        if let Some(Resolved { shard, .. }) = self.shard {
            recorder.shard(shard.index(), shard.count());
        }
        let mut notes = recorder.notes(&machine.name);
        let result = work(&mut notes);
        recorder.add(notes, &result);
        recorder.end(result, terminal)
    }

    /// A path of the project file, from its directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    /// The directory of the local store that snapshots go to, if they do not go to EBS.
    pub(crate) fn store(&self) -> Result<Option<PathBuf>> {
        Ok(match Destination::parse(&self.home)? {
            Destination::Store(dir) => Some(dir),
            Destination::Ebs | Destination::Path(_) => None,
        })
    }

    /// What is known about a machine, without holding others off.
    pub(crate) fn record(&self, machine: &str) -> Result<Option<Record>> {
        let mut record = self.records.read(machine)?;
        if let Some(record) = &mut record {
            self.reach(record);
        }
        Ok(record)
    }

    /// Takes a machine for this process.
    pub(crate) fn lock(&self, machine: &str) -> Result<Locked> {
        let mut locked = self.records.lock(machine, now())?;
        self.reach(&mut locked.record);
        Ok(locked)
    }

    /// Names snapshots in a local store as they are named from here: the record may have been made
    /// from another directory, or on a host that has the store elsewhere.
    fn reach(&self, record: &mut Record) {
        if self.home == EBS {
            return;
        }
        let snapshots = record.snapshot.iter_mut().flat_map(|one| &mut one.disks);
        let converted = record.converted.iter_mut();
        let converted = converted.flat_map(|one| one.from.iter_mut().chain(&mut one.disks));
        for disk in snapshots.chain(converted) {
            if disk.starts_with("store:")
                && let Some((_, id)) = disk.rsplit_once('#')
            {
                *disk = self.argument(id);
            }
        }
    }

    /// A snapshot in the project's store as an argument of commands.
    pub(crate) fn argument(&self, id: &str) -> String {
        match self.home.strip_prefix("store:") {
            Some(_) => format!("{}#{id}", self.home),
            None => format!("{}{id}", self.home),
        }
    }

    /// Snapshots of a machine's disks that were made a moment ago.
    pub(crate) fn taken(&self, outputs: &[Output]) -> Snapshot {
        let new = |output: &Output| {
            let snapshot = output.snapshot().filter(|snapshot| snapshot.made);
            snapshot.map_or(0, |snapshot| snapshot.put_blocks)
        };
        Snapshot {
            at: now(),
            changed_blocks: outputs.iter().map(new).sum(),
            disks: outputs
                .iter()
                .map(|output| self.argument(&output.line()))
                .collect(),
        }
    }

    /// The machine's blueprint, if it has one.
    pub(crate) fn blueprint(&self, machine: &Machine) -> Option<PathBuf> {
        machine.blueprint.as_deref().map(|path| self.path(path))
    }

    /// The machine's disks as arguments of commands.
    fn sources(&self, machine: &Machine) -> Vec<String> {
        let source = |text: &String| match Source::parse(text) {
            Ok(Source::File(path)) if path != Path::new("-") => {
                self.path(&path).to_string_lossy().into_owned()
            }
            // What cannot be understood is told when it is opened.
            _ => text.clone(),
        };
        machine.sources.iter().map(source).collect()
    }

    fn allow_path(&self, machine: &Machine) -> Vec<PathBuf> {
        machine
            .allow_path
            .iter()
            .map(|dir| self.path(dir))
            .collect()
    }

    fn upload(&self, machine: &Machine) -> UploadArgs {
        if self.home != EBS {
            // All of it is about EBS, and the project file was checked for that.
            return UploadArgs::default();
        }
        let replication = self.project.replication(machine);
        UploadArgs {
            encrypt: replication.encrypt == Some(true),
            kms_key: replication.kms_key_id,
            unencrypted: replication.encrypt == Some(false),
            tag: replication.tags.into_iter().collect(),
            no_zero_fill: replication.zero_fill == Some(false),
            state: None,
            blueprint_no_zero_fill: false,
            timeout_minutes: None,
            project: self.project.metadata.name.clone(),
        }
    }

    /// What `rehost replicate` would be told to take a snapshot of the machine.
    pub(crate) fn replicate(&self, machine: &Machine) -> ReplicateArgs {
        ReplicateArgs {
            sources: self.sources(machine),
            to: Some(self.home.clone()),
            machine: Some(machine.name.clone()),
            format: machine.format.clone(),
            allow_path: self.allow_path(machine),
            aws: self.aws.clone(),
            upload: self.upload(machine),
            ..ReplicateArgs::default()
        }
    }

    /// What `rehost convert` would be told to convert snapshots of the machine.
    pub(crate) fn convert(&self, machine: &Machine, snapshots: &[String]) -> ConvertArgs {
        ConvertArgs {
            images: snapshots.to_vec(),
            source: SourceArgs {
                root: machine.root.clone(),
                aws: self.aws.clone(),
                ..SourceArgs::default()
            },
            rules: RuleArgs {
                blueprint: self.blueprint(machine).into_iter().collect(),
                ..RuleArgs::default()
            },
            output: Some(self.home.clone()),
            upload: self.upload(machine),
            ..ConvertArgs::default()
        }
    }
}

/// Reads a project file and checks it.
pub(crate) fn read_project(path: &Path) -> Result<Project> {
    let document = document::load::<Project>(path).with_context(|| {
        let path = path.display();
        format!("the project file {path} cannot be used (--project names another)")
    })?;
    let problems = project::check(&document);
    if problems.is_empty() {
        return Ok(document.into_value());
    }
    Err(Problems::in_file(path, problems).into())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 tells no age anyway.
    since.map_or(0, |since| since.as_secs())
}
