//! `rehost snapshots`

use crate::args::SnapshotsCommand;
use crate::exit::SOURCE;
use crate::locator::{Destination, Source};
use crate::terminal::{Colour, Terminal};
use crate::{date, output, size};
use anyhow::{Error, Result};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use store::{BLOCK, Children, Manifest, SnapshotId, Store};

pub(super) fn run(command: &SnapshotsCommand, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        SnapshotsCommand::List { store, json } => return list(&open(store)?, *json, terminal),
        SnapshotsCommand::Show { snapshot, json } => show(snapshot, *json, terminal)?,
        SnapshotsCommand::Rm {
            snapshots,
            keep_children,
        } => rm(snapshots, *keep_children, terminal)?,
        SnapshotsCommand::Gc { store, json } => gc(&open(store)?, *json, terminal)?,
        SnapshotsCommand::Fsck { store, json } => return fsck(&open(store)?, *json, terminal),
    }
    Ok(ExitCode::SUCCESS)
}

fn open(text: &str) -> Result<Store> {
    Ok(Store::open(&Destination::store(text)?)?)
}

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

fn list(store: &Store, json: bool, terminal: &Terminal) -> Result<ExitCode> {
    let survey = store.survey()?;
    // One that is damaged hides no other.
    for problem in &survey.damaged {
        eprintln!("rehost: {}", output::printable(&reasons(problem)));
    }
    let status = if survey.damaged.is_empty() { 0 } else { SOURCE };
    let mut lines: Vec<Line> = survey.manifests.into_iter().map(Line::from).collect();
    let depths = depths(&lines);
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
    output::write(table(&rows, terminal).as_bytes())?;
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

/// Columns as wide as what is in them, the head in bold; numbers, from the fifth column to the
/// seventh, to the right.
fn table(rows: &[[String; 9]], terminal: &Terminal) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match column {
                4..=6 => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        let line = line.trim_end();
        if number == 0 {
            text.push_str(&terminal.paint(Colour::Bold, line));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// A snapshot and what changed in it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    manifest: Manifest,
    /// Where it differs from its parent, or from zeros without one; not there if the parent was
    /// removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<Run>>,
}

#[derive(Serialize)]
struct Run {
    start: u64,
    length: u64,
}

fn show(text: &str, json: bool, terminal: &Terminal) -> Result<()> {
    let (dir, id) = Source::snapshot(text)?;
    let store = Store::open(&dir)?;
    let snapshot = store.read(&id)?;
    let manifest = snapshot.manifest().clone();
    let size = manifest.disk_size;
    let changed = match &manifest.parent {
        None => Some(snapshot.index().diff(&store::Index::default())),
        Some(parent) => match store.diff(parent, &id) {
            Ok(ranges) => Some(ranges),
            Err(store::Error::NoSnapshot { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    };
    // The last block may end behind the disk, and a parent may have been larger.
    let runs = changed.map(|ranges| {
        let run = |range: &std::ops::Range<u64>| Run {
            start: range.start,
            length: range.end.min(size).saturating_sub(range.start),
        };
        let runs = ranges.iter().map(run);
        runs.filter(|run| run.length > 0).collect::<Vec<_>>()
    });
    if json {
        return output::json(&Shown {
            manifest,
            changed: runs,
        });
    }
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {}", output::printable(&value));
    };
    let blocks = |count: u64| format!("{count} ({})", size::text(count.saturating_mul(BLOCK)));
    field("id", manifest.id.to_string());
    let parent = manifest.parent.as_ref().map(ToString::to_string);
    field(
        "parent",
        parent.clone().unwrap_or_else(|| "none".to_owned()),
    );
    field("machine", manifest.machine);
    field("disk", manifest.disk);
    field("role", manifest.role.to_string());
    field("description", manifest.description);
    field("created", format!("{} UTC", date::text(manifest.created)));
    field("size", format!("{size} ({})", size::text(size)));
    field("blocks", blocks(manifest.blocks));
    field("put", blocks(manifest.put_blocks));
    field("linear", manifest.linear_sha256);
    let against = if parent.is_some() {
        "its parent"
    } else {
        "zeros"
    };
    match runs {
        Some(runs) => {
            let picture = picture(&runs, size, terminal.shows_shades());
            let _ = writeln!(
                text,
                "\nchanged against {against}, from the disk's beginning to its end:"
            );
            let _ = writeln!(text, "|{picture}|");
        }
        None => {
            let _ = writeln!(
                text,
                "\nits parent was removed, so what changed is not known"
            );
        }
    }
    output::write(text.as_bytes())
}

/// The disk as a line of cells: the more of a cell changed, the darker it is. What changed at all
/// is never blank, and what did not is.
fn picture(runs: &[Run], size: u64, shades: bool) -> String {
    const CELLS: u64 = 64;
    /// Shades besides the blank.
    const STEPS: u128 = 4;
    let scale: [char; 5] = if shades {
        [' ', '\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}']
    } else {
        [' ', '.', ':', '+', '#']
    };
    // Wide numbers: a disk has up to 2^46 bytes, and shares are multiplied.
    let edge = |cell: u64| u128::from(cell) * u128::from(size) / u128::from(CELLS);
    let mut runs = runs.iter().peekable();
    let mut picture = String::new();
    for cell in 0..CELLS {
        let (start, end) = (edge(cell), edge(cell + 1));
        let mut changed = 0;
        while let Some(run) = runs.peek() {
            let (from, to) = (
                u128::from(run.start),
                u128::from(run.start) + u128::from(run.length),
            );
            changed += to.min(end).saturating_sub(from.max(start));
            if to > end {
                break;
            }
            runs.next();
        }
        let shade = (changed * STEPS).div_ceil((end - start).max(1));
        let shade = usize::try_from(shade).unwrap_or_default();
        picture.push(scale.get(shade).copied().unwrap_or(' '));
    }
    picture
}

fn rm(names: &[String], keep_children: bool, terminal: &Terminal) -> Result<()> {
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

fn gc(store: &Store, json: bool, terminal: &Terminal) -> Result<()> {
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

#[derive(Serialize)]
struct Checked {
    sound: bool,
    snapshots: u64,
    blocks: u64,
    unneeded_blocks: u64,
    unfinished_files: u64,
    problems: Vec<String>,
    more_problems: u64,
    hurt: Vec<Hurt>,
}

/// A snapshot that cannot be read whole.
#[derive(Serialize)]
struct Hurt {
    id: SnapshotId,
    blocks: u64,
}

fn fsck(store: &Store, json: bool, terminal: &Terminal) -> Result<ExitCode> {
    let report = store.fsck(&*terminal.progress, &terminal.interrupt)?;
    let checked = Checked {
        sound: report.is_sound(),
        snapshots: report.snapshots,
        blocks: report.blocks,
        unneeded_blocks: report.unneeded,
        unfinished_files: report.unfinished,
        problems: report
            .problems
            .iter()
            .map(|problem| reasons(problem))
            .collect(),
        more_problems: report.more_problems,
        hurt: report
            .hurt
            .into_iter()
            .map(|(id, blocks)| Hurt { id, blocks })
            .collect(),
    };
    if json {
        output::json(&checked)?;
    } else {
        output::write(checked.text().as_bytes())?;
    }
    Ok(if checked.sound { 0 } else { SOURCE }.into())
}

/// An error with all that is behind it, in a line.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let _ = write!(text, ": {error}");
        below = error.source();
    }
    text
}

impl Checked {
    fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let _ = writeln!(text, "{}", output::printable(problem));
        }
        if self.more_problems > 0 {
            let _ = writeln!(text, "and {} problems more", self.more_problems);
        }
        for hurt in &self.hurt {
            let _ = writeln!(text, "{} lost {} blocks", hurt.id, hurt.blocks);
        }
        if self.unfinished_files > 0 {
            let _ = writeln!(
                text,
                "{} files are unfinished: a run was killed, and `rehost snapshots gc` removes them, \
                 or it goes on",
                self.unfinished_files
            );
        }
        let verdict = if self.sound {
            "all is well"
        } else {
            "the store is damaged"
        };
        let _ = writeln!(
            text,
            "{} snapshots and {} blocks are whole, {} of them needed by none; {verdict}",
            self.snapshots, self.blocks, self.unneeded_blocks
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_where_and_how_much() {
        let run = |start, length| Run { start, length };
        let nothing = picture(&[], 64 << 20, false);
        assert_eq!(nothing, " ".repeat(64));
        let all = picture(&[run(0, 64 << 20)], 64 << 20, false);
        assert_eq!(all, "#".repeat(64));
        let runs = [run(0, 1), run(1 << 20, 1 << 19), run(63 << 20, 1 << 20)];
        let some = picture(&runs, 64 << 20, false);
        assert_eq!(some, format!(".:{}#", " ".repeat(61)));
        let shaded = picture(&runs, 64 << 20, true);
        assert_eq!(
            shaded,
            format!("\u{2591}\u{2592}{}\u{2588}", " ".repeat(61))
        );
        assert_eq!(picture(&[run(0, 10)], 10, false).chars().count(), 64);
        assert_eq!(picture(&[], 0, false).chars().count(), 64);
        let huge = picture(&[run(0, 64 << 40)], 64 << 40, false);
        assert_eq!(huge, "#".repeat(64));
    }
}
