//! `rehost replicate`

use crate::args::{ProjectArgs, ReplicateArgs};
use crate::changed::Changed;
use crate::exit::{self, Kept};
use crate::locator::{Destination, Source};
use crate::migration::Migration;
use crate::record::{Notes, Recorder};
use crate::regions::Written;
use crate::since::{self, Since, Told};
use crate::snapshot_home::{Home, New, Role, Set};
use crate::source::{self, Disk, Purpose};
use crate::target::{Output, Summary};
use crate::terminal::Terminal;
use crate::{migration, mounted, output, record};
use ::launch::blueprint::Hardware;
use ::launch::project::Machine;
use anyhow::{Context, Result, bail};
use ondisk::{Interrupt, Interrupted};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What became of a machine in one round.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) outputs: Vec<Output>,
}

/// Snapshots that were made of a machine.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) outputs: Vec<Output>,
    /// How large the machine is, as far as what they were made of tells.
    pub(crate) hardware: Hardware,
}

pub(super) fn run(args: &ReplicateArgs, terminal: &Terminal) -> Result<ExitCode> {
    if let Some(project) = args.project.required(&args.aws) {
        return of_project(args, &project, terminal);
    }
    record::claim(args.record.report.as_deref())?;
    if args.every.is_some() && args.sources.iter().any(|source| source == "-") {
        bail!("stdin can be read only once, and --every reads the disks again");
    }
    let machine = machine(args)?;
    let lists = args.changed.iter().map(|path| Changed::read(path));
    let lists: Vec<Changed> = lists.collect::<Result<_>>()?;
    let home = home(args)?;
    let round = || {
        let report = Report {
            machine: machine.clone(),
            outputs: round(args, &machine, &lists, &home, terminal)?,
        };
        render(&report, args.json)
    };
    let Some(every) = args.every else {
        round()?;
        return Ok(ExitCode::SUCCESS);
    };
    rounds(every, round, terminal)
}

/// Takes snapshots of a machine's disks, once.
pub(crate) fn once(
    args: &ReplicateArgs,
    machine: &str,
    notes: &mut Notes,
    terminal: &Terminal,
) -> Result<Taken> {
    replicate(args, machine, &[], &home(args)?, notes, terminal)
}

/// Takes snapshots of a project's machines.
fn of_project(
    args: &ReplicateArgs,
    project: &ProjectArgs,
    terminal: &Terminal,
) -> Result<ExitCode> {
    if args.to.is_some() || args.format.is_some() || args.upload.is_given() {
        bail!(
            "where snapshots of a project go, and how, is said in its file; leave --to and the like out"
        );
    }
    let migration = Migration::open(project)?;
    let machines = migration.machines(&args.sources)?;
    let reports = args.record.report.as_deref();
    let round = || {
        let each = |machine: &Machine| {
            let work =
                |notes: &mut Notes| migration::snapshot(&migration, machine, args, notes, terminal);
            let report = migration.recorded("replicate", reports, machine, terminal, work)?;
            render(&report, args.json)
        };
        migration::each(&machines, project.jobs, terminal, each)
    };
    match args.every {
        None => round().map(|()| ExitCode::SUCCESS),
        Some(every) => rounds(every, round, terminal),
    }
}

fn home(args: &ReplicateArgs) -> Result<Home> {
    let to = args.to.as_deref().unwrap_or_default();
    let destination = Destination::parse(to)?;
    let home = Home::open(&destination, &args.aws, &args.upload)?;
    home.with_context(|| format!("{to}: name a store as store:DIR, or EBS as ebs:"))
}

