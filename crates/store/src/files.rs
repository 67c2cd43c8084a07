//! Files of a store: read up to what they can hold, written whole or not at all.

use crate::Error;
use ondisk::width::u64_of;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// How the name of a file starts that is not whole yet.
pub(crate) const PARTIAL: &str = ".partial-";

/// Reads a file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|source| io_error(path, source))?;
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

/// Writes a file that exists under its name only when it is whole; `durable` ones survive a crash.
pub(crate) fn publish(path: &Path, content: &[u8], durable: bool) -> Result<(), Error> {
    let io = |source| io_error(path, source);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempfile_in(dir)
        .map_err(io)?;
    file.write_all(content).map_err(io)?;
    if durable {
        file.as_file().sync_all().map_err(io)?;
    }
    file.persist(path).map_err(|error| io(error.error))?;
    if durable {
        sync_dir(dir)?;
    }
    Ok(())
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

pub(crate) fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn corrupt(path: &Path, what: String) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        what,
    }
}
