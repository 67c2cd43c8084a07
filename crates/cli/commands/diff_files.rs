//! `rehost diff --files`: whose the bytes are in which two disks differ.

use super::diff::{each_range, read};
use crate::kept::Kept;
use crate::output;
use crate::size;
use crate::source::{Content, Disk};
use crate::terminal::{Colour, Terminal};
use anyhow::{Context, Result};
use block::BlockRead;
use guest::difference::{self, Difference, FileDifference, FileState, OtherDifference, Ranges};
use guest::{Machine, SourceDisk};
use ondisk::width::u64_of;
use ondisk::{Interrupt, Unit};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use store::BLOCK;

#[derive(Serialize)]
struct Report<'a> {
    /// Bytes of the sectors that differ.
    bytes: u64,
    files: &'a [FileDifference],
    other: &'a [OtherDifference],
    findings: &'a [String],
    ranges: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    start: u64,
    length: u64,
}

pub(super) fn run(disks: &[Disk; 2], json: bool, terminal: &Terminal) -> Result<ExitCode> {
    let changed = changed(disks, terminal)?;
    let [old, new] = disks.each_ref().map(|disk| {
        let device: Arc<dyn BlockRead> = match &disk.content {
            Content::Snapshot(_) => Arc::new(Kept::new(disk.device())),
            _ => disk.device(),
        };
        let name = disk.name.clone();
        Machine::open(vec![SourceDisk { name, device }]).context("cannot read the disks")
    });
    let (progress, interrupt) = (&*terminal.progress, &terminal.interrupt);
    let difference = difference::compare(&old?, &new?, &changed, progress, interrupt)
        .with_context(|| {
            format!(
                "cannot compare the files of {} with those of {}",
                disks[0].name, disks[1].name
            )
        })?;
    for finding in &difference.findings {
        eprintln!("{} {finding}", terminal.paint_err(Colour::Warning, "note:"));
    }
    if json {
        let runs = changed.iter().map(|range| Run {
            start: range.start,
            length: range.end - range.start,
        });
        output::json(&Report {
            bytes: changed.bytes(),
            files: &difference.files,
            other: &difference.other,
            findings: &difference.findings,
            ranges: runs.collect(),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    output::write(text(&difference, &changed, terminal).as_bytes())?;
    let listed = difference.files.len();
    eprintln!("{listed} files, {} differ", size::text(changed.bytes()));
    Ok(ExitCode::SUCCESS)
}

/// The sectors that differ: those blocks that do are read.
fn changed(disks: &[Disk; 2], terminal: &Terminal) -> Result<Ranges> {
    let devices = disks.each_ref().map(Disk::device);
    let sides = devices.each_ref().map(|device| &**device);
    let names = || format!("cannot compare {} with {}", disks[0].name, disks[1].name);
    let mut changed = Ranges::default();
    let mut batch = Vec::new();
    let task = terminal.progress.start("compare blocks", Unit::Bytes, None);
    let mut flush = |batch: &mut Vec<Range<u64>>| -> Result<()> {
        let found = sectors(sides, batch, &terminal.interrupt).with_context(names)?;
        for range in found.into_iter().flatten() {
            changed.push(range);
        }
        task.advance(u64_of(batch.len()) * BLOCK);
        batch.clear();
        Ok(())
    };
    each_range(disks, terminal, |range| {
        let mut at = range.start;
        while at < range.end {
            let end = (at + BLOCK).min(range.end);
            batch.push(at..end);
            at = end;
            if batch.len() == BATCH {
                flush(&mut batch)?;
            }
        }
        Ok(())
    })?;
    flush(&mut batch)?;
    Ok(changed)
}

/// For each of some ranges the sectors in which two disks differ.
fn sectors(
    sides: [&dyn BlockRead; 2],
    ranges: &[Range<u64>],
    interrupt: &Interrupt,
) -> Result<Vec<Vec<Range<u64>>>> {
    let found = ranges
        .par_iter()
        .map_init(<[Vec<u8>; 2]>::default, |buffers, range| {
            interrupt.check()?;
            for (side, buffer) in sides.into_iter().zip(&mut *buffers) {
                read(side, range, buffer)?;
            }
            let [left, right] = buffers;
            let mut found: Vec<Range<u64>> = Vec::new();
            let mut at = range.start;
            for (a, b) in left.chunks(SECTOR).zip(right.chunks(SECTOR)) {
                let end = at + u64_of(a.len());
                if a != b {
                    match found.last_mut() {
                        Some(last) if last.end == at => last.end = end,
                        _ => found.push(at..end),
                    }
                }
                at = end;
            }
            Ok(found)
        });
    found.collect()
}

fn text(difference: &Difference, changed: &Ranges, terminal: &Terminal) -> String {
    let mut text = String::new();
    if !difference.files.is_empty() {
        let _ = writeln!(
            text,
            "{:<7}  {:>10}  {:>9}  path",
            "state", "bytes", "partition"
        );
    }
    for file in &difference.files {
        let state = format!("{:<7}", state(file.state));
        let state = match file.state {
            FileState::Added => terminal.paint(Colour::Added, &state),
            FileState::Removed => terminal.paint(Colour::Removed, &state),
            _ => state,
        };
        let (bytes, partition) = (size::text(file.bytes), partition(file.partition));
        let _ = write!(text, "{state}  {bytes:>10}  {partition:>9}  {}", file.path);
        match file.kind {
            fs::Kind::Dir if !file.path.is_root() => text.push('/'),
            fs::Kind::Dir => {}
            _ if file.links > 1 => {
                let _ = write!(text, "  ({} names)", file.links);
            }
            _ => {}
        }
        text.push('\n');
    }
    if !difference.other.is_empty() {
        let gap = if difference.files.is_empty() {
            ""
        } else {
            "\n"
        };
        let _ = writeln!(text, "{gap}{:>10}  {:>9}  what", "bytes", "partition");
    }
    for other in &difference.other {
        let (bytes, partition) = (size::text(other.bytes), partition(other.partition));
        let what = other.what.describe();
        let _ = writeln!(text, "{bytes:>10}  {partition:>9}  {what}");
    }
    if difference.file_systems == 0 && !changed.is_empty() {
        // Nothing of the guest was understood: where it is, is all that there is to say.
        let _ = writeln!(text, "\n{:>16} {:>16}", "start", "length");
        for range in changed.iter() {
            let length = range.end - range.start;
            let _ = writeln!(text, "{:>16} {length:>16}", range.start);
        }
    }
    text
}

fn state(state: FileState) -> &'static str {
    match state {
        FileState::Changed => "changed",
        FileState::Added => "added",
        FileState::Removed => "removed",
        FileState::Moved => "moved",
        FileState::Touched => "touched",
    }
}

fn partition(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Blocks that are at hand at a time, twice.
const BATCH: usize = 32;
/// Every file system allocates in multiples of it, wherever its partition begins.
const SECTOR: usize = 512;