/// A round now and then, until one fails for good.
fn rounds(
    every: Duration,
    round: impl Fn() -> Result<()>,
    terminal: &Terminal,
) -> Result<ExitCode> {
    let mut printed = false;
    loop {
        let started = Instant::now();
        let ended = match round() {
            // What passes shall not end a replication that went well.
            Err(error) if printed && exit::may_pass(&error) => {
                exit::report(&error, terminal);
                eprintln!("rehost: the next round goes on from there");
                Ok(())
            }
            ended => ended,
        };
        let ended = ended.and_then(|()| {
            printed = true;
            let rest = every.saturating_sub(started.elapsed());
            Ok(wait(rest, &terminal.interrupt)?)
        });
        match ended {
            Err(error) if printed && terminal.interrupt.is_set() => return Err(error.context(Kept)),
            ended => ended?,
        }
    }
}

/// Waits, but not for long once the user wants to stop.
fn wait(time: Duration, interrupt: &Interrupt) -> Result<(), Interrupted> {
    const STEP: Duration = Duration::from_millis(100);
    let started = Instant::now();
    loop {
        interrupt.check()?;
        match time.checked_sub(started.elapsed()) {
            Some(rest) if !rest.is_zero() => std::thread::sleep(rest.min(STEP)),
            _ => return Ok(()),
        }
    }
}

/// The name under which the next run finds what this one made.
fn machine(args: &ReplicateArgs) -> Result<String> {
    // EBS keeps it in the value of a tag.
    const MAX: usize = 255;
    let name = match (&args.machine, args.sources.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(first)) => Source::parse(first)?.stem(),
        (None, None) => String::new(),
    };
    let letters = name.chars().count();
    if letters == 0 || letters > MAX || name.chars().any(char::is_control) {
        bail!("a machine's name has 1 to {MAX} letters; give another one with --machine");
    }
    Ok(name)
}

/// Makes a snapshot of each disk that has changed, and writes a report of it.
fn round(
    args: &ReplicateArgs,
    machine: &str,
    lists: &[Changed],
    home: &Home,
    terminal: &Terminal,
) -> Result<Vec<Output>> {
    let mut recorder = Recorder::begin("replicate", args.record.report.as_deref())?;
    let mut notes = recorder.notes(machine);
    let ended = replicate(args, machine, lists, home, &mut notes, terminal);
    recorder.add(notes, &ended);
    recorder.end(ended, terminal).map(|taken| taken.outputs)
}

fn replicate(
    args: &ReplicateArgs,
    machine: &str,
    lists: &[Changed],
    home: &Home,
    notes: &mut Notes,
    terminal: &Terminal,
) -> Result<Taken> {
    let opened = notes
        .watch()
        .step("open the disks", || open(args, terminal));
    let mut disks = opened?;
    let again = args.sources.iter().all(|source| source != "-");
    if let Some(time) = since::settles_in(&disks).filter(|_| again) {
        wait(time, &terminal.interrupt)?;
        disks = open(args, terminal)?;
    }
    let reported = disks.iter().map(|disk| disk.reported(&disk.name));
    notes.machine.sources = reported.collect();
    let hardware = hardware(&disks);
    let told = since::told(args, lists, &disks, terminal)?;
    let mut outputs = Vec::new();
    let set = home.begin(Role::Staging, &[machine])?;
    let chain = Chain {
        machine,
        full: args.full,
        home,
        set: &set,
    };
    for ((number, disk), told) in (1..).zip(&disks).zip(&told) {
        let number = number.to_string();
        let snapshot = || chain.snapshot(disk, &number, told, terminal);
        let step = format!("compare and store {}", disk.name);
        match notes.watch().step(step, snapshot) {
            Ok(output) => {
                let device = disk.device();
                let written = Written {
                    device: &*device,
                    converted: None,
                    output: &output,
                };
                let regions = notes.regions(&disk.name, &written, |_| {});
                notes.machine.regions.extend(regions);
                notes.machine.outputs.push(output.reported());
                outputs.push(output);
            }
            Err(error) => {
                // Disks of one machine belong together: none stays without the others.
                outputs.iter().for_each(Output::remove);
                notes.machine.outputs.clear();
                return Err(error);
            }
        }
    }
    set.end()?;
    outputs.iter().for_each(Output::settle);
    Ok(Taken { outputs, hardware })
}

