//! A named piece of conversion knowledge.

use crate::{Draft, Error, Options};
use guest::Facts;
use serde::{Deserialize, Serialize};

/// A named, skippable piece of conversion knowledge.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable kebab-case name, for `--skip` and reports.
    pub id: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Whether it has anything to say about this guest.
    pub applies: fn(&Facts, &Options) -> bool,
    /// Reads the draft and records edits.
    pub run: fn(&mut Draft<'_>) -> Result<(), Error>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// May need work by hand after launch.
    Warning,
    /// The target will probably not boot or not be reachable.
    Problem,
}

/// Something the user should know, found while planning.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Id of the rule that found it; `inspect` if it was found before any rule ran.
    pub rule: String,
    /// What, where, and what to do.
    pub text: String,
}
