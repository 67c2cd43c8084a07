//! What is known about a machine where its record is lost: from its snapshots, and from the tags of
//! what AWS has.

use super::{Migration, on_ec2};
use crate::facts::Facts;
use crate::terminal::Terminal;
use ::launch::project::Machine;
use ::launch::record::{Record, Snapshot};
use ::launch::records::Locked;
use anyhow::{Context, Result, bail};
use store::{Error, Role, Store};

/// Fills the new record of a machine and keeps it, if anything was found.
pub(crate) fn record(
    migration: &Migration,
    machine: &Machine,
    locked: &mut Locked,
    terminal: &Terminal,
) -> Result<()> {
    let found = into(migration, machine, &mut locked.record, terminal);
    found.with_context(|| format!("cannot look for what there is of {}", machine.name))?;
    if locked.record.snapshot.is_some() || !locked.record.targets.is_empty() {
        locked.save()?;
        locked.found = true;
    }
    Ok(())
}

/// Fills a record of which nothing is known.
pub(crate) fn into(
    migration: &Migration,
    machine: &Machine,
    record: &mut Record,
    terminal: &Terminal,
) -> Result<()> {
    let last = last(migration, machine, terminal)?;
    if !last.disks.is_empty() {
        record.state = record.state.snapshot_made();
    }
    record.snapshot = last.whole(machine);
    if migration.store()?.is_none() {
        on_ec2::recover(migration, machine, record, terminal)?;
    }
    Ok(())
}

/// Puts in place of the snapshots that a record knows those that were made since, by another host for
/// one: the last ones, if they are of one moment.
///
/// # Errors
/// Which ones are of one moment cannot be told.
pub(crate) fn refresh(
    migration: &Migration,
    machine: &Machine,
    locked: &mut Locked,
    terminal: &Terminal,
) -> Result<()> {
    let last = last(migration, machine, terminal)?;
    let known = locked.record.snapshot.as_mut();
    if last.disks.is_empty() && known.is_none() {
        return Ok(());
    }
    // A disk that the machine no longer has keeps its last snapshot.
    if let Some(known) = known
        && known.disks.len() <= last.disks.len()
        && known.disks.iter().zip(&last.disks).all(|(known, last)| {
            // The directory of a store may be named in another way.
            known.ends_with(&format!("#{}", last.id)) || *known == last.name
        })
    {
        let names = last.disks.into_iter().map(|disk| disk.name);
        known.disks = names.take(known.disks.len()).collect();
        return Ok(());
    }
    let Some(whole) = last.whole(machine) else {
        bail!(
            "which of the last snapshots of {} are of one moment, and whether of all its disks, cannot be \
             told: other ones are there than this host knows of; `rehost replicate` where its disks are, \
             and leave --no-snapshot out, or use the record of the host that replicates",
            machine.name
        );
    };
    if locked.record.snapshot.is_some() {
        terminal.say(
            &machine.name,
            "its last snapshots are others than this host knew of, and are taken",
        );
    }
    locked.record.snapshot = Some(whole);
    Ok(())
}

/// The last snapshots of a machine's disks, from the first to one that has none.
#[derive(Debug, Default)]
struct Last {
    at: u64,
    disks: Vec<LastOfDisk>,
}

#[derive(Debug)]
struct LastOfDisk {
    id: String,
    /// As an argument of commands.
    name: String,
    /// The run that made it; a store does not keep that.
    set: Option<String>,
}

impl Last {
    /// These, if they are of one moment: a run that was killed may have made some of a newer one, and
    /// a run that found some unchanged made none of those. Where all were made by one run, or there is
    /// one disk, they are.
    fn whole(mut self, machine: &Machine) -> Option<Snapshot> {
        // A disk that the machine no longer has keeps its last snapshot.
        self.disks.truncate(machine.sources.len());
        let first = self.disks.first()?;
        let of_one_run = self.disks.len() == 1
            || first.set.is_some() && self.disks.iter().all(|disk| disk.set == first.set);
        // An archive may hold any number of disks, and a run may have been killed before the last.
        let is_archive = |source: &String| {
            let name = source.to_ascii_lowercase();
            name.ends_with(".ova") || name.ends_with(".ovf")
        };
        if machine.format.is_none() && machine.sources.iter().any(is_archive) {
            return None;
        }
        if !of_one_run || self.disks.len() != machine.sources.len() {
            return None;
        }
        Some(Snapshot {
            at: self.at,
            disks: self.disks.into_iter().map(|disk| disk.name).collect(),
            changed_blocks: 0,
        })
    }
}

fn last(migration: &Migration, machine: &Machine, terminal: &Terminal) -> Result<Last> {
    match migration.store()? {
        Some(dir) => in_store(&dir, migration, machine),
        None => {
            let project = &migration.project.metadata.name;
            let found = crate::ebs::latest(project, &machine.name, &migration.aws, terminal)?;
            let disk = |facts: &Facts| LastOfDisk {
                name: migration.argument(&facts.id),
                id: facts.id.clone(),
                set: facts.set.clone(),
            };
            Ok(Last {
                at: found.iter().map(|facts| facts.created).max().unwrap_or(0),
                disks: found.iter().map(disk).collect(),
            })
        }
    }
}

/// The last snapshots of the machine's disks in a store.
fn in_store(dir: &std::path::Path, migration: &Migration, machine: &Machine) -> Result<Last> {
    let survey = match Store::open(dir) {
        // Another job or shard may be making it just now.
        Err(Error::NoStore(_)) => return Ok(Last::default()),
        store => store?.survey()?,
    };
    let mut last = Last::default();
    for number in 1_usize.. {
        let latest = survey.latest(&machine.name, &number.to_string(), Role::Staging);
        let Some(latest) = latest else { break };
        let id = latest.id.to_string();
        last.at = last.at.max(latest.created);
        last.disks.push(LastOfDisk {
            name: migration.argument(&id),
            id,
            set: None,
        });
    }
    Ok(last)
}
