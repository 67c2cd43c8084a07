//! Which machines of a project file one process of a fleet handles.
//!
//! A fleet has no coordinator. `count` processes read the same project file, and each takes the
//! machines whose place in it says so. So any engine that starts numbered copies of a command can
//! run a fleet, and starting one of them again repeats nothing but that one's share.

mod environment;

pub use environment::{Engine, EnvironmentError};

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use thiserror::Error;

/// One of `count` processes that share the machines of a project file.
///
/// Written `INDEX/COUNT` and counted from 1, as test runners do: `1/6` to `6/6`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Shard {
    /// 1 to `count`.
    index: NonZeroU32,
    count: NonZeroU32,
}

impl Shard {
    /// The only process: it handles every machine.
    pub const WHOLE: Self = Self {
        index: NonZeroU32::MIN,
        count: NonZeroU32::MIN,
    };

    /// The shard `index`, from 1 on, of `count`.
    ///
    /// # Errors
    /// [`ShardError::Outside`] unless `1 <= index <= count`.
    pub fn new(index: u32, count: u32) -> Result<Self, ShardError> {
        match (NonZeroU32::new(index), NonZeroU32::new(count)) {
            (Some(index), Some(count)) if index <= count => Ok(Self { index, count }),
            _ => Err(ShardError::Outside { index, count }),
        }
    }

    /// Its number, from 1 to [`Shard::count`].
    pub fn index(self) -> u32 {
        self.index.get()
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// The machines that this shard handles, of all that the project file names, in its order.
    ///
    /// Every machine is in exactly one of the `count` shards: the one at place `p`, from 0 on, is in
    /// shard `p mod count + 1`. A machine that is added at the end of the file moves no other; one that
    /// is added or removed elsewhere moves those behind it, so the file must not change while a fleet
    /// runs. Neighbours are in different shards, because machines of one kind tend to stand together.
    pub fn members<T>(self, machines: &[T]) -> impl Iterator<Item = &T> {
        // On a host whose pointers are shorter than 32 bits, what is beyond them is beyond every list.
        let places = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        machines
            .iter()
            .skip(places(self.index().saturating_sub(1)))
            .step_by(places(self.count()))
    }

    /// What this shard may use of a rate that all shards share, such as requests per second of an
    /// account.
    ///
    /// All shards get the same share, whether they run at the same time or not, since none knows what
    /// the others do. With an engine that lets fewer run at a time the total can be larger in proportion.
    pub fn budget(self, total: f64) -> f64 {
        total / f64::from(self.count())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let numbers = text
            .split_once('/')
            .and_then(|(index, count)| Some((number(index)?, number(count)?)));
        match numbers {
            Some((index, count)) => Self::new(index, count),
            None => Err(ShardError::Syntax(text.to_owned())),
        }
    }
}

/// Digits alone: `parse` would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Why there is no such shard.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ShardError {
    /// The text is something else.
    #[error("`{0}` is no shard; write 2/6 for the second of six, or auto")]
    Syntax(String),
    /// The number is beyond the count, or one of them is zero.
    #[error(
        "there is no shard {index} of {count}: they are counted from 1, so the last of six is 6/6"
    )]
    Outside {
        /// The number that was asked for.
        index: u32,
        /// Of so many.
        count: u32,
    },
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShardChoice {
    /// This one.
    Given(Shard),
    /// `auto`: the one that the engine says in the environment.
    Auto,
}

impl FromStr for ShardChoice {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        match text {
            "auto" => Ok(Self::Auto),
            text => text.parse().map(Self::Given),
        }
    }
}

