//! Snapshots in Amazon EBS: the one module of the program that knows the crate `ebs`.
//!
//! A build without the feature `aws` has `no_ebs.rs` in its place, with the same names.

mod keeping;

use crate::args::{AwsArgs, UploadArgs};
use crate::exit::Blame;
use crate::since::Last;
use crate::snapshot_home::{New, Role};
use crate::state;
use crate::terminal::Terminal;
use anyhow::{Context, Error, Result};
use block::{BlockRead, Extent};
use ebs::{Config, Ebs, EbsSnapshot, Encryption, SnapshotInfo, UploadRequest, Uploaded, tag};
pub(crate) use keeping::{abandoned, changed, converted, describe, latest, list, policy, remove};
use ondisk::Interrupt;
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use store::{BLOCK, Index, SourceState};

/// The connection of the process, once something needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection(Arc<Mutex<Option<Connected>>>);

#[derive(Clone, Debug)]
struct Connected {
    aws: aws::Connection,
    ebs: Ebs,
}

/// A snapshot that is read on demand.
#[derive(Debug)]
pub(crate) struct Snapshot {
    ebs: Ebs,
    device: EbsSnapshot,
    interrupt: Interrupt,
}

/// EBS as the place of new snapshots.
#[derive(Debug)]
pub(crate) struct Home {
    ebs: Ebs,
    /// Journals and indexes, of this region.
    state: PathBuf,
    upload: UploadArgs,
}

/// A snapshot that a new one inherits of.
#[derive(Debug)]
pub(crate) struct Parent {
    info: SnapshotInfo,
    index: Index,
    whole: bool,
    /// Bytes of the disk, if that is known.
    size: Option<u64>,
}

/// Snapshots of the disks of a machine that are made together.
#[derive(Debug)]
pub(crate) struct Set(ebs::Run);

/// A snapshot that was made, or that stands for the disk.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    disk: String,
    region: String,
    id: String,
    /// The snapshot of which it inherits.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// What the snapshots of all disks of the machine have in common that were made in one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<String>,
    encrypted: bool,
    /// Blocks that were put into it.
    put_blocks: u64,
    /// Of these, what an earlier run put that was stopped.
    put_before: u64,
    /// Blocks of the disk that were not put: as the parent has them, or zeros.
    skipped_blocks: u64,
    /// Bytes of the disk that were read.
    read: u64,
    /// Whether it was not there before.
    made: bool,
    #[serde(skip)]
    ebs: Ebs,
    #[serde(skip)]
    state: PathBuf,
    /// Snapshots of which no run makes a child once this one stays.
    #[serde(skip)]
    obsolete: Vec<String>,
}

/// The longest that the service keeps an upload that was stopped: it can be continued for three days.
const TIMEOUT_MINUTES: u16 = 4320;
const GIB: u64 = 1 << 30;

/// The account and region, of which the process has one.
pub(crate) fn account(args: &AwsArgs) -> Result<aws::Connection> {
    Ok(connected(args)?.aws)
}

fn connect(args: &AwsArgs) -> Result<Ebs> {
    Ok(connected(args)?.ebs)
}

/// Connects, once for the process.
fn connected(args: &AwsArgs) -> Result<Connected> {
    let mut connection = args
        .connection
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(connected) = &*connection {
        return Ok(connected.clone());
    }
    let account = aws::Config {
        region: args.region.clone(),
        profile: args.profile.clone(),
        endpoint_url: args.endpoint_url.clone(),
        ca_bundle: args.ca_bundle.clone(),
        ..aws::Config::default()
    };
    let usual = Config::default();
    let max_concurrency = args.concurrency.unwrap_or(usual.max_concurrency);
    let limits = Config {
        max_concurrency,
        min_concurrency: usual.min_concurrency.min(max_concurrency),
        max_mbps: args.max_mbps,
        max_requests_per_second: args.max_requests,
        ..usual
    };
    let aws = aws::Connection::open(&account).context("cannot use AWS")?;
    let ebs = Ebs::new(aws.clone(), &limits).context("cannot use EBS")?;
    Ok(connection.insert(Connected { aws, ebs }).clone())
}

/// Opens a completed snapshot.
pub(crate) fn open(id: &str, args: &AwsArgs, terminal: &Terminal) -> Result<Snapshot> {
    let ebs = connect(args)?;
    let device = ebs.open(id, &terminal.interrupt);
    let device = device.with_context(|| format!("cannot open {id} in {}", ebs.region()))?;
    Ok(Snapshot {
        ebs,
        device,
        interrupt: terminal.interrupt.clone(),
    })
}

impl Snapshot {
    /// The machine and the disk that it is of, if its tags say so and may be read.
    pub(crate) fn of(&self) -> Option<(String, String)> {
        let info = self.ebs.info(self.device.id(), &self.interrupt);
        let info = info.ok()?;
        let machine = info.tag(tag::MACHINE)?.to_owned();
        Some((machine, info.tag(tag::DISK)?.to_owned()))
    }

