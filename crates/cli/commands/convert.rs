//! `rehost convert`

mod destination;

use super::options;
use crate::args::{ConvertArgs, ProjectArgs};
use crate::blueprint;
use crate::exit::Unconvertible;
use crate::locator::{Destination, Source};
use crate::machine::Opened;
use crate::migration::{self, Migration};
use crate::record::{Notes, Recorder};
use crate::regions::{self, Written};
use crate::snapshot_home::{Set, Snapshot};
use crate::source::Purpose;
use crate::target::{self, Output};
use crate::terminal::{Colour, Terminal};
use crate::{machine, output, source_facts};
use ::convert::{Because, Conversion, Finding, Options, Severity};
use ::launch::blueprint::{Blueprint, BootMode, SourceFacts};
use ::launch::project::Machine;
use anyhow::{Context, Result, bail};
use block::BlockRead;
use destination::{Places, Target, ToWrite};
use fs::Time;
use guest::{Firmware, GuestPath};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// One machine to convert.
struct Job {
    name: String,
    /// The machine in a store.
    machine: String,
    images: Vec<String>,
    options: Options,
    blueprint: Option<Blueprint>,
}

/// What became of a machine.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: String,
    os: Option<String>,
    changes: Vec<ReportedChange>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) outputs: Vec<Output>,
    /// What was found about the guest and its disks, if it was converted.
    #[serde(skip)]
    pub(crate) source: Option<SourceFacts>,
}

#[derive(Serialize)]
struct ReportedChange {
    path: GuestPath,
    because: Vec<Because>,
}

pub(super) fn run(args: &ConvertArgs, terminal: &Terminal) -> Result<ExitCode> {
    if let Some(project) = args.project.required(&args.source.aws) {
        return of_project(args, &project, terminal);
    }
    let mut recorder = Recorder::begin("convert", args.record.report.as_deref())?;
    let ended = convert_machines(args, &mut recorder, terminal);
    recorder.end(ended, terminal)
}

fn convert_machines(
    args: &ConvertArgs,
    recorder: &mut Recorder,
    terminal: &Terminal,
) -> Result<ExitCode> {
    let jobs = jobs(args)?;
    let notes = jobs.iter().map(|job| recorder.notes(&job.machine));
    let mut notes: Vec<Notes> = notes.collect();
    let results = convert_all(args, &jobs, &mut notes, terminal)?;
    let (mut reports, mut failed) = (Vec::new(), None);
    for (result, notes) in results.into_iter().zip(notes) {
        recorder.add(notes, &result);
        match (result, &failed) {
            (Ok(report), _) => reports.push(report),
            (Err(error), None) => failed = Some(error),
            (Err(error), Some(_)) => {
                crate::exit::report(&error, terminal);
            }
        }
    }
    render(&reports, args.json, terminal)?;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Converts the last snapshots of a project's machines.
fn of_project(args: &ConvertArgs, project: &ProjectArgs, terminal: &Terminal) -> Result<ExitCode> {
    if args.output.is_some() || !args.rules.blueprint.is_empty() || args.upload.is_given() {
        bail!(
            "what a project's machines are converted to, and how, is said in its file and blueprints"
        );
    }
    let migration = Migration::open(project)?;
    let machines = migration.machines(&args.images)?;
    let reports = args.record.report.as_deref();
    let each = |machine: &Machine| {
        let work = |notes: &mut Notes| migration::convert(&migration, machine, notes, terminal);
        let converted = migration.recorded("convert", reports, machine, terminal, work)?;
        if args.json {
            return output::json(&OfMachine {
                machine: &machine.name,
                snapshots: &converted.from,
                converted: &converted.disks,
            });
        }
        let lines = converted.disks.iter().map(|disk| format!("{disk}\n"));
        output::write(lines.collect::<String>().as_bytes())
    };
    migration::each(&machines, project.jobs, terminal, each)?;
    Ok(ExitCode::SUCCESS)
}

/// What a machine of a project was converted to, all of it as arguments of commands.
#[derive(Debug, Serialize)]
struct OfMachine<'a> {
    machine: &'a str,
    /// The snapshots of its disks.
    snapshots: &'a [String],
    converted: &'a [String],
}

/// Converts the disks of one machine into snapshots.
pub(crate) fn one(args: &ConvertArgs, notes: &mut Notes, terminal: &Terminal) -> Result<Report> {
    let jobs = jobs(args)?;
    let results = convert_all(args, &jobs, std::slice::from_mut(notes), terminal)?;
    let result = results.into_iter().next();
    result.context("there is no machine to convert")?
}

/// All that decides what becomes of given disks: another one may give another result.
pub(crate) fn digest(args: &ConvertArgs) -> Result<String> {
    let mut digest = env!("CARGO_PKG_VERSION").to_owned();
    for job in jobs(args)? {
        let options = serde_json::to_string(&job.options).context("cannot name the options")?;
        let _ = write!(digest, " {options} {:?}", args.source.root);
    }
    Ok(digest)
}

