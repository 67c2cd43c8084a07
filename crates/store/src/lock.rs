//! Who may use a store at the same time.
//!
//! Writers share the lock for as long as they write, since blocks that they stored, or found stored,
//! are in no index until the end. What removes something has the lock alone. The host releases the
//! lock of a process that dies.

use crate::files::io_error;
use crate::{Error, Store};
use ondisk::Interrupt;
use std::fs::{File, OpenOptions, TryLockError};
use std::time::Duration;

/// The file that is locked; it is empty.
pub(crate) const NAME: &str = "lock";

/// How often a lock is asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// Waits until nobody removes anything.
    pub(crate) fn lock_shared(&self, interrupt: &Interrupt) -> Result<Lock, Error> {
        self.lock(File::try_lock_shared, interrupt)
    }

    /// Waits until nobody writes.
    pub(crate) fn lock_alone(&self, interrupt: &Interrupt) -> Result<Lock, Error> {
        self.lock(File::try_lock, interrupt)
    }

    fn lock(
        &self,
        try_lock: impl Fn(&File) -> Result<(), TryLockError>,
        interrupt: &Interrupt,
    ) -> Result<Lock, Error> {
        let path = self.dir.join(NAME);
        // It is never replaced: two files of one name would be two locks.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(&path)
            // Of a store that must not be changed, a check needs no more than to read.
            .or_else(|_| File::open(&path))
            .map_err(|source| io_error(&path, source))?;
        loop {
            interrupt.check()?;
            match try_lock(&file) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(source)) => return Err(io_error(&path, source)),
            }
        }
    }
}