    /// This snapshot as the parent of one in which nothing but `changed` may differ.
    pub(crate) fn as_parent(&self, changed: &[Range<u64>], terminal: &Terminal) -> Result<Parent> {
        let id = self.device.id();
        let failed = || format!("cannot make a child of {id}");
        let info = self.ebs.info(id, &terminal.interrupt);
        let info = info.with_context(failed)?;
        let index = self.device.index(Some(changed), &*terminal.progress);
        Ok(Parent {
            info,
            index: index.with_context(failed)?,
            whole: false,
            size: Some(self.device.size()),
        })
    }

    /// Where another snapshot of the same chain differs from it; `None` if they are of different ones.
    pub(crate) fn diff(&self, other: &Self) -> Result<Option<Vec<Range<u64>>>> {
        let (a, b) = (self.device.id(), other.device.id());
        match self.ebs.changed(a, b, &self.interrupt) {
            Ok(ranges) => Ok(Some(ranges)),
            Err(ebs::Error::Refused { code, .. }) if code.contains("UNRELATED") => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot compare {a} with {b}")),
        }
    }
}

impl BlockRead for Snapshot {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        self.device.read_at(offset, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        self.device.extent_at(offset)
    }

    fn granule(&self) -> u64 {
        self.device.granule()
    }
}

impl Home {
    pub(crate) fn open(aws: &AwsArgs, upload: &UploadArgs) -> Result<Self> {
        let ebs = connect(aws)?;
        let state = state_dir(upload.state.as_deref())?;
        Ok(Self {
            state: state.join("ebs").join(ebs.region()),
            ebs,
            upload: upload.clone(),
        })
    }

    pub(crate) fn begin(&self, role: Role, what: &[&str]) -> Result<Set> {
        let what = [&[role_of(role).as_str()], what].concat();
        let run = ebs::Run::begin(&self.state, &what);
        Ok(Set(run.context("cannot begin to make snapshots")?))
    }

    /// The latest completed staging snapshot of a disk.
    pub(crate) fn latest(
        &self,
        machine: &str,
        number: &str,
        terminal: &Terminal,
    ) -> Result<Option<Parent>> {
        let (role, project) = (ebs::Role::Staging, &self.upload.project);
        let latest = self
            .ebs
            .latest(project, machine, number, role, &terminal.interrupt)?;
        latest.map(|info| self.known(info, terminal)).transpose()
    }

    /// A snapshot with its index; it is read where nothing else tells what it holds.
    fn known(&self, info: SnapshotInfo, terminal: &Terminal) -> Result<Parent> {
        let size = info.tag(tag::SIZE).and_then(|size| size.parse().ok());
        let id = &info.id;
        let index = match ebs::load_index(&self.state, id)? {
            Some((index, _)) => index,
            None => {
                eprintln!(
                    "rehost: {} has no index of {id}, which was made elsewhere: all of it is read \
                     from EBS to compare with it (--full starts a new chain instead)",
                    self.state.display()
                );
                let snapshot = self.ebs.open(id, &terminal.interrupt);
                let index = snapshot.and_then(|parent| parent.index(None, &*terminal.progress));
                let index = index.with_context(|| format!("cannot read {id}"))?;
                // Zeros that were put where a parent had data are nothing, unless it is encrypted.
                let index = index.child(&[], u32::MAX, info.encrypted);
                let bytes = size.unwrap_or(u64::from(info.volume_size) * GIB);
                let blocks = store::engine::disk_blocks(bytes)?;
                // A disk that was larger once has left zeros behind its end.
                let last = index.records().last();
                let blocks = last.map_or(0, |last| last.0.saturating_add(1)).max(blocks);
                ebs::save_index(&self.state, id, &index, blocks)?;
                index
            }
        };
        Ok(Parent {
            info,
            index,
            whole: true,
            size,
        })
    }

    /// What is known about the last snapshot of a disk; of which files it was made, if this host
    /// made it.
    pub(crate) fn last(&self, parent: &Parent) -> Last {
        Last {
            disk_size: parent.size,
            source: self.source_of(&parent.info.id),
        }
    }

