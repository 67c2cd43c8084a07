//! Files of a store: read up to what they can hold, written whole or not at all.
//!
//! A store holds what is on the disks, passwords and keys among it, so its files and directories are
//! for their owner alone, whatever the umask is.

use crate::Error;
use ondisk::width::u64_of;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// How the name of a file starts that is not whole yet.
pub(crate) const PARTIAL: &str = ".partial-";

/// What the file system itself keeps in its root directory, where a store may well be.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";

/// Reads a regular file of at most `most` bytes; a link is not followed, and nothing else that bears
/// the name is waited for.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => {
            return Err(corrupt(path, "it is a symbolic link".to_owned()));
        }
        Err(error) => return Err(io_error(path, error.into())),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| io_error(path, error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(corrupt(path, "it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| io_error(path, source))?;
    if u64_of(bytes.len()) > most {
        return Err(corrupt(
            path,
            format!("it is longer than the {most} bytes that it can have"),
        ));
    }
    Ok(bytes)
}

/// Makes a directory if it is not there.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|source| io_error(path, source)),
    }
}

/// A file that is whole and has no name yet that anybody looks for. It goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct Staged(NamedTempFile);

/// Writes a file for `path` whose name starts with `prefix` until it is published; a `durable` one
/// survives a crash.
pub(crate) fn stage(
    path: &Path,
    prefix: &str,
    content: &[u8],
    durable: bool,
) -> Result<Staged, Error> {
    let io = |source| io_error(path, source);
    let mut file = tempfile::Builder::new()
        .prefix(prefix)
        .tempfile_in(dir_of(path))
        .map_err(io)?;
    file.write_all(content).map_err(io)?;
    if durable {
        file.as_file().sync_all().map_err(io)?;
    }
    Ok(Staged(file))
}

impl Staged {
    /// Gives the file its name, in place of one that has it; keeps it as it is if that fails.
    pub(crate) fn publish_or_keep(self, path: &Path) -> Result<(), Error> {
        match self.0.persist(path) {
            Ok(_) => sync_dir(dir_of(path)),
            Err(error) => {
                let failed = io_error(path, error.error);
                Self(error.file).keep();
                Err(failed)
            }
        }
    }

    /// Leaves the file under the name that nobody looks for, until it is collected.
    pub(crate) fn keep(self) {
        // If it cannot be kept it goes away.
        let _ = self.0.keep();
    }
}

/// Writes a file that exists under its name only when it is whole; `durable` ones survive a crash.
pub(crate) fn publish(path: &Path, content: &[u8], durable: bool) -> Result<(), Error> {
    let Staged(file) = stage(path, PARTIAL, content, durable)?;
    file.persist(path)
        .map_err(|error| io_error(path, error.error))?;
    if durable {
        sync_dir(dir_of(path))?;
    }
    Ok(())
}

/// As [`publish`], but leaves a file alone that got the name meanwhile; says whether none had.
pub(crate) fn publish_new(path: &Path, content: &[u8]) -> Result<bool, Error> {
    let Staged(file) = stage(path, PARTIAL, content, false)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Some file systems, those in user space among them, cannot do that.
        Err(error) => match error.file.persist(path) {
            Ok(_) => Ok(true),
            Err(error) => Err(io_error(path, error.error)),
        },
    }
}

fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Whether there is something under this name, be it a link that leads nowhere.
pub(crate) fn is_there(path: &Path) -> Result<bool, Error> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(path, error)),
    }
}

/// Removes a file; says whether it was there.
pub(crate) fn remove(path: &Path) -> Result<bool, Error> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(path, error)),
    }
}

/// Makes the names in a directory survive a crash.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| io_error(dir, source))
}

/// The names in a directory, in order.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| io_error(dir, source))? {
        let entry = entry.map_err(|source| io_error(dir, source))?;
        // A name that is no UTF-8 is nobody's we know.
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether this is a directory itself, and no link to one.
pub(crate) fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path, source },
        _ => Error::Io { path, source },
    }
}

/// Whether a file or directory is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

pub(crate) fn corrupt(path: &Path, what: String) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        what,
    }
}
