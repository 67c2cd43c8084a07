//! Making a snapshot of a disk.

mod request;
mod volume;

use crate::info::State;
use crate::journal::{self, Journal};
use crate::sink::Sink;
use crate::{Ebs, Error, SnapshotInfo, index_file, tag};
use aws_sdk_ebs::types::Status;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress};
pub use request::{Encryption, Role, UploadRequest};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use store::{Digest, Index, Record, SinkError, SnapshotSink};

/// A snapshot that was made, completed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uploaded {
    /// Its id.
    pub id: String,
    /// Blocks that were put in this run.
    pub put: u64,
    /// Blocks that an earlier run had put, and that were not put again.
    pub put_before: u64,
    /// Blocks of the disk that were not put: as the parent has them, or zeros.
    pub skipped: u64,
    /// Bytes of the disk that were read.
    pub read: u64,
    /// Whether the snapshot was complete before, and nothing was done.
    pub existed: bool,
    /// Its content, for its child.
    pub index: Index,
}

/// Attempts whose snapshots failed or were abandoned, of one and the same upload.
const MAX_ATTEMPTS: u32 = 32;
/// Between two looks at the state of a snapshot: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(10);

/// What there was when the upload was asked for.
enum Before {
    /// The snapshot is complete.
    Done(String, bool),
    /// It is to be made, or to be made whole.
    Open(Journal, String, bool, Instant),
}

impl Ebs {
    /// Makes a snapshot of a disk, with the blocks that its parent does not have, and waits until it
    /// is completed.
    ///
    /// What was put is written down in the journal directory: the same request, asked for again after
    /// an error, an interrupt or a kill, continues the same snapshot. Once it is completed the same
    /// request gives the same snapshot.
    ///
    /// # Errors
    /// [`Error::Request`] if the request contradicts itself; [`Error::SnapshotFailed`] if the service
    /// found at last that the snapshot is not what it was said to be, after which the same request
    /// begins a new one; [`Error::Journal`], [`Error::Busy`], and as the service says. The first
    /// refusal ends it all.
    pub fn upload(
        &self,
        request: &UploadRequest<'_>,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Uploaded, Error> {
        let size = request.check()?;
        std::fs::create_dir_all(request.journal_dir).map_err(|source| Error::Io {
            path: request.journal_dir.to_owned(),
            source,
        })?;
        let (journal, id, encrypted, new_until) = match self.before(request, &size, interrupt)? {
            Before::Done(id, encrypted) => {
                return existing(request, &size, id, encrypted, progress, interrupt);
            }
            Before::Open(journal, id, encrypted, new_until) => (journal, id, encrypted, new_until),
        };
        let none = Index::default();
        let parent = request.parent.map_or(&none, |(_, index)| index);
        let sealed_before = journal.sealing;
        let (journal, put, own, index, read) = if journal.sealing {
            let own = journal.put.clone();
            let index = parent.child(&own, size.blocks, encrypted);
            (journal, 0, own, index, 0)
        } else {
            let sink = Sink::new(self, &id, new_until, journal, interrupt);
            let result = request.run(&size, encrypted, &sink, progress, interrupt);
            let outcome = result.map_err(|error| {
                sink.stop();
                // Why a block was refused is with the sink; the engine knows only that it was.
                sink.error().unwrap_or_else(|| Error::of_engine(error))
            })?;
            let (journal, put) = sink.finish()?;
            journal.sealing()?;
            (journal, put, outcome.put, outcome.index, outcome.read)
        };
        self.seal(&id, &own, new_until, sealed_before, interrupt)?;
        match self.final_state(&id, interrupt) {
            Err(error @ Error::SnapshotFailed { .. }) => {
                // It cannot be mended: the next run begins a new one.
                journal.remove()?;
                return Err(error);
            }
            other => other?,
        }
        index_file::save(request.journal_dir, &id, &index, size.blocks)?;
        journal.remove()?;
        let total = u64_of(own.len());
        Ok(Uploaded {
            id,
            put,
            put_before: total.saturating_sub(put),
            skipped: u64::from(size.blocks).saturating_sub(total),
            read,
            existed: false,
            index,
        })
    }

