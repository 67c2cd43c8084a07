//! How far a machine is.

use super::{Migration, now, recover};
use crate::since;
use crate::snapshot_home::Home;
use crate::source::{self, Purpose};
use crate::terminal::Terminal;
use ::launch::lifecycle::State;
use ::launch::project::Machine;
use ::launch::record::{Launched, Record, Running, Snapshot, Target};
use anyhow::Result;
use serde::Serialize;

/// How far a machine is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) machine: String,
    pub(crate) state: State,
    /// Since when, in seconds since 1970.
    pub(crate) since: u64,
    /// The last snapshots of its disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Snapshot>,
    /// Seconds since these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_age: Option<u64>,
    pub(crate) behind: Behind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_test: Option<Launched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_cutover: Option<Launched>,
    pub(crate) targets: Vec<Target>,
    pub(crate) findings: Vec<String>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// How much the disks can differ from their last snapshots.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "known")]
pub(crate) enum Behind {
    /// So many bytes at the most: what the layers above the last snapshot hold, or nothing, for the
    /// files are as they were.
    AtMost {
        /// The bytes.
        bytes: u64,
    },
    /// Nothing tells but to read the disks, which hold so many bytes.
    Unknown {
        /// The bytes.
        bytes: u64,
    },
    /// It was not looked at.
    Unseen,
}

/// What is known about a machine; `offline` asks neither the disks nor AWS.
pub(crate) fn of(
    migration: &Migration,
    machine: &Machine,
    offline: bool,
    terminal: &Terminal,
) -> Result<Status> {
    let record = match migration.record(&machine.name)? {
        Some(record) => record,
        None => {
            let mut record = Record::new(&migration.project.metadata.name, &machine.name, now());
            if !offline {
                recover::into(migration, machine, &mut record, terminal)?;
            }
            record
        }
    };
    let (behind, problem) = match offline {
        true => (Behind::Unseen, None),
        false => match behind(migration, machine, record.snapshot.as_ref(), terminal) {
            Ok(behind) => (behind, None),
            Err(error) => {
                terminal.interrupt.check()?;
                (Behind::Unseen, Some(format!("{error:#}")))
            }
        },
    };
    Ok(Status {
        machine: machine.name.clone(),
        state: record.state,
        since: record.since,
        snapshot_age: record
            .snapshot
            .as_ref()
            .map(|last| now().saturating_sub(last.at)),
        snapshot: record.snapshot,
        behind,
        running: record.running,
        last_test: record.last_test,
        last_cutover: record.last_cutover,
        targets: record.targets,
        findings: record.findings,
        problem,
    })
}

fn behind(
    migration: &Migration,
    machine: &Machine,
    last: Option<&Snapshot>,
    terminal: &Terminal,
) -> Result<Behind> {
    let args = migration.replicate(machine);
    let options = source::options(
        args.format.as_deref(),
        &args.allow_path,
        Purpose::Look,
        terminal,
    )?;
    let mut disks = Vec::new();
    for text in &args.sources {
        disks.extend(source::open(text, &options, &args.aws, terminal)?);
    }
    let home = match last {
        Some(_) => Home::existing(&migration.home, &args.aws, &args.upload)?,
        None => None,
    };
    let (mut bytes, mut known) = (0_u64, home.is_some());
    for (number, disk) in disks.iter().enumerate() {
        let id = last.and_then(|last| last.disks.get(number));
        let source = match (&home, id) {
            (Some(home), Some(name)) => home.source_of(name)?,
            _ => None,
        };
        let ranges = since::unread(disk, source.as_ref(), terminal)?;
        known &= ranges.is_some();
        let whole = 0..disk.device().size();
        let ranges = ranges.as_deref().unwrap_or(std::slice::from_ref(&whole));
        bytes = bytes.saturating_add(since::data(&*disk.device(), ranges)?);
    }
    Ok(if known {
        Behind::AtMost { bytes }
    } else {
        Behind::Unknown { bytes }
    })
}
