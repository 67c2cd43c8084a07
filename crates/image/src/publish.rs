//! A file that appears under its name whole or not at all.

use crate::Error;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file that is being written in the directory of its target.
///
/// On Linux file systems that know `O_TMPFILE` it has no name at all, so that nothing is left of it
/// however the process ends. Elsewhere it has a hidden one, and is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Draft {
    directory: PathBuf,
    name: OsString,
    file: DraftFile,
}

#[derive(Debug)]
enum DraftFile {
    Nameless(File),
    Hidden(tempfile::NamedTempFile),
}

/// The user's mask takes away from this, as it does for every new file.
const MODE: u32 = 0o666;
/// Most bytes of the target's name that a hidden name has: file systems take names of 255 bytes, and
/// the name of every target that can be made has to give a hidden one that can be.
const NAME: usize = 200;
/// Hidden names that are tried for a nameless file that replaces another.
const NAMES: u32 = 100;

impl Draft {
    pub(crate) fn new(directory: &Path, name: &OsStr) -> Result<Self, Error> {
        let file = match nameless(directory) {
            Some(file) => DraftFile::Nameless(file),
            None => DraftFile::Hidden(hidden(directory, name)?),
        };
        Ok(Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
            file,
        })
    }

    pub(crate) fn file(&self) -> &File {
        match &self.file {
            DraftFile::Nameless(file) => file,
            DraftFile::Hidden(file) => file.as_file(),
        }
    }

    /// Gives the file its name; with `sync` once its content cannot be lost any more.
    pub(crate) fn publish(self, to: &Path, overwrite: bool, sync: bool) -> Result<(), Error> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists {
                path: to.to_owned(),
            },
            _ => Error::io(to, "write", source),
        };
        if sync {
            self.file().sync_all().map_err(failed)?;
        }
        match self.file {
            DraftFile::Nameless(file) if overwrite => {
                let path = link_hidden(&file, &self.directory, &self.name).map_err(failed)?;
                std::fs::rename(&path, to).map_err(|error| {
                    // The error is told; that the hidden name stays too is the lesser trouble.
                    let _ = std::fs::remove_file(&path);
                    failed(error)
                })?;
            }
            DraftFile::Nameless(file) => link(&file, to).map_err(failed)?,
            DraftFile::Hidden(file) => {
                let renamed = if overwrite {
                    file.persist(to)
                } else {
                    file.persist_noclobber(to)
                };
                renamed.map_err(|e| failed(e.error))?;
            }
        }
        if sync {
            File::open(&self.directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|e| Error::io(&self.directory, "write", e))?;
        }
        Ok(())
    }
}

/// A file without a name, if the host can give it one later.
fn nameless(directory: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory, flags, Mode::from_raw_mode(MODE)).ok()?;
    let file = File::from(file);
    Path::new(&name_of(&file)).exists().then_some(file)
}

fn hidden(directory: &Path, name: &OsStr) -> Result<tempfile::NamedTempFile, Error> {
    tempfile::Builder::new()
        .prefix(&prefix(name))
        .suffix(".partial")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)
        .map_err(|e| Error::io(directory, "create a file in", e))
}

fn prefix(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(&name[..name.len().min(NAME)]));
    prefix.push(".");
    prefix
}

/// How the kernel calls an open file: `open(2)` shows this way to name one made with `O_TMPFILE`.
fn name_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn link(file: &File, to: &Path) -> io::Result<()> {
    rustix::fs::linkat(CWD, name_of(file), CWD, to, AtFlags::SYMLINK_FOLLOW).map_err(Into::into)
}

/// Links a file under a hidden name that is free: no link can replace a file, only a rename can.
fn link_hidden(file: &File, directory: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let process = std::process::id();
    for number in 0..NAMES {
        let mut hidden = prefix(name);
        hidden.push(format!("{process}-{number}.partial"));
        let path = directory.join(hidden);
        match link(file, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(directory: &Path) -> Vec<OsString> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn every_kind_of_draft_is_published_or_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // The longest name that there is.
        let longest = "x".repeat(255);
        for (nameless, name) in [
            (true, "disk"),
            (false, "disk"),
            (true, &longest),
            (false, &longest),
        ] {
            let to = dir.path().join(name);
            let name = OsStr::new(name);
            let draft = || {
                let draft = Draft::new(dir.path(), name).unwrap();
                let file = match draft.file {
                    file if nameless => file,
                    _ => DraftFile::Hidden(hidden(dir.path(), name).unwrap()),
                };
                let draft = Draft { file, ..draft };
                draft.file().write_all(b"content").unwrap();
                draft
            };
            drop(draft());
            assert!(names(dir.path()).is_empty());
            draft().publish(&to, false, true).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), b"content");
            let mode = std::fs::metadata(&to).unwrap().permissions().mode();
            let plain = dir.path().join("plain");
            File::create(&plain).unwrap();
            assert_eq!(
                mode,
                std::fs::metadata(&plain).unwrap().permissions().mode()
            );
            std::fs::remove_file(&plain).unwrap();
            std::fs::write(&to, "old").unwrap();
            let error = draft().publish(&to, false, false).unwrap_err();
            assert!(matches!(error, Error::Exists { .. }), "{error}");
            assert_eq!(std::fs::read(&to).unwrap(), b"old");
            draft().publish(&to, true, false).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), b"content");
            assert_eq!(names(dir.path()), [name]);
            std::fs::remove_file(&to).unwrap();
        }
    }
}
