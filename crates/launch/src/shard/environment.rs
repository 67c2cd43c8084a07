//! What engines say in the environment of the processes that they number.
//!
//! | engine | number | how many |
//! |---|---|---|
//! | AWS Batch array | `AWS_BATCH_JOB_ARRAY_INDEX`, from 0 | `AWS_BATCH_JOB_ARRAY_SIZE` |
//! | Kubernetes Indexed Job | `JOB_COMPLETION_INDEX`, from 0 | `JOB_COMPLETIONS`, which the job's author sets |
//! | Slurm array | `SLURM_ARRAY_TASK_ID` | `SLURM_ARRAY_TASK_MIN`, `_MAX`, `_STEP`, and `_COUNT` to check |
//! | Grid Engine array | `SGE_TASK_ID`, `undefined` outside of arrays | `SGE_TASK_FIRST`, `_LAST`, `_STEPSIZE` |
//! | PBS array | `PBS_ARRAY_INDEX` | nowhere |
//! | GNU parallel | `PARALLEL_SEQ`, from 1 | nowhere |
//!
//! `REHOST_SHARD_COUNT` goes before the engine's own count and is the only one where there is none.
//! With it the numbers of the last four count from 1, whatever else the array says: so some tasks of
//! an array can be run again by themselves. Slurm and Grid Engine number `5-20:5` as 5, 10, 15, 20.

use super::{Shard, number};
use std::fmt;
use thiserror::Error;

/// What starts numbered copies of a command. In the order in which their variables are looked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Engine {
    /// An array job of AWS Batch.
    AwsBatch,
    /// A Job of Kubernetes with `completionMode: Indexed`.
    Kubernetes,
    /// A job array of Slurm.
    Slurm,
    /// An array job of (Sun, Univa, Son of) Grid Engine.
    GridEngine,
    /// A job array of PBS Pro or OpenPBS.
    Pbs,
    /// GNU parallel.
    GnuParallel,
}

impl Engine {
    /// All, in the order in which their variables are looked for.
    pub const ALL: [Self; 6] = [
        Self::AwsBatch,
        Self::Kubernetes,
        Self::Slurm,
        Self::GridEngine,
        Self::Pbs,
        Self::GnuParallel,
    ];

    /// The variable that numbers the processes.
    pub fn variable(self) -> &'static str {
        match self {
            Self::AwsBatch => "AWS_BATCH_JOB_ARRAY_INDEX",
            Self::Kubernetes => "JOB_COMPLETION_INDEX",
            Self::Slurm => "SLURM_ARRAY_TASK_ID",
            Self::GridEngine => "SGE_TASK_ID",
            Self::Pbs => "PBS_ARRAY_INDEX",
            Self::GnuParallel => "PARALLEL_SEQ",
        }
    }

    /// The number of the first process where nothing else says it.
    fn first(self) -> u32 {
        match self {
            Self::AwsBatch | Self::Kubernetes => 0,
            Self::Slurm | Self::GridEngine | Self::Pbs | Self::GnuParallel => 1,
        }
    }

    /// Grid Engine sets its variables in jobs that are no arrays too.
    fn is_no_array(self, value: &str) -> bool {
        self == Self::GridEngine && value == "undefined"
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsBatch => "AWS Batch",
            Self::Kubernetes => "Kubernetes",
            Self::Slurm => "Slurm",
            Self::GridEngine => "Grid Engine",
            Self::Pbs => "PBS",
            Self::GnuParallel => "GNU parallel",
        })
    }
}

