//! `rehost blueprint import`

use super::write;
use crate::args::ImportArgs;
use crate::output;
use anyhow::{Context as _, Result, bail};
use launch::blueprint::import::{self, Imported};
use launch::blueprint::{Blueprint, Context};
use launch::document;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// The most bytes that are read of a file: more than the library takes.
const LIMIT: u64 = 32 << 20;

pub(super) fn run(args: &ImportArgs) -> Result<ExitCode> {
    let document = read(&args.file)?;
    let template = args.template.as_deref().map(read).transpose()?;
    let imported = import::import(&document, template.as_deref())
        .with_context(|| format!("cannot import {}", args.file.display()))?;
    let several = imported.len() > 1;
    let dir = args.output.as_deref().filter(|path| {
        several || path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
    });
    if several && dir.is_none() {
        bail!(
            "{} holds {} blueprints; give a directory for them by -o",
            args.file.display(),
            imported.len()
        );
    }
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut names = BTreeSet::new();
    for one in &imported {
        let mut name = one.blueprint.metadata.machine.clone();
        // Names that differ by what was left out of them.
        for number in 2.. {
            if names.insert(name.to_lowercase()) {
                break;
            }
            name = format!("{}-{number}", one.blueprint.metadata.machine);
        }
        let text = one.to_yaml().context("cannot write YAML")?;
        match dir {
            Some(dir) => write(Some(&dir.join(format!("{name}.yaml"))), args.force, &text)?,
            None => write(args.output.as_deref(), args.force, &text)?,
        }
        tell(one, &name, &text);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on stderr what is not in the blueprint, and what is wrong with what is.
fn tell(one: &Imported, name: &str, text: &str) {
    for note in &one.notes {
        eprintln!("{name}: {}", output::printable(&note.to_string()));
    }
    let problems = match document::read::<Blueprint>(text) {
        Ok(document) => Blueprint::check(&document, &Context::default()),
        Err(problems) => problems,
    };
    for problem in problems {
        eprintln!("{name}.yaml:{}", output::printable(&problem.to_string()));
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    file.take(LIMIT)
        .read_to_end(&mut bytes)
        .with_context(cannot)?;
    Ok(bytes)
}
