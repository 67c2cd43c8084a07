//! Targets in QEMU on this host: of each machine one, with its volumes, in the directory of the
//! records.

use super::Migration;
use super::launch::{Arrived, Launch};
use crate::args::{LocalArgs, SourceArgs};
use crate::commands::launch as command;
use crate::source::Purpose;
use crate::{blueprint, machine};
use ::launch::record::{Converted, Place, Running, Target};
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::path::PathBuf;

/// The directory of local targets in that of the records.
const DIR: &str = "targets";

/// Boots the converted disks, and says whether the machine came up.
pub(crate) fn launch(
    launch: &Launch<'_>,
    running: &Running,
    converted: &Converted,
) -> Result<Arrived> {
    let (migration, name) = (launch.migration, &launch.machine.name);
    let Some(hardware) = &launch.request.hardware else {
        bail!("a local target needs hardware");
    };
    let source = SourceArgs {
        root: launch.machine.root.clone(),
        aws: migration.aws.clone(),
        ..SourceArgs::default()
    };
    let opened = machine::open(&converted.disks, &source, Purpose::Look, launch.terminal)?;
    let dir = dir(migration, name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let hardware = LocalArgs {
        console: Some(
            hardware
                .console
                .clone()
                .unwrap_or_else(|| dir.join("console.log")),
        ),
        screenshot: Some(
            hardware
                .screenshot
                .clone()
                .unwrap_or_else(|| dir.join("screen.png")),
        ),
        keep: hardware.keep.as_ref().map(|dir| dir.join(name)),
        ..hardware.clone()
    };
    let types = blueprint::types(launch.request.args.instance_types.as_deref())?;
    let blueprint = migration.target_of(launch.machine, &types)?;
    let described = command::local::Described {
        name,
        blueprint: blueprint.as_ref(),
        types: &types,
        at_once: launch.request.at_once,
    };
    launch.say("booting it in QEMU");
    let outcome = command::local::launch(&described, &opened, &source, &hardware, launch.terminal)?;
    if !outcome.is_up() {
        launch.say(&format!("its console: {}", outcome.console.display()));
        if let Some(screen) = &outcome.screenshot {
            launch.say(&format!("its screen: {}", screen.display()));
        }
    }
    Ok(Arrived {
        came_up: outcome.is_up(),
        because: format!("{} after {:.0} s", outcome.reason, outcome.seconds),
        console: (!outcome.is_up()).then(|| outcome.console_tail.join("\n")),
        target: Some(Target {
            kind: running.kind,
            launch: running.launch,
            place: Place::Local,
            instance: None,
            image: None,
            volumes: hardware
                .keep
                .map(|dir| dir.display().to_string())
                .into_iter()
                .collect(),
            addresses: Vec::new(),
        }),
    })
}

/// Removes what an earlier local launch of a machine left here.
pub(crate) fn remove(migration: &Migration, machine: &str) -> Result<()> {
    let dir = dir(migration, machine);
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The machines of which a local launch left something here.
pub(crate) fn targets(migration: &Migration) -> Result<Vec<String>> {
    let dir = migration.records.dir().join(DIR);
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn dir(migration: &Migration, machine: &str) -> PathBuf {
    migration.records.dir().join(DIR).join(machine)
}