impl ShardChoice {
    /// The shard that is meant. `lookup` returns an environment variable's value, if it is set.
    ///
    /// # Errors
    /// For `auto` only: no engine set its variables, or what they say cannot be a shard. There is no
    /// default then, because every process would handle every machine.
    pub fn resolve(
        self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Resolved, EnvironmentError> {
        match self {
            Self::Given(shard) => Ok(Resolved {
                shard,
                engine: None,
            }),
            Self::Auto => {
                let (shard, engine) = environment::find(&lookup)?;
                Ok(Resolved {
                    shard,
                    engine: Some(engine),
                })
            }
        }
    }
}

/// A shard, and who said it. Displayed as `shard 2/6 (Slurm)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resolved {
    /// The shard.
    pub shard: Shard,
    /// The engine whose variables say it; none if the user did.
    pub engine: Option<Engine>,
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.shard)?;
        match self.engine {
            Some(engine) => write!(f, " ({engine})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_as_test_runners_write_them() {
        for text in ["1/1", "2/6", "6/6", "4294967295/4294967295"] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!(shard.to_string(), text);
        }
        for bad in [
            "",
            "/",
            "1",
            "1/",
            "/2",
            "a/2",
            "1/b",
            "+1/2",
            "1/+2",
            "-1/2",
            "1 / 2",
            "1/2/3",
            "1of2",
            "4294967296/4294967296",
            "Auto",
        ] {
            let error = bad.parse::<Shard>().unwrap_err();
            assert_eq!(error, ShardError::Syntax(bad.to_owned()));
        }
        for (text, index, count) in [("0/6", 0, 6), ("7/6", 7, 6), ("0/0", 0, 0), ("1/0", 1, 0)] {
            let error = text.parse::<Shard>().unwrap_err();
            assert_eq!(error, ShardError::Outside { index, count });
        }
    }

    #[test]
    fn every_machine_is_in_exactly_one_shard() {
        for machines in 0..40_u32 {
            let all: Vec<u32> = (0..machines).collect();
            for count in 1..50 {
                let shards = (1..=count).map(|index| Shard::new(index, count).unwrap());
                let parts: Vec<Vec<u32>> = shards
                    .map(|shard| shard.members(&all).copied().collect())
                    .collect();
                for part in &parts {
                    assert!(part.is_sorted(), "{part:?} is not in the file's order");
                }
                let sizes = parts.iter().map(Vec::len);
                let uneven = sizes.clone().max().unwrap() - sizes.min().unwrap();
                assert!(
                    uneven <= 1,
                    "{machines} machines in {count} shards: {parts:?}"
                );
                let mut together = parts.concat();
                together.sort_unstable();
                assert_eq!(together, all, "{machines} machines in {count} shards");
            }
        }
    }

    #[test]
    fn a_machine_that_is_added_at_the_end_moves_no_other() {
        let all: Vec<u32> = (0..40).collect();
        for count in 1..12 {
            for index in 1..=count {
                let shard = Shard::new(index, count).unwrap();
                for fewer in 0..all.len() {
                    let before: Vec<_> = shard.members(&all[..fewer]).collect();
                    let after: Vec<_> = shard.members(&all[..=fewer]).collect();
                    assert!(after.starts_with(&before), "{shard}, {fewer} machines");
                }
            }
        }
    }

    #[test]
    fn the_numbers_of_a_shard_may_be_beyond_every_list() {
        let last = Shard::new(u32::MAX, u32::MAX).unwrap();
        assert_eq!(last.members(&["a", "b"]).count(), 0);
        let first = Shard::new(1, u32::MAX).unwrap();
        assert_eq!(first.members(&["a", "b"]).collect::<Vec<_>>(), [&"a"]);
        assert_eq!(Shard::WHOLE.members(&["a", "b"]).count(), 2);
    }

    #[test]
    fn the_shares_of_a_budget_are_never_more_than_the_budget() {
        for total in [1.0, 10.0, 333.3, 1000.0] {
            for count in [1, 2, 3, 7, 49, 1000, 10_000] {
                let shards = (1..=count).map(|index| Shard::new(index, count).unwrap());
                let sum: f64 = shards.map(|shard| shard.budget(total)).sum();
                assert!(
                    (sum - total).abs() < total * 1e-9,
                    "{total} in {count}: {sum}"
                );
            }
        }
    }

    #[test]
    fn what_the_user_says_needs_no_environment() {
        let nothing = |_: &str| panic!("the environment was read");
        let choice: ShardChoice = "2/6".parse().unwrap();
        let resolved = choice.resolve(nothing).unwrap();
        assert_eq!(resolved.shard, Shard::new(2, 6).unwrap());
        assert_eq!(resolved.to_string(), "shard 2/6");
        assert!("2".parse::<ShardChoice>().is_err());
    }
}
