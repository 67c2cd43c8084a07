//! `rehost snapshots rm` and `gc` of a store.

use crate::locator::Source;
use crate::terminal::Terminal;
use crate::{output, size};
use anyhow::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use store::{Children, SnapshotId, Store};

pub(super) fn rm(names: &[String], keep_children: bool, terminal: &Terminal) -> Result<()> {
    let mut by_store: BTreeMap<PathBuf, Vec<SnapshotId>> = BTreeMap::new();
    for name in names {
        let (dir, id) = Source::snapshot(name)?;
        let ids = by_store.entry(dir).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let children = if keep_children {
        Children::Keep
    } else {
        Children::Refuse
    };
    let mut count = 0_usize;
    for (dir, ids) in by_store {
        let removed = Store::open(&dir)?.remove(&ids, children, &terminal.interrupt);
        removed.map_err(|error| match error {
            store::Error::HasChildren { .. } => Error::new(error)
                .context("remove what was made from it too, or give --keep-children"),
            error => error.into(),
        })?;
        count += ids.len();
    }
    eprintln!(
        "{count} removed; `rehost snapshots gc` removes the blocks that nobody needs any more"
    );
    Ok(())
}

#[derive(Serialize)]
struct Collected {
    removed_blocks: u64,
    removed_leftovers: u64,
    removed_bytes: u64,
    kept_blocks: u64,
}

pub(super) fn gc(store: &Store, json: bool, terminal: &Terminal) -> Result<()> {
    let collected = store.gc(&*terminal.progress, &terminal.interrupt)?;
    let report = Collected {
        removed_blocks: collected.blocks,
        removed_leftovers: collected.leftovers,
        removed_bytes: collected.bytes,
        kept_blocks: collected.kept,
    };
    if json {
        return output::json(&report);
    }
    let text = format!(
        "{} blocks and {} unfinished files removed, {} freed; {} blocks stay\n",
        report.removed_blocks,
        report.removed_leftovers,
        size::text(report.removed_bytes),
        report.kept_blocks
    );
    output::write(text.as_bytes())
}