/// Why the environment does not say which shard this process is.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum EnvironmentError {
    /// No engine set its variable.
    #[error(
        "no variable in the environment numbers this process ({}); say --shard 2/6",
        Engine::ALL.map(Engine::variable).join(", ")
    )]
    NoEngine,
    /// A variable that has to be a number is none.
    #[error(
        "{variable} is `{value}`, and has to be a number from 0 to {}",
        u32::MAX
    )]
    NotANumber {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The engine says which process this is, but nobody of how many.
    #[error(
        "{engine} does not say how many processes there are; set {set} in the environment of all of them, or say --shard"
    )]
    CountMissing {
        /// Who set the number.
        engine: Engine,
        /// The variable that says it, or would.
        set: &'static str,
    },
    /// The number is not one of those that the count allows.
    #[error(
        "{variable} is {value}, but the {count} processes of {engine} are numbered from {first} to {last}"
    )]
    Outside {
        /// Who set the number.
        engine: Engine,
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: u32,
        /// The number of the first process.
        first: u32,
        /// The number of the last process.
        last: u64,
        /// How many there are.
        count: u32,
    },
    /// The numbers of the array are no regular sequence, so it is not known which place this one has.
    #[error(
        "{variable} is {value} in an array from {first} to {last} by {step}, and its place in it cannot be told; use an array such as 1-6, or set {COUNT} to count from 1"
    )]
    Irregular {
        /// The name of the number.
        variable: &'static str,
        /// Its value.
        value: u32,
        /// The first number of the array.
        first: u32,
        /// The last number of the array.
        last: u32,
        /// What the engine says is between two.
        step: u32,
    },
    /// The engine and the user say different counts.
    #[error("{variable} is {engine}, and {COUNT} is {ours}; take {COUNT} away")]
    Contradiction {
        /// The engine's variable.
        variable: &'static str,
        /// Its value.
        engine: u32,
        /// The user's.
        ours: u32,
    },
}

/// How many processes there are, said by the user.
const COUNT: &str = "REHOST_SHARD_COUNT";

/// The shard of the first engine that set its variable.
pub(super) fn find(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(Shard, Engine), EnvironmentError> {
    for engine in Engine::ALL {
        match lookup(engine.variable()) {
            Some(value) if !engine.is_no_array(&value) => {
                let index = numeric(engine.variable(), value)?;
                let shard = Environment { lookup, engine }.shard(index)?;
                return Ok((shard, engine));
            }
            _ => {}
        }
    }
    Err(EnvironmentError::NoEngine)
}

fn numeric(variable: &'static str, value: String) -> Result<u32, EnvironmentError> {
    number(&value).ok_or(EnvironmentError::NotANumber { variable, value })
}

struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    engine: Engine,
}

