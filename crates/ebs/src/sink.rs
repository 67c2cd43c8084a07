//! Takes the blocks from the threads that read and hash, and puts them from the network's tasks.

use crate::journal::Journal;
use crate::pool::Pool;
use crate::{Ebs, Error};
use ondisk::Interrupt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::{Digest, Record, SinkError, SnapshotSink};
use tokio::task::JoinSet;

/// A snapshot that blocks can be put into.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) journal: Journal,
    pub(crate) id: String,
    pub(crate) encrypted: bool,
    /// Until when the service may not find it.
    pub(crate) new_until: Instant,
}

/// Begins a snapshot.
type Begin<'a> = dyn Fn() -> Result<Session, Error> + Sync + 'a;

/// The sink of one snapshot, which is begun with its first block if it was not before.
pub(crate) struct Sink<'a> {
    ebs: Ebs,
    session: Mutex<Option<Arc<Session>>>,
    begin: &'a Begin<'a>,
    before: Vec<Record>,
    interrupt: Interrupt,
    pool: Pool,
    flow: Arc<Flow>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Flow {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Blocks that wait or are under way.
    running: usize,
    put: u64,
    failed: bool,
    error: Option<Error>,
}

/// How often those who wait look whether the user wants it to stop.
const TICK: Duration = Duration::from_millis(100);

impl<'a> Sink<'a> {
    /// A sink that continues what a journal says was put, or begins with the first block.
    pub(crate) fn new(
        ebs: &Ebs,
        mut session: Option<Session>,
        begin: &'a Begin<'a>,
        interrupt: &Interrupt,
    ) -> Self {
        let put = session.as_mut().map(|session| &mut session.journal.put);
        Self {
            ebs: ebs.clone(),
            before: put.map(std::mem::take).unwrap_or_default(),
            session: Mutex::new(session.map(Arc::new)),
            begin,
            interrupt: interrupt.clone(),
            pool: Pool::default(),
            flow: Arc::default(),
            tasks: Mutex::default(),
        }
    }

    /// The snapshot, begun if it was not before; nothing if that failed.
    fn session(&self) -> Option<Arc<Session>> {
        // Whoever comes first begins, the others wait for that.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.is_none() && !self.flow.lock().failed {
            match (self.begin)() {
                Ok(begun) => *session = Some(Arc::new(begun)),
                Err(error) => self.flow.fail(error),
            }
        }
        session.clone()
    }

    /// What made the upload fail, if it was one of the blocks.
    pub(crate) fn error(&self) -> Option<Error> {
        self.flow.lock().error.take()
    }

    /// Stops what is under way, and waits until it has stopped: the journal is free then.
    pub(crate) fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = tasks.shutdown();
        self.ebs.handle().block_on(stopped);
    }

    /// Waits until all blocks are put; gives the snapshot, if one was begun, and how many blocks were
    /// put in this run.
    pub(crate) fn finish(self) -> Result<(Option<Session>, u64), Error> {
        let all_put = self.all_put();
        // The tasks have said that they are done, but may still hold the journal for a moment.
        self.stop();
        let put = all_put?;
        let session = self.session.into_inner();
        let session = session.unwrap_or_else(PoisonError::into_inner);
        // Every other holder was a task, and all of them have ended.
        let alone = |session| Arc::into_inner(session).expect("nobody else holds the journal");
        Ok((session.map(alone), put))
    }

    fn all_put(&self) -> Result<u64, Error> {
        let mut state = self.flow.lock();
        while state.running > 0 && !state.failed {
            self.interrupt.check()?;
            state = self.flow.wait(state);
        }
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.put),
        }
    }

    /// Waits until one more block may be in memory.
    fn enter(&self) -> Result<(), SinkError> {
        let mut state = self.flow.lock();
        loop {
            if state.failed {
                return Err("another block could not be put".into());
            }
            self.interrupt.check()?;
            if state.running < self.ebs.0.traffic.adapt.slots() {
                state.running = state.running.saturating_add(1);
                return Ok(());
            }
            state = self.flow.wait(state);
        }
    }
}

impl SnapshotSink for Sink<'_> {
    fn put(&self, block: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError> {
        let session = self.session().ok_or("the snapshot could not be begun")?;
        self.enter()?;
        if let Err(error) = session.journal.putting(block, &digest) {
            self.flow.leave(Err(error));
            return Err("the journal could not be written".into());
        }
        let (ebs, flow) = (self.ebs.clone(), self.flow.clone());
        let content = self.pool.lend(content);
        let task = async move {
            let (id, new_until) = (&session.id, session.new_until);
            let put = ebs.put(id, block, &digest, content, new_until).await;
            let result = put.and_then(|()| session.journal.done(block, &digest));
            drop(session);
            flow.leave(result);
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn_on(task, self.ebs.handle());
        // What is done must not pile up.
        while tasks.try_join_next().is_some() {}
        Ok(())
    }

    fn buffer(&self) -> Vec<u8> {
        self.pool.take()
    }

    fn put_before(&self) -> &[Record] {
        &self.before
    }
}

impl Flow {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain values, each sound at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, TICK);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn leave(&self, result: Result<(), Error>) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        match result {
            Ok(()) => state.put = state.put.saturating_add(1),
            Err(error) => state.fail(error),
        }
        drop(state);
        self.changed.notify_all();
    }

    fn fail(&self, error: Error) {
        self.lock().fail(error);
        self.changed.notify_all();
    }
}

impl State {
    /// The first error is the cause, the others may be its consequences.
    fn fail(&mut self, error: Error) {
        if !std::mem::replace(&mut self.failed, true) {
            self.error = Some(error);
        }
    }
}
