//! Work on several machines at a time, each under its lock.

use super::launch::{Launch, Outcome, Request, convert_latest};
use super::{Migration, now, on_ec2, recover};
use crate::args::ReplicateArgs;
use crate::commands::replicate;
use crate::exit::{self, GoesOn, Several};
use crate::record::Notes;
use crate::terminal::Terminal;
use ::launch::lifecycle::State;
use ::launch::project::Machine;
use ::launch::record::Converted;
use anyhow::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Does `work` for each machine, so many at a time. One that fails does not keep the others from going
/// on; where several do, they are said, and their sum is the result.
pub(crate) fn each(
    machines: &[&Machine],
    jobs: u16,
    terminal: &Terminal,
    work: impl Fn(&Machine) -> Result<()> + Sync,
) -> Result<()> {
    let waiting: Mutex<VecDeque<&Machine>> = Mutex::new(machines.iter().copied().collect());
    let failed: Mutex<Vec<Error>> = Mutex::default();
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let threads = usize::from(jobs).min(machines.len()).max(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !terminal.interrupt.is_set()
                    && let Some(machine) = next()
                {
                    if let Err(error) = work(machine) {
                        let error = error.context(format!("{} failed", machine.name));
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(error);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let interrupted = terminal.interrupt.check();
    if let Err(interrupted) = interrupted {
        // What failed before that on its own is said too.
        failed.retain(|error| !exit::is_interrupted(error));
        for error in &failed {
            exit::report(error, terminal);
        }
        return Err(Error::new(interrupted).context(GoesOn));
    }
    if failed.len() <= 1 {
        return failed.pop().map_or(Ok(()), Err);
    }
    for error in &failed {
        exit::report(error, terminal);
    }
    Err(Several::new(&failed, machines.len()).into())
}

/// Takes a snapshot of a machine, and keeps that it is there.
pub(crate) fn snapshot(
    migration: &Migration,
    machine: &Machine,
    args: &ReplicateArgs,
    notes: &mut Notes,
    terminal: &Terminal,
) -> Result<replicate::Report> {
    let name = &machine.name;
    let mut locked = migration.lock(name)?;
    if !locked.found {
        recover::record(migration, machine, &mut locked, terminal)?;
    }
    let args = ReplicateArgs {
        read_all: args.read_all,
        full: args.full,
        allow_mounted: args.allow_mounted,
        no_verify: args.no_verify,
        ..migration.replicate(machine)
    };
    let taken = replicate::once(&args, name, notes, terminal)?;
    let record = &mut locked.record;
    record.hardware = taken.hardware.or(record.hardware);
    let outputs = taken.outputs;
    record.snapshot = Some(migration.taken(&outputs));
    record.enter(record.state.snapshot_made(), now());
    locked.save()?;
    Ok(replicate::Report {
        machine: name.clone(),
        outputs,
    })
}

/// Converts a machine's last snapshots, unless that is done.
pub(crate) fn convert(
    migration: &Migration,
    machine: &Machine,
    notes: &mut Notes,
    terminal: &Terminal,
) -> Result<Converted> {
    let mut locked = migration.lock(&machine.name)?;
    if !locked.found {
        recover::record(migration, machine, &mut locked, terminal)?;
    }
    recover::refresh(migration, machine, &mut locked, terminal)?;
    convert_latest(migration, machine, &mut locked, notes, terminal)
}

/// Launches a machine.
pub(crate) fn launch(
    migration: &Migration,
    machine: &Machine,
    request: &Request,
    notes: &mut Notes,
    terminal: &Terminal,
) -> Result<Outcome> {
    let launch = Launch {
        migration,
        machine,
        request,
        terminal,
    };
    launch.run(notes)
}

/// Asks EC2 whether it would launch a machine as it was last converted; nothing is changed.
pub(crate) fn dry_run(
    migration: &Migration,
    machine: &Machine,
    request: &Request,
    terminal: &Terminal,
) -> Result<()> {
    let launch = Launch {
        migration,
        machine,
        request,
        terminal,
    };
    launch.dry_run()
}

/// Puts a machine where the user says it is; says where it was.
pub(crate) fn mark(
    migration: &Migration,
    machine: &Machine,
    to: State,
    terminal: &Terminal,
) -> Result<State> {
    let mut locked = migration.lock(&machine.name)?;
    if !locked.found {
        recover::record(migration, machine, &mut locked, terminal)?;
    }
    let record = &mut locked.record;
    let before = record.state;
    // Where there is a target there was a snapshot, whatever is known of it here.
    let launched = record.snapshot.is_some() || !record.targets.is_empty();
    let state = before.mark(to, launched)?;
    record.enter(state, now());
    record.running = None;
    locked.save()?;
    on_ec2::mark(migration, &mut locked.record, state, terminal)?;
    locked.save()?;
    Ok(before)
}
