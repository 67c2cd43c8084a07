//! Reporting how far long work has come.

use std::fmt::Debug;

/// What the numbers of a [`Task`] count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Bytes, shown with a rate.
    Bytes,
    /// Things: files, kernels, disks.
    Items,
}

/// Takes reports of progress; implemented once, in the terminal program.
///
/// Tasks may run at the same time in several threads.
pub trait Progress: Debug + Send + Sync {
    /// Starts a task of `total` units, or of unknown length; it ends when the value is dropped.
    fn start(&self, name: &str, unit: Unit, total: Option<u64>) -> Box<dyn Task>;
}

/// One running task.
pub trait Task: Debug + Send + Sync {
    /// Says that `units` more are done.
    fn advance(&self, units: u64);
}

/// Takes reports and shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: &str, _: Unit, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Self)
    }
}

impl Task for NoProgress {
    fn advance(&self, _: u64) {}
}
