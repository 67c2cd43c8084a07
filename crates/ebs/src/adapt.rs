//! How many requests are under way at a time: more while it goes well, fewer when it does not.

use ondisk::width::usize_of_u32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Twice as many each round until the first refusal, then additive increase and multiplicative
/// decrease, as TCP does it.
#[derive(Debug)]
pub(crate) struct Adapt {
    least: f64,
    most: f64,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    running: u32,
    cut: Option<Instant>,
}

/// A request that is under way; another may go when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Adapt);

/// What is left of the limit after a throttle.
const CUT: f64 = 0.7;
/// All that is under way meets the same throttle: it is answered once.
const CUT_PAUSE: Duration = Duration::from_millis(250);
/// Where it starts, unless the bounds say otherwise: a third of the service's quota of 1000 a second
/// where an answer takes the tenth of a second that AWS reckons with.
const START: f64 = 32.0;

impl Adapt {
    /// Between `least` and `most` requests at a time, at least one.
    pub(crate) fn new(least: u32, most: u32) -> Self {
        let least = f64::from(least.max(1));
        let most = f64::from(most.max(1)).max(least);
        Self {
            least,
            most,
            state: Mutex::new(State {
                limit: START.clamp(least, most),
                running: 0,
                cut: None,
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
                if f64::from(state.running) < state.limit.floor() {
                    state.running = state.running.saturating_add(1);
                    return Permit(self);
                }
            }
            freed.await;
        }
    }

    /// An answer came.
    pub(crate) fn well(&self) {
        let mut state = self.lock();
        let more = match state.cut {
            None => 1.0,
            Some(_) => 1.0 / state.limit,
        };
        state.limit = (state.limit + more).min(self.most);
        drop(state);
        self.freed.notify_one();
    }

    /// The service throttles, or does not answer in time.
    pub(crate) fn too_much(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let pausing = |cut: Instant| now.duration_since(cut) < CUT_PAUSE;
        if !state.cut.is_some_and(pausing) {
            state.cut = Some(now);
            state.limit = (state.limit * CUT).max(self.least);
        }
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

/// Blocks that may wait or be under way for a limit of `most`: so many that no worker starves.
pub(crate) fn slots(most: u32) -> usize {
    usize_of_u32(most.max(1).saturating_add(SPARE))
}

/// Blocks of 512 KiB that wait for a worker, at most.
const SPARE: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_then_climbs_by_one_a_round_and_falls_once_for_a_burst() {
        let adapt = Adapt::new(1, 128);
        let limit = || adapt.lock().limit;
        for _ in 0..32 {
            adapt.well();
        }
        assert!((limit() - 2.0 * START).abs() < 1e-9, "{}", limit());
        for _ in 0..10 {
            adapt.too_much();
        }
        let cut = limit();
        assert!((cut - 2.0 * START * CUT).abs() < 1e-9, "{cut}");
        for _ in 0..45 {
            adapt.well();
        }
        assert!((cut + 0.5..=cut + 1.0).contains(&limit()), "{}", limit());
        for _ in 0..100_000 {
            adapt.well();
        }
        assert!(adapt.lock().limit <= 128.0);
    }

    #[test]
    fn never_more_than_the_limit_are_under_way() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let adapt = Adapt::new(2, 2);
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
