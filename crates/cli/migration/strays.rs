//! What a project has made that belongs to no launch any more.

use super::{Migration, conversions, locally, now, on_ec2};
use crate::terminal::Terminal;
use ::launch::lifecycle::State;
use ::launch::record::{Place, Record};
use ::launch::records::RecordError;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

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
        let known = |machine: &str, launch: u32| {
            let record = records.get(machine);
            record.is_some_and(|record| is_launch_of(record.as_ref(), launch))
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
            let record = records.get(machine.as_str());
            if !record.is_some_and(|record| is_converted_by(record.as_ref(), &disk)) {
                strays.snapshots.push((machine, disk));
            }
        }
    }
    strays.local = locally::targets(migration)?;
    // A record that is another project's, in the same directory, is an error: so is its target.
    strays.local.retain(|machine| {
        !records.contains_key(machine.as_str()) && migration.records.read(machine).is_ok()
    });
    Ok(strays)
}

/// Whether a launch is under way, or is what the machine runs on, as far as its record tells.
fn is_launch_of(record: Option<&Record>, launch: u32) -> bool {
    let Some(record) = record else {
        // It is lost: what there is of the machine may be all that it has.
        return true;
    };
    let running = record.running.iter();
    let running = running.map(|running| (running.place, running.launch));
    let targets = record.targets.iter();
    let targets = targets.map(|target| (target.place, target.launch));
    let mut on_ec2 = running
        .chain(targets)
        .filter(|(place, _)| *place == Place::Ec2)
        .peekable();
    // Which target it lives on was never learned here.
    let lives_unseen = record.state == State::CutOver && on_ec2.peek().is_none();
    // A number that was not given here is another host's, or was given since the record was read.
    lives_unseen || launch > record.launches || on_ec2.any(|(_, one)| one == launch)
}

/// A launch under way may have made conversions that its record does not have yet.
fn is_converted_by(record: Option<&Record>, disk: &String) -> bool {
    record.is_none_or(|record| {
        let last = record.converted.as_ref();
        record.running.is_some() || last.is_some_and(|last| last.disks.contains(disk))
    })
}

/// Machines that are taken for this process at a time: each is an open file.
const TAKEN: usize = 64;

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

    /// Removes it, but for what is of machines that somebody works on, which is no longer among it.
    pub(crate) fn remove(&mut self, migration: &Migration, terminal: &Terminal) -> Result<()> {
        let on_ec2 = self.on_ec2.iter().map(|stray| stray.facts().1);
        let snapshots = self.snapshots.iter().map(|(machine, _)| machine.as_str());
        let machines: BTreeSet<String> = on_ec2.chain(snapshots).map(str::to_owned).collect();
        let machines: Vec<String> = machines.into_iter().collect();
        for some in machines.chunks(TAKEN) {
            self.remove_of(some, migration, terminal)?;
        }
        for machine in &self.local {
            locally::remove(migration, machine)?;
        }
        Ok(())
    }

    /// Removes what is of these machines, while nobody else works on them.
    fn remove_of(
        &mut self,
        machines: &[String],
        migration: &Migration,
        terminal: &Terminal,
    ) -> Result<()> {
        let mut locks = Vec::new();
        for machine in machines {
            if migration.project.machine(machine).is_none() {
                continue;
            }
            // What was found before may be in use now: a conversion that went on meanwhile, say.
            let record = match migration.records.lock(machine, now()) {
                Ok(locked) => {
                    let record = locked.found.then(|| locked.record.clone());
                    locks.push(locked);
                    record
                }
                Err(error @ RecordError::Busy { .. }) => {
                    terminal.say("gc", &format!("{error}; what there is of it stays"));
                    None
                }
                Err(error) => return Err(error.into()),
            };
            let record = record.as_ref();
            self.on_ec2.retain(|stray| {
                let stays = stray
                    .launch()
                    .map_or(record.is_none(), |launch| is_launch_of(record, launch));
                stray.facts().1 != machine || !stays
            });
            self.snapshots
                .retain(|(of, disk)| of != machine || !is_converted_by(record, disk));
        }
        let is_of = |machine: &str| machines.iter().any(|one| one == machine);
        let on_ec2 = self.on_ec2.iter();
        let on_ec2: Vec<_> = on_ec2.filter(|stray| is_of(stray.facts().1)).collect();
        if !on_ec2.is_empty() {
            on_ec2::remove_strays(migration, &on_ec2, terminal)?;
        }
        let snapshots = self.snapshots.iter();
        let snapshots = snapshots.filter(|(machine, _)| is_of(machine));
        let disks: Vec<String> = snapshots.map(|(_, disk)| disk.clone()).collect();
        conversions::remove(migration, &disks, terminal)
            .context("cannot remove snapshots of earlier conversions")
    }
}
