//! Who may use a store at the same time.
//!
//! Writers share the lock for as long as they write, since blocks that they stored, or found stored,
//! are in no index until the end. What removes something has the lock alone. The host releases the
//! lock of a process that dies.
//!
//! It is an flock, so it holds among all that see the same file system as one: the processes of a
//! host; over NFS those of all hosts, unless it is mounted with `nolock` or `local_lock`.

use crate::files::{corrupt, io_error};
use crate::{Error, Store};
use ondisk::Interrupt;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The file that is locked; it is empty.
pub(crate) const NAME: &str = "lock";

/// How often a lock is asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// How often the file may be another one than that which was opened: somebody copied a store over
/// this one, or the file system gives a file no number that stays.
const MOST_REPLACED: u32 = 10;

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// None where nobody can write.
    _file: Option<File>,
}

impl Store {
    /// Waits until nobody removes anything.
    pub(crate) fn lock_shared(&self, interrupt: &Interrupt) -> Result<Lock, Error> {
        let path = self.dir.join(NAME);
        match lock(&path, File::try_lock_shared, interrupt) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Ok(Lock { _file: None })
            }
            locked => locked,
        }
    }

    /// Waits until nobody writes.
    pub(crate) fn lock_alone(&self, interrupt: &Interrupt) -> Result<Lock, Error> {
        lock(&self.dir.join(NAME), File::try_lock, interrupt)
    }
}

fn lock(
    path: &Path,
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
    interrupt: &Interrupt,
) -> Result<Lock, Error> {
    let mut file = open(path)?;
    let mut replaced = 0_u32;
    loop {
        interrupt.check()?;
        match try_lock(&file) {
            Ok(()) if is_at(&file, path)? => return Ok(Lock { _file: Some(file) }),
            // Two files of one name would be two locks.
            Ok(()) if replaced == MOST_REPLACED => {
                return Err(corrupt(path, "it is another file each time".to_owned()));
            }
            Ok(()) => {
                replaced = replaced.saturating_add(1);
                file = open(path)?;
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(source)) => return Err(io_error(path, source)),
        }
    }
}

/// Opens the file that is locked, and makes it if that can be.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let mut read = OpenOptions::new();
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    read.read(true).custom_flags(no_follow);
    let mut write = read.clone();
    write.write(true).create(true).truncate(false).mode(0o600);
    let file = write.open(path);
    // Of a store that must not be changed, a check needs no more than to read.
    file.or_else(|error| read.open(path).map_err(|_| error))
        .map_err(|source| io_error(path, source))
}

/// Whether an open file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> Result<bool, Error> {
    let io = |source| io_error(path, source);
    let open = file.metadata().map_err(io)?;
    match path.metadata() {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io(error)),
    }
}
