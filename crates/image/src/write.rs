//! Writing a device as an image: the target appears whole or not at all.

use crate::qcow2::Qcow2Options;
use crate::{Error, qcow2, raw};
use block::BlockRead;
use ondisk::{Interrupt, Progress, Task, Unit};
use rayon::ThreadPoolBuilder;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How an image is written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// What is written.
    pub format: WriteFormat,
    /// Threads that read and compress; as many as the host has cores if it is not said.
    pub threads: Option<NonZeroUsize>,
    /// Whether a target that exists is replaced. A block device is always a target that exists.
    pub overwrite: bool,
}

/// The formats that are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum WriteFormat {
    /// The bytes of the disk, with holes where they are zero.
    #[default]
    Raw,
    /// QEMU copy-on-write, version 3, without a backing file.
    Qcow2(Qcow2Options),
}

/// What was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Bytes of the disk in the image: the device's, to whole sectors in qcow2.
    pub virtual_size: u64,
    /// Bytes of the disk that were not zero, to whole clusters or pages.
    pub data: u64,
}

/// What the writer of a format works with.
pub(crate) struct Job<'j> {
    pub(crate) device: &'j dyn BlockRead,
    pub(crate) file: &'j File,
    pub(crate) path: &'j Path,
    pub(crate) task: &'j dyn Task,
    pub(crate) interrupt: &'j Interrupt,
}

impl Job<'_> {
    pub(crate) fn failed(&self, source: std::io::Error) -> Error {
        Error::io(self.path, "write", source)
    }
}

/// Writes the content of `device` to the image `to`.
///
/// Zeros are neither read, where the device tells of them, nor written. The same content gives the
/// same bytes, whatever the number of threads. The image is made under a hidden temporary name
/// beside the target and renamed when everything is on the disk, so a target that exists is whole;
/// only a block device is written in place.
///
/// # Errors
/// [`Error::Exists`] if the target exists and may not be replaced, [`Error::Source`] if the device
/// cannot be read, [`Error::Interrupted`], [`Error::Options`], [`Error::Io`]. Nothing is left then.
pub fn write(
    device: &dyn BlockRead,
    to: &Path,
    options: &WriteOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Written, Error> {
    let task = progress.start("write", Unit::Bytes, Some(device.size()));
    let run = |file: &File, path: &Path| {
        let job = Job {
            device,
            file,
            path,
            task: &*task,
            interrupt,
        };
        in_pool(options.threads, || match options.format {
            WriteFormat::Raw => raw::write(&job),
            WriteFormat::Qcow2(qcow2) => qcow2::write(&job, qcow2),
        })
    };
    match Target::look(to, options)? {
        Target::BlockDevice(file) => {
            let written = raw::write_in_place(&Job {
                device,
                file: &file,
                path: to,
                task: &*task,
                interrupt,
            })?;
            file.sync_all().map_err(|e| Error::io(to, "write", e))?;
            Ok(written)
        }
        Target::File { directory, name } => {
            let temporary = temporary_file(&directory, &name)?;
            let written = run(temporary.as_file(), to)?;
            publish(temporary, to, &directory, options.overwrite)?;
            Ok(written)
        }
    }
}

/// Where the image goes.
enum Target {
    File { directory: PathBuf, name: OsString },
    BlockDevice(File),
}

impl Target {
    fn look(to: &Path, options: &WriteOptions) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Options {
            reason: format!("{} {reason}", to.display()),
        };
        match std::fs::metadata(to) {
            Ok(_) if !options.overwrite => {
                return Err(Error::Exists {
                    path: to.to_owned(),
                });
            }
            Ok(meta) if meta.file_type().is_block_device() => {
                if options.format != WriteFormat::Raw {
                    return Err(refuse("is a block device, on which only raw is written"));
                }
                return File::options()
                    .write(true)
                    .open(to)
                    .map(Self::BlockDevice)
                    .map_err(|e| Error::io(to, "open", e));
            }
            Ok(meta) if !meta.is_file() => {
                return Err(refuse("is neither a regular file nor a block device"));
            }
            Ok(_) | Err(_) => {}
        }
        let Some(name) = to.file_name() else {
            return Err(refuse("does not name a file"));
        };
        let directory = match to.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        Ok(Self::File {
            directory: directory.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// A file that is removed unless it is published.
fn temporary_file(directory: &Path, name: &OsString) -> Result<tempfile::NamedTempFile, Error> {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".partial")
        // The user's mask takes away from this, as it does for every new file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|e| Error::io(directory, "create a file in", e))
}

/// Gives a finished file its name, once its content cannot be lost any more.
fn publish(
    temporary: tempfile::NamedTempFile,
    to: &Path,
    directory: &Path,
    overwrite: bool,
) -> Result<(), Error> {
    let failed = |e| Error::io(to, "write", e);
    temporary.as_file().sync_all().map_err(failed)?;
    let renamed = if overwrite {
        temporary.persist(to)
    } else {
        temporary.persist_noclobber(to)
    };
    renamed.map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Exists {
            path: to.to_owned(),
        },
        _ => failed(e.error),
    })?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io(directory, "write", e))
}

/// Runs work on a number of threads of its own, or on those that all share.
fn in_pool<T: Send>(
    threads: Option<NonZeroUsize>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let Some(threads) = threads else {
        return work();
    };
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build()
        .map_err(|e| Error::Options {
            reason: format!("{threads} threads cannot be started: {e}"),
        })?;
    pool.install(work)
}
