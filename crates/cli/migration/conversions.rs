//! Looking after what conversions made: one conversion of a machine is of use, the last one.

use super::Migration;
use crate::locator::Source;
use crate::source::{self, Purpose};
use crate::terminal::Terminal;
use anyhow::Result;
use ondisk::Interrupt;
use store::{Children, Role, Store};

/// Whether all of these snapshots can still be read.
pub(crate) fn exist(migration: &Migration, disks: &[String], terminal: &Terminal) -> bool {
    let Ok(options) = source::options(None, &[], Purpose::Look, terminal) else {
        return false;
    };
    let opens = |disk: &String| source::open(disk, &options, &migration.aws, terminal).is_ok();
    !disks.is_empty() && disks.iter().all(opens)
}

/// Snapshots of earlier conversions of a machine, as arguments of commands: in EBS those that have the
/// project's tag, in a store those that the machine's record knew. What people convert by hand has
/// neither.
pub(crate) fn superseded(
    migration: &Migration,
    machine: &str,
    known: &[String],
    stay: &[String],
    terminal: &Terminal,
) -> Result<Vec<String>> {
    let mut found: Vec<String> = if let Some(dir) = migration.store()? {
        let store = Store::open(&dir)?;
        // Whatever a record says, and of whichever store: what is removed is a conversion of this one.
        let is_conversion = |id: &&str| {
            let manifest = id.parse().ok().and_then(|id| store.manifest(&id).ok());
            manifest.is_some_and(|manifest| manifest.role == Role::Converted)
        };
        let known = known.iter().map(|disk| id_of(disk));
        known
            .filter(is_conversion)
            .map(|id| migration.argument(id))
            .collect()
    } else {
        let project = &migration.project.metadata.name;
        let tagged = crate::ebs::converted(project, Some(machine), &migration.aws, terminal)?;
        // Another region's, or a store's that the project had before, are not looked for there.
        tagged
            .iter()
            .map(|(_, id)| migration.argument(id))
            .collect()
    };
    // By their ids: one store can be named in several ways.
    found.retain(|disk| stay.iter().all(|stays| id_of(stays) != id_of(disk)));
    Ok(found)
}

/// The id in an argument of commands: `ebs:ID`, `store:DIR#ID`.
fn id_of(disk: &str) -> &str {
    disk.rsplit(['#', ':']).next().unwrap_or(disk)
}

/// Removes snapshots that [`superseded`] gave.
pub(crate) fn remove(migration: &Migration, disks: &[String], terminal: &Terminal) -> Result<()> {
    if disks.is_empty() {
        return Ok(());
    }
    let (mut local, mut ebs) = (Vec::new(), Vec::new());
    for disk in disks {
        match Source::parse(disk)? {
            Source::Snapshot { id, .. } => local.push(id),
            Source::Ebs(id) => ebs.push(id),
            Source::File(_) => {}
        }
    }
    if let Some(dir) = migration.store()?
        && !local.is_empty()
    {
        Store::open(&dir)?.remove(&local, Children::Refuse, &Interrupt::default())?;
    }
    if !ebs.is_empty() {
        crate::ebs::remove(&ebs, false, &migration.aws, terminal)?;
    }
    Ok(())
}
