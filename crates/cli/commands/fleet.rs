//! `rehost fleet`

use super::report::claim;
use crate::args::{FleetCommand, FleetReportArgs};
use crate::exit::MACHINE;
use crate::table::table;
use crate::terminal::{Colour, Terminal};
use crate::{date, migration, output, size, whole_file};
use ::report::{Attempt, Error, Fleet, FleetMachine, Report, Status, fleet_page};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(command: &FleetCommand, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        FleetCommand::Report(args) => report(args, terminal),
    }
}

fn report(args: &FleetReportArgs, terminal: &Terminal) -> Result<ExitCode> {
    if let Some(path) = &args.output {
        claim(path)?;
    }
    let mut reports = Vec::new();
    for path in &args.reports {
        read(path, &mut reports)?;
    }
    let expected = args.project.as_deref().map(names).transpose()?;
    if reports.is_empty() && expected.is_none() {
        bail!("there is no report in what was named");
    }
    let fleet = Fleet::merge(reports, expected.as_deref());
    if let Some(path) = &args.output {
        whole_file::write(path, fleet_page(&fleet).as_bytes())?;
    }
    if args.json {
        output::json(&fleet)?;
    } else {
        output::write(text(&fleet, terminal).as_bytes())?;
    }
    Ok(if fleet.is_well() {
        ExitCode::SUCCESS
    } else {
        MACHINE.into()
    })
}

/// The machines of a project.
fn names(project: &Path) -> Result<Vec<String>> {
    let machines = migration::read_project(project)?.machines;
    Ok(machines.into_iter().map(|machine| machine.name).collect())
}

/// Reads a report, or those in a directory.
fn read(path: &Path, reports: &mut Vec<(String, Report)>) -> Result<()> {
    if !path.is_dir() {
        reports.push((path.display().to_string(), Report::read(path)?));
        return Ok(());
    }
    let failed = || format!("cannot list {}", path.display());
    let entries = std::fs::read_dir(path).with_context(failed)?;
    let paths: std::io::Result<Vec<PathBuf>> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut paths = paths.with_context(failed)?;
    // Hidden files are those that are being written.
    let is_hidden = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b".")
    };
    paths.retain(|path| path.extension().is_some_and(|it| it == "json") && !is_hidden(path));
    paths.sort();
    for path in paths {
        match Report::read(&path) {
            Ok(report) => reports.push((path.display().to_string(), report)),
            Err(Error::File { source, .. }) if matches!(*source, Error::Kind(_)) => {
                tracing::debug!(path = %path.display(), "is no report");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A line for each machine, with the reason below where it failed, then the totals.
fn text(fleet: &Fleet, terminal: &Terminal) -> String {
    const HEAD: [&str; 8] = [
        "MACHINE",
        "COMMAND",
        "RESULT",
        "PROBLEMS",
        "WARNINGS",
        "CHANGES",
        "ENDED (UTC)",
        "SYSTEM",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(fleet.machines.iter().map(row));
    let mut text = String::new();
    let lines = table(&rows, &(3..=5), terminal);
    let mut lines = lines.lines();
    if let Some(head) = lines.next() {
        let _ = writeln!(text, "{head}");
    }
    for (line, machine) in lines.zip(&fleet.machines) {
        if machine.status == Status::Ok {
            let _ = writeln!(text, "{line}");
        } else {
            let _ = writeln!(text, "{}", terminal.paint(Colour::Removed, line));
        }
        notes(&mut text, machine);
    }
    for attempt in &fleet.broken {
        let _ = writeln!(
            text,
            "a run failed before any machine: {}",
            output::printable(&reason(attempt))
        );
    }
    let totals = &fleet.totals;
    let _ = writeln!(
        text,
        "{}: {} went well, {} failed, {} missing; {} of disks, {} read, {} blocks put, {} changes",
        machines(totals.machines),
        totals.ok,
        totals.failed,
        totals.missing,
        size::text(totals.disk_bytes),
        size::text(totals.read_bytes),
        totals.put_blocks,
        totals.changes
    );
    text
}

fn machines(number: usize) -> String {
    match number {
        1 => "1 machine".to_owned(),
        several => format!("{several} machines"),
    }
}

fn row(machine: &FleetMachine) -> [String; 8] {
    let result = match machine.status {
        Status::Ok => "ok",
        Status::Failed => "FAILED",
        Status::Missing => "MISSING",
    };
    let counts = machine.counts.as_ref();
    let cells = [
        machine.name.clone(),
        counts.map(|it| it.command.clone()).unwrap_or_default(),
        result.to_owned(),
        machine.problems.to_string(),
        machine.warnings.to_string(),
        machine.changes.to_string(),
        counts.map(|it| date::text(it.ended.0)).unwrap_or_default(),
        machine.os.clone().unwrap_or_default(),
    ];
    cells.map(|cell| output::printable(&cell))
}

/// What else is to say about a machine.
fn notes(text: &mut String, machine: &FleetMachine) {
    let mut note = |what: &str| {
        let _ = writeln!(text, "    {}", output::printable(what));
    };
    match (&machine.counts, machine.status) {
        (Some(attempt), Status::Failed) => note(&reason(attempt)),
        (None, _) => note("no report is about it"),
        _ => {}
    }
    if machine.failed_later {
        note("a newer attempt failed; the one that went well counts");
    }
    if !machine.others.is_empty() {
        let others = machine.others.iter().map(|it| it.report.as_str());
        note(&format!(
            "other attempts: {}",
            others.collect::<Vec<_>>().join(", ")
        ));
    }
}

fn reason(attempt: &Attempt) -> String {
    format!("{} ({})", attempt.error.join(": "), attempt.report)
}
