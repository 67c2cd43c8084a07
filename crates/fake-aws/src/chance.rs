//! Draws which request meets which fault, repeatably from a seed, and fills the token buckets.

use crate::action::Action;
use crate::config::{Chance, Faults, Limits};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// The faults that are drawn, as indexes of the counters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Draw {
    Throttle,
    ServerError,
    ResetBefore,
    ResetAfter,
    ResetInBody,
    SlowBody,
    WrongChecksum,
    WrongData,
    FailedToRead,
    EmptyPage,
    CompleteToError,
    ExpiredSignature,
    InsufficientCapacity,
    LaunchFails,
    Impaired,
}

/// How many there are.
const DRAWS: usize = 15;

impl Draw {
    fn slot(self) -> usize {
        match self {
            Draw::Throttle => 0,
            Draw::ServerError => 1,
            Draw::ResetBefore => 2,
            Draw::ResetAfter => 3,
            Draw::ResetInBody => 4,
            Draw::SlowBody => 5,
            Draw::WrongChecksum => 6,
            Draw::WrongData => 7,
            Draw::FailedToRead => 8,
            Draw::EmptyPage => 9,
            Draw::CompleteToError => 10,
            Draw::ExpiredSignature => 11,
            Draw::InsufficientCapacity => 12,
            Draw::LaunchFails => 13,
            Draw::Impaired => 14,
        }
    }

    fn of(self, faults: &Faults) -> &Chance {
        match self {
            Draw::Throttle => &faults.throttle,
            Draw::ServerError => &faults.server_error,
            Draw::ResetBefore => &faults.reset_before,
            Draw::ResetAfter => &faults.reset_after,
            Draw::ResetInBody => &faults.reset_in_body,
            Draw::SlowBody => &faults.slow_body,
            Draw::WrongChecksum => &faults.wrong_checksum,
            Draw::WrongData => &faults.wrong_data,
            Draw::FailedToRead => &faults.failed_to_read,
            Draw::EmptyPage => &faults.empty_page,
            Draw::CompleteToError => &faults.complete_to_error,
            Draw::ExpiredSignature => &faults.expired_signature,
            Draw::InsufficientCapacity => &faults.insufficient_capacity,
            Draw::LaunchFails => &faults.launch_fails,
            Draw::Impaired => &faults.impaired,
        }
    }
}

/// One setting of the switches, with how often each fault was asked for and happened under it.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) faults: Faults,
    asked: [AtomicU64; DRAWS],
    happened: [AtomicU64; DRAWS],
    random: Arc<Random>,
}

impl Setting {
    /// Whether the fault happens to this request.
    pub(crate) fn draw(&self, draw: Draw, action: Action) -> bool {
        let chance = draw.of(&self.faults);
        if chance.every == 0 && chance.probability <= 0.0
            || !chance.actions.is_empty() && !chance.actions.contains(&action)
        {
            return false;
        }
        let asked = self.asked[draw.slot()].fetch_add(1, Ordering::Relaxed) + 1;
        let hit = chance.every != 0 && asked.is_multiple_of(chance.every)
            || chance.probability > 0.0 && self.random.unit() < chance.probability;
        hit && chance.at_most.is_none_or(|most| {
            // Counted only while there is something left, so that two requests cannot share the last.
            self.happened[draw.slot()]
                .try_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                    (n < most).then_some(n + 1)
                })
                .is_ok()
        })
    }
}

/// The switches as they are now.
#[derive(Debug)]
pub(crate) struct Switches {
    now: RwLock<Arc<Setting>>,
    pub(crate) random: Arc<Random>,
}

impl Switches {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        let random = Arc::new(Random(AtomicU64::new(seed)));
        Switches {
            now: RwLock::new(setting(faults, &random)),
            random,
        }
    }

    pub(crate) fn get(&self) -> Arc<Setting> {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, faults: Faults) {
        let setting = setting(faults, &self.random);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = setting;
    }
}

fn setting(faults: Faults, random: &Arc<Random>) -> Arc<Setting> {
    let (asked, happened) = Default::default();
    Arc::new(Setting {
        faults,
        asked,
        happened,
        random: random.clone(),
    })
}

/// SplitMix64: enough for faults and ids, and needs no lock.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn bits(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&self) -> f64 {
        // The upper half is exact in a double.
        let high = u32::try_from(self.bits() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / 4_294_967_296.0
    }

    /// Below `end`; 0 if that is 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }
}

/// Token buckets by what they limit.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<(&'static str, Option<String>), Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Which bucket was empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    Account,
    Snapshot,
}

impl Buckets {
    /// Takes one request's token from each bucket that the request needs one of.
    pub(crate) fn take(
        &self,
        limits: &Limits,
        action: Action,
        snapshot: Option<&str>,
    ) -> Result<(), Empty> {
        let (name, account, one) = match action {
            Action::PutSnapshotBlock => ("put", limits.put, limits.put_snapshot),
            Action::GetSnapshotBlock => ("get", limits.get, limits.get_snapshot),
            Action::ListSnapshotBlocks | Action::ListChangedBlocks => ("list", limits.list, None),
            Action::StartSnapshot => ("start", limits.start, None),
            Action::CompleteSnapshot => ("complete", limits.complete, None),
            _ => ("ec2", limits.ec2, None),
        };
        if account.is_none() && one.is_none() {
            return Ok(());
        }
        let burst = if limits.burst > 0.0 {
            limits.burst
        } else {
            0.1
        };
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut take = |key, rate: Option<f64>| match rate {
            None => true,
            Some(rate) => {
                let (now, most) = (Instant::now(), (rate * burst).max(1.0));
                let bucket = buckets.entry(key).or_insert(Bucket {
                    tokens: most,
                    at: now,
                });
                let since = now.saturating_duration_since(bucket.at).as_secs_f64();
                bucket.tokens = (bucket.tokens + since * rate).min(most);
                bucket.at = now;
                let enough = bucket.tokens >= 1.0;
                if enough {
                    bucket.tokens -= 1.0;
                }
                enough
            }
        };
        if !take((name, None), account) {
            return Err(Empty::Account);
        }
        if !take((name, snapshot.map(str::to_owned)), one) {
            return Err(Empty::Snapshot);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let draws = |seed| {
            let faults = Faults {
                server_error: Chance::probability(0.3),
                ..Faults::default()
            };
            let setting = Switches::new(faults, seed).get();
            (0..1000)
                .map(|_| setting.draw(Draw::ServerError, Action::PutSnapshotBlock))
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let hits = draws(7).into_iter().filter(|hit| *hit).count();
        assert!((250..350).contains(&hits), "{hits} of 1000 at 0.3");
    }

    #[test]
    fn every_third_request_of_the_action_at_most_twice() {
        let chance = Chance {
            at_most: Some(2),
            ..Chance::every(3)
        }
        .of([Action::StartSnapshot]);
        let setting = Switches::new(
            Faults {
                throttle: chance,
                ..Faults::default()
            },
            1,
        )
        .get();
        let hits: Vec<bool> = (0..10)
            .map(|_| setting.draw(Draw::Throttle, Action::StartSnapshot))
            .collect();
        let expected = [
            false, false, true, false, false, true, false, false, false, false,
        ];
        assert_eq!(hits, expected);
        assert!(!setting.draw(Draw::Throttle, Action::PutSnapshotBlock));
    }
}