impl Environment<'_> {
    fn value(&self, variable: &'static str) -> Result<Option<u32>, EnvironmentError> {
        let value = (self.lookup)(variable);
        value.map(|value| numeric(variable, value)).transpose()
    }

    fn shard(&self, id: u32) -> Result<Shard, EnvironmentError> {
        let ours = self.value(COUNT)?;
        match (self.engine, ours) {
            (Engine::AwsBatch, ours) => {
                let variable = "AWS_BATCH_JOB_ARRAY_SIZE";
                let size = self.value(variable)?;
                if let (Some(engine), Some(ours)) = (size, ours)
                    && engine != ours
                {
                    // Unlike the other engines, Batch starts the whole array or nothing.
                    return Err(EnvironmentError::Contradiction {
                        variable,
                        engine,
                        ours,
                    });
                }
                self.counted(id, size.or(ours), variable)
            }
            (_, Some(ours)) => self.counted(id, Some(ours), COUNT),
            (Engine::Kubernetes, None) => {
                let variable = "JOB_COMPLETIONS";
                self.counted(id, self.value(variable)?, variable)
            }
            (Engine::Slurm, None) => {
                let last = self.value("SLURM_ARRAY_TASK_MAX")?;
                let array = Array {
                    first: self.value("SLURM_ARRAY_TASK_MIN")?,
                    step: self.value("SLURM_ARRAY_TASK_STEP")?,
                    count: self.value("SLURM_ARRAY_TASK_COUNT")?,
                };
                self.spaced(id, last, array)
            }
            (Engine::GridEngine, None) => {
                let last = self.value("SGE_TASK_LAST")?;
                let array = Array {
                    first: self.value("SGE_TASK_FIRST")?,
                    step: self.value("SGE_TASK_STEPSIZE")?,
                    count: None,
                };
                self.spaced(id, last, array)
            }
            (Engine::Pbs | Engine::GnuParallel, None) => self.counted(id, None, COUNT),
        }
    }

    /// Processes that are numbered one by one.
    fn counted(
        &self,
        id: u32,
        count: Option<u32>,
        set: &'static str,
    ) -> Result<Shard, EnvironmentError> {
        let engine = self.engine;
        let count = count.ok_or(EnvironmentError::CountMissing { engine, set })?;
        self.place(id, self.engine.first(), 1, count)
    }

    /// Processes whose numbers are `first`, `first + step`, and so on up to `last`.
    fn spaced(&self, id: u32, last: Option<u32>, array: Array) -> Result<Shard, EnvironmentError> {
        let first = array.first.unwrap_or(self.engine.first());
        // An array of one task may have no step.
        let step = array.step.unwrap_or(1).max(1);
        let Some(last) = last else {
            return self.uncounted(id, first, step, array.count);
        };
        // The last number that is asked for need not be one of the sequence: 1-6:2 ends at 5.
        let regular = last.checked_sub(first).map(|length| length / step);
        let count = regular.and_then(|steps| steps.checked_add(1));
        let irregular = EnvironmentError::Irregular {
            variable: self.engine.variable(),
            value: id,
            first,
            last,
            step,
        };
        match (count, array.count) {
            (None, _) => Err(irregular),
            (Some(count), Some(said)) if said != count => Err(irregular),
            (Some(count), _) => self.place(id, first, step, count),
        }
    }

    /// As [`Environment::spaced`], where only a count says where the numbers end.
    fn uncounted(
        &self,
        id: u32,
        first: u32,
        step: u32,
        count: Option<u32>,
    ) -> Result<Shard, EnvironmentError> {
        let engine = self.engine;
        let count = count.ok_or(EnvironmentError::CountMissing { engine, set: COUNT })?;
        self.place(id, first, step, count)
    }

    fn place(&self, id: u32, first: u32, step: u32, count: u32) -> Result<Shard, EnvironmentError> {
        let (engine, variable) = (self.engine, self.engine.variable());
        let steps = u64::from(count).saturating_sub(1);
        let last = u64::from(first).saturating_add(steps.saturating_mul(u64::from(step)));
        let outside = EnvironmentError::Outside {
            engine,
            variable,
            value: id,
            first,
            last,
            count,
        };
        let Some(distance) = id.checked_sub(first) else {
            return Err(outside);
        };
        if distance % step != 0 {
            return Err(EnvironmentError::Irregular {
                variable,
                value: id,
                first,
                last: u32::try_from(last).unwrap_or(u32::MAX),
                step,
            });
        }
        let index = (distance / step).checked_add(1);
        let shard = index.and_then(|index| Shard::new(index, count).ok());
        shard.ok_or(outside)
    }
}

/// What Slurm and Grid Engine say of an array beside its last number.
#[derive(Clone, Copy)]
struct Array {
    first: Option<u32>,
    step: Option<u32>,
    count: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ShardChoice;

    /// `A=1 B=2`
    fn found(variables: &str) -> Result<String, EnvironmentError> {
        let lookup = |name: &str| {
            let mut pairs = variables
                .split_whitespace()
                .filter_map(|v| v.split_once('='));
            pairs
                .find(|pair| pair.0 == name)
                .map(|pair| pair.1.to_owned())
        };
        let resolved = ShardChoice::Auto.resolve(lookup)?;
        Ok(resolved.to_string())
    }

