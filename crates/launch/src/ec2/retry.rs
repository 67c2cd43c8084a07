//! Asking again: with pauses that grow and are drawn at random, within a budget of time, and never
//! where it cannot help.

use super::failure::{Failure, Kind};
use super::{Action, Ec2, Error};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use ondisk::{Interrupt, Interrupted};
use std::future::Future;
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
                self.0.pace.wait(0).await;
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
                let mut pause = aws::pause(attempts, FIRST_PAUSE, LAST_PAUSE);
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
