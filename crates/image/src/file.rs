//! A file of an image, opened for reading only.

use crate::Error;
use crate::error::{Damage, Feature};
use crate::state::{FileState, Seen};
use ondisk::width::u64_of;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A regular file or block device that an image consists of, or a part of one: the member of an
/// archive. Offsets count from where the part starts.
#[derive(Debug)]
pub(crate) struct ImageFile {
    file: Arc<File>,
    path: PathBuf,
    /// Where the part starts in the host's file.
    start: u64,
    len: u64,
    identity: Identity,
    block_device: bool,
    /// As it was before anything was read, if that will tell whether it is unchanged.
    seen: Option<Seen>,
}

/// Tells files apart whatever they are called: device and inode number, and where a part starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    dev: u64,
    ino: u64,
    start: u64,
}

/// A run of a file with one state on the host.
pub(crate) struct HostRun {
    /// Bytes from the asked offset on.
    pub(crate) len: u64,
    pub(crate) hole: bool,
}

impl ImageFile {
    /// Opens a file read-only.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::io(path, "open", source);
        // Without NONBLOCK a named pipe would wait for its writer before it can be refused.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let mut file = Self::of(File::from(fd), path)?;
        // A file without a name is gone when the process is.
        file.seen = Seen::of(&file.file);
        Ok(file)
    }

    /// Takes a file that is open, for instance one without a name; `path` is for messages.
    pub(crate) fn of(file: File, path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::io(path, "open", source);
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let block_device = file_type == FileType::BlockDevice;
        if !block_device && file_type != FileType::RegularFile {
            return Err(Error::unsupported(path, Feature::FileType));
        }
        let len = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            start: 0,
            len,
            identity: Identity {
                dev: stat.st_dev,
                ino: stat.st_ino,
                start: 0,
            },
            block_device,
            seen: None,
        })
    }

    /// The `len` bytes from `start` on as a file of their own, which is called `path`.
    pub(crate) fn part(&self, path: PathBuf, start: u64, len: u64) -> Result<Self, Error> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => {}
            _ => return Err(self.truncated(start, len)),
        }
        let start = self.start.saturating_add(start);
        Ok(Self {
            file: self.file.clone(),
            path,
            start,
            len,
            identity: Identity {
                start,
                ..self.identity
            },
            block_device: self.block_device,
            seen: self.seen,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_block_device(&self) -> bool {
        self.block_device
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// What will tell whether the file is as it was when it was opened.
    pub(crate) fn state(&self) -> Option<FileState> {
        Some(FileState {
            file: self.file.clone(),
            seen: self.seen?,
            start: self.start,
            len: self.len,
        })
    }

    /// Fills `buf`, or says that the file is too short.
    pub(crate) fn read_exact(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let len = u64_of(buf.len());
        let at = match offset.checked_add(len) {
            Some(end) if end <= self.len => self.start.saturating_add(offset),
            _ => return Err(self.truncated(offset, len)),
        };
        self.file
            .read_exact_at(buf, at)
            .map_err(|source| match source.kind() {
                // It became shorter after it was opened.
                io::ErrorKind::UnexpectedEof => self.truncated(offset, len),
                _ => Error::io(&self.path, "read", source),
            })
    }

    /// What is said of bytes that should be there.
    pub(crate) fn truncated(&self, offset: u64, len: u64) -> Error {
        let now = self.file.metadata().ok().filter(|_| !self.block_device);
        let end = now.map_or(self.len, |meta| {
            self.len.min(meta.len().saturating_sub(self.start))
        });
        Error::corrupt(&self.path, Damage::Truncated { offset, len, end })
    }

    /// Fills `buf` as far as the file goes, and says how far that was.
    pub(crate) fn read_up_to(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let left = self.len.saturating_sub(offset).min(u64_of(buf.len()));
        let len = ondisk::width::usize_of(left);
        self.read_exact(offset, &mut buf[..len])?;
        Ok(len)
    }

    /// What the host says about the bytes from `offset` on, which must be inside the file.
    pub(crate) fn host_run(&self, offset: u64) -> HostRun {
        let rest = self.len.saturating_sub(offset);
        let data = HostRun {
            len: rest,
            hole: false,
        };
        if self.block_device {
            return data;
        }
        let from = self.start.saturating_add(offset);
        // Positions of the file cursor are not used, so threads may seek at the same time.
        match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(at) if at > from => HostRun {
                len: at.saturating_sub(from).min(rest),
                hole: true,
            },
            Ok(_) => match rustix::fs::seek(&self.file, SeekFrom::Hole(from)) {
                Ok(end) if end > from => HostRun {
                    len: end.saturating_sub(from).min(rest),
                    hole: false,
                },
                _ => data,
            },
            // No data up to the end. A file that shrank says so too, hence the second look.
            Err(rustix::io::Errno::NXIO) if self.still_as_long() => HostRun {
                len: rest,
                hole: true,
            },
            // The file system cannot tell.
            Err(_) => data,
        }
    }

    fn still_as_long(&self) -> bool {
        let end = self.start.saturating_add(self.len);
        self.file.metadata().is_ok_and(|m| m.len() >= end)
    }
}
