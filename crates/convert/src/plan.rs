//! All that will be done, and nothing else.

use crate::labels::Labels;
use crate::rules::RULES;
use crate::{Change, Draft, Error, Finding, Options, Severity, originals};
use guest::{Facts, Guest, VolumeId};
use serde::{Deserialize, Serialize};

/// The version of the plan's JSON that this rehost writes and reads.
pub const PLAN_FORMAT: u32 = 1;

/// What stands in place of a rule's id where inspection found something, before any rule ran.
pub(crate) const INSPECT: &str = "inspect";

/// All that will be done, and nothing else: closed, ordered, serializable.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`] of the rehost that made it.
    pub format: u32,
    /// The guest it was made for.
    pub guest: PlannedGuest,
    /// What the user asked for.
    pub options: Options,
    /// One change for each object, in the order of application.
    pub changes: Vec<Change>,
    /// What the user should know: what inspection found odd, then what the rules found.
    pub findings: Vec<Finding>,
}

/// The guest a plan was made for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PlannedGuest {
    /// The operating system's own name.
    pub os: String,
    /// The host name in its configuration.
    pub hostname: Option<String>,
    /// The volume of its root file system.
    pub root: VolumeId,
}

/// Runs the rules over a guest and records what they ask for. Nothing is written.
///
/// # Errors
/// [`Error::UnknownRule`] if `--skip` names none; [`Error::Rule`] with what a rule met.
pub fn plan(guest: &Guest, facts: &Facts, options: &Options) -> Result<Plan, Error> {
    if let Some(unknown) = options
        .skip
        .iter()
        .find(|id| !RULES.iter().any(|rule| rule.id == *id))
    {
        return Err(Error::UnknownRule(unknown.clone()));
    }
    let labels = Labels::of(guest, facts, options)?;
    let mut draft = Draft::new(guest, facts, options, &labels);
    for rule in RULES {
        if options.skip.contains(rule.id) || !(rule.applies)(facts, options) {
            continue;
        }
        tracing::debug!(rule = rule.id, "running");
        draft.enter(rule.id);
        (rule.run)(&mut draft).map_err(|source| Error::Rule {
            rule: rule.id,
            source: Box::new(source),
        })?;
    }
    let (changes, found) = draft.finish();
    let odd = facts.findings.iter().map(|text| inspected(text));
    let findings = odd.chain(found).collect();
    Ok(Plan {
        format: PLAN_FORMAT,
        guest: PlannedGuest {
            os: facts.os.pretty_name.clone(),
            hostname: facts.hostname.clone(),
            root: facts.root.clone(),
        },
        options: options.clone(),
        changes: originals::keep(guest, &labels, changes)?,
        findings,
    })
}

/// What was odd before any rule ran: a missing physical volume, an array that lacks a member.
fn inspected(text: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        rule: INSPECT.to_owned(),
        text: text.to_owned(),
    }
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
