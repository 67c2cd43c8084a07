//! `rehost rules`

use crate::args::RulesArgs;
use crate::output;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;

#[derive(Serialize)]
struct RuleLine {
    id: &'static str,
    summary: &'static str,
}

pub(super) fn run(args: &RulesArgs) -> Result<ExitCode> {
    let rules = ::convert::RULES.iter();
    let lines: Vec<_> = rules
        .map(|rule| RuleLine {
            id: rule.id,
            summary: rule.summary,
        })
        .collect();
    if args.json {
        output::json(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = lines
        .iter()
        .map(|line| line.id.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{:<width$}  {}", line.id, line.summary);
    }
    output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
