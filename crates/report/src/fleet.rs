//! Merging the reports of a fleet's shards.
//!
//! Engines run a shard again when it failed or its host went away, so a machine may be in several
//! reports. Of each machine and command one attempt counts: the newest that went well, else the
//! newest. The others are listed.

use crate::document::API_VERSION;
use crate::{Machine, Moment, Outcome, Output, Report, Run, Severity, Shard};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What became of a fleet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    api_version: &'static str,
    kind: &'static str,
    /// Sums over all machines.
    pub totals: Totals,
    /// A line for each machine and command, by name; those that are missing have none.
    pub machines: Vec<FleetMachine>,
    /// Runs that failed before any machine, and that no later run of the same shard made good.
    pub broken: Vec<Attempt>,
}

/// Sums over all machines of a fleet, of the attempts that count.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Machines, however many commands they went through.
    pub machines: usize,
    /// Of these, those that went well.
    pub ok: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that were expected, and that no report is about.
    pub missing: usize,
    /// Runs that failed before any machine.
    pub broken_runs: usize,
    /// Findings that are problems.
    pub problems: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// Changed objects in guests.
    pub changes: usize,
    /// Bytes of all source disks.
    pub disk_bytes: u64,
    /// Bytes of them that hold data, where that was looked at.
    pub data_bytes: u64,
    /// Blocks of 512 KiB that were put into snapshots.
    pub put_blocks: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// How a machine of a fleet stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// An attempt went well.
    Ok,
    /// None did.
    Failed,
    /// No report is about it.
    Missing,
}

/// A machine of a fleet, for one command.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetMachine {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// The attempt that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Attempt>,
    /// Other attempts, the newest first.
    pub others: Vec<Attempt>,
    /// Whether a newer attempt than the one that counts failed.
    pub failed_later: bool,
    /// Its system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Findings that are problems.
    pub problems: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// Changed objects in the guest.
    pub changes: usize,
    /// What was made.
    pub outputs: Vec<Output>,
    /// The whole report of the attempt that counts.
    #[serde(skip)]
    pub(crate) detail: Option<Box<(Run, Machine)>>,
}

/// An attempt at a machine: where it was reported and how it ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The file of its report.
    pub report: String,
    /// The command.
    pub command: String,
    /// When the run began.
    pub started: Moment,
    /// When it ended.
    pub ended: Moment,
    /// The shard that it was part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// How it ended for this machine.
    pub result: Outcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<String>,
}

/// An attempt with all that its report says about the machine.
type Told = (Attempt, Run, Machine);

impl Attempt {
    fn of(file: &str, run: &Run, result: Outcome, error: &[String]) -> Self {
        Self {
            report: file.to_owned(),
            command: run.command.clone(),
            started: run.started,
            ended: run.ended,
            shard: run.shard,
            result,
            error: error.to_vec(),
        }
    }

    fn went_well(&self) -> bool {
        self.result == Outcome::Ok
    }
}

impl Fleet {
    /// Merges reports, each with the name of its file. With `expected`, the names of all machines
    /// that there should be, those that no report is about are missing.
    pub fn merge(reports: Vec<(String, Report)>, expected: Option<&[String]>) -> Self {
        let broken = broken(&reports);
        let mut by_name: BTreeMap<(String, String), Vec<Told>> = BTreeMap::new();
        for (file, report) in reports {
            for machine in report.machines {
                let attempt = Attempt::of(&file, &report.run, machine.result, &machine.error);
                let key = (machine.name.clone(), report.run.command.clone());
                let attempts = by_name.entry(key).or_default();
                attempts.push((attempt, report.run.clone(), machine));
            }
        }
        let known: BTreeSet<&String> = by_name.keys().map(|(name, _)| name).collect();
        let expected: BTreeSet<&String> = expected.into_iter().flatten().collect();
        let missing = expected.difference(&known);
        let missing: Vec<_> = missing.map(|name| FleetMachine::missing(name)).collect();
        let of_reports = by_name.into_iter();
        let of_reports = of_reports.map(|((name, _), attempts)| FleetMachine::of(name, attempts));
        let mut machines: Vec<_> = of_reports.chain(missing).collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            api_version: API_VERSION,
            kind: "FleetReport",
            totals: Totals::of(&machines, broken.len()),
            machines,
            broken,
        }
    }

    /// Whether everything went well.
    pub fn is_well(&self) -> bool {
        let totals = &self.totals;
        totals.failed == 0 && totals.missing == 0 && totals.broken_runs == 0
    }
}

