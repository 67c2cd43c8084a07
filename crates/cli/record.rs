//! Writing down what a run found and did.

use crate::regions::Written;
use crate::terminal::Terminal;
use crate::{exit, kept_reports, whole_file};
use anyhow::{Error, Result};
use ondisk::Interrupt;
use report::{Machine, Moment, Painter, Regions, Report, Run, Stopwatch};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A run that is written down.
#[derive(Debug)]
pub(crate) struct Recorder {
    place: Place,
    run: Run,
    began: Instant,
    machines: Vec<Machine>,
}

/// Where the report goes.
#[derive(Debug)]
enum Place {
    /// Where the user wants it: a run whose report is missing there has failed.
    Wanted(PathBuf),
    /// Where reports are kept: the run goes well without.
    Kept(PathBuf),
    Nowhere,
}

/// What is known about one machine while it is worked on.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) machine: Machine,
    watch: Stopwatch,
    wanted: bool,
}

impl Recorder {
    /// Begins a run. Its report goes to `path`, else to where [reports are kept](kept_reports).
    ///
    /// A report that is there is replaced when the run ends, as an engine runs a task again; anything
    /// else is an error now.
    pub(crate) fn begin(command: &str, path: Option<&Path>) -> Result<Self> {
        claim(path)?;
        let now = Moment::now();
        let place = match path {
            Some(path) => Place::Wanted(path.to_owned()),
            None => kept_reports::place(command, now).map_or_else(
                |error| {
                    not_kept(&error);
                    Place::Nowhere
                },
                |path| path.map_or(Place::Nowhere, Place::Kept),
            ),
        };
        let mut run = Run::begin(command, now);
        // Linux tells it here; where it does not, the report does without.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        run.host = host.map(|host| host.trim().to_owned());
        Ok(Self {
            place,
            run,
            began: Instant::now(),
            machines: Vec::new(),
        })
    }

    /// The run is part `index`, from 1, of `count` of a fleet.
    pub(crate) fn shard(&mut self, index: u32, count: u32) {
        self.run.shard = Some(report::Shard { index, count });
    }

    /// Begins to write down what happens to a machine.
    pub(crate) fn notes(&self, machine: &str) -> Notes {
        Notes {
            machine: Machine::new(machine),
            watch: Stopwatch::since(self.began),
            wanted: !matches!(self.place, Place::Nowhere),
        }
    }

    /// A machine is done, or failed.
    pub(crate) fn add<T>(&mut self, notes: Notes, result: &Result<T>) {
        let mut machine = notes.machine;
        machine.steps = notes.watch.steps();
        if let Err(error) = result {
            machine.fail(error.chain());
        }
        machine.derive_checks();
        self.machines.push(machine);
    }

    /// Writes the report of a run that ended with `result`, which is given back.
    pub(crate) fn end<T>(mut self, result: Result<T>, terminal: &Terminal) -> Result<T> {
        let (path, is_wanted) = match self.place {
            Place::Wanted(path) => (path, true),
            Place::Kept(path) => (path, false),
            Place::Nowhere => return result,
        };
        self.run.end(Moment::now());
        if let Err(error) = &result {
            self.run.fail(error.chain());
        }
        let json = Report::new(self.run, self.machines).to_json();
        // It may have become something else meanwhile, the output of this very run for one.
        let written = claim(Some(&path)).and_then(|()| whole_file::write(&path, json.as_bytes()));
        match (result, written) {
            (result, Ok(())) => result,
            (result, Err(error)) if !is_wanted => {
                not_kept(&error);
                result
            }
            (Ok(_), Err(error)) => {
                Err(error.context("the work is done, but its report was not written"))
            }
            (Err(failed), Err(error)) => {
                exit::report(&error, terminal);
                Err(failed)
            }
        }
    }
}

impl Notes {
    /// Which parts of a disk held data, changed and were uploaded; `also` paints more. None if
    /// nobody will read it, or if it cannot be told any more: the work is done all the same.
    pub(crate) fn regions(
        &self,
        disk: &str,
        written: &Written<'_>,
        also: impl FnOnce(&mut Painter),
    ) -> Option<Regions> {
        if !self.wanted {
            return None;
        }
        let mut painter = Regions::of(disk, written.device.size());
        also(&mut painter);
        // Whoever interrupts now waits for the report, and the disk is written.
        match written.paint(&mut painter, &Interrupt::default()) {
            Ok(()) => Some(painter.finish()),
            Err(error) => {
                tracing::warn!(%disk, %error, "the report lacks the regions of the disk");
                None
            }
        }
    }

    /// What measures the steps.
    pub(crate) fn watch(&self) -> &Stopwatch {
        &self.watch
    }
}

fn not_kept(error: &Error) {
    tracing::warn!(
        error = format!("{error:#}"),
        "the report of this run is not kept"
    );
}

/// Checks that a report may be written there, before anything is done.
pub(crate) fn claim(path: Option<&Path>) -> Result<()> {
    path.map_or(Ok(()), |path| whole_file::claim(path, "report", is_report))
}

/// A report of another version is one too.
fn is_report(path: &Path) -> bool {
    let damaged = |error: &report::Error| match error {
        report::Error::File { source, .. } => !matches!(
            **source,
            report::Error::Version(_) | report::Error::Shape { .. }
        ),
        _ => true,
    };
    !Report::read(path).is_err_and(|error| damaged(&error))
}
