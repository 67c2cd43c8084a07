//! `rehost snapshots list` of a store.

use super::fsck::reasons;
use crate::exit::SOURCE;
use crate::table::table;
use crate::terminal::Terminal;
use crate::{date, output, size};
use anyhow::Result;
use serde::Serialize;
use std::collections::HashMap;
use std::process::ExitCode;
use store::{Manifest, SnapshotId, Store};

/// A line of the list.
#[derive(Serialize)]
struct Line {
    machine: String,
    disk: String,
    role: String,
    id: SnapshotId,
    parent: Option<SnapshotId>,
    /// Seconds since 1970.
    created: u64,
    /// Bytes of the disk.
    virtual_size: u64,
    blocks: u64,
    put_blocks: u64,
}

impl From<Manifest> for Line {
    fn from(manifest: Manifest) -> Self {
        Self {
            machine: manifest.machine,
            disk: manifest.disk,
            role: manifest.role.to_string(),
            id: manifest.id,
            parent: manifest.parent,
            created: manifest.created,
            virtual_size: manifest.disk_size,
            blocks: manifest.blocks,
            put_blocks: manifest.put_blocks,
        }
    }
}

pub(super) fn list(
    store: &Store,
    machine: Option<&str>,
    json: bool,
    terminal: &Terminal,
) -> Result<ExitCode> {
    let survey = store.survey()?;
    // One that is damaged hides no other.
    for problem in &survey.damaged {
        eprintln!("rehost: {}", output::printable(&reasons(problem)));
    }
    let status = if survey.damaged.is_empty() { 0 } else { SOURCE };
    let mut lines: Vec<Line> = survey.manifests.into_iter().map(Line::from).collect();
    let depths = depths(&lines);
    lines.retain(|line| machine.is_none_or(|machine| line.machine == machine));
    lines.sort_by_cached_key(|line| {
        // Parents first, also of what was made within a second.
        let depth = depths.get(&line.id).copied();
        let (machine, disk) = (line.machine.clone(), line.disk.clone());
        (machine, disk, line.created, depth, line.id.clone())
    });
    if json {
        output::json(&lines)?;
        return Ok(status.into());
    }
    const HEAD: [&str; 9] = [
        "MACHINE",
        "DISK",
        "ROLE",
        "CREATED (UTC)",
        "SIZE",
        "BLOCKS",
        "PUT",
        "ID",
        "PARENT",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(lines.into_iter().map(|line| {
        let parent = line.parent.map(|parent| parent.to_string());
        [
            output::printable(&line.machine),
            output::printable(&line.disk),
            line.role,
            date::text(line.created),
            size::text(line.virtual_size),
            line.blocks.to_string(),
            line.put_blocks.to_string(),
            line.id.to_string(),
            parent.unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    output::write(table(&rows, &(4..=6), terminal).as_bytes())?;
    Ok(status.into())
}

/// How many of the others each snapshot was made from, one after another.
fn depths(lines: &[Line]) -> HashMap<SnapshotId, usize> {
    let parent = |line: &Line| line.parent.clone().map(|parent| (line.id.clone(), parent));
    let parents: HashMap<_, _> = lines.iter().filter_map(parent).collect();
    let mut depths: HashMap<SnapshotId, usize> = HashMap::new();
    for line in lines {
        let mut chain = vec![&line.id];
        // An id is made of the parent's, so that no chain comes back to itself.
        while let Some(parent) = chain.last().and_then(|id| parents.get(id))
            && !depths.contains_key(parent)
        {
            chain.push(parent);
        }
        for id in chain.into_iter().rev() {
            let above = parents.get(id).and_then(|parent| depths.get(parent));
            let depth = above.map_or(0, |depth| depth + 1);
            depths.insert(id.clone(), depth);
        }
    }
    depths
}