impl FleetMachine {
    fn missing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: Status::Missing,
            counts: None,
            others: Vec::new(),
            failed_later: false,
            os: None,
            problems: 0,
            warnings: 0,
            changes: 0,
            outputs: Vec::new(),
            detail: None,
        }
    }

    fn of(name: String, mut attempts: Vec<Told>) -> Self {
        // The newest first. The file's name decides between two of one second, so that the same
        // reports give the same answer in whatever order they are named.
        attempts.sort_by(|(a, ..), (b, ..)| {
            (b.ended, b.started, &b.report).cmp(&(a.ended, a.started, &a.report))
        });
        let mut fleet_machine = Self::missing(&name);
        let counts = attempts.iter().position(|(it, ..)| it.went_well());
        fleet_machine.failed_later = counts.is_some_and(|at| at > 0);
        if attempts.is_empty() {
            return fleet_machine;
        }
        let (attempt, run, machine) = attempts.remove(counts.unwrap_or_default());
        let count = |severity| {
            let findings = machine.findings.iter();
            findings.filter(|it| it.severity == severity).count()
        };
        Self {
            name,
            status: if attempt.went_well() {
                Status::Ok
            } else {
                Status::Failed
            },
            counts: Some(attempt),
            others: attempts.into_iter().map(|(attempt, ..)| attempt).collect(),
            failed_later: fleet_machine.failed_later,
            os: machine.guest.as_ref().map(|guest| guest.os.clone()),
            problems: count(Severity::Problem),
            warnings: count(Severity::Warning),
            changes: machine.asked_changes().count(),
            outputs: machine.outputs.clone(),
            detail: Some(Box::new((run, machine))),
        }
    }
}

/// Runs that failed before any machine, unless the same shard of the same command ended well later.
fn broken(reports: &[(String, Report)]) -> Vec<Attempt> {
    let runs = reports.iter();
    let failed = runs.filter(|(_, it)| it.machines.is_empty() && it.run.result == Outcome::Failed);
    let stands = |(_, report): &&(String, Report)| {
        let run = &report.run;
        !reports.iter().any(|(_, other)| {
            let other = &other.run;
            run.shard.is_some()
                && (&other.command, other.shard) == (&run.command, run.shard)
                && other.result == Outcome::Ok
                && other.ended >= run.ended
        })
    };
    let attempt = |(file, report): &(String, Report)| {
        Attempt::of(file, &report.run, Outcome::Failed, &report.run.error)
    };
    failed.filter(stands).map(attempt).collect()
}

