//! What a run found and did: a JSON report, and one HTML page of it.
//!
//! Every run that does something to a machine can write a [`Report`]: what was found, what was
//! changed and why, which regions of the disks held data, changed and were uploaded, what was made,
//! how long it took, and what to check by hand. A report is plain data under a version
//! ([`API_VERSION`]); [`page`] makes one page of one or several, [`Fleet`] merges those of the
//! shards of a fleet.
//!
//! No secrets: what only root may read in the guest is told by its size alone, and what looks like
//! a password or a key is taken out of diffs and of console output (`sensitive`).
//!
//! ```
//! use report::{Machine, Moment, Regions, Report, Run, page};
//!
//! let mut run = Run::begin("convert", Moment(1_767_225_600));
//! let mut machine = Machine::new("web1");
//! let mut regions = Regions::of("web1.vmdk", 8 << 30);
//! regions.data(0..1 << 30);
//! regions.changed(4096..8192);
//! machine.regions.push(regions.finish());
//! run.end(Moment(1_767_225_660));
//! let report = Report::new(run, vec![machine]);
//! let json = report.to_json();
//! assert_eq!(Report::parse(json.as_bytes())?, report);
//! assert!(page(&[("web1.json".to_owned(), report)]).starts_with("<!DOCTYPE html>"));
//! # Ok::<(), report::Error>(())
//! ```

mod change;
mod checks;
mod diff;
mod document;
mod error;
mod fleet;
mod guest_facts;
mod html;
mod machine;
mod moment;
mod regions;
mod sensitive;
mod size;
mod stopwatch;
mod target;
#[cfg(test)]
mod testing;

pub use change::{Because, Change, ChangeKind, Object, ObjectKind};
pub use checks::Check;
pub use diff::Diff;
pub use document::{API_VERSION, LARGEST, Outcome, Report, Run, Shard};
pub use error::Error;
pub use fleet::{Attempt, Fleet, FleetMachine, Status, Totals};
pub use guest_facts::{Guest, Kernel, Volume};
pub use html::{fleet_page, page};
pub use machine::{Finding, Machine, Output, Severity, SourceDisk};
pub use moment::Moment;
pub use regions::{Cell, CellRun, ChangedSince, MAX_CELLS, Painter, Part, Regions};
pub use stopwatch::{Step, Stopwatch};
pub use target::{Boot, Console, Target, TargetVolume};
