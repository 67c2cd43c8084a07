//! Making a snapshot of a disk.

mod request;
mod volume;

use crate::info::State;
use crate::journal::{self, Journal};
use crate::sink::{Session, Sink};
use crate::{Action, Ebs, Error, SnapshotInfo, index_file, tag};
use aws_sdk_ebs::types::Status;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress};
pub use request::{Encryption, Parent, Role, UploadRequest};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether an earlier run put all of it: it has the disk as that run saw it, and this one did
    /// not compare.
    pub existed: bool,
    /// Whether the disk is as the parent has it, so that nothing was made: `id` is the parent's.
    pub unchanged: bool,
    /// Its content, for its child; as far as the parent's is known.
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
    /// It was begun by an earlier run.
    Open(Session),
    /// It is to be begun.
    Fresh(Fresh),
}

/// A snapshot that is to be begun.
#[derive(Clone)]
struct Fresh {
    /// How many attempts there were before.
    attempt: u32,
    /// Whether a journal was opened of a run that was killed before it knew the snapshot.
    unfinished: Arc<Mutex<Option<Journal>>>,
    /// Snapshots of the same upload that are of no use.
    found: Vec<String>,
}

fn lock(journal: &Mutex<Option<Journal>>) -> MutexGuard<'_, Option<Journal>> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An upload with what follows from it.
struct Upload<'a> {
    ebs: &'a Ebs,
    request: &'a UploadRequest<'a>,
    size: request::Size,
    source: Digest,
    /// The source in hex.
    name: String,
    /// The journal.
    path: PathBuf,
    interrupt: &'a Interrupt,
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
        let source = request.source(&size);
        let name = hex(&source);
        let upload = Upload {
            ebs: self,
            request,
            size,
            source,
            path: request.journal_dir.join(format!("{name}.upload")),
            name,
            interrupt,
        };
        let (session, fresh) = match upload.before()? {
            Before::Done(id, encrypted) => {
                return existing(request, &size, id, encrypted, progress, interrupt);
            }
            Before::Open(session) if session.journal.sealing => return upload.seal_again(session),
            Before::Open(session) => (Some(session), None),
            Before::Fresh(fresh) => {
                // It is begun when the first block is to be put, if ever.
                let as_large = |parent: Parent<'_>| size.gib <= i64::from(parent.volume_size);
                if request.only_if_changed && request.parent.is_some_and(as_large) {
                    (None, Some(fresh))
                } else {
                    match upload.begin(fresh)? {
                        Before::Open(session) => (Some(session), None),
                        Before::Done(id, encrypted) => {
                            return existing(request, &size, id, encrypted, progress, interrupt);
                        }
                        Before::Fresh(_) => return Err(upload.too_often()),
                    }
                }
            }
        };
        upload.run(session, fresh, progress)
    }
}

