//! The directory in which a project's records are kept, a file for each machine.

use crate::record::Record;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The directory of a project's records. Any number of processes may use it at a time: each machine
/// has a lock.
#[derive(Clone, Debug)]
pub struct Records {
    dir: PathBuf,
    project: String,
}

/// The record of a machine that nobody else changes meanwhile.
#[derive(Debug)]
pub struct Locked {
    /// What is known; [`Locked::save`] keeps it.
    pub record: Record,
    /// Whether there was a file.
    pub found: bool,
    path: PathBuf,
    /// Let go with the value.
    _lock: File,
}

/// Why a record cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Another process works on the machine.
    #[error("{machine} is being worked on by another rehost (lock {})", lock.display())]
    Busy {
        /// The machine.
        machine: String,
        /// The file that it holds.
        lock: PathBuf,
    },
    /// The file is no record.
    #[error(
        "{} is damaged: {why}; move it away, and what AWS has is found again by its tags",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is about another machine.
    #[error("{} is the record of {found}, not of {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose it is, as `PROJECT/MACHINE`.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The host failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

/// A record is a few KiB; findings are the guest's words and bounded where they are made.
const MAX_SIZE: u64 = 4 << 20;

impl Records {
    /// The records of a project in `dir`, which is made when something is kept.
    pub fn new(dir: PathBuf, project: &str) -> Self {
        Self {
            dir,
            project: project.to_owned(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads what is known about a machine, without holding others off; `None` if nothing is.
    ///
    /// # Errors
    /// [`RecordError::Damaged`], [`RecordError::Other`], [`RecordError::Io`].
    pub fn read(&self, machine: &str) -> Result<Option<Record>, RecordError> {
        let path = self.path(machine);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                let read = file.take(MAX_SIZE + 1).read_to_string(&mut text);
                read.map_err(|source| io_error(&path, source))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path, error)),
        }
        let damaged = |why: String| RecordError::Damaged {
            path: path.clone(),
            why,
        };
        if u64::try_from(text.len()).is_ok_and(|size| size > MAX_SIZE) {
            return Err(damaged("it is larger than 4 MiB".to_owned()));
        }
        let record: Record =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if record.api_version != Record::API_VERSION {
            let version = record.api_version;
            return Err(damaged(format!("its apiVersion is {version:?}")));
        }
        if record.machine != machine || record.project != self.project {
            return Err(RecordError::Other {
                path,
                found: format!("{}/{}", record.project, record.machine),
                expected: format!("{}/{machine}", self.project),
            });
        }
        Ok(Some(record))
    }

    /// Takes a machine for this process; `now` is the time in seconds since 1970.
    ///
    /// # Errors
    /// [`RecordError::Busy`], and those of [`Records::read`].
    pub fn lock(&self, machine: &str, now: u64) -> Result<Locked, RecordError> {
        let dir = &self.dir;
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir);
        made.map_err(|source| io_error(dir, source))?;
        let path = dir.join(format!("{machine}.lock"));
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| io_error(&path, source))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(RecordError::Busy {
                    machine: machine.to_owned(),
                    lock: path,
                });
            }
            Err(error) => return Err(io_error(&path, error.into())),
        }
        let found = self.read(machine)?;
        Ok(Locked {
            found: found.is_some(),
            record: found.unwrap_or_else(|| Record::new(&self.project, machine, now)),
            path: self.path(machine),
            _lock: lock,
        })
    }

    fn path(&self, machine: &str) -> PathBuf {
        self.dir.join(format!("{machine}.json"))
    }
}

impl Locked {
    /// Keeps the record so that it survives a crash.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the file is what it was.
    pub fn save(&self) -> Result<(), RecordError> {
        let path = &self.path;
        let io = |source| io_error(path, source);
        let mut text = serde_json::to_string_pretty(&self.record)
            .map_err(|error| io(io::Error::other(error)))?;
        text.push('\n');
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(io)
    }
}

fn io_error(path: &Path, source: io::Error) -> RecordError {
    RecordError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Kind, State};
    use crate::record::Place;

    #[test]
    fn a_record_is_kept_and_one_process_has_a_machine() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().join("state"), "shop");
        assert!(records.read("web1").unwrap().is_none());
        let mut locked = records.lock("web1", 7).unwrap();
        assert!(!locked.found);
        let busy = records.lock("web1", 7);
        assert!(matches!(busy, Err(RecordError::Busy { .. })), "{busy:?}");
        records.lock("web2", 7).unwrap();
        locked.record.begin(Kind::Test, Place::Ec2, 8);
        locked.save().unwrap();
        drop(locked);
        let locked = records.lock("web1", 9).unwrap();
        assert!(locked.found);
        assert_eq!(locked.record.state, State::Testing);
    }

    #[test]
    fn what_is_no_record_of_the_machine_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().to_owned(), "shop");
        let path = dir.path().join("web1.json");
        fs::write(&path, "{\"apiVersion\":").unwrap();
        let read = records.read("web1");
        assert!(matches!(read, Err(RecordError::Damaged { .. })), "{read:?}");
        let mut other = Record::new("shop", "web2", 1);
        fs::write(&path, serde_json::to_string(&other).unwrap()).unwrap();
        assert!(matches!(
            records.lock("web1", 1),
            Err(RecordError::Other { .. })
        ));
        other.machine = "web1".to_owned();
        other.api_version = "rehost/v9".to_owned();
        fs::write(&path, serde_json::to_string(&other).unwrap()).unwrap();
        assert!(matches!(
            records.read("web1"),
            Err(RecordError::Damaged { .. })
        ));
    }
}