    #[test]
    fn every_engine_is_understood() {
        for (variables, expected) in [
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=6",
                "shard 1/6 (AWS Batch)",
            ),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=9999 AWS_BATCH_JOB_ARRAY_SIZE=10000",
                "shard 10000/10000 (AWS Batch)",
            ),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=5 AWS_BATCH_JOB_ARRAY_SIZE=6 REHOST_SHARD_COUNT=6",
                "shard 6/6 (AWS Batch)",
            ),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=5 REHOST_SHARD_COUNT=6",
                "shard 6/6 (AWS Batch)",
            ),
            (
                "JOB_COMPLETION_INDEX=0 JOB_COMPLETIONS=3",
                "shard 1/3 (Kubernetes)",
            ),
            (
                "JOB_COMPLETION_INDEX=2 REHOST_SHARD_COUNT=3",
                "shard 3/3 (Kubernetes)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_COUNT=6 SLURM_ARRAY_TASK_MIN=1 \
                 SLURM_ARRAY_TASK_MAX=6 SLURM_ARRAY_TASK_STEP=1",
                "shard 2/6 (Slurm)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_COUNT=6 SLURM_ARRAY_TASK_MIN=0 \
                 SLURM_ARRAY_TASK_MAX=5 SLURM_ARRAY_TASK_STEP=1",
                "shard 1/6 (Slurm)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=15 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_MIN=5 \
                 SLURM_ARRAY_TASK_MAX=20 SLURM_ARRAY_TASK_STEP=5",
                "shard 3/4 (Slurm)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=20 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_MAX=20 \
                 SLURM_ARRAY_TASK_STEP=5",
                "shard 4/4 (Slurm)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=6",
                "shard 3/6 (Slurm)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=3 \
                 SLURM_ARRAY_TASK_MAX=3 SLURM_ARRAY_TASK_STEP=0",
                "shard 1/1 (Slurm)",
            ),
            (
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=3 \
                 SLURM_ARRAY_TASK_MAX=3 SLURM_ARRAY_TASK_STEP=1 REHOST_SHARD_COUNT=6",
                "shard 3/6 (Slurm)",
            ),
            (
                "SGE_TASK_ID=6 SGE_TASK_FIRST=1 SGE_TASK_LAST=6 SGE_TASK_STEPSIZE=1",
                "shard 6/6 (Grid Engine)",
            ),
            (
                "SGE_TASK_ID=8 SGE_TASK_FIRST=2 SGE_TASK_LAST=10 SGE_TASK_STEPSIZE=3",
                "shard 3/3 (Grid Engine)",
            ),
            ("SGE_TASK_ID=4 SGE_TASK_LAST=4", "shard 4/4 (Grid Engine)"),
            (
                "SGE_TASK_ID=undefined SGE_TASK_LAST=undefined PARALLEL_SEQ=2 REHOST_SHARD_COUNT=2",
                "shard 2/2 (GNU parallel)",
            ),
            ("PBS_ARRAY_INDEX=6 REHOST_SHARD_COUNT=6", "shard 6/6 (PBS)"),
            (
                "PARALLEL_SEQ=1 REHOST_SHARD_COUNT=2",
                "shard 1/2 (GNU parallel)",
            ),
        ] {
            assert_eq!(found(variables).as_deref(), Ok(expected), "{variables}");
        }
    }

    #[test]
    fn the_first_engine_counts() {
        let pairs = [
            "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=9",
            "JOB_COMPLETION_INDEX=1",
            "SLURM_ARRAY_TASK_ID=3",
            "SGE_TASK_ID=4",
            "PBS_ARRAY_INDEX=5",
            "PARALLEL_SEQ=6",
        ];
        for (index, engine) in Engine::ALL.iter().enumerate() {
            let from_here = format!("{} REHOST_SHARD_COUNT=9", pairs[index..].join(" "));
            let expected = format!("shard {}/9 ({engine})", index + 1);
            assert_eq!(found(&from_here).as_ref(), Ok(&expected), "{from_here}");
        }
    }

    #[test]
    fn an_array_covers_its_shards_once() {
        for first in 0..4_u32 {
            for step in 1..5 {
                for last in first..first + 20 {
                    let ids: Vec<u32> = (first..=last).step_by(step).collect();
                    let count = ids.len();
                    let prefix = format!(
                        "SLURM_ARRAY_TASK_MIN={first} SLURM_ARRAY_TASK_MAX={} \
                         SLURM_ARRAY_TASK_STEP={step} SLURM_ARRAY_TASK_COUNT={count}",
                        ids[count - 1]
                    );
                    let sge = format!(
                        "SGE_TASK_FIRST={first} SGE_TASK_LAST={last} SGE_TASK_STEPSIZE={step}"
                    );
                    for (place, id) in ids.iter().enumerate() {
                        let slurm = found(&format!("SLURM_ARRAY_TASK_ID={id} {prefix}"));
                        assert_eq!(slurm, Ok(format!("shard {}/{count} (Slurm)", place + 1)));
                        let sge = found(&format!("SGE_TASK_ID={id} {sge}"));
                        assert_eq!(
                            sge,
                            Ok(format!("shard {}/{count} (Grid Engine)", place + 1))
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_a_shard_is_refused_with_what_to_do() {
        for (variables, expected) in [
            ("REHOST_SHARD_COUNT=6", "say --shard 2/6"),
            ("SGE_TASK_ID=undefined", "say --shard 2/6"),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=x AWS_BATCH_JOB_ARRAY_SIZE=6",
                "AWS_BATCH_JOB_ARRAY_INDEX is `x`, and has to be a number",
            ),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX= AWS_BATCH_JOB_ARRAY_SIZE=6",
                "AWS_BATCH_JOB_ARRAY_INDEX is ``",
            ),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=-6",
                "AWS_BATCH_JOB_ARRAY_SIZE is `-6`",
            ),
            ("PARALLEL_SEQ=4294967296", "from 0 to 4294967295"),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=0",
                "AWS Batch does not say how many processes there are; set AWS_BATCH_JOB_ARRAY_SIZE",
            ),
            ("JOB_COMPLETION_INDEX=0", "set JOB_COMPLETIONS"),
            ("PBS_ARRAY_INDEX=1", "set REHOST_SHARD_COUNT"),
            ("PARALLEL_SEQ=1", "set REHOST_SHARD_COUNT"),
            ("SLURM_ARRAY_TASK_ID=1", "set REHOST_SHARD_COUNT"),
            ("SGE_TASK_ID=1", "set REHOST_SHARD_COUNT"),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=6 AWS_BATCH_JOB_ARRAY_SIZE=6",
                "is 6, but the 6 processes of AWS Batch are numbered from 0 to 5",
            ),
            (
                "PBS_ARRAY_INDEX=0 REHOST_SHARD_COUNT=6",
                "is 0, but the 6 processes of PBS are numbered from 1 to 6",
            ),
            (
                "PARALLEL_SEQ=7 REHOST_SHARD_COUNT=6",
                "is 7, but the 6 processes of GNU parallel are numbered from 1 to 6",
            ),
            (
                "JOB_COMPLETION_INDEX=0 JOB_COMPLETIONS=0",
                "the 0 processes",
            ),
            (
                "SLURM_ARRAY_TASK_ID=25 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_MAX=20 \
                 SLURM_ARRAY_TASK_STEP=5",
                "is 25, but the 4 processes of Slurm are numbered from 5 to 20",
            ),
            (
                // What Slurm 22.05 says of `--array=1,3,7`.
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=7 \
                 SLURM_ARRAY_TASK_STEP=1 SLURM_ARRAY_TASK_COUNT=3",
                "SLURM_ARRAY_TASK_ID is 3 in an array from 1 to 7 by 1",
            ),
            (
                "SLURM_ARRAY_TASK_ID=6 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_MAX=20 \
                 SLURM_ARRAY_TASK_STEP=5",
                "SLURM_ARRAY_TASK_ID is 6 in an array from 5 to 20 by 5",
            ),
            (
                "SLURM_ARRAY_TASK_ID=6 SLURM_ARRAY_TASK_MIN=9 SLURM_ARRAY_TASK_MAX=2",
                "in an array from 9 to 2",
            ),
            (
                "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=6 REHOST_SHARD_COUNT=5",
                "AWS_BATCH_JOB_ARRAY_SIZE is 6, and REHOST_SHARD_COUNT is 5",
            ),
        ] {
            let error = found(variables).expect_err(variables).to_string();
            assert!(error.contains(expected), "{variables}: {error}");
        }
    }

    #[test]
    fn no_numbers_of_an_array_overflow() {
        let numbers = ["0", "1", "2", "4294967294", "4294967295"];
        for id in numbers {
            for first in numbers {
                for last in numbers {
                    for step in numbers {
                        let array = format!(
                            "SLURM_ARRAY_TASK_ID={id} SLURM_ARRAY_TASK_MIN={first} \
                             SLURM_ARRAY_TASK_MAX={last} SLURM_ARRAY_TASK_STEP={step}"
                        );
                        let fits = |text: &str| text.starts_with("shard ");
                        assert!(found(&array).as_deref().map_or(true, fits), "{array}");
                    }
                }
            }
        }
    }
}
