//! `rehost mark`

use crate::args::{MarkArgs, MarkedState};
use crate::migration::{self, Migration};
use crate::terminal::Terminal;
use anyhow::Result;
use launch::lifecycle::State;
use launch::project::Machine;
use std::process::ExitCode;

pub(super) fn run(args: &MarkArgs, terminal: &Terminal) -> Result<ExitCode> {
    let migration = Migration::open(&args.project)?;
    let machines = migration.machines(&args.machines)?;
    let state = match args.state {
        MarkedState::Ready => State::Ready,
        MarkedState::Tested => State::Tested,
        MarkedState::CutOver => State::CutOver,
    };
    let each = |machine: &Machine| {
        let before = migration::mark(&migration, machine, state, terminal)?;
        eprintln!("{}: {before} -> {state}", machine.name);
        Ok(())
    };
    migration::each(&machines, args.project.jobs, terminal, each)?;
    Ok(ExitCode::SUCCESS)
}