    /// Finds what an earlier run left, or begins.
    fn before(
        &self,
        request: &UploadRequest<'_>,
        size: &request::Size,
        interrupt: &Interrupt,
    ) -> Result<Before, Error> {
        let source = request.source(size);
        let name = hex(&source);
        let path = request.journal_dir.join(format!("{name}.upload"));
        let journal = journal::open(&path, &source, size.blocks)?;
        let found = self.find(&[(tag::SOURCE, &name)], interrupt)?;
        if let Some(done) = found.iter().find(|info| info.state == State::Completed) {
            if let Some(journal) = journal {
                journal.remove()?;
            }
            return Ok(Before::Done(done.id.clone(), done.encrypted));
        }
        let mut attempt = u32::try_from(found.len()).unwrap_or(MAX_ATTEMPTS);
        let mut unfinished = None;
        if let Some(journal) = journal {
            attempt = attempt.max(journal.attempt.saturating_add(1));
            match &journal.id {
                // Killed before it knew the snapshot: nothing was put, and the token finds it.
                None => unfinished = Some(journal),
                Some(id) => match self.look_for(&id.clone(), &journal, interrupt)? {
                    Some(info) if info.state == State::Pending => {
                        let new_until = self.new_until(journal.started);
                        return Ok(Before::Open(journal, info.id, info.encrypted, new_until));
                    }
                    Some(info) if info.state == State::Completed => {
                        journal.remove()?;
                        return Ok(Before::Done(info.id, info.encrypted));
                    }
                    _ => journal.remove()?,
                },
            }
        }
        self.begin(request, size, &path, unfinished, attempt, &found, interrupt)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what one caller has found so far"
    )]
    fn begin(
        &self,
        request: &UploadRequest<'_>,
        size: &request::Size,
        path: &Path,
        mut unfinished: Option<Journal>,
        mut attempt: u32,
        found: &[SnapshotInfo],
        interrupt: &Interrupt,
    ) -> Result<Before, Error> {
        let source = request.source(size);
        let name = hex(&source);
        while attempt < MAX_ATTEMPTS || unfinished.is_some() {
            // Written down before it is asked for, so that a run that is killed in between is known.
            let (mut journal, ours) = match unfinished.take() {
                Some(journal) => (journal, true),
                None => (journal::create(path, attempt, &source, size.blocks)?, false),
            };
            let token = request.token(&source, journal.attempt);
            let work = self.start(request, size.gib, &token, &name);
            let started = match self.wait(interrupt, work) {
                Ok(started) => started,
                Err(error) => {
                    // Refused for good: there is no snapshot. Else there may be one.
                    if matches!(error, Error::Refused { .. } | Error::Denied { .. }) {
                        journal.remove()?;
                    }
                    return Err(error);
                }
            };
            if started.state == Status::Completed {
                journal.remove()?;
                return Ok(Before::Done(started.id, started.encrypted));
            }
            // One that was pending before, without its journal: nobody knows what it holds.
            let foreign = !ours && found.iter().any(|info| info.id == started.id);
            if started.state == Status::Error || foreign {
                attempt = attempt.max(journal.attempt.saturating_add(1));
                journal.remove()?;
                continue;
            }
            journal.set_id(&started.id)?;
            let new_until = self.new_until(SystemTime::now());
            return Ok(Before::Open(
                journal,
                started.id,
                started.encrypted,
                new_until,
            ));
        }
        Err(Error::Request(format!(
            "{MAX_ATTEMPTS} snapshots of the same source failed or were abandoned; remove them first"
        )))
    }

    /// Until when the service may not find a snapshot of that age.
    fn new_until(&self, started: SystemTime) -> Instant {
        let age = started.elapsed().unwrap_or_default();
        let left = self.0.traffic.timeouts.not_found.saturating_sub(age);
        let now = Instant::now();
        now.checked_add(left).unwrap_or(now)
    }

    /// What is known about the snapshot of a journal; if that is young, the service may not know the
    /// snapshot yet.
    fn look_for(
        &self,
        id: &str,
        journal: &Journal,
        interrupt: &Interrupt,
    ) -> Result<Option<SnapshotInfo>, Error> {
        let until = self.new_until(journal.started);
        self.wait(interrupt, async {
            loop {
                let info = self.describe(id).await?;
                if info.is_some() || Instant::now() >= until {
                    return Ok(info);
                }
                tokio::time::sleep(FIRST_LOOK).await;
            }
        })
    }

    fn seal(
        &self,
        id: &str,
        own: &[Record],
        new_until: Instant,
        sealed_before: bool,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        // Not more than the blocks of 64 TiB.
        let count = i32::try_from(own.len()).unwrap_or(i32::MAX);
        let aggregate = store::linear(own);
        let work = self.complete(id, count, &aggregate, new_until);
        match self.wait(interrupt, work) {
            // The run before may have sealed it, which cannot be done twice; the state will tell.
            Err(Error::Refused { .. }) if sealed_before => Ok(()),
            other => other,
        }
    }

    /// Waits for the final state of a snapshot: the service checks count and checksum only after it
    /// has agreed to complete it.
    ///
    /// # Errors
    /// [`Error::SnapshotFailed`]; [`Error::NotFinal`] if that takes too long; as the service says.
    pub fn final_state(&self, id: &str, interrupt: &Interrupt) -> Result<(), Error> {
        crate::info::check_id(id)?;
        let start = Instant::now();
        let timeouts = self.0.traffic.timeouts;
        self.wait(interrupt, async {
            let mut pause = FIRST_LOOK;
            loop {
                let info = self.describe(id).await?;
                let waited = start.elapsed();
                let state = match info {
                    Some(info) => match info.state {
                        State::Completed => return Ok(()),
                        State::Error => {
                            return Err(Error::SnapshotFailed {
                                id: id.to_owned(),
                                message: info.message,
                            });
                        }
                        State::Pending => "pending".to_owned(),
                        State::Other(other) => other,
                    },
                    None if waited >= timeouts.not_found => {
                        return Err(Error::NoSnapshot(id.to_owned()));
                    }
                    None => "unknown".to_owned(),
                };
                if waited >= timeouts.completion {
                    return Err(Error::NotFinal {
                        id: id.to_owned(),
                        state,
                        waited,
                    });
                }
                tokio::time::sleep(pause).await;
                pause = pause.mul_f64(1.5).min(LAST_LOOK);
            }
        })
    }
}

/// What the same request made before.
fn existing(
    request: &UploadRequest<'_>,
    size: &request::Size,
    id: String,
    encrypted: bool,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Uploaded, Error> {
    let saved = index_file::load_index(request.journal_dir, &id)?;
    let (index, read) = match saved.filter(|(_, blocks)| *blocks == size.blocks) {
        Some((index, _)) => (index, 0),
        None => {
            // Made elsewhere, or the run was killed after its end: the source tells what is in it.
            let outcome = request.run(size, encrypted, &Nowhere, progress, interrupt);
            let outcome = outcome.map_err(Error::of_engine)?;
            index_file::save(request.journal_dir, &id, &outcome.index, size.blocks)?;
            (outcome.index, outcome.read)
        }
    };
    Ok(Uploaded {
        id,
        put: 0,
        put_before: 0,
        skipped: u64::from(size.blocks),
        read,
        existed: true,
        index,
    })
}

/// Takes blocks that are where they belong.
struct Nowhere;

impl SnapshotSink for Nowhere {
    fn put(&self, _: u32, _: Digest, _: Vec<u8>) -> Result<(), SinkError> {
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            // Below 16.
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}