impl Totals {
    fn of(machines: &[FleetMachine], broken_runs: usize) -> Self {
        let mut totals = Self {
            broken_runs,
            ..Self::default()
        };
        // A machine went well if every command did that it went through.
        let mut by_name = BTreeMap::new();
        for machine in machines {
            let status = by_name.entry(&machine.name).or_insert(machine.status);
            if machine.status == Status::Failed {
                *status = Status::Failed;
            }
        }
        totals.machines = by_name.len();
        for status in by_name.values() {
            match status {
                Status::Ok => totals.ok += 1,
                Status::Failed => totals.failed += 1,
                Status::Missing => totals.missing += 1,
            }
        }
        for machine in machines {
            totals.problems += machine.problems;
            totals.warnings += machine.warnings;
            totals.changes += machine.changes;
            let Some((_, detail)) = machine.detail.as_deref() else {
                continue;
            };
            let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
            for disk in &detail.sources {
                add(&mut totals.disk_bytes, disk.size);
            }
            for regions in &detail.regions {
                add(&mut totals.data_bytes, regions.totals.data);
            }
            for output in &detail.outputs {
                add(
                    &mut totals.put_blocks,
                    output.put_blocks.unwrap_or_default(),
                );
                add(&mut totals.read_bytes, output.read.unwrap_or_default());
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn run(command: &str, ended: u64, shard: Option<u32>) -> Run {
        let mut run = Run::begin(command, Moment(0));
        run.shard = shard.map(|index| Shard { index, count: 2 });
        run.end(Moment(ended));
        run
    }

    fn report(file: &str, ended: u64, machines: &[(&str, bool)]) -> (String, Report) {
        let machines = machines.iter().map(|(name, ok)| {
            let mut machine = Machine::new(*name);
            if !ok {
                machine.fail(["it failed"]);
            }
            machine
        });
        let report = Report::new(run("convert", ended, Some(0)), machines.collect());
        (file.to_owned(), report)
    }

    fn files(attempts: &[Attempt]) -> Vec<&str> {
        attempts.iter().map(|it| it.report.as_str()).collect()
    }

    #[test]
    fn of_a_machine_the_newest_attempt_that_went_well_counts() {
        let mut reports = vec![
            report("a", 10, &[("web1", false), ("db1", true)]),
            report("b", 20, &[("web1", true)]),
            report("c", 30, &[("web1", true)]),
            report("d", 40, &[("web1", false), ("db1", false)]),
        ];
        for _ in 0..reports.len() {
            reports.rotate_left(1);
            let fleet = Fleet::merge(reports.clone(), None);
            let [db1, web1] = fleet.machines.as_slice() else {
                panic!("two machines");
            };
            assert_eq!((db1.name.as_str(), web1.name.as_str()), ("db1", "web1"));
            assert_eq!((db1.status, web1.status), (Status::Ok, Status::Ok));
            assert_eq!(web1.counts.as_ref().unwrap().report, "c");
            assert_eq!(files(&web1.others), ["d", "b", "a"]);
            assert!(web1.failed_later && db1.failed_later);
            assert!(fleet.is_well());
        }
    }

    #[test]
    fn a_machine_of_which_no_attempt_went_well_failed_with_the_last_reason() {
        let mut newest = report("b", 20, &[("web1", false)]);
        newest.1.machines[0].fail(["the last reason"]);
        let reports = vec![report("a", 10, &[("web1", false)]), newest];
        let fleet = Fleet::merge(reports, None);
        let web1 = &fleet.machines[0];
        assert_eq!(web1.status, Status::Failed);
        let counts = web1.counts.as_ref().unwrap();
        assert_eq!(counts.error, ["the last reason"]);
        assert!(!web1.failed_later && !fleet.is_well());
    }

    #[test]
    fn another_command_does_not_make_up_for_one_that_failed() {
        let good = Report::new(run("replicate", 5, None), vec![Machine::new("web1")]);
        let reports = vec![("a".to_owned(), good), report("b", 10, &[("web1", false)])];
        let fleet = Fleet::merge(reports, None);
        assert_eq!(fleet.machines.len(), 2, "a line for each command");
        let totals = fleet.totals;
        assert_eq!((totals.machines, totals.ok, totals.failed), (1, 0, 1));
    }

    #[test]
    fn machines_that_no_report_is_about_are_missing() {
        let expected = ["web1", "web2", "web2", "app"].map(str::to_owned);
        let reports = vec![report("a", 10, &[("web1", true)])];
        let fleet = Fleet::merge(reports.clone(), Some(&expected));
        let missing = fleet.machines.iter();
        let missing = missing.filter(|it| it.status == Status::Missing);
        let missing: Vec<_> = missing.map(|it| it.name.as_str()).collect();
        assert_eq!(missing, ["app", "web2"]);
        assert_eq!(fleet.totals.missing, 2);
        assert!(!fleet.is_well());
        assert!(Fleet::merge(reports, None).is_well());
    }

    #[test]
    fn a_run_that_failed_before_any_machine_is_broken_until_its_shard_succeeds() {
        let mut failed = run("convert", 10, Some(0));
        failed.fail(["no project file"]);
        let failed = ("a".to_owned(), Report::new(failed, Vec::new()));
        let fleet = Fleet::merge(vec![failed.clone()], None);
        assert_eq!(files(&fleet.broken), ["a"]);
        assert!(!fleet.is_well());
        let later = report("b", 20, &[("web1", true)]);
        assert!(Fleet::merge(vec![failed.clone(), later], None).is_well());
        let mut other = report("b", 20, &[("web1", true)]);
        other.1.run.shard = Some(Shard { index: 1, count: 2 });
        assert!(!Fleet::merge(vec![failed, other], None).is_well());
    }

    #[test]
    fn totals_are_those_of_the_attempts_that_count() {
        let report = testing::report();
        let twice = vec![
            ("a".to_owned(), report.clone()),
            ("b".to_owned(), report.clone()),
        ];
        let totals = Fleet::merge(twice, None).totals;
        let expected = Totals {
            machines: 2,
            ok: 1,
            failed: 1,
            problems: 1,
            warnings: 1,
            changes: 2,
            disk_bytes: 8 << 30,
            data_bytes: 2 << 30,
            put_blocks: 1,
            read_bytes: 1 << 20,
            ..Totals::default()
        };
        assert_eq!(totals, expected);
        let json = serde_json::to_value(Fleet::merge(vec![("a".to_owned(), report)], None));
        let json = json.unwrap();
        assert_eq!(json["kind"], "FleetReport");
        assert_eq!(json["totals"]["putBlocks"], 1);
        assert_eq!(json["machines"][0]["status"], "failed");
    }
}
