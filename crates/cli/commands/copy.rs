//! `rehost copy`

use crate::args::CopyArgs;
use crate::exit::SOURCE;
use crate::locator::Destination;
use crate::record::{Notes, Recorder};
use crate::regions::Written;
use crate::snapshot_home::{Home, New, Role};
use crate::source::{self, Content, Disk, Purpose};
use crate::target::{self, Output};
use crate::terminal::{Colour, Terminal};
use crate::write_format::{self, Chosen};
use crate::{output, size};
use anyhow::{Context, Result, bail};
use block::BlockRead;
use image::{LostRange, WriteFormat, WriteOptions};
use rayon::ThreadPoolBuilder;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What became of a disk.
#[derive(Serialize)]
struct Report {
    source: ReportedSource,
    output: Output,
    /// What could not be read, and is zeros in the output.
    lost: Vec<Lost>,
}

#[derive(Serialize)]
struct ReportedSource {
    name: String,
    /// Of the image, then of its parents.
    formats: Vec<&'static str>,
    virtual_size: u64,
}

#[derive(Serialize)]
struct Lost {
    start: u64,
    length: u64,
    reason: String,
}

/// Where the disk goes, with everything decided before work starts.
enum Target {
    File(PathBuf, Chosen, WriteOptions),
    Snapshot(Home, Option<NonZeroUsize>),
}

pub(super) fn run(args: &CopyArgs, terminal: &Terminal) -> Result<ExitCode> {
    let mut recorder = Recorder::begin("copy", args.record.report.as_deref())?;
    let mut notes = recorder.notes(&args.source);
    let ended = copy(args, &mut notes, terminal);
    recorder.add(notes, &ended);
    recorder.end(ended, terminal)
}

fn copy(args: &CopyArgs, notes: &mut Notes, terminal: &Terminal) -> Result<ExitCode> {
    let target = Target::new(args)?;
    let purpose = if args.salvage {
        Purpose::Salvage
    } else {
        Purpose::to_copy(args.no_verify)
    };
    let disk = source::open_one(&args.source, &args.disk, purpose, "--disk", terminal)?;
    let device = disk.device();
    notes.machine.name.clone_from(&disk.stem);
    notes.machine.sources = vec![disk.reported(&args.source)];
    let write = || target.write(&disk, &*device, args.force, terminal);
    let output = notes.watch().step(format!("copy {}", disk.name), write)?;
    let written = Written {
        device: &*device,
        converted: None,
        output: &output,
    };
    let regions = notes.regions(&disk.name, &written, |_| {});
    notes.machine.regions.extend(regions);
    notes.machine.outputs.push(output.reported());
    let lost = match &disk.content {
        Content::Image(image) => image.lost(),
        Content::Snapshot(_) => Vec::new(),
    };
    let report = Report {
        source: ReportedSource {
            formats: formats(&disk),
            name: disk.name,
            virtual_size: device.size(),
        },
        output,
        lost: lost.into_iter().map(Lost::from).collect(),
    };
    let lost = report.lost.iter().map(|lost| report::Finding {
        severity: report::Severity::Problem,
        rule: "copy".to_owned(),
        text: format!(
            "{} bytes from {} on could not be read and are zeros: {}",
            lost.length, lost.start, lost.reason
        ),
    });
    notes.machine.findings.extend(lost);
    render(&report, args.json, terminal)?;
    let status = if report.lost.is_empty() { 0 } else { SOURCE };
    Ok(status.into())
}

impl Target {
    fn new(args: &CopyArgs) -> Result<Self> {
        let destination = Destination::parse(&args.destination)?;
        let home = Home::open(&destination, &args.disk.aws, &args.upload)?;
        match (destination, home) {
            (Destination::Path(path), _) => {
                let chosen = write_format::choose(&args.format, Some(&path))?;
                if args.preallocate && chosen.format != WriteFormat::Raw {
                    bail!(
                        "--preallocate needs a raw file, this is to be {}",
                        chosen.name()
                    );
                }
                let options = WriteOptions {
                    format: chosen.format,
                    threads: args.threads,
                    overwrite: args.force,
                    sync: args.sync,
                    preallocate: args.preallocate,
                };
                Ok(Self::File(path, chosen, options))
            }
            (_, Some(home)) => {
                if args.format.is_given() || args.preallocate {
                    bail!(
                        "formats, their options and --preallocate are about files, not about stores"
                    );
                }
                Ok(Self::Snapshot(home, args.threads))
            }
            (_, None) => bail!("{}: nothing can be written there", args.destination),
        }
    }

    fn write(
        &self,
        disk: &Disk,
        device: &dyn BlockRead,
        overwrite: bool,
        terminal: &Terminal,
    ) -> Result<Output> {
        match self {
            Self::File(path, chosen, options) => {
                target::claim(path, disk.files(), overwrite)?;
                target::write_file(&disk.name, device, path, chosen, options, terminal)
            }
            Self::Snapshot(home, threads) => {
                let pool = ThreadPoolBuilder::new()
                    .num_threads(threads.map_or(0, NonZeroUsize::get))
                    .build()
                    .context("cannot start threads")?;
                let new = New {
                    name: &disk.name,
                    device,
                    machine: &disk.stem,
                    number: "1",
                    place: "1",
                    role: Role::Copy,
                    parent: None,
                    changed: None,
                    only_if_changed: false,
                };
                let set = home.begin(Role::Copy, &[&disk.name])?;
                let output = pool.install(|| home.write(&set, &new, terminal))?;
                set.end()?;
                Ok(output)
            }
        }
    }
}

fn formats(disk: &Disk) -> Vec<&'static str> {
    match &disk.content {
        Content::Image(image) => image.layers().iter().map(|l| l.format.name()).collect(),
        Content::Snapshot(snapshot) => vec![snapshot.format()],
    }
}

impl From<LostRange> for Lost {
    fn from(lost: LostRange) -> Self {
        Self {
            start: lost.range.start,
            length: lost.range.end.saturating_sub(lost.range.start),
            reason: lost.reason,
        }
    }
}

/// stdout gets the name of what was made; people read stderr.
fn render(report: &Report, json: bool, terminal: &Terminal) -> Result<()> {
    if !report.lost.is_empty() {
        let total: u64 = report.lost.iter().map(|lost| lost.length).sum();
        let text = format!(
            "rehost: {} is damaged: {} in {} ranges could not be read and are zeros in the copy",
            report.source.name,
            size::text(total),
            report.lost.len()
        );
        eprintln!("{}", terminal.paint_err(Colour::Warning, &text));
        for lost in &report.lost {
            let last = lost.start + lost.length.saturating_sub(1);
            eprintln!("  bytes {} to {last}: {}", lost.start, lost.reason);
        }
    }
    if json {
        return output::json(report);
    }
    output::write(format!("{}\n", report.output.line()).as_bytes())
}
