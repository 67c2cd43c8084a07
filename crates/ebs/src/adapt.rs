//! Lets requests go, no more at a time than there may be.

use crate::climb::Climb;
use ondisk::width::usize_of_u32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What is under way, and how much may be.
#[derive(Debug)]
pub(crate) struct Adapt {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    climb: Climb,
    running: u32,
}

/// A request that is under way; another may go when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Adapt);

impl Adapt {
    /// Between `least` and `most` requests at a time, at least one; each has so much time.
    pub(crate) fn new(least: u32, most: u32, timeout: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                climb: Climb::new(least, most, timeout),
                running: 0,
            }),
            freed: Notify::new(),
        }
    }

    /// Waits until one more may be under way.
    pub(crate) async fn enter(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                let waits = state.running >= state.climb.limit();
                state.climb.asked(Instant::now(), waits);
                if !waits {
                    state.running = state.running.saturating_add(1);
                    return Permit(self);
                }
            }
            freed.await;
        }
    }

    /// An answer came.
    pub(crate) fn well(&self) {
        self.tell(Climb::well);
    }

    /// The service throttled a request that was sent at `sent`.
    pub(crate) fn throttled(&self, sent: Instant) {
        self.tell(|climb, now| climb.throttled(sent, now));
    }

    /// The answer to a request that was sent at `sent` did not come in time.
    pub(crate) fn timed_out(&self, sent: Instant) {
        self.tell(|climb, now| climb.timed_out(sent, now));
    }

    fn tell(&self, what: impl FnOnce(&mut Climb, Instant)) {
        let mut state = self.lock();
        let before = state.climb.limit();
        what(&mut state.climb, Instant::now());
        let limit = state.climb.limit();
        drop(state);
        if limit != before {
            tracing::debug!(limit, "requests at a time");
        }
        if limit > before {
            self.freed.notify_waiters();
        }
    }

    /// Whether more is under way than may be, because the limit fell.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.running > state.climb.limit()
    }

    /// Blocks that may wait or be under way: so many that the limit is always reached.
    pub(crate) fn slots(&self) -> usize {
        let limit = self.lock().climb.limit();
        usize_of_u32(limit.saturating_add(limit / 4).saturating_add(SPARE))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain numbers, each sound at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running = state.running.saturating_sub(1);
        drop(state);
        self.0.freed.notify_one();
    }
}

/// Blocks of 512 KiB that wait, at least, and with them a quarter of the limit: answers come in
/// bursts.
const SPARE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_are_under_way() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let adapt = Adapt::new(2, 2, Duration::from_secs(1));
            let first = adapt.enter().await;
            let _second = adapt.enter().await;
            let third = tokio::time::timeout(Duration::from_millis(20), adapt.enter());
            assert!(third.await.is_err());
            drop(first);
            let third = tokio::time::timeout(Duration::from_secs(5), adapt.enter());
            assert!(third.await.is_ok());
        });
    }
}
