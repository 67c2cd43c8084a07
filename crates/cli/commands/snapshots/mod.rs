//! `rehost snapshots`

mod fsck;
mod list;
mod picture;
mod remove;
mod show;
mod table;

use crate::args::SnapshotsCommand;
use crate::locator::Destination;
use crate::terminal::Terminal;
use anyhow::Result;
use std::process::ExitCode;
use store::Store;

pub(super) fn run(command: &SnapshotsCommand, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        SnapshotsCommand::List { store, json } => {
            return list::list(&open(store)?, *json, terminal);
        }
        SnapshotsCommand::Show { snapshot, json } => show::show(snapshot, *json, terminal)?,
        SnapshotsCommand::Rm {
            snapshots,
            keep_children,
        } => remove::rm(snapshots, *keep_children, terminal)?,
        SnapshotsCommand::Gc { store, json } => remove::gc(&open(store)?, *json, terminal)?,
        SnapshotsCommand::Fsck { store, json } => {
            return fsck::fsck(&open(store)?, *json, terminal);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(text: &str) -> Result<Store> {
    Ok(Store::open(&Destination::store(text)?)?)
}