impl Upload<'_> {
    /// Puts the blocks, and seals.
    fn run(
        &self,
        session: Option<Session>,
        fresh: Option<Fresh>,
        progress: &dyn Progress,
    ) -> Result<Uploaded, Error> {
        let (ebs, request, interrupt) = (self.ebs, self.request, self.interrupt);
        let encrypted = match (&session, request.parent) {
            (Some(session), _) => session.encrypted,
            (None, parent) => parent.is_some_and(|parent| parent.encrypted),
        };
        let begin = || match fresh.clone().map(|fresh| self.begin(fresh)) {
            Some(Ok(Before::Open(session))) if session.encrypted == encrypted => Ok(session),
            Some(Ok(Before::Open(session))) => Err(Error::Answer {
                action: Action::StartSnapshot,
                what: format!("{} is not encrypted as its parent is", session.id),
            }),
            // Only a run beside this one can have completed it.
            Some(Ok(Before::Done(..))) => Err(Error::Busy(self.path.clone())),
            Some(Err(error)) => Err(error),
            Some(Ok(Before::Fresh(_))) | None => Err(self.too_often()),
        };
        let sink = Sink::new(ebs, session, &begin, interrupt);
        let result = request.run(&self.size, encrypted, &sink, progress, interrupt);
        let outcome = result.map_err(|error| {
            sink.stop();
            // Why a block was refused is with the sink; the engine knows only that it was.
            sink.error().unwrap_or_else(|| Error::of_engine(error))
        })?;
        let (session, put) = sink.finish()?;
        let blocks = u64::from(self.size.blocks);
        let Some(session) = session else {
            let unfinished = fresh.map(|fresh| fresh.unfinished);
            let unfinished = unfinished.and_then(|journal| lock(&journal).take());
            unfinished.map_or(Ok(()), Journal::remove)?;
            // Without a parent there is a session.
            let parent = request.parent.map_or("", |parent| parent.id);
            return Ok(Uploaded {
                id: parent.to_owned(),
                put,
                put_before: 0,
                skipped: blocks,
                read: outcome.read,
                encrypted,
                existed: false,
                unchanged: true,
                index: outcome.index,
            });
        };
        session.journal.sealing()?;
        let id = session.id.clone();
        self.seal(session, &outcome.put, &outcome.index, false)?;
        let total = u64_of(outcome.put.len());
        Ok(Uploaded {
            id,
            put,
            put_before: total.saturating_sub(put),
            skipped: blocks.saturating_sub(total),
            read: outcome.read,
            encrypted,
            existed: false,
            unchanged: false,
            index: outcome.index,
        })
    }

    /// Ends what a run left that had put all blocks.
    fn seal_again(&self, mut session: Session) -> Result<Uploaded, Error> {
        let own = std::mem::take(&mut session.journal.put);
        let none = Index::default();
        let parent = self.request.parent.map_or(&none, |parent| parent.index);
        let index = parent.child(&own, self.size.blocks, session.encrypted);
        let (id, encrypted) = (session.id.clone(), session.encrypted);
        self.seal(session, &own, &index, true)?;
        let total = u64_of(own.len());
        Ok(Uploaded {
            id,
            put: 0,
            put_before: total,
            skipped: u64::from(self.size.blocks).saturating_sub(total),
            read: 0,
            encrypted,
            existed: true,
            unchanged: false,
            index,
        })
    }

    /// Seals a snapshot that has all its blocks, and waits until it is completed.
    fn seal(
        &self,
        session: Session,
        own: &[Record],
        index: &Index,
        sealed_before: bool,
    ) -> Result<(), Error> {
        let (request, id) = (self.request, &session.id);
        // Before the service completes it: whoever finds the snapshot completed finds its index.
        if request.parent.is_none_or(|parent| parent.whole) {
            index_file::save(request.journal_dir, id, index, self.size.blocks)?;
        }
        self.ebs
            .seal(id, own, session.new_until, sealed_before, self.interrupt)?;
        match self.ebs.final_state(id, self.interrupt) {
            Err(error @ Error::SnapshotFailed { .. }) => {
                // It cannot be mended: the next run begins a new one.
                index_file::remove_index(request.journal_dir, id)?;
                session.journal.remove()?;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => session.journal.remove(),
        }
    }

    /// Finds what an earlier run left.
    fn before(&self) -> Result<Before, Error> {
        let (ebs, interrupt) = (self.ebs, self.interrupt);
        let journal = journal::open(&self.path, &self.source, self.size.blocks)?;
        let found = ebs.find(&[(tag::SOURCE, &self.name)], interrupt)?;
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
                Some(id) => match ebs.look_for(&id.clone(), &journal, interrupt)? {
                    Some(info) if info.state == State::Pending => {
                        return Ok(Before::Open(Session {
                            new_until: ebs.new_until(journal.started),
                            journal,
                            id: info.id,
                            encrypted: info.encrypted,
                        }));
                    }
                    Some(info) if info.state == State::Completed => {
                        journal.remove()?;
                        return Ok(Before::Done(info.id, info.encrypted));
                    }
                    _ => journal.remove()?,
                },
            }
        }
        Ok(Before::Fresh(Fresh {
            attempt,
            unfinished: Arc::new(Mutex::new(unfinished)),
            found: found.into_iter().map(|info| info.id).collect(),
        }))
    }

    /// Begins the snapshot.
    fn begin(&self, fresh: Fresh) -> Result<Before, Error> {
        let Fresh {
            mut attempt,
            unfinished,
            found,
        } = fresh;
        let mut unfinished = lock(&unfinished).take();
        let blocks = self.size.blocks;
        while attempt < MAX_ATTEMPTS || unfinished.is_some() {
            // Written down before it is asked for, so that a run that is killed in between is known.
            let (mut journal, ours) = match unfinished.take() {
                Some(journal) => (journal, true),
                None => (
                    journal::create(&self.path, attempt, &self.source, blocks)?,
                    false,
                ),
            };
            let token = self.request.token(&self.source, journal.attempt);
            let work = self
                .ebs
                .start(self.request, self.size.gib, &token, &self.name);
            let started = match self.ebs.wait(self.interrupt, work) {
                Ok(started) => started,
                Err(error) => {
                    // Refused for good: there is no snapshot. Else there may be one.
                    if matches!(error, Error::Refused { .. } | Error::Denied { .. }) {
                        journal.remove()?;
                    }
                    return Err(error);
                }
            };
            let completed = started.state == Status::Completed;
            if completed {
                // The token may be that of a snapshot that was removed since.
                let look = self.ebs.describe(&started.id);
                if self.ebs.wait(self.interrupt, look)?.is_some() {
                    journal.remove()?;
                    return Ok(Before::Done(started.id, started.encrypted));
                }
            }
            // One that was pending before, without its journal: nobody knows what it holds.
            let foreign = !ours && found.contains(&started.id);
            if completed || started.state == Status::Error || foreign {
                attempt = attempt.max(journal.attempt.saturating_add(1));
                journal.remove()?;
                continue;
            }
            journal.set_id(&started.id)?;
            return Ok(Before::Open(Session {
                journal,
                id: started.id,
                encrypted: started.encrypted,
                new_until: self.ebs.new_until(SystemTime::now()),
            }));
        }
        Err(self.too_often())
    }

    fn too_often(&self) -> Error {
        Error::Request(format!(
            "{MAX_ATTEMPTS} snapshots of the same source failed or were abandoned; remove them first"
        ))
    }
}

impl Ebs {
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
            if request.parent.is_none_or(|parent| parent.whole) {
                index_file::save(request.journal_dir, &id, &outcome.index, size.blocks)?;
            }
            (outcome.index, outcome.read)
        }
    };
    Ok(Uploaded {
        id,
        put: 0,
        put_before: 0,
        skipped: u64::from(size.blocks),
        read,
        encrypted,
        existed: true,
        unchanged: false,
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