/// How large the machine of these disks is.
fn hardware(disks: &[Disk]) -> Hardware {
    let each = disks.iter().map(Disk::hardware);
    each.fold(Hardware::default(), Hardware::or)
}

/// How large a machine is, as far as what holds its disks tells.
pub(crate) fn told_hardware(args: &ReplicateArgs, terminal: &Terminal) -> Result<Hardware> {
    let options = source::options(
        args.format.as_deref(),
        &args.allow_path,
        Purpose::Look,
        terminal,
    )?;
    let mut told = Hardware::default();
    for text in &args.sources {
        let disks = source::open(text, &options, &args.aws, terminal)?;
        told = told.or(hardware(&disks));
    }
    Ok(told)
}

/// Opens all disks before one of them is read to its end.
fn open(args: &ReplicateArgs, terminal: &Terminal) -> Result<Vec<Disk>> {
    let purpose = Purpose::to_copy(args.no_verify);
    let options = source::options(args.format.as_deref(), &args.allow_path, purpose, terminal)?;
    let mut disks = Vec::new();
    for text in &args.sources {
        disks.extend(source::open(text, &options, &args.aws, terminal)?);
    }
    if !args.allow_mounted {
        for disk in &disks {
            mounted::refuse(disk.files())?;
        }
    }
    Ok(disks)
}

/// Where the snapshots of a machine go.
struct Chain<'a> {
    machine: &'a str,
    full: bool,
    home: &'a Home,
    set: &'a Set,
}

impl Chain<'_> {
    fn snapshot(
        &self,
        disk: &Disk,
        number: &str,
        told: &Told,
        terminal: &Terminal,
    ) -> Result<Output> {
        let device = disk.device();
        let mut full = self.full;
        loop {
            let parent = if full {
                None
            } else {
                // The list says what changed since a snapshot that may be a damaged one.
                let sure = matches!(told, Told::Ranges(..));
                let latest = self.home.latest(self.machine, number, sure, terminal);
                latest.with_context(|| {
                    format!("cannot look for the last snapshot of {}", disk.name)
                })?
            };
            let last = parent.as_ref().map(|parent| self.home.last(parent));
            let since = Since::of(disk, told, last.as_ref(), terminal)?;
            let new = New {
                name: &disk.name,
                device: &*device,
                machine: self.machine,
                number,
                place: number,
                role: Role::Staging,
                parent: parent.as_ref(),
                changed: since.ranges(),
                only_if_changed: true,
            };
            match self.home.write(self.set, &new, terminal) {
                // Somebody removed the parent a moment ago: there is another one, or none.
                // A list is about that one alone.
                Err(error) if !since.is_believed() && is_without_parent(&error) => {}
                Err(error) => return Err(error),
                // The next list or bitmap begins here, so the next snapshot has to go on from here.
                Ok(output) if full && !self.home.is_last(&output, self.machine, number)? => {
                    eprintln!(
                        "rehost: {}: {} is the same disk and began an older chain, so the last \
                         snapshot gets a child instead",
                        disk.name,
                        output.line()
                    );
                    full = false;
                }
                Ok(output) => {
                    if let Some(source) = since.source(disk) {
                        self.home.keep_source(&output, &source, terminal);
                    }
                    return Ok(output);
                }
            }
        }
    }
}

fn is_without_parent(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<store::Error>();
    matches!(error, Some(store::Error::NoSnapshot { .. }))
}

/// stdout gets the ids, one a line; people read stderr.
fn render(report: &Report, json: bool) -> Result<()> {
    for output in &report.outputs {
        if let Some(Summary {
            disk,
            id,
            put_blocks,
            made,
            ..
        }) = output.snapshot()
        {
            if made {
                eprintln!("{disk}: {put_blocks} blocks changed");
            } else {
                eprintln!("{disk}: nothing changed since {id}");
            }
        }
    }
    if json {
        return output::json(report);
    }
    let lines = report.outputs.iter().map(|output| output.line() + "\n");
    output::write(lines.collect::<String>().as_bytes())
}
