//! Stopping long work from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// The work was stopped because somebody asked for it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("interrupted")]
pub struct Interrupted;

/// A flag that a signal handler sets and long loops look at; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks all work that holds a clone to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work was asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For loops: goes on or leaves with `?`.
    ///
    /// # Errors
    /// [`Interrupted`] once [`set`](Self::set) was called on any clone.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_set() {
            Err(Interrupted)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag() {
        let interrupt = Interrupt::default();
        let seen_by_worker = interrupt.clone();
        assert_eq!(seen_by_worker.check(), Ok(()));
        interrupt.set();
        assert_eq!(seen_by_worker.check(), Err(Interrupted));
    }
}
