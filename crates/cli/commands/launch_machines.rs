//! `rehost test` and `rehost cutover`

use crate::args::{CutoverArgs, TestArgs};
use crate::exit::Absent;
use crate::migration::{self, Migration, Outcome, Request};
use crate::output;
use crate::record::Notes;
use crate::terminal::{Colour, Terminal};
use anyhow::{Result, bail};
use launch::lifecycle::{Kind, State};
use launch::project::Machine;
use launch::record::Place;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

pub(super) fn test(args: &TestArgs, terminal: &Terminal) -> Result<ExitCode> {
    let request = Request {
        kind: Kind::Test,
        place: if args.local { Place::Local } else { Place::Ec2 },
        untested: false,
        args: args.target.clone(),
        hardware: Some(args.hardware.clone()),
        at_once: 1,
    };
    run(request, terminal)
}

pub(super) fn cutover(args: &CutoverArgs, terminal: &Terminal) -> Result<ExitCode> {
    let request = Request {
        kind: Kind::Cutover,
        place: Place::Ec2,
        untested: args.untested,
        args: args.target.clone(),
        hardware: None,
        at_once: 1,
    };
    run(request, terminal)
}

fn run(mut request: Request, terminal: &Terminal) -> Result<ExitCode> {
    let migration = Migration::open(&request.args.project)?;
    let machines = migration.machines(&request.args.machines)?;
    let all = u16::try_from(machines.len()).unwrap_or(u16::MAX);
    request.at_once = request.args.project.jobs.min(all).max(1);
    let request = &request;
    let args = &request.args;
    if request.place == Place::Ec2 {
        // Targets here reach nobody, so that none has an address that another one wants.
        migration.check_blueprints()?;
    }
    if let Some(hardware) = &request.hardware
        && machines.len() > 1
        && (hardware.console.is_some() || hardware.screenshot.is_some())
    {
        bail!(
            "--console and --screenshot are about one machine, and there are {}",
            machines.len()
        );
    }
    if let Some(shard) = migration.shard() {
        eprintln!("rehost: {shard}: {} machines", machines.len());
    }
    let reports = args.report.as_deref();
    let outcomes: Mutex<Vec<Outcome>> = Mutex::default();
    let is_done = |machine: &Machine| -> Result<bool> {
        let record = migration.record(&machine.name)?;
        Ok(record.is_some_and(|record| record.state == State::CutOver))
    };
    let each = |machine: &Machine| {
        // A run over all machines that was stopped goes on with the others.
        if request.kind == Kind::Cutover && args.machines.is_empty() && is_done(machine)? {
            eprintln!("{}: cut over already, and left as it is", machine.name);
            return Ok(());
        }
        if args.dry_run {
            return migration::dry_run(&migration, machine, request, terminal);
        }
        let work = |notes: &mut Notes| {
            let outcome = migration::launch(&migration, machine, request, notes, terminal)?;
            tell(&outcome, terminal);
            let absent = (!outcome.came_up).then(|| Absent(outcome.because.clone()));
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.push(outcome);
            absent.map_or(Ok(()), |absent| Err(absent.into()))
        };
        migration.recorded(request.kind.name(), reports, machine, terminal, work)
    };
    let ended = migration::each(&machines, args.project.jobs, terminal, each);
    let outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    render(&outcomes, args.json)?;
    ended.map(|()| ExitCode::SUCCESS)
}

fn tell(outcome: &Outcome, terminal: &Terminal) {
    let Outcome {
        machine,
        kind,
        because,
        ..
    } = outcome;
    let (verdict, colour) = if outcome.came_up {
        ("came up", Colour::Added)
    } else {
        ("did not come up", Colour::Removed)
    };
    let text = format!(
        "{machine}: the {kind} target {verdict}: {}",
        output::printable(because)
    );
    // In one piece: others may have something to say at the same time.
    let mut text = terminal.paint_err(colour, &text) + "\n";
    for finding in &outcome.findings {
        let _ = writeln!(text, "{machine}:   {}", output::printable(finding));
    }
    for line in outcome.console.iter().flat_map(|console| console.lines()) {
        let _ = writeln!(text, "{machine}:   | {}", output::printable(line));
    }
    eprint!("{text}");
}

/// stdout gets the names of what runs, one a line; people read stderr.
fn render(outcomes: &[Outcome], json: bool) -> Result<()> {
    if json {
        return output::json(&outcomes);
    }
    let targets = outcomes
        .iter()
        .filter_map(|outcome| outcome.target.as_ref());
    let names = targets.flat_map(|target| match &target.instance {
        Some(instance) => vec![instance.clone()],
        None => target.volumes.clone(),
    });
    let lines: String = names.map(|name| name + "\n").collect();
    output::write(lines.as_bytes())
}
