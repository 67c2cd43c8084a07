//! Takes the blocks from the threads that read and hash, and puts them from the network's tasks.

use crate::journal::Journal;
use crate::pool::Pool;
use crate::{Ebs, Error, adapt};
use ondisk::Interrupt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::{Digest, Record, SinkError, SnapshotSink};
use tokio::task::JoinSet;

/// The sink of one snapshot.
#[derive(Debug)]
pub(crate) struct Sink {
    ebs: Ebs,
    id: Arc<str>,
    new_until: Instant,
    journal: Arc<Journal>,
    before: Vec<Record>,
    interrupt: Interrupt,
    slots: usize,
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

impl Sink {
    /// A sink that continues what the journal says was put.
    pub(crate) fn new(
        ebs: &Ebs,
        id: &str,
        new_until: Instant,
        mut journal: Journal,
        interrupt: &Interrupt,
    ) -> Self {
        let before = std::mem::take(&mut journal.put);
        Self {
            ebs: ebs.clone(),
            id: id.into(),
            new_until,
            journal: Arc::new(journal),
            before,
            interrupt: interrupt.clone(),
            slots: adapt::slots(ebs.0.max_concurrency),
            pool: Pool::default(),
            flow: Arc::default(),
            tasks: Mutex::default(),
        }
    }

    /// What made the upload fail, if it was one of the blocks.
    pub(crate) fn error(&self) -> Option<Error> {
        self.flow.lock().error.take()
    }

    /// Stops what is under way, and waits until it has stopped: the journal is free then.
    pub(crate) fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = tasks.shutdown();
        self.ebs.runtime().block_on(stopped);
    }

    /// Waits until all blocks are put; gives back the journal, and how many were put in this run.
    pub(crate) fn finish(self) -> Result<(Journal, u64), Error> {
        let all_put = self.all_put();
        // The tasks have said that they are done, but may still hold the journal for a moment.
        self.stop();
        let put = all_put?;
        let journal = Arc::into_inner(self.journal);
        // Every other holder was a task, and all of them have ended.
        Ok((journal.expect("nobody else holds the journal"), put))
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
            if state.running < self.slots {
                state.running = state.running.saturating_add(1);
                return Ok(());
            }
            state = self.flow.wait(state);
        }
    }
}

impl SnapshotSink for Sink {
    fn put(&self, block: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError> {
        self.enter()?;
        if let Err(error) = self.journal.putting(block, &digest) {
            self.flow.leave(Err(error));
            return Err("the journal could not be written".into());
        }
        let (ebs, flow) = (self.ebs.clone(), self.flow.clone());
        let (journal, id) = (self.journal.clone(), self.id.clone());
        let new_until = self.new_until;
        let content = self.pool.lend(content);
        let task = async move {
            let put = ebs.put(&id, block, &digest, content, new_until).await;
            let result = put.and_then(|()| journal.done(block, &digest));
            drop(journal);
            flow.leave(result);
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn_on(task, self.ebs.runtime().handle());
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
            Err(error) => {
                // The first error is the cause, the others may be its consequences.
                if !std::mem::replace(&mut state.failed, true) {
                    state.error = Some(error);
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}
