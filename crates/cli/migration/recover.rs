//! What is known about a machine where its record is lost: from its snapshots, and from the tags of
//! what AWS has.

use super::{Migration, on_ec2};
use crate::terminal::Terminal;
use ::launch::project::Machine;
use ::launch::record::{Record, Snapshot};
use ::launch::records::Locked;
use anyhow::{Context, Result};
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
    match migration.store()? {
        Some(dir) => record.snapshot = in_store(&dir, migration, machine)?,
        None => {
            let project = &migration.project.metadata.name;
            let found = crate::ebs::latest(project, &machine.name, &migration.aws, terminal)?;
            record.snapshot = found.map(|(at, ids)| Snapshot {
                at,
                disks: ids.iter().map(|id| migration.argument(id)).collect(),
                changed_blocks: 0,
            });
        }
    }
    if record.snapshot.is_some() {
        record.state = record.state.snapshot_made();
    }
    if migration.store()?.is_none() {
        on_ec2::recover(migration, machine, record, terminal)?;
    }
    Ok(())
}

/// The last snapshots of the machine's disks in a store.
fn in_store(
    dir: &std::path::Path,
    migration: &Migration,
    machine: &Machine,
) -> Result<Option<Snapshot>> {
    let survey = match Store::open(dir) {
        // Another job or shard may be making it just now.
        Err(Error::NoStore(_)) => return Ok(None),
        store => store?.survey()?,
    };
    let (mut disks, mut at) = (Vec::new(), 0);
    for number in 1_usize.. {
        let latest = survey.latest(&machine.name, &number.to_string(), Role::Staging);
        let Some(latest) = latest else { break };
        disks.push(migration.argument(&latest.id.to_string()));
        at = at.max(latest.created);
    }
    Ok((!disks.is_empty()).then_some(Snapshot {
        at,
        disks,
        changed_blocks: 0,
    }))
}