/// Converts every machine that can be.
fn convert_all(
    args: &ConvertArgs,
    jobs: &[Job],
    notes: &mut [Notes],
    terminal: &Terminal,
) -> Result<Vec<Result<Report>>> {
    let now = source_date_epoch()?;
    let destination = match &args.output {
        Some(text) => Destination::parse(text)?,
        None => Destination::Store(
            std::env::var_os("REHOST_STORE")
                .unwrap_or_else(|| "rehost-store".into())
                .into(),
        ),
    };
    let blueprints = jobs.iter().filter_map(|job| job.blueprint.as_ref());
    let mut args = args.clone();
    let (aws, upload) = (&mut args.source.aws, &mut args.upload);
    blueprint::complete(blueprints, aws, upload, &destination)?;
    let args = &args;
    let purpose = Purpose::to_copy(args.no_verify);
    let opened = jobs.iter().zip(&*notes).map(|(job, notes)| {
        let open = || machine::open(&job.images, &args.source, purpose, terminal);
        notes.watch().step("open the disks", open)
    });
    let opened: Vec<_> = opened.collect();
    // An archive is one argument, but may hold several disks.
    let disks = |(job, opened): (&Job, &Result<Opened>)| match opened {
        Ok(opened) => opened.stems.len(),
        Err(_) => job.images.len(),
    };
    let several = jobs.iter().zip(&opened).map(disks).sum::<usize>() > 1;
    let target = Target::new(destination, several, args)?;
    let places = Places::claim(jobs, &opened, &target)?;
    let run = Run {
        args,
        target,
        now,
        undone: Mutex::default(),
        terminal,
    };
    let results: Vec<_> = jobs
        .par_iter()
        .zip(opened)
        .zip(places.0)
        .zip(notes)
        .map(|(((job, opened), paths), notes)| {
            let report = opened.and_then(|opened| convert(job, &opened, &paths, &run, notes));
            report.with_context(|| format!("{} was not converted", job.name))
        })
        .collect();
    // Only now: a snapshot is removed when nobody writes to its store, and the other jobs did.
    for output in run
        .undone
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        output.remove();
    }
    Ok(results)
}

fn jobs(args: &ConvertArgs) -> Result<Vec<Job>> {
    if args.each {
        let job = |image: &String| Job {
            name: image.clone(),
            machine: machine_of(image),
            images: vec![image.clone()],
            options: options(&args.rules, None),
            blueprint: None,
        };
        return Ok(args.images.iter().map(job).collect());
    }
    if args.rules.blueprint.is_empty() {
        let name = args.images.first().cloned().unwrap_or_default();
        let (images, options) = (args.images.clone(), options(&args.rules, None));
        return Ok(vec![Job {
            machine: machine_of(&name),
            name,
            images,
            options,
            blueprint: None,
        }]);
    }
    if !args.images.is_empty() && args.rules.blueprint.len() > 1 {
        bail!("with several blueprints, each has to name its own disks");
    }
    let mut jobs = Vec::new();
    for path in &args.rules.blueprint {
        let loaded = blueprint::load(path)?;
        let blueprint = loaded.blueprint;
        let mut images = args.images.clone();
        if images.is_empty() {
            images = loaded.images;
        }
        if images.is_empty() {
            bail!("{} names no disks, and no IMAGE is given", path.display());
        }
        jobs.push(Job {
            name: blueprint.metadata.machine.clone(),
            machine: blueprint.metadata.machine.clone(),
            images,
            options: options(&args.rules, Some(&blueprint)),
            blueprint: Some(blueprint),
        });
    }
    Ok(jobs)
}

/// The name of a machine by its first disk. A name that cannot be understood is told when the disk
/// is opened.
fn machine_of(image: &str) -> String {
    Source::parse(image).map_or_else(|_| image.to_owned(), |source| source.stem())
}

/// What all machines have in common.
struct Run<'a> {
    args: &'a ConvertArgs,
    target: Target,
    now: Option<Time>,
    /// What was made of machines that could not be converted whole.
    undone: Mutex<Vec<Output>>,
    terminal: &'a Terminal,
}

