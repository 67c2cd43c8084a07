//! What was asked and what was answered.

use crate::action::Action;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// When it came, in milliseconds since the fake was started.
    pub at_ms: u64,
    /// How long it took until the head of the answer, in microseconds.
    pub took_us: u64,
    /// GET, PUT or POST.
    pub method: String,
    /// What it asked for.
    pub action: Action,
    /// The parameters of an action of EC2; those of the EBS direct APIs are in the fields below.
    pub parameters: BTreeMap<String, String>,
    /// The snapshot that it names; for StartSnapshot the one that it got.
    pub snapshot: Option<String>,
    /// The block that it names.
    pub index: Option<u32>,
    /// Bytes of the request's body that were read.
    pub body: u64,
    /// The answer's status; 0: the connection was reset.
    pub status: u16,
    /// The error's code, if it is one.
    pub error: Option<String>,
    /// The fault that a switch made of it.
    pub fault: Option<&'static str>,
}

/// What happened to the requests of one action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Requests that came.
    pub requests: u64,
    /// Answered with success.
    pub ok: u64,
    /// Refused for the rate.
    pub throttled: u64,
    /// Refused for other reasons, or reset.
    pub failed: u64,
    /// The most requests that came within any one second.
    pub peak: usize,
    /// The most that were answered with success within any one second.
    pub peak_ok: usize,
}

/// The log and the counters.
#[derive(Debug)]
pub(crate) struct Log {
    start: Instant,
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    number: u64,
    entries: VecDeque<Entry>,
    actions: BTreeMap<Action, (Counter, Window, Window)>,
    /// Of all actions together.
    all: Window,
    peak: usize,
}

impl Log {
    pub(crate) fn new(limit: usize) -> Self {
        Log {
            start: Instant::now(),
            limit,
            inner: Mutex::default(),
        }
    }

    /// Counts a request when it comes.
    pub(crate) fn came(&self, action: Action) {
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        let now = Instant::now();
        inner.peak = inner.peak.max(inner.all.push(now));
        let (counter, window, _) = inner.actions.entry(action).or_default();
        counter.requests += 1;
        counter.peak = counter.peak.max(window.push(now));
    }

    /// Writes a request down when its answer is known. `number` and the times are set here.
    pub(crate) fn answered(&self, came: Instant, mut entry: Entry) {
        let at = came.saturating_duration_since(self.start);
        entry.at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        entry.took_us = u64::try_from(came.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.number += 1;
        entry.number = inner.number;
        let (counter, _, window) = inner.actions.entry(entry.action).or_default();
        match (entry.status, entry.error.as_deref()) {
            (200..=299, _) => {
                counter.ok += 1;
                counter.peak_ok = counter.peak_ok.max(window.push(Instant::now()));
            }
            (
                _,
                Some("ThrottlingException" | "RequestThrottledException" | "RequestLimitExceeded"),
            ) => counter.throttled += 1,
            _ => counter.failed += 1,
        }
        inner.entries.push_back(entry);
        if inner.entries.len() > self.limit {
            inner.entries.pop_front();
        }
    }

    /// The entries after the one of that number.
    pub(crate) fn since(&self, number: u64) -> Vec<Entry> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .entries
            .iter()
            .filter(|entry| entry.number > number)
            .cloned()
            .collect()
    }

    pub(crate) fn counters(&self) -> BTreeMap<Action, Counter> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .actions
            .iter()
            .map(|(action, (counter, ..))| (*action, *counter))
            .collect()
    }

    pub(crate) fn peak(&self) -> usize {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .peak
    }

    pub(crate) fn clear(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.clear();
        inner.actions.clear();
        inner.all = Window::default();
        inner.peak = 0;
    }
}

/// The moments of the last second.
#[derive(Debug, Default)]
struct Window(VecDeque<Instant>);

impl Window {
    /// Adds a moment; how many there are now.
    fn push(&mut self, now: Instant) -> usize {
        let old = |at: &Instant| now.saturating_duration_since(*at) >= Duration::from_secs(1);
        while self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_one_second() {
        let start = Instant::now();
        let mut window = Window::default();
        let counts: Vec<usize> = [0, 500, 999, 1000, 1499, 1500, 9000]
            .map(|ms| window.push(start + Duration::from_millis(ms)))
            .into();
        assert_eq!(counts, [1, 2, 3, 3, 4, 4, 1]);
    }
}
