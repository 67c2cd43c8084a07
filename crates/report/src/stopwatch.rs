//! What was done when.

use crate::Outcome;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One step of a run. Steps may overlap.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// What was done, in a few words.
    pub name: String,
    /// When it began, in milliseconds since the run did.
    pub at: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// How it went.
    pub result: Outcome,
}

/// Measures the steps of one machine; several threads may use it.
#[derive(Debug)]
pub struct Stopwatch {
    began: Instant,
    steps: Mutex<Vec<Step>>,
}

impl Stopwatch {
    /// Measures from `began` on, the beginning of the run.
    pub fn since(began: Instant) -> Self {
        Self {
            began,
            steps: Mutex::default(),
        }
    }

    /// Does `work` and notes how long it took, also when it fails.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn step<T, E>(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = work();
        let step = Step {
            name: name.into(),
            at: milliseconds(began.saturating_duration_since(self.began)),
            took: milliseconds(began.elapsed()),
            result: if result.is_ok() {
                Outcome::Ok
            } else {
                Outcome::Failed
            },
        };
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(step);
        result
    }

    /// The steps in the order in which they began.
    pub fn steps(self) -> Vec<Step> {
        let mut steps = self
            .steps
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        steps.sort_by_key(|step| step.at);
        steps
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_noted_in_the_order_of_their_beginnings_also_failed_ones() {
        let watch = Stopwatch::since(Instant::now());
        let outer: Result<(), ()> = watch.step("outer", || {
            std::thread::sleep(Duration::from_millis(5));
            watch.step("inner", || Err(()))
        });
        assert!(outer.is_err());
        assert_eq!(watch.step("last", || Ok::<_, ()>(7)), Ok(7));
        let steps = watch.steps();
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["outer", "inner", "last"]);
        assert_eq!(steps[1].result, Outcome::Failed);
        assert!(steps[0].took >= steps[1].took && steps[0].took >= 5);
        assert_eq!(steps[2].result, Outcome::Ok);
    }
}
