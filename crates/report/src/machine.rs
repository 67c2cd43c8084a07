//! One machine of a run.

use crate::{Change, Check, Guest, Outcome, Painter, Regions, Step, Target, checks};
use serde::{Deserialize, Serialize};

/// What was found of a machine, and done to it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// Its name in the project, or the first of its disks.
    pub name: String,
    /// How it went.
    pub result: Outcome,
    /// Why it failed: what failed first, then every reason below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<String>,
    /// Where the machine is on its way after this run: `ready`, `testing`, `tested`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<String>,
    /// The disks that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceDisk>,
    /// The operating system on them, if one was looked for and found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// What the user should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What was changed inside the guest, in the order in which it was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Which parts of each disk held data, changed, and were uploaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Regions>,
    /// What was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// What was done when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// The machine that was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What to check by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// A disk that was read.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceDisk {
    /// As in messages.
    pub name: String,
    /// Bytes of the disk.
    pub size: u64,
    /// The format of the image (`vmdk`), or the kind of place (`store`, `ebs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The argument that named it: a path, `store:DIR#ID` or `ebs:ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How much a finding matters; the last matters most.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// May need work by hand after launch.
    Warning,
    /// The target will probably not boot or not be reachable.
    Problem,
}

/// Something the user should know.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The conversion rule, or the part of rehost, that found it.
    pub rule: String,
    /// What, where, and what to do.
    pub text: String,
}

/// Something that was made, or that stands for it because nothing changed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Output {
    /// `file`, `snapshot`, `ebs-snapshot`, `volume`, `image`.
    pub kind: String,
    /// A path or an id.
    pub name: String,
    /// The disk that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Where that is: a store's directory, a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The format of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The snapshot of which it inherits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Bytes in which it holds data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<u64>,
    /// Blocks of 512 KiB that were put into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_blocks: Option<u64>,
    /// Bytes of the disk that were read to make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// Whether this run made it; else it was there before.
    pub made: bool,
}

impl Machine {
    /// A machine of which nothing is known yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The machine failed: what failed, then every reason below it.
    pub fn fail<T: ToString>(&mut self, reasons: impl IntoIterator<Item = T>) {
        self.result = Outcome::Failed;
        self.error = reasons.into_iter().map(|it| it.to_string()).collect();
    }

    /// Takes over what a conversion found and did.
    pub fn add_conversion(&mut self, facts: &guest::Facts, plan: &convert::Plan) {
        self.guest = Some(Guest::from(facts));
        self.findings
            .extend(plan.findings.iter().map(Finding::from));
        self.changes = Change::all(&plan.changes);
    }

    /// Adds where a disk held data, changed, and was uploaded.
    pub fn add_regions(&mut self, painter: Painter) {
        self.regions.push(painter.finish());
    }

    /// Derives what to check by hand from all that is known by now: to be called last.
    pub fn derive_checks(&mut self) {
        self.checks = checks::of(self);
    }

    /// The changes that are more than keeping originals and the receipt.
    pub fn asked_changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| !change.is_record())
    }

    /// What matters most of what was found.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

impl From<&convert::Finding> for Finding {
    fn from(finding: &convert::Finding) -> Self {
        let severity = match finding.severity {
            convert::Severity::Info => Severity::Info,
            convert::Severity::Warning => Severity::Warning,
            convert::Severity::Problem => Severity::Problem,
        };
        Self {
            severity,
            rule: finding.rule.clone(),
            text: finding.text.clone(),
        }
    }
}
