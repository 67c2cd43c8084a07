//! Asking again: with pauses that grow and are drawn at random, within a budget of time, and never
//! where it cannot help.

use crate::adapt::Adapt;
use crate::config::Timeouts;
use crate::failure::{Failure, Kind};
use crate::{Action, Error};
use aws::Pace;
use std::future::Future;
use std::time::{Duration, Instant};

/// What all requests of a connection share.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) pace: Pace,
    pub(crate) adapt: Adapt,
    /// How long one attempt may take.
    pub(crate) attempt: Duration,
    pub(crate) timeouts: Timeouts,
}

/// One request, however often it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) action: Action,
    /// Bytes of blocks that an attempt moves.
    pub(crate) bytes: u32,
    /// Until when what is not found may only not be known yet.
    pub(crate) new_until: Option<Instant>,
}

/// Why a request ended without what was asked.
#[derive(Debug)]
pub(crate) enum End {
    /// The last attempt's failure, which the caller may know how to mend.
    Failed(Failure, Attempts),
    /// The budget is spent.
    Spent(Error),
}

/// What came before the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    /// Whether an attempt before the last may have taken effect, its answer being lost.
    pub(crate) maybe_done: bool,
}

impl End {
    pub(crate) fn into_error(self, action: Action) -> Error {
        match self {
            Self::Failed(failure, _) => failure.into_error(action),
            Self::Spent(error) => error,
        }
    }
}

impl Asked {
    /// A request that moves no blocks.
    pub(crate) fn plain(action: Action) -> Self {
        Self {
            action,
            bytes: 0,
            new_until: None,
        }
    }
}

/// The longest first pause, and the longest of all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Signatures that may be found too old, in a row: some clocks and queues on the way are wrong, but
/// credentials whose time is over must be told within a second.
const SIGNATURES: u32 = 4;

impl Traffic {
    /// Sends until it succeeds, cannot succeed, or the budget is spent.
    pub(crate) async fn ask<T, F, Fut>(&self, asked: Asked, mut attempt: F) -> Result<T, End>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut spent = Duration::ZERO;
        let mut attempts = 0_u32;
        let mut signed = 0_u32;
        let mut history = Attempts::default();
        let mut permit = None;
        loop {
            if permit.is_none() {
                permit = Some(self.adapt.enter().await);
            }
            let (result, took) = self.attempt(asked, &mut attempt).await;
            attempts = attempts.saturating_add(1);
            spent = spent.saturating_add(took);
            let failure = match result {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let again = match failure.kind {
                Kind::Transient | Kind::TimedOut | Kind::Throttled => true,
                Kind::NotFound => asked.new_until.is_some_and(|until| Instant::now() < until),
                // Credentials that are renewed on their own are new at the next attempt.
                Kind::Expired => {
                    signed = signed.saturating_add(1);
                    signed < SIGNATURES
                }
                _ => false,
            };
            if !again {
                return Err(End::Failed(failure, history));
            }
            history.maybe_done |= matches!(failure.kind, Kind::Transient | Kind::TimedOut);
            // The window of a new snapshot is a budget of its own.
            if failure.kind != Kind::NotFound && spent >= self.timeouts.operation {
                let last = [failure.code, failure.message].join(" ").trim().to_owned();
                return Err(End::Spent(Error::GaveUp {
                    action: asked.action,
                    attempts,
                    waited: spent,
                    last,
                }));
            }
            let pause = aws::pause(attempts, FIRST_PAUSE, LAST_PAUSE);
            tracing::debug!(
                action = asked.action.iam(), attempts, ?pause, kind = ?failure.kind,
                code = failure.code, "asking again"
            );
            // Kept in the pause: were it given away, another would ask instead, and as often as ever.
            // But not if more are under way than may be: together they would fill the same queue.
            if self.adapt.is_over() {
                permit = None;
            }
            tokio::time::sleep(pause).await;
            spent = spent.saturating_add(pause);
        }
    }

    /// Sends once, when it may; says how long that took from then on.
    async fn attempt<T, F, Fut>(
        &self,
        asked: Asked,
        attempt: &mut F,
    ) -> (Result<T, Failure>, Duration)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        self.pace.wait(asked.bytes).await;
        let start = Instant::now();
        // The connections' own time-out ends with the head of an answer; this one has the body in it.
        let limit = self.attempt;
        let result = match tokio::time::timeout(limit, attempt()).await {
            Ok(result) => result,
            Err(_) => Err(Failure::timed_out()),
        };
        match result.as_ref().map_err(|failure| failure.kind) {
            // The others have quotas of their own, and their time is not that of a block.
            _ if asked.bytes == 0 => {}
            Ok(_) => self.adapt.well(),
            Err(Kind::Throttled) => self.adapt.throttled(start),
            Err(Kind::TimedOut) => self.adapt.timed_out(start),
            Err(_) => {}
        }
        (result, start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn traffic() -> Traffic {
        Traffic {
            pace: Pace::new(None, None),
            adapt: Adapt::new(1, 4, Duration::from_millis(50)),
            attempt: Duration::from_millis(50),
            timeouts: Timeouts {
                operation: Duration::from_millis(400),
                ..Timeouts::default()
            },
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    fn ask(kind: Kind, new_until: Option<Instant>) -> (Result<(), End>, u32) {
        let calls = Cell::new(0);
        let asked = Asked {
            new_until,
            ..Asked::plain(Action::PutSnapshotBlock)
        };
        let result = run(traffic().ask(asked, || {
            calls.update(|calls: u32| calls.saturating_add(1));
            async move { Err::<(), _>(Failure::new(kind, "Code", "text")) }
        }));
        (result, calls.get())
    }

    #[test]
    fn what_cannot_help_is_asked_once() {
        for kind in [
            Kind::Denied,
            Kind::Permanent,
            Kind::Checksum,
            Kind::NotFound,
        ] {
            let (result, calls) = ask(kind, None);
            assert!(matches!(result, Err(End::Failed(failure, _)) if failure.kind == kind));
            assert_eq!(calls, 1, "{kind:?}");
        }
        assert_eq!(ask(Kind::Expired, None).1, SIGNATURES);
    }

    #[test]
    fn what_passes_is_asked_until_the_budget_is_spent() {
        let (result, calls) = ask(Kind::Transient, None);
        assert!(matches!(result, Err(End::Spent(Error::GaveUp { .. }))));
        assert!(calls > 1);
        let until = Instant::now() + Duration::from_millis(300);
        let (result, calls) = ask(Kind::NotFound, Some(until));
        assert!(matches!(result, Err(End::Failed(..))));
        assert!(calls > 1 && Instant::now() >= until);
    }

    #[test]
    fn an_attempt_that_hangs_is_cut_off() {
        let calls = Cell::new(0);
        let result = run(traffic().ask(Asked::plain(Action::GetSnapshotBlock), || {
            calls.update(|calls: u32| calls.saturating_add(1));
            let first = calls.get() == 1;
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                Ok(7)
            }
        }));
        assert!(matches!(result, Ok(7)));
        assert_eq!(calls.get(), 2);
    }
}
