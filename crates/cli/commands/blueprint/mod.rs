//! `rehost blueprint`

mod check;
mod import;
mod new;

use crate::args::BlueprintCommand;
use crate::output;
use crate::terminal::Terminal;
use anyhow::{Context, Result};
use launch::blueprint::Blueprint;
use launch::document;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(command: &BlueprintCommand, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        BlueprintCommand::New(args) => new::run(args, terminal),
        BlueprintCommand::Check(args) => check::run(args, terminal),
        BlueprintCommand::Import(args) => import::run(args),
        BlueprintCommand::Schema => {
            output::json(&document::schema::<Blueprint>())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes a text to a file that must be new, or to stdout.
fn write(path: Option<&Path>, force: bool, text: &str) -> Result<()> {
    let Some(path) = path else {
        return output::write(text.as_bytes());
    };
    let mut options = OpenOptions::new();
    if force {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    let cannot = || match path.try_exists() {
        Ok(true) if !force => format!("{} exists; --force replaces it", path.display()),
        _ => format!("cannot write {}", path.display()),
    };
    let mut file = options.open(path).with_context(cannot)?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