    /// Of which files a snapshot was made, if this host made it.
    pub(crate) fn source_of(&self, id: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.source_path(id)).ok();
        text.map(|text| text.trim_end().to_owned())
    }

    /// Keeps of which files a snapshot was made, beside its index.
    pub(crate) fn keep_source(&self, made: &Made, source: &SourceState) -> Result<()> {
        // What a crash leaves of it is no state that any files have.
        let path = self.source_path(&made.id);
        let written = std::fs::write(&path, format!("{source}\n"));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    fn source_path(&self, id: &str) -> PathBuf {
        source_path(&self.state, id)
    }

    /// Makes a snapshot of a disk, or continues to.
    pub(crate) fn write(
        &self,
        set: &Set,
        new: &New<'_>,
        parent: Option<&Parent>,
        terminal: &Terminal,
    ) -> Result<Made> {
        let context = || format!("cannot store {} in EBS ({})", new.name, self.ebs.region());
        let parent = parent.filter(|parent| parent.fits(new));
        if let Some(parent) = parent {
            self.upload.tell_encryption(new, &parent.info);
        }
        let uploaded = self.upload(set, new, parent, terminal);
        let first = uploaded.with_context(context)?;
        if !first.existed {
            return Ok(self.made(set, new, parent, first));
        }
        // A run was killed when it had put all, so this snapshot has the disk as that run saw it.
        if new.only_if_changed {
            let info = self.ebs.info(&first.id, &terminal.interrupt);
            let parent = self.known(info.with_context(context)?, terminal)?;
            // Where that can differ from the disk as it is now, nothing tells: what is known is
            // where the disk differs from the snapshot before.
            let new = New {
                changed: None,
                ..*new
            };
            let second = self.upload(set, &new, Some(&parent), terminal);
            let mut made = self.made(set, &new, Some(&parent), second.with_context(context)?);
            // Nobody was told of the first one.
            made.made = true;
            return Ok(made);
        }
        let uploaded = self.upload(set, new, parent, terminal);
        let made = self.made(set, new, parent, uploaded.with_context(context)?);
        self.remove(&first.id);
        Ok(made)
    }

    fn upload(
        &self,
        set: &Set,
        new: &New<'_>,
        parent: Option<&Parent>,
        terminal: &Terminal,
    ) -> Result<Uploaded> {
        let changed = parent.and_then(|parent| parent.changed(new));
        let identity = set.0.identity(new.place)?;
        let tags: Vec<_> = self.upload.tag.iter().map(|(k, v)| (&**k, &**v)).collect();
        let encryption = match (&self.upload, parent) {
            (_, Some(_)) => Encryption::Default,
            (
                UploadArgs {
                    kms_key: Some(arn), ..
                },
                None,
            ) => Encryption::Key(arn),
            (UploadArgs { encrypt: true, .. }, None) => Encryption::DefaultKey,
            (
                UploadArgs {
                    unencrypted: true, ..
                },
                None,
            ) => Encryption::Unencrypted,
            _ => Encryption::Default,
        };
        let description: String = format!("{} by rehost", new.name);
        let description: String = description.chars().take(255).collect();
        let request = UploadRequest {
            disk: new.device,
            parent: parent.map(|parent| ebs::Parent {
                id: &parent.info.id,
                index: &parent.index,
                whole: parent.whole,
                encrypted: parent.info.encrypted,
                volume_size: parent.info.volume_size,
            }),
            volume_size: None,
            description: &description,
            set: set.0.set(),
            tags: &tags,
            project: &self.upload.project,
            machine: new.machine,
            disk_name: new.number,
            role: role_of(new.role),
            identity: &identity,
            encryption,
            zero_fill: !self.upload.no_zero_fill && !self.upload.blueprint_no_zero_fill,
            changed: changed.as_deref(),
            only_if_changed: new.only_if_changed,
            journal_dir: &self.state,
            timeout_minutes: self.upload.timeout_minutes.unwrap_or(TIMEOUT_MINUTES),
        };
        let (progress, interrupt) = (&*terminal.progress, &terminal.interrupt);
        let uploaded = self.ebs.upload(&request, progress, interrupt)?;
        set.0.done(new.place)?;
        if new.role != Role::Staging {
            // Nothing is made of these by their index.
            forget(&self.state, &uploaded.id);
        }
        Ok(uploaded)
    }

    fn made(&self, set: &Set, new: &New<'_>, parent: Option<&Parent>, up: Uploaded) -> Made {
        let before = parent.filter(|_| up.unchanged);
        let mut obsolete = Vec::new();
        if let Some(parent) = parent.filter(|parent| parent.whole && new.role == Role::Staging) {
            // What a run before left that was killed, or another host made the next one of.
            obsolete.extend(parent.info.tag(tag::PARENT).map(str::to_owned));
            obsolete.extend((!up.unchanged).then(|| parent.info.id.clone()));
        }
        Made {
            disk: new.name.to_owned(),
            region: self.ebs.region().to_owned(),
            parent: match (before, parent) {
                (Some(same), _) => same.info.tag(tag::PARENT).map(str::to_owned),
                (None, parent) => parent.map(|parent| parent.info.id.clone()),
            },
            set: match before {
                Some(same) => same.info.tag(tag::SET).map(str::to_owned),
                None => Some(set.0.set().to_owned()),
            },
            id: up.id,
            encrypted: up.encrypted,
            put_blocks: up.put.saturating_add(up.put_before),
            put_before: up.put_before,
            skipped_blocks: up.skipped,
            read: up.read,
            made: !up.unchanged,
            ebs: self.ebs.clone(),
            state: self.state.clone(),
            obsolete,
        }
    }

    fn remove(&self, id: &str) {
        // The user may have interrupted the work, and this is what has to be done then.
        if let Err(error) = self.ebs.delete(id, &Interrupt::default()) {
            tracing::warn!(%id, %error, "cannot be removed");
        }
    }
}

