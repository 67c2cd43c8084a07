//! `rehost plan`

use super::options;
use crate::args::PlanArgs;
use crate::blueprint;
use crate::exit::DIFFERENT;
use crate::source::Purpose;
use crate::terminal::{Colour, Terminal};
use crate::{machine, output};
use anyhow::{Context, Result, bail};
use guest::Guest;
use std::process::ExitCode;

pub(super) fn run(args: &PlanArgs, terminal: &Terminal) -> Result<ExitCode> {
    let blueprint = match args.rules.blueprint.as_slice() {
        [] => None,
        [path] => Some(blueprint::load(path)?),
        _ => bail!("`rehost plan` takes one blueprint"),
    };
    let options = options(&args.rules, blueprint.as_ref().map(|one| &one.blueprint));
    let mut images = args.images.clone();
    if let (true, Some(blueprint)) = (images.is_empty(), blueprint) {
        images = blueprint.images;
    }
    if images.is_empty() {
        bail!("the blueprint names no disks, and no IMAGE is given");
    }
    let opened = machine::open(&images, &args.source, Purpose::Look, terminal)?;
    let root = opened.root(args.source.root.as_deref())?;
    let guest = Guest::open(&opened.machine, &root).context("cannot open the guest")?;
    let facts = guest::inspect(&opened.machine, &guest).context("cannot inspect the guest")?;
    let plan = ::convert::plan(&guest, &facts, &options)?;
    if args.json {
        output::json(&plan)?;
    } else if !args.check {
        output::write(painted(&plan.render(!args.no_diff), terminal).as_bytes())?;
    }
    plan.check_space(&guest)?;
    let status = if args.check && !plan.is_empty() {
        DIFFERENT
    } else {
        0
    };
    Ok(status.into())
}

/// The plan's text with colours by what its lines begin with.
fn painted(text: &str, terminal: &Terminal) -> String {
    let mut painted = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let colour = match trimmed {
            _ if number == 0 => Some(Colour::Bold),
            _ if trimmed.starts_with("| +") => Some(Colour::Added),
            _ if trimmed.starts_with("| -") => Some(Colour::Removed),
            _ if line.starts_with(['+', '-', '~']) => Some(Colour::Bold),
            _ if line.starts_with("warning:") || line.starts_with("PROBLEM:") => {
                Some(Colour::Warning)
            }
            _ => None,
        };
        match colour {
            Some(colour) => painted.push_str(&terminal.paint(colour, line)),
            None => painted.push_str(line),
        }
        painted.push('\n');
    }
    painted
}
