//! `rehost replicate`

use crate::args::ReplicateArgs;
use crate::changed::Changed;
use crate::exit::Kept;
use crate::locator::{Destination, Source};
use crate::since::{self, Last, Since, Told};
use crate::source::{self, Disk, Purpose};
use crate::target::{self, Output};
use crate::terminal::Terminal;
use crate::{mounted, output};
use anyhow::{Context, Result, bail};
use ondisk::{Interrupt, Interrupted};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use store::{NewSnapshot, Role, Store};

/// What became of a machine in one round.
#[derive(Serialize)]
struct Report {
    machine: String,
    outputs: Vec<Output>,
}

pub(super) fn run(args: &ReplicateArgs, terminal: &Terminal) -> Result<ExitCode> {
    let dir = Destination::store(&args.to)?;
    if args.every.is_some() && args.sources.iter().any(|source| source == "-") {
        bail!("stdin can be read only once, and --every reads the disks again");
    }
    let machine = machine(args)?;
    let lists = args.changed.iter().map(|path| Changed::read(path));
    let lists: Vec<Changed> = lists.collect::<Result<_>>()?;
    let store = Store::create(&dir)?;
    let Some(every) = args.every else {
        round(args, &machine, &lists, &store, terminal)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut printed = false;
    loop {
        let started = Instant::now();
        let ended = round(args, &machine, &lists, &store, terminal).and_then(|()| {
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
    const MAX: usize = 256;
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

/// Makes a snapshot of each disk that has changed.
fn round(
    args: &ReplicateArgs,
    machine: &str,
    lists: &[Changed],
    store: &Store,
    terminal: &Terminal,
) -> Result<()> {
    let mut disks = open(args, terminal)?;
    let again = args.sources.iter().all(|source| source != "-");
    if let Some(time) = since::settles_in(&disks).filter(|_| again) {
        wait(time, &terminal.interrupt)?;
        disks = open(args, terminal)?;
    }
    let told = since::told(args, lists, &disks, terminal)?;
    let mut report = Report {
        machine: machine.to_owned(),
        outputs: Vec::new(),
    };
    for ((number, disk), told) in (1..).zip(&disks).zip(told) {
        let number = number.to_string();
        match snapshot(args, machine, disk, &number, told, store, terminal) {
            Ok(output) => report.outputs.push(output),
            Err(error) => {
                // Disks of one machine belong together: none stays without the others.
                report.outputs.iter().for_each(Output::remove);
                return Err(error);
            }
        }
    }
    render(&report, args.json)
}

/// Opens all disks before one of them is read to its end.
fn open(args: &ReplicateArgs, terminal: &Terminal) -> Result<Vec<Disk>> {
    let purpose = Purpose::to_copy(args.no_verify);
    let options = source::options(args.format.as_deref(), &args.allow_path, purpose, terminal)?;
    let mut disks = Vec::new();
    for text in &args.sources {
        disks.extend(source::open(text, &options, terminal)?);
    }
    if !args.allow_mounted {
        for disk in &disks {
            mounted::refuse(disk.files())?;
        }
    }
    Ok(disks)
}

fn snapshot(
    args: &ReplicateArgs,
    machine: &str,
    disk: &Disk,
    number: &str,
    told: Told,
    store: &Store,
    terminal: &Terminal,
) -> Result<Output> {
    let device = disk.device();
    let parent = if args.full {
        None
    } else {
        let latest = store.latest(machine, number, Role::Staging);
        latest.with_context(|| format!("cannot look for the last snapshot of {}", disk.name))?
    };
    let source = parent.as_ref().and_then(|parent| parent.source.as_ref());
    let source = source.map(ToString::to_string);
    let last = parent.as_ref().map(|parent| Last {
        disk_size: parent.disk_size,
        source: source.as_deref(),
    });
    let since = Since::of(disk, told, last.as_ref(), terminal)?;
    let new = NewSnapshot {
        parent: parent.as_ref().map(|parent| &parent.id),
        machine,
        disk: number,
        role: Role::Staging,
        changed: since.ranges(),
        only_if_changed: true,
        ..NewSnapshot::default()
    };
    let output = target::write_snapshot(&disk.name, &*device, &new, store, terminal)?;
    if let (Some(source), Output::Snapshot { id, .. }) = (since.source(disk), &output) {
        // Without it the next run reads more.
        if let Err(error) = store.keep_source(id, &source, &terminal.interrupt) {
            tracing::warn!(%id, %error, "does not keep which files it was made of");
        }
    }
    Ok(output)
}

/// stdout gets the ids, one a line; people read stderr.
fn render(report: &Report, json: bool) -> Result<()> {
    for output in &report.outputs {
        if let Output::Snapshot {
            disk,
            id,
            put_blocks,
            made,
            ..
        } = output
        {
            if *made {
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
