//! The commands about reports.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// Where a run writes down what it found and did.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RecordArgs {
    /// Write what was found and done to this file as JSON; `rehost report` makes a page of it
    ///
    /// It is written whenever the run ends, also when it fails. A report that is there is replaced,
    /// anything else is not. With --project it is a directory, which gets a file for each machine.
    /// Without this option the reports of the last 100 runs are kept in the directory reports of
    /// REHOST_STATE, else $XDG_STATE_HOME/rehost, else ~/.local/state/rehost.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Reports that other commands wrote [default: the one of the last run without --report]
    #[arg(value_name = "REPORT", value_hint = ValueHint::FilePath)]
    pub(crate) reports: Vec<PathBuf>,
    /// Write the page to this file; a page that is there is replaced [default: stdout]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Merge the reports of many machines into one table, JSON or page
    ///
    /// A machine may be in several reports, when a task was run again: of each command the newest
    /// attempt that went well counts, else the newest; the others are listed.
    #[command(
        after_help = "Examples:\n  rehost fleet report reports/\n  rehost fleet report reports/ -o fleet.html\n  rehost fleet report reports/test --project rehost.yaml\n  rehost fleet report --json shard-*.json | jq -r '.machines[] | select(.status != \"ok\").name'\n\nExit status: 0 everything went well, 6 a machine failed or is missing, or a run failed before any\nmachine; others as for every command."
    )]
    Report(FleetReportArgs),
}

#[derive(Args, Debug)]
pub(crate) struct FleetReportArgs {
    /// Reports, or directories of them; other JSON files in a directory are left alone
    #[arg(required = true, value_name = "REPORT", value_hint = ValueHint::AnyPath)]
    pub(crate) reports: Vec<PathBuf>,
    /// The project file whose machines are expected: those without a report are missing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) project: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a page of all machines to this file; a page that is there is replaced
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}
