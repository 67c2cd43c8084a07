//! Asking again: with pauses that grow and are drawn at random, within a budget of time, and never
//! where it cannot help.

use super::failure::{Failure, Kind};
use super::{Action, Ec2, Error};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use ondisk::{Interrupt, Interrupted};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Whether a failure is one that passes.
pub(crate) type Passes = fn(&Failure) -> bool;

/// One request, however often it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) action: Action,
    /// What else passes, and until when.
    patient: Option<(Passes, Instant)>,
}

impl Asked {
    pub(crate) fn plain(action: Action) -> Self {
        Self {
            action,
            patient: None,
        }
    }

    /// One about something new, which may be unknown until then.
    pub(crate) fn not_found_until(action: Action, until: Instant) -> Self {
        Self::patient(action, until, |failure| failure.kind == Kind::NotFound)
    }

    /// One whose failures of that kind are asked again until then.
    pub(crate) fn patient(action: Action, until: Instant, kind: Passes) -> Self {
        Self {
            action,
            patient: Some((kind, until)),
        }
    }
}

/// Why a request ended without what was asked.
#[derive(Debug)]
pub(crate) enum End {
    /// The last attempt's failure, which the caller may know how to mend.
    Failed(Failure),
    /// The budget is spent, or the user does not want to wait.
    Over(Error),
}

impl End {
    pub(crate) fn into_error(self, action: Action) -> Error {
        match self {
            Self::Failed(failure) => failure.into_error(action),
            Self::Over(error) => error,
        }
    }
}

impl From<Interrupted> for End {
    fn from(interrupted: Interrupted) -> Self {
        Self::Over(interrupted.into())
    }
}

/// The longest first pause, and the longest of all: EC2's buckets refill within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// Signatures that may be found too old, in a row: credentials whose time is over must be told soon.
const SIGNATURES: u32 = 4;

impl Ec2 {
    /// Sends until it succeeds, cannot succeed, or the budget is spent.
    pub(crate) fn ask<T, E, F, Fut>(
        &self,
        asked: Asked,
        interrupt: &Interrupt,
        mut attempt: F,
    ) -> Result<T, End>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.0.connection.wait(interrupt, async {
            let mut spent = Duration::ZERO;
            let mut attempts = 0_u32;
            let mut signed = 0_u32;
            loop {
                self.0.pace.wait().await;
                let start = Instant::now();
                // The SDK's own time-out ends with the head of an answer; this one has the body in it.
                let limit = self.0.connection.timeouts().attempt;
                let failure = match tokio::time::timeout(limit, attempt()).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => Failure::of_sdk(&error),
                    Err(_) => Failure::timed_out(),
                };
                attempts = attempts.saturating_add(1);
                spent = spent.saturating_add(start.elapsed());
                let settling = asked
                    .patient
                    .is_some_and(|(kind, until)| kind(&failure) && Instant::now() < until);
                let again = match failure.kind {
                    Kind::Transient | Kind::Throttled => true,
                    // Credentials that are renewed on their own are new at the next attempt.
                    Kind::Expired => {
                        signed = signed.saturating_add(1);
                        signed < SIGNATURES
                    }
                    _ => settling,
                };
                if !again {
                    return Err(End::Failed(failure));
                }
                // The window of what is new is a budget of its own.
                if !settling && spent >= self.0.limits.operation {
                    let last = [failure.code, failure.message].join(" ").trim().to_owned();
                    return Err(End::Over(Error::GaveUp {
                        action: asked.action,
                        attempts,
                        waited: spent,
                        last,
                    }));
                }
                let mut pause = pause(attempts, random());
                if settling {
                    pause = pause.min(self.0.limits.poll);
                }
                tracing::debug!(
                    action = asked.action.iam(), attempts, ?pause, kind = ?failure.kind,
                    code = failure.code, "asking again"
                );
                tokio::time::sleep(pause).await;
                spent = spent.saturating_add(pause);
            }
        })
    }

    /// Waits between two looks at the same thing, which is looked at since then: a fourth of the time
    /// that it has taken, so that what is quick is seen soon.
    pub(crate) fn pause(&self, since: Instant, interrupt: &Interrupt) -> Result<(), Error> {
        let pause = (since.elapsed() / 4)
            .max(FIRST_LOOK)
            .min(self.0.limits.poll);
        self.0.connection.wait(interrupt, async {
            tokio::time::sleep(pause).await;
            Ok(())
        })
    }
}

/// The least pause between two looks.
const FIRST_LOOK: Duration = Duration::from_millis(40);

/// Full jitter: anything from nothing to a bound that doubles with each attempt.
fn pause(attempts: u32, random: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    let bound = FIRST_PAUSE.saturating_mul(doubled).min(LAST_PAUSE);
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Each new state of the standard library's hash maps is seeded by the system.
fn random() -> u32 {
    let bytes = RandomState::new().hash_one(0_u8).to_le_bytes();
    let [a, b, c, d, ..] = bytes;
    u32::from_le_bytes([a, b, c, d])
}

/// Lets requests go one after the other, evenly spaced, whoever asks.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The time for each request.
    gap: Option<Duration>,
    /// When the next one may go. Whoever holds it is the first of the line, and sleeps until then.
    next: tokio::sync::Mutex<tokio::time::Instant>,
}

impl Pace {
    pub(crate) fn new(requests_per_second: Option<f64>) -> Self {
        let gap = requests_per_second
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Self {
            gap,
            next: tokio::sync::Mutex::new(tokio::time::Instant::now()),
        }
    }

    async fn wait(&self) {
        let Some(gap) = self.gap else {
            return;
        };
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        let now = tokio::time::Instant::now();
        *next = now.checked_add(gap).unwrap_or(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_may_be_nothing() {
        assert_eq!(pause(1, u32::MAX), Duration::from_millis(200));
        assert_eq!(pause(3, u32::MAX), Duration::from_millis(800));
        assert_eq!(pause(40, u32::MAX), LAST_PAUSE);
        assert_eq!(pause(40, 0), Duration::ZERO);
    }

    #[test]
    fn requests_are_spaced_and_what_is_no_rate_is_no_limit() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let pace = Pace::new(Some(50.0));
            let start = Instant::now();
            for _ in 0..4 {
                pace.wait().await;
            }
            assert!(start.elapsed() >= Duration::from_millis(60));
        });
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Pace::new(Some(rate)).gap, None, "{rate}");
        }
    }
}