fn convert(
    job: &Job,
    opened: &Opened,
    paths: &[PathBuf],
    run: &Run<'_>,
    notes: &mut Notes,
) -> Result<Report> {
    let Run {
        args,
        target,
        now,
        terminal,
        ..
    } = run;
    let mut report = Report {
        machine: job.name.clone(),
        os: None,
        changes: Vec::new(),
        findings: Vec::new(),
        outputs: Vec::new(),
        source: None,
    };
    let mut converted = true;
    notes.machine.sources.clone_from(&opened.reported);
    // A snapshot knows better whose it is than its own id, but the blueprint goes first.
    let first = opened.snapshots.iter().flatten().next();
    if let Some((machine, _)) = first.and_then(Snapshot::of)
        && args.rules.blueprint.is_empty()
        && !machine.is_empty()
    {
        notes.machine.name = machine;
    }
    let conversion = notes
        .watch()
        .step("inspect, plan and change the guest", || {
            convert_guest(job, opened, args.source.root.as_deref(), *now)
        });
    match conversion {
        Ok(conversion) => {
            report.source = Some(source_facts::of(opened, &conversion.facts));
            notes
                .machine
                .add_conversion(&conversion.facts, &conversion.plan);
            report.os = Some(conversion.plan.guest.os);
            report.findings = conversion.plan.findings;
            let changes = conversion.plan.changes.into_iter();
            report.changes.extend(changes.map(|change| ReportedChange {
                path: change.path,
                because: change.because,
            }));
        }
        Err(error) if args.allow_unconverted && error.is::<Unconvertible>() => {
            converted = false;
            let text = format!("the disks are written as they are: {error}");
            let rule = "convert".to_owned();
            let finding = Finding {
                severity: Severity::Problem,
                rule,
                text,
            };
            notes.machine.findings.push((&finding).into());
            report.findings.push(finding);
        }
        Err(error) => return Err(error),
    }
    terminal.interrupt.check()?;
    let set = target.begin(job, opened)?;
    let disks = opened.machine.disks();
    let noted = &*notes;
    let outputs: Vec<Result<_>> = disks
        .par_iter()
        .zip(paths)
        .zip(&opened.snapshots)
        .enumerate()
        .map(|(index, ((disk, path), from))| {
            // Looking for a guest replays journals into the overlay: "as they are" is below it.
            let (device, changed): (&dyn BlockRead, _) = if converted {
                (&*disk.overlay, disk.overlay.dirty_extents())
            } else {
                (disk.overlay.base(), Vec::new())
            };
            let to_write = ToWrite {
                name: &disk.name,
                path,
                machine: &job.machine,
                number: &(index + 1).to_string(),
                from: from.as_ref(),
                changed: &changed,
                set: set.as_ref(),
            };
            let write = || target.write(&to_write, device, terminal);
            let output = noted.watch().step(format!("write {}", disk.name), write)?;
            let written = Written {
                device,
                converted: converted.then_some(&*changed),
                output: &output,
            };
            let regions = noted.regions(&disk.name, &written, |painter| {
                regions::partitions(painter, index, disk, noted.machine.guest.as_ref());
            });
            Ok((output, regions))
        })
        .collect();
    let mut failed = None;
    for written in outputs {
        match written {
            Ok((output, regions)) => {
                notes.machine.outputs.push(output.reported());
                notes.machine.regions.extend(regions);
                report.outputs.push(output);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let Some(error) = failed else {
        set.map_or(Ok(()), Set::end)?;
        return Ok(report);
    };
    if !target.overwrites() {
        notes.machine.outputs.clear();
        // Disks of one machine belong together: none stays without the others.
        let mut undone = run.undone.lock().unwrap_or_else(PoisonError::into_inner);
        undone.append(&mut report.outputs);
    }
    Err(error)
}

fn convert_guest(
    job: &Job,
    opened: &Opened,
    root: Option<&str>,
    now: Option<Time>,
) -> Result<Conversion> {
    let root = opened.root(root)?;
    let mut conversion = ::convert::convert(&opened.machine, &root, &job.options, now)?;
    let firmware = conversion.facts.firmware;
    let blueprint = job.blueprint.as_ref();
    let mode = blueprint.map_or(BootMode::Auto, |blueprint| blueprint.boot.mode);
    let boots = match mode {
        BootMode::Auto => true,
        BootMode::LegacyBios => firmware != Firmware::Uefi,
        BootMode::Uefi => firmware != Firmware::Bios,
        BootMode::UefiPreferred => firmware == Firmware::Both,
    };
    if !boots {
        let text =
            format!("the blueprint wants boot mode {mode:?}, but the disks boot with {firmware:?}");
        let rule = "blueprint".to_owned();
        conversion.plan.findings.push(Finding {
            severity: Severity::Problem,
            rule,
            text,
        });
    }
    Ok(conversion)
}

/// stdout gets the names of what was made, one a line; people read stderr.
fn render(reports: &[Report], json: bool, terminal: &Terminal) -> Result<()> {
    for report in reports {
        let os = report.os.as_deref().unwrap_or("not converted");
        let count = report.changes.len();
        let summary = format!("{}: {os}, {count} changes", report.machine);
        eprintln!("{}", terminal.paint_err(Colour::Bold, &summary));
        for finding in &report.findings {
            let text = format!("  {}", finding.text);
            match finding.severity {
                Severity::Info => eprintln!("{text}"),
                _ => eprintln!("{}", terminal.paint_err(Colour::Warning, &text)),
            }
        }
    }
    if json {
        return output::json(&reports);
    }
    for made in reports.iter().flat_map(|report| &report.outputs) {
        output::write(format!("{}\n", made.line()).as_bytes())?;
    }
    Ok(())
}

/// The time for changed files that the user gives.
fn source_date_epoch() -> Result<Option<Time>> {
    let seconds = target::source_date_epoch()?;
    Ok(seconds.map(|seconds| Time {
        seconds,
        nanoseconds: 0,
    }))
}
