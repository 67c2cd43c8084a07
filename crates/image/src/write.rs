//! Writing a device as an image: the target appears whole or not at all.

use crate::publish::Draft;
use crate::qcow2::Qcow2Options;
use crate::vhd::VhdOptions;
use crate::vhdx::VhdxOptions;
use crate::{Error, qcow2, raw, vhd, vhdx, vmdk};
use block::BlockRead;
use ondisk::{Interrupt, Progress, Task, Unit};
use rayon::ThreadPoolBuilder;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// How an image is written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// What is written.
    pub format: WriteFormat,
    /// Threads that read and compress; as many as the host has cores if it is not said.
    pub threads: Option<NonZeroUsize>,
    /// Whether a target that exists is replaced. A block device is always a target that exists.
    pub overwrite: bool,
    /// Whether the image is on the disk, not only in the host's memory, before it gets its name:
    /// then not even a power failure leaves a broken file under it. True by default.
    pub sync: bool,
    /// Whether room is reserved for the whole disk, zeros included, so that later writes into the
    /// image cannot run out of it. Only raw images can.
    pub preallocate: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            format: WriteFormat::default(),
            threads: None,
            overwrite: false,
            sync: true,
            preallocate: false,
        }
    }
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
    /// Virtual hard disk, generation 1.
    Vhd(VhdOptions),
    /// Stream-optimised VMDK, version 3: what OVF packages carry. Its size on the disk is that of
    /// the data, compressed; no more than 2 TiB.
    Vmdk,
    /// Hyper-V virtual hard disk, version 2, dynamic.
    Vhdx(VhdxOptions),
}

/// What was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Bytes of the disk in the image: the device's, to whole sectors in all but raw.
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
    pub(crate) preallocate: bool,
}

impl Job<'_> {
    pub(crate) fn failed(&self, source: std::io::Error) -> Error {
        Error::io(self.path, "write", source)
    }
}

/// Writes the content of `device` to the image `to`.
///
/// Zeros are neither read, where the device tells of them, nor written. The same content gives the
/// same bytes, whatever the number of threads. The image is made without a name (or, where the file
/// system cannot do that, under a hidden one) and gets the target's when it is whole; only a block
/// device is written in place.
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
    if options.preallocate && options.format != WriteFormat::Raw {
        return Err(Error::Options {
            reason: "only raw images can have all their room reserved".to_owned(),
        });
    }
    let target = Target::look(to, options)?;
    let task = progress.start("write", Unit::Bytes, Some(device.size()));
    let job = |file| Job {
        device,
        file,
        path: to,
        task: &*task,
        interrupt,
        preallocate: options.preallocate,
    };
    match target {
        Target::BlockDevice(file) => {
            let job = job(&file);
            let written = in_pool(options.threads, || raw::write_in_place(&job))?;
            // There is no name to hold back: what is not on the device now may never be.
            file.sync_all().map_err(|e| Error::io(to, "write", e))?;
            Ok(written)
        }
        Target::File { directory, name } => {
            let draft = Draft::new(&directory, &name)?;
            let job = job(draft.file());
            let written = in_pool(options.threads, || match options.format {
                WriteFormat::Raw => raw::write(&job),
                WriteFormat::Qcow2(qcow2) => qcow2::write(&job, qcow2),
                WriteFormat::Vhd(vhd) => vhd::write(&job, vhd),
                WriteFormat::Vmdk => vmdk::write(&job),
                WriteFormat::Vhdx(vhdx) => vhdx::write(&job, vhdx),
            })?;
            interrupt.check()?;
            draft.publish(to, options.overwrite, options.sync)?;
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
                // The kernel refuses this while the device is mounted, or a part of another one.
                let flags = OFlags::WRONLY | OFlags::EXCL | OFlags::CLOEXEC;
                return rustix::fs::open(to, flags, Mode::empty())
                    .map(|file| Self::BlockDevice(File::from(file)))
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
