//! `rehost snapshots`

mod fsck;
mod in_ebs;
mod list;
mod picture;
mod remove;
mod show;

use crate::args::SnapshotsCommand;
use crate::locator::{Destination, Source};
use crate::terminal::Terminal;
use anyhow::{Result, bail};
use std::process::ExitCode;
use std::time::Duration;
use store::Store;

/// A day longer than the service keeps an upload that is not continued.
const ABANDONED: Duration = Duration::from_secs(4 * 24 * 60 * 60);

pub(super) fn run(command: &SnapshotsCommand, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        SnapshotsCommand::List {
            store,
            machine,
            json,
            aws,
        } => {
            let machine = machine.as_deref();
            if is_ebs(store)? {
                in_ebs::list(machine, *json, aws, terminal)?;
            } else {
                return list::list(&open(store)?, machine, *json, terminal);
            }
        }
        SnapshotsCommand::Show {
            snapshot,
            json,
            aws,
        } => match Source::parse(snapshot)? {
            Source::Ebs(id) => in_ebs::show(&id, *json, aws, terminal)?,
            _ => show::show(snapshot, *json, terminal)?,
        },
        SnapshotsCommand::Rm {
            snapshots,
            keep_children,
            aws,
        } => {
            let in_ebs = ids_in_ebs(snapshots)?;
            if in_ebs.is_empty() {
                remove::rm(snapshots, *keep_children, terminal)?;
            } else if in_ebs.len() == snapshots.len() {
                in_ebs::rm(&in_ebs, *keep_children, aws, terminal)?;
            } else {
                bail!("remove snapshots of stores and in EBS one after another");
            }
        }
        SnapshotsCommand::Gc {
            store,
            older_than,
            dry_run,
            json,
            aws,
        } => {
            if is_ebs(store)? {
                let age = older_than.unwrap_or(ABANDONED);
                in_ebs::gc(age, *dry_run, *json, aws, terminal)?;
            } else if older_than.is_some() || *dry_run {
                bail!("--older-than and --dry-run are about uploads to EBS (ebs:)");
            } else {
                remove::gc(&open(store)?, *json, terminal)?;
            }
        }
        SnapshotsCommand::Fsck { store, .. } if is_ebs(store)? => {
            bail!(
                "EBS keeps and checks its blocks itself; `rehost compare` reads a snapshot whole"
            );
        }
        SnapshotsCommand::Fsck { store, json } => {
            return fsck::fsck(&open(store)?, *json, terminal);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_ebs(text: &str) -> Result<bool> {
    Ok(Destination::parse(text)? == Destination::Ebs)
}

fn ids_in_ebs(names: &[String]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for name in names {
        if let Source::Ebs(id) = Source::parse(name)?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn open(text: &str) -> Result<Store> {
    Ok(Store::open(&Destination::store(text)?)?)
}