impl Parent {
    /// Whether a disk can be its child: what a smaller one does not have could not be taken back.
    fn fits(&self, new: &New<'_>) -> bool {
        let size = new.device.size();
        let beyond = |(block, _): &(u32, _)| u64::from(*block) >= size.div_ceil(BLOCK);
        let smaller = size.div_ceil(GIB).max(1) < u64::from(self.info.volume_size)
            || self.index.records().last().is_some_and(beyond);
        if smaller {
            eprintln!(
                "rehost: {} is smaller than {}, so a new chain begins",
                new.name, self.info.id
            );
        }
        !smaller
    }

    /// Bytes that can differ from it, if that is known.
    fn changed(&self, new: &New<'_>) -> Option<Vec<Range<u64>>> {
        let mut changed = new.changed?.to_vec();
        let Some(size) = self.size else {
            eprintln!(
                "rehost: {} does not say how large the disk was, so all of {} is read, whatever the \
                 list says",
                self.info.id, new.name
            );
            return None;
        };
        // What the disk has grown by is not in the parent.
        changed.push(size..new.device.size().max(size));
        Some(changed)
    }
}

impl Set {
    pub(crate) fn end(self) -> Result<()> {
        Ok(self.0.end()?)
    }
}

impl Made {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn disk(&self) -> &str {
        &self.disk
    }

    pub(crate) fn put_blocks(&self) -> u64 {
        self.put_blocks
    }

    pub(crate) fn made(&self) -> bool {
        self.made
    }

    pub(crate) fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Forgets what was kept of those before it.
    pub(crate) fn settle(&self) {
        for id in &self.obsolete {
            forget(&self.state, id);
        }
    }

    /// Takes it back, if this run made it.
    pub(crate) fn remove(&self) {
        if !self.made {
            return;
        }
        match self.ebs.delete(&self.id, &Interrupt::default()) {
            Ok(()) => forget(&self.state, &self.id),
            Err(error) => tracing::warn!(id = %self.id, %error, "cannot be removed"),
        }
    }
}

impl UploadArgs {
    /// Says that a child is encrypted as its parent is, if something else is asked for.
    fn tell_encryption(&self, new: &New<'_>, parent: &SnapshotInfo) {
        let wanted = self.encrypt || self.kms_key.is_some();
        let is = match (parent.encrypted, wanted, self.unencrypted) {
            (false, true, _) => "is not encrypted",
            (true, _, true) => "is encrypted",
            _ => return,
        };
        let (name, id) = (new.name, &parent.id);
        eprintln!(
            "rehost: the snapshot of {name} {is}, whatever is asked for: its parent {id} {is}"
        );
    }
}

fn source_path(state: &Path, id: &str) -> PathBuf {
    state.join(format!("{id}.source"))
}

/// Forgets what a snapshot holds, and of which files it was made. Should something be made of it all
/// the same, all of it is read.
fn forget(state: &Path, id: &str) {
    if let Err(error) = ebs::remove_index(state, id) {
        tracing::warn!(%id, %error, "its index stays");
        return;
    }
    match std::fs::remove_file(source_path(state, id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%id, %error, "the state of its source stays");
        }
        _ => {}
    }
}

fn role_of(role: Role) -> ebs::Role {
    match role {
        Role::Staging => ebs::Role::Staging,
        Role::Converted => ebs::Role::Converted,
        Role::Copy => ebs::Role::Copy,
    }
}

/// Where journals and indexes are kept.
fn state_dir(given: Option<&Path>) -> Result<PathBuf> {
    state::dir(given)
        .context("neither HOME nor REHOST_STATE is set: say with --state where journals are kept")
}

/// Whether the user stopped it: the crate's errors show that as their own text, so it is no cause.
pub(crate) fn is_interruption(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(ebs::Error::Interrupted(_)))
}

/// Whose fault an error of EBS is.
pub(crate) fn blame(cause: &(dyn std::error::Error + 'static)) -> Option<Blame> {
    match cause.downcast_ref()? {
        // What is behind it tells.
        ebs::Error::Store(_) => Some(Blame::Unknown),
        _ => Some(Blame::Host),
    }
}

/// Whether the same may go well later, with nothing changed here.
pub(crate) fn may_pass(error: &Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(ebs::Error::may_pass)
}
