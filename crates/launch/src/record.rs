//! What is known about a machine of a project: where it is, and what was made of it.

use crate::blueprint::{Hardware, SourceFacts};
use crate::lifecycle::{Kind, State};
use serde::{Deserialize, Serialize};

/// What is known about a machine. Its file is only a memory: what it says about snapshots and targets
/// in AWS can be found again by their tags.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Always [`Record::API_VERSION`].
    pub api_version: String,
    /// The project.
    pub project: String,
    /// The machine's name in it.
    pub machine: String,
    /// Where it is.
    pub state: State,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// How many launches were begun; the number of the next one is one more.
    #[serde(default)]
    pub launches: u32,
    /// The launch that was begun and has not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// How large the source is, as what the last snapshots were made of told.
    #[serde(default, skip_serializing_if = "Hardware::is_unknown")]
    pub hardware: Hardware,
    /// The last snapshots of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What was last converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converted: Option<Converted>,
    /// The last test launch that came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test: Option<Launched>,
    /// The last cutover that came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_cutover: Option<Launched>,
    /// What exists of the last launch, in each place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// What the last conversion found that somebody has to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// A launch under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Running {
    /// What for.
    pub kind: Kind,
    /// Where.
    pub place: Place,
    /// Its number, from 1.
    pub launch: u32,
    /// When it was begun, in seconds since 1970.
    pub begun: u64,
}

/// Where a target runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On Amazon EC2.
    Ec2,
    /// In QEMU on this host.
    Local,
}

/// Snapshots of all disks of a machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// When they were made, or found to be the same, in seconds since 1970.
    pub at: u64,
    /// Their names, in the order of the disks, as arguments of commands: `ebs:snap-…`,
    /// `store:DIR#snap-…`.
    pub disks: Vec<String>,
    /// Blocks of 512 KiB that had changed.
    pub changed_blocks: u64,
}

/// What a conversion made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Converted {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Of what, as [`Snapshot::disks`].
    pub from: Vec<String>,
    /// A digest of all else that decides the result.
    pub by: String,
    /// The snapshots that it made, as [`Snapshot::disks`].
    pub disks: Vec<String>,
    /// What was found about the guest and its disks.
    pub source: SourceFacts,
}

/// A launch that came to an end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Launched {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Its number.
    pub launch: u32,
    /// Where.
    pub place: Place,
    /// Whether the target came up.
    pub came_up: bool,
    /// By what that was seen, or why it did not.
    pub because: String,
}

/// What exists of a launch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// What for.
    pub kind: Kind,
    /// The number of the launch.
    pub launch: u32,
    /// Where.
    pub place: Place,
    /// The instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The image that it was started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its volumes: ids, or files of a local target.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<String>,
}

impl Record {
    /// The version of the file's form.
    pub const API_VERSION: &'static str = "rehost/v1";

    /// A machine of which nothing is known.
    pub fn new(project: &str, machine: &str, now: u64) -> Self {
        Self {
            api_version: Self::API_VERSION.to_owned(),
            project: project.to_owned(),
            machine: machine.to_owned(),
            state: State::New,
            since: now,
            launches: 0,
            running: None,
            hardware: Hardware::default(),
            snapshot: None,
            converted: None,
            last_test: None,
            last_cutover: None,
            targets: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Puts the machine elsewhere.
    pub fn enter(&mut self, state: State, now: u64) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Begins a launch, or goes on with the one that was begun, if that is one of the same kind and
    /// place; another one is given up.
    pub fn begin(&mut self, kind: Kind, place: Place, now: u64) -> Running {
        let same = |running: &&Running| running.kind == kind && running.place == place;
        if let Some(running) = self.running.as_ref().filter(same) {
            return running.clone();
        }
        self.launches = self.launches.saturating_add(1);
        let running = Running {
            kind,
            place,
            launch: self.launches,
            begun: now,
        };
        self.running = Some(running.clone());
        self.enter(kind.under_way(), now);
        running
    }

    /// Ends the launch under way.
    pub fn end(&mut self, running: &Running, came_up: bool, because: String, now: u64) {
        let launched = Launched {
            at: now,
            launch: running.launch,
            place: running.place,
            came_up,
            because,
        };
        match running.kind {
            Kind::Test => self.last_test = Some(launched),
            Kind::Cutover => self.last_cutover = Some(launched),
        }
        self.running = None;
        if came_up {
            self.enter(running.kind.done(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_that_was_stopped_goes_on_under_its_number() {
        let mut record = Record::new("shop", "web1", 5);
        let first = record.begin(Kind::Test, Place::Ec2, 10);
        assert_eq!((first.launch, record.state), (1, State::Testing));
        assert_eq!(record.begin(Kind::Test, Place::Ec2, 20), first);
        record.end(&first, true, "status checks".to_owned(), 30);
        assert_eq!((record.state, record.since), (State::Tested, 30));
        let second = record.begin(Kind::Test, Place::Ec2, 40);
        assert_eq!(second.launch, 2);
        let cutover = record.begin(Kind::Cutover, Place::Ec2, 50);
        assert_eq!((cutover.launch, record.state), (3, State::CuttingOver));
    }

    #[test]
    fn a_target_that_did_not_come_up_changes_no_state() {
        let mut record = Record::new("shop", "web1", 5);
        let running = record.begin(Kind::Test, Place::Local, 10);
        record.end(&running, false, "kernel panic".to_owned(), 30);
        assert_eq!(record.state, State::Testing);
        assert!(record.running.is_none());
        assert!(record.last_test.is_some_and(|last| !last.came_up));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut record = Record::new("shop", "web1", 5);
        record.begin(Kind::Cutover, Place::Ec2, 10);
        record.findings.push("look at /etc/hosts".to_owned());
        record.hardware.vcpus = Some(4);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let more = text.replace("\"project\"", "\"projekt\"");
        assert!(serde_json::from_str::<Record>(&more).is_err());
    }
}
