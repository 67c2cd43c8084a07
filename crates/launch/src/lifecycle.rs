//! Where a machine is between its first snapshot and its new life, and what leads from there to where.
//!
//! ```text
//! new ─► ready ─► testing ─► tested ─► cutting-over ─► cut-over
//!          ▲         └──────────┴───────────┴──────────────┘ mark ready
//! ```
//! A launch that fails or is stopped stays in `testing` or `cutting-over`: the same command again goes
//! on with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Where a machine is.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// There is no snapshot of it yet.
    #[default]
    New,
    /// It has a snapshot that can be launched.
    Ready,
    /// A test launch was begun.
    Testing,
    /// A test target came up.
    Tested,
    /// The cutover was begun.
    CuttingOver,
    /// The target of the cutover came up: the machine lives there.
    CutOver,
}

/// What a target is launched for.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// To look whether the machine works; again and again.
    Test,
    /// To live there from now on.
    Cutover,
}

/// Why a machine cannot go where it shall.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refusal {
    /// The machine lives on EC2 already: another launch would replace that target.
    #[error(
        "it is {0}, and a launch would remove that target; `rehost mark ready` allows it, once that is what you want"
    )]
    CutOver(State),
    /// No test target has come up.
    #[error("it is {0}, and no test has come up; `rehost test` it, or say --untested")]
    Untested(State),
    /// Nothing that could be launched exists.
    #[error("it has no snapshot; `rehost replicate` makes one")]
    NoSnapshot,
    /// Only a launch gets there.
    #[error("{0} cannot be marked: it is what a launch does; mark ready, tested or cut-over")]
    NotByHand(State),
}

impl State {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::New,
        Self::Ready,
        Self::Testing,
        Self::Tested,
        Self::CuttingOver,
        Self::CutOver,
    ];

    /// Its name, as in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ready => "ready",
            Self::Testing => "testing",
            Self::Tested => "tested",
            Self::CuttingOver => "cutting-over",
            Self::CutOver => "cut-over",
        }
    }

    /// After a snapshot was made.
    #[must_use]
    pub fn snapshot_made(self) -> Self {
        match self {
            Self::New => Self::Ready,
            other => other,
        }
    }

    /// When a launch begins. `untested` allows the cutover of a machine of which no test came up.
    ///
    /// # Errors
    /// The machine is cut over, or its cutover was begun and this is a test; or it is not tested.
    pub fn launch(self, kind: Kind, untested: bool) -> Result<Self, Refusal> {
        match (kind, self) {
            (_, Self::CutOver) | (Kind::Test, Self::CuttingOver) => Err(Refusal::CutOver(self)),
            (Kind::Test, _) => Ok(Self::Testing),
            (Kind::Cutover, Self::Tested | Self::CuttingOver) => Ok(Self::CuttingOver),
            (Kind::Cutover, _) if untested => Ok(Self::CuttingOver),
            (Kind::Cutover, _) => Err(Refusal::Untested(self)),
        }
    }

    /// What the user says by hand.
    ///
    /// # Errors
    /// There is no snapshot, or the state is one that only a launch gets to.
    pub fn mark(self, to: Self, has_snapshot: bool) -> Result<Self, Refusal> {
        match to {
            Self::Ready | Self::Tested | Self::CutOver if has_snapshot => Ok(to),
            Self::Ready | Self::Tested | Self::CutOver => Err(Refusal::NoSnapshot),
            Self::New | Self::Testing | Self::CuttingOver => Err(Refusal::NotByHand(to)),
        }
    }
}

impl Kind {
    /// Its name, as in files and tags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Cutover => "cutover",
        }
    }

    /// Where a machine is while the launch is under way.
    pub fn under_way(self) -> State {
        match self {
            Self::Test => State::Testing,
            Self::Cutover => State::CuttingOver,
        }
    }

    /// Where a machine is once the target has come up.
    pub fn done(self) -> State {
        match self {
            Self::Test => State::Tested,
            Self::Cutover => State::CutOver,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| format!("{text:?} is no state of a machine"))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Test, Self::Cutover].into_iter();
        let mut found = found.filter(|kind| kind.name() == text);
        let none = || format!("{text:?} is neither test nor cutover");
        found.next().ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_goes_from_its_first_snapshot_to_its_new_life() {
        let mut state = State::New.snapshot_made();
        assert_eq!(state, State::Ready);
        for _ in 0..2 {
            state = state.launch(Kind::Test, false).unwrap();
            assert_eq!(state, State::Testing);
            assert_eq!(state.launch(Kind::Test, false), Ok(State::Testing));
            state = Kind::Test.done();
        }
        assert_eq!(state.snapshot_made(), State::Tested);
        state = state.launch(Kind::Cutover, false).unwrap();
        assert_eq!(state, State::CuttingOver);
        assert_eq!(state.launch(Kind::Cutover, false), Ok(State::CuttingOver));
        assert_eq!(Kind::Cutover.done(), State::CutOver);
    }

    #[test]
    fn nothing_launches_over_a_machine_that_lives_there() {
        for kind in [Kind::Test, Kind::Cutover] {
            let refused = State::CutOver.launch(kind, true);
            assert_eq!(refused, Err(Refusal::CutOver(State::CutOver)));
        }
        assert!(State::CuttingOver.launch(Kind::Test, true).is_err());
        let again = State::CutOver.mark(State::Ready, true).unwrap();
        assert_eq!(again.launch(Kind::Test, false), Ok(State::Testing));
    }

    #[test]
    fn a_cutover_needs_a_test_or_a_word() {
        for state in [State::New, State::Ready, State::Testing] {
            let refused = state.launch(Kind::Cutover, false);
            assert_eq!(refused, Err(Refusal::Untested(state)));
            assert_eq!(state.launch(Kind::Cutover, true), Ok(State::CuttingOver));
        }
    }

    #[test]
    fn hands_mark_what_no_launch_has_to_do() {
        for to in [State::Ready, State::Tested, State::CutOver] {
            assert_eq!(State::Testing.mark(to, true), Ok(to));
            assert_eq!(State::New.mark(to, false), Err(Refusal::NoSnapshot));
        }
        for to in [State::New, State::Testing, State::CuttingOver] {
            assert_eq!(State::Ready.mark(to, true), Err(Refusal::NotByHand(to)));
        }
    }

    #[test]
    fn names_are_those_of_the_files() {
        for state in State::ALL {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
            assert_eq!(state.name().parse(), Ok(state));
        }
        assert!("done".parse::<State>().is_err());
        assert_eq!("cutover".parse(), Ok(Kind::Cutover));
    }
}
