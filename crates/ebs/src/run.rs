//! Runs that are known again after they were killed.
//!
//! The file `….run`, JSON: `set`, what the snapshots of the run have in common, and `disks`, for each
//! disk whose snapshot is not completed a name that its upload has alone. It is there while the run
//! goes on, or after it did not come to its end.

use crate::Error;
use crate::upload::hex;
use ondisk::width::u64_of;
use rustix::fs::FlockOperation;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A run that makes snapshots of the disks of a machine.
///
/// The next run of the same kind continues what this one began, if it did not come to its end; what
/// it completed is never taken for the next run's.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    file: File,
    set: String,
    disks: Mutex<Map<String, Value>>,
}

/// A few numbers for each disk.
const MAX_FILE: u64 = 1 << 20;

impl Run {
    /// Begins or continues the run that `what` names, in the directory of journals.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is going on, [`Error::Io`].
    pub fn begin(dir: &Path, what: &[&str]) -> Result<Self, Error> {
        let path = dir.join(format!("{}.run", name(what)));
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let file = loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(io)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy(path)),
                Err(error) => return Err(io(error.into())),
            }
            // A run that ended between the two has removed it: nobody else would see this lock.
            let own = file.metadata().map_err(io)?;
            let is_own =
                |named: std::fs::Metadata| (named.dev(), named.ino()) == (own.dev(), own.ino());
            if std::fs::metadata(&path).is_ok_and(is_own) {
                break file;
            }
        };
        let mut bytes = Vec::new();
        (&file).take(MAX_FILE).read_to_end(&mut bytes).map_err(io)?;
        // Killed while it was written, it may be of two halves: nothing can be continued then.
        let found = serde_json::Deserializer::from_slice(&bytes)
            .into_iter::<Value>()
            .next();
        let found = found.and_then(Result::ok).unwrap_or_default();
        let set = found["set"].as_str().filter(|set| !set.is_empty());
        let run = Self {
            set: set.map_or_else(unique, str::to_owned),
            disks: Mutex::new(found["disks"].as_object().cloned().unwrap_or_default()),
            path: path.clone(),
            file,
        };
        run.write(&run.disks())?;
        Ok(run)
    }

    /// What the snapshots of this run have in common.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// What the upload of a disk is known by, until it is [`done`](Self::done).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn identity(&self, disk: &str) -> Result<String, Error> {
        let mut disks = self.disks();
        if let Some(known) = disks.get(disk).and_then(Value::as_str) {
            return Ok(known.to_owned());
        }
        let new = unique();
        disks.insert(disk.to_owned(), new.clone().into());
        self.write(&disks)?;
        Ok(new)
    }

    /// The snapshot of a disk is completed: its name is used up, whatever becomes of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn done(&self, disk: &str) -> Result<(), Error> {
        let mut disks = self.disks();
        disks.remove(disk);
        self.write(&disks)
    }

    /// All disks are done.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end(self) -> Result<(), Error> {
        std::fs::remove_file(&self.path).map_err(|source| Error::Io {
            path: self.path,
            source,
        })
    }

    fn disks(&self) -> MutexGuard<'_, Map<String, Value>> {
        // Whole at any time.
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, disks: &Map<String, Value>) -> Result<(), Error> {
        let mut bytes = json!({"set": self.set, "disks": disks}).to_string();
        bytes.push('\n');
        // In place, for the lock is on this very file. What is left of a longer text is not read.
        self.file
            .write_all_at(bytes.as_bytes(), 0)
            .and_then(|()| self.file.set_len(u64_of(bytes.len())))
            .and_then(|()| self.file.sync_data())
            .map_err(|source| Error::Io {
                path: self.path.clone(),
                source,
            })
    }
}

/// A name that nothing else has.
fn unique() -> String {
    let random = |half: u8| RandomState::new().hash_one(half).to_le_bytes();
    hex(&[random(0), random(1)].concat())
}

fn name(what: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in what {
        hasher.update(u64_of(part.len()).to_le_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    hex(digest.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_killed_goes_on_and_one_that_ended_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let begin = || Run::begin(dir.path(), &["staging", "web1"]).unwrap();
        let first = begin();
        let (set, one, two) = (
            first.set().to_owned(),
            first.identity("1").unwrap(),
            first.identity("2").unwrap(),
        );
        assert_ne!(one, two);
        assert_eq!(first.identity("1").unwrap(), one);
        let busy = Run::begin(dir.path(), &["staging", "web1"]);
        assert!(matches!(busy, Err(Error::Busy(_))));
        assert!(Run::begin(dir.path(), &["staging", "web2"]).is_ok());
        first.done("1").unwrap();
        drop(first);
        let second = begin();
        assert_eq!(second.set(), set);
        assert_eq!(second.identity("2").unwrap(), two);
        assert_ne!(second.identity("1").unwrap(), one);
        second.end().unwrap();
        let third = begin();
        assert_ne!(third.set(), set);
        assert_ne!(third.identity("2").unwrap(), two);
    }

    #[test]
    fn a_file_of_two_halves_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.run", name(&["x"])));
        for text in ["", "{\"set\":\"a", "[1]", "{\"set\":3,\"disks\":[]}"] {
            std::fs::write(&path, text).unwrap();
            let run = Run::begin(dir.path(), &["x"]).unwrap();
            assert_eq!(run.set().len(), 32, "{text}");
        }
        std::fs::write(&path, "{\"set\":\"a\",\"disks\":{\"1\":\"b\"}}}}").unwrap();
        let run = Run::begin(dir.path(), &["x"]).unwrap();
        assert_eq!((run.set(), run.identity("1").unwrap().as_str()), ("a", "b"));
    }
}
