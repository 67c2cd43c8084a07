//! How a snapshot is named within a store.
//!
//! | name | means |
//! |---|---|
//! | `snap-0123456789abcdef0` | the snapshot with this id |
//! | `snap-0123` | the only one whose id starts like this |
//! | `latest:MACHINE`, `latest:MACHINE:DISK` | the staging snapshot that the next one is made from |
//! | `converted:MACHINE`, `converted:MACHINE:DISK` | the converted snapshot that was made last |
//!
//! What follows the last colon is the disk, if there are two; a machine of one disk needs none.

use crate::output;
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use store::{Role, SnapshotId, Store, Survey};

/// The snapshot that `name` means in the store in `dir`. A whole id is not looked for.
pub(crate) fn resolve(dir: &Path, name: &str) -> Result<SnapshotId> {
    let newest = |role, machine| newest(&Store::open(dir)?, role, machine);
    if let Some(machine) = name.strip_prefix("latest:") {
        return newest(Role::Staging, machine);
    }
    if let Some(machine) = name.strip_prefix("converted:") {
        return newest(Role::Converted, machine);
    }
    match name.parse() {
        Ok(id) => Ok(id),
        Err(error) if !is_beginning(name) => Err(error.into()),
        Err(_) => beginning_with(&Store::open(dir)?, name),
    }
}

/// Whether an id may start like this, and says something by it.
fn is_beginning(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = name.strip_prefix("snap-").unwrap_or_default();
    (1..17).contains(&digits.len()) && digits.bytes().all(is_digit)
}

/// How many names a message lists.
const SHOWN: usize = 5;

fn beginning_with(store: &Store, name: &str) -> Result<SnapshotId> {
    let mut ids = store.ids()?;
    ids.retain(|id| id.to_string().starts_with(name));
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] => bail!(
            "{} has no snapshot whose id starts with {name}",
            store.dir().display()
        ),
        several => bail!(
            "{name} may be {}: give more digits",
            listed(several.iter().map(ToString::to_string))
        ),
    }
}

fn newest(store: &Store, role: Role, name: &str) -> Result<SnapshotId> {
    // A damaged one may be the newest.
    let survey = Survey {
        manifests: store.snapshots()?,
        ..Survey::default()
    };
    let of_role = || survey.manifests.iter().filter(|one| one.role == role);
    let (machine, disk) = match name.rsplit_once(':') {
        Some((machine, disk)) => (machine, Some(disk)),
        None => (name, None),
    };
    let of_machine = of_role().filter(|one| one.machine == machine);
    let disks: BTreeSet<_> = of_machine.map(|one| one.disk.as_str()).collect();
    let dir = store.dir().display();
    let disk = match (disk, disks.first()) {
        (_, None) => {
            let machines: BTreeSet<_> = of_role().map(|one| one.machine.as_str()).collect();
            let machines = machines.into_iter().map(|machine| format!("{machine:?}"));
            bail!(
                "{dir} has no {role} snapshot of a machine {machine:?}; it has those of {}",
                listed(machines)
            );
        }
        (None, Some(only)) if disks.len() == 1 => only,
        (Some(disk), _) if disks.contains(disk) => disk,
        _ => {
            let named = disks.iter().map(|disk| format!("{machine}:{disk}"));
            bail!(
                "{dir} has several disks of {machine:?}: name one of {}",
                listed(named)
            );
        }
    };
    match survey.latest(machine, disk, role) {
        Some(manifest) => Ok(manifest.id.clone()),
        None => bail!("{dir} has no {role} snapshot of {machine}:{disk}"),
    }
}

/// Some names, or that there are none.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let names = names.take(SHOWN).map(|name| output::printable(&name));
    let mut shown: Vec<_> = names.collect();
    if shown.is_empty() {
        shown.push("none".to_owned());
    }
    if more > 0 {
        shown.push(format!("{more} others"));
    }
    shown.join(", ")
}
