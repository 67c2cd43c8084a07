//! `rehost blueprint check`

use crate::args::CheckArgs;
use crate::exit::DIFFERENT;
use crate::source::Purpose;
use crate::terminal::{Colour, Terminal};
use crate::{blueprint, machine, output, source_facts};
use anyhow::{Context as _, Result, bail};
use guest::Guest;
use launch::blueprint::{Blueprint, Context, SourceFacts, check_together};
use launch::document::{self, Document, Problems, Severity, worst};
use launch::instances::Table;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(args: &CheckArgs, terminal: &Terminal) -> Result<ExitCode> {
    let one = args.inspect && args.files.len() == 1;
    if !one && !args.hardware.hardware().is_unknown() {
        bail!(
            "--vcpus and --memory are about one machine: check its blueprint alone, with --inspect"
        );
    }
    let types = blueprint::types(args.instance_types.as_deref())?;
    let mut found: Vec<Problems> = Vec::new();
    let mut documents = Vec::new();
    for path in &args.files {
        terminal.interrupt.check()?;
        match document::load::<Blueprint>(path) {
            Ok(document) => {
                let problems = check(path, &document, &types, args, terminal)?;
                documents.push((found.len(), document));
                found.push(Problems::in_file(path, problems));
            }
            Err(document::Error::Problems(problems)) => found.push(problems),
            Err(error) => return Err(error.into()),
        }
    }
    let all: Vec<_> = documents.iter().map(|(_, document)| document).collect();
    for (at, problem) in check_together(&all) {
        let file = documents.get(at).and_then(|(file, _)| found.get_mut(*file));
        if let Some(file) = file {
            let mut problems = std::mem::take(&mut file.problems);
            problems.push(problem);
            *file = Problems::in_file(&file.file, problems);
        }
    }
    if args.json {
        output::json(&found)?;
    } else {
        output::write(text(&found, terminal).as_bytes())?;
    }
    let mut severities = found.iter().filter_map(|file| worst(&file.problems));
    let failed = severities.any(|severity| severity == Severity::Error);
    Ok(if failed {
        DIFFERENT.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn check(
    path: &Path,
    document: &Document<Blueprint>,
    types: &Table,
    args: &CheckArgs,
    terminal: &Terminal,
) -> Result<Vec<document::Problem>> {
    let source = if args.inspect {
        let facts = inspect(path, document.value(), args, terminal);
        Some(facts.with_context(|| format!("cannot look at the disks of {}", path.display()))?)
    } else {
        None
    };
    let context = Context {
        types,
        source: source.as_ref(),
    };
    Ok(Blueprint::check(document, &context))
}

fn inspect(
    path: &Path,
    blueprint: &Blueprint,
    args: &CheckArgs,
    terminal: &Terminal,
) -> Result<SourceFacts> {
    let images = blueprint::images(path, blueprint);
    if images.is_empty() {
        bail!("it names none: write `source:` at its disks, or check without --inspect");
    }
    let opened = machine::open(&images, &args.source, Purpose::Look, terminal)?;
    let root = opened.root(args.source.root.as_deref())?;
    let guest = Guest::open(&opened.machine, &root).context("cannot open the guest")?;
    let facts = guest::inspect(&opened.machine, &guest).context("cannot inspect the guest")?;
    let mut source = source_facts::of(&opened, &facts);
    source.set_hardware(args.hardware.hardware().or(source.hardware()));
    Ok(source)
}

fn text(found: &[Problems], terminal: &Terminal) -> String {
    let mut text = String::new();
    for file in found {
        for problem in &file.problems {
            let colour = match problem.severity {
                Severity::Warning => Colour::Warning,
                Severity::Error => Colour::Removed,
            };
            let line = format!("{}:{problem}", file.file.display());
            let line = output::printable(&line);
            let _ = writeln!(text, "{} [{}]", terminal.paint(colour, &line), problem.rule);
        }
    }
    text
}
