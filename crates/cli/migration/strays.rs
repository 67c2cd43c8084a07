//! What a project has made that belongs to no launch any more.

use super::{Migration, conversions, locally, on_ec2};
use crate::terminal::Terminal;
use anyhow::{Context, Result};
use launch::record::{Place, Record};
use serde::Serialize;
use std::collections::BTreeMap;

/// What there is of it.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    on_ec2: Vec<on_ec2::Stray>,
    /// Snapshots of earlier conversions, as arguments of commands, and their machines.
    snapshots: Vec<(String, String)>,
    /// Machines whose local targets the project no longer has.
    local: Vec<String>,
}

/// One of it, for people and scripts.
#[derive(Debug, Serialize)]
pub(crate) struct Stray {
    pub(crate) id: String,
    pub(crate) machine: String,
    pub(crate) what: &'static str,
}

/// Looks for it. What other projects have, or was made by hand, is not looked at.
pub(crate) fn find(migration: &Migration, terminal: &Terminal) -> Result<Strays> {
    let mut records = BTreeMap::new();
    for machine in &migration.project.machines {
        let record = migration.record(&machine.name)?;
        records.insert(machine.name.as_str(), record);
    }
    let in_ebs = migration.store()?.is_none();
    let mut strays = Strays::default();
    if in_ebs {
        let known = |machine: &str, launch: u32| match records.get(machine) {
            Some(Some(record)) => is_launch_of(record, launch),
            // Its record is lost: what there is of it may be all that it has.
            Some(None) => true,
            None => false,
        };
        let (on_ec2, kept) = on_ec2::strays(migration, &known, terminal)?;
        strays.on_ec2 = on_ec2;
        let project = &migration.project.metadata.name;
        let all = crate::ebs::converted(project, None, &migration.aws, terminal)?;
        for (machine, id) in all {
            if kept.contains(&id) {
                continue;
            }
            let disk = migration.argument(&id);
            let used = match records.get(machine.as_str()) {
                Some(Some(record)) => is_converted_by(record, &disk),
                Some(None) => true,
                None => false,
            };
            if !used {
                strays.snapshots.push((machine, disk));
            }
        }
    }
    strays.local = locally::targets(migration)?;
    strays
        .local
        .retain(|machine| !records.contains_key(machine.as_str()));
    Ok(strays)
}

/// Whether a launch is under way, or is what the machine runs on.
fn is_launch_of(record: &Record, launch: u32) -> bool {
    let running = record
        .running
        .iter()
        .filter(|running| running.place == Place::Ec2);
    let targets = record
        .targets
        .iter()
        .filter(|target| target.place == Place::Ec2);
    running
        .map(|running| running.launch)
        .chain(targets.map(|target| target.launch))
        .any(|one| one == launch)
}

/// A launch under way may have made conversions that its record does not have yet.
fn is_converted_by(record: &Record, disk: &String) -> bool {
    record.running.is_some()
        || record
            .converted
            .as_ref()
            .is_some_and(|converted| converted.disks.contains(disk))
}

impl Strays {
    /// All of it, in the order in which it is removed.
    pub(crate) fn list(&self) -> Vec<Stray> {
        let on_ec2 = self.on_ec2.iter().map(|stray| {
            let (id, machine, what) = stray.facts();
            Stray {
                id: id.to_owned(),
                machine: machine.to_owned(),
                what,
            }
        });
        let snapshots = self.snapshots.iter().map(|(machine, disk)| Stray {
            id: disk.clone(),
            machine: machine.clone(),
            what: "converted snapshot",
        });
        let local = self.local.iter().map(|machine| Stray {
            id: machine.clone(),
            machine: machine.clone(),
            what: "local target",
        });
        on_ec2.chain(snapshots).chain(local).collect()
    }

    /// Removes it.
    pub(crate) fn remove(&self, migration: &Migration, terminal: &Terminal) -> Result<()> {
        if !self.on_ec2.is_empty() {
            on_ec2::remove_strays(migration, &self.on_ec2, terminal)?;
        }
        let disks: Vec<String> = self
            .snapshots
            .iter()
            .map(|(_, disk)| disk.clone())
            .collect();
        conversions::remove(migration, &disks, terminal)
            .context("cannot remove snapshots of earlier conversions")?;
        for machine in &self.local {
            locally::remove(migration, machine)?;
        }
        Ok(())
    }
}
