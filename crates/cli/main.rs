//! The program `rehost`: arguments in, one library call, rendering out.

mod args;
mod blueprint;
mod changed;
mod commands;
mod date;
mod duration;
#[cfg(feature = "aws")]
mod ebs;
#[cfg(not(feature = "aws"))]
#[path = "no_ebs.rs"]
mod ebs;
mod exit;
mod facts;
mod identity;
mod kept;
mod kept_reports;
mod locator;
mod machine;
mod migration;
mod mounted;
mod output;
mod progress;
mod record;
mod regions;
mod since;
mod size;
mod snapshot_home;
mod snapshot_name;
mod source;
mod source_facts;
mod state;
mod table;
mod target;
mod terminal;
mod whole_file;
mod write_format;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    let terminal = terminal::Terminal::new(&arguments.global);
    match commands::run(arguments.command, &terminal) {
        Ok(code) => code,
        Err(error) => exit::report(&error, &terminal),
    }
}
