//! A file of an image, opened for reading only.

use crate::Error;
use crate::error::{Damage, Feature};
use ondisk::width::u64_of;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A regular file or block device that an image consists of.
#[derive(Debug)]
pub(crate) struct ImageFile {
    file: File,
    path: PathBuf,
    len: u64,
    identity: Identity,
    block_device: bool,
}

/// Tells files apart whatever they are called: device and inode number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    dev: u64,
    ino: u64,
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
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let block_device = file_type == FileType::BlockDevice;
        if !block_device && file_type != FileType::RegularFile {
            return Err(Error::unsupported(path, Feature::FileType));
        }
        let len = rustix::fs::seek(&fd, SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            file: File::from(fd),
            path: path.to_owned(),
            len,
            identity: Identity {
                dev: stat.st_dev,
                ino: stat.st_ino,
            },
            block_device,
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

    /// Fills `buf`, or says that the file is too short.
    pub(crate) fn read_exact(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => Error::corrupt(
                    &self.path,
                    Damage::Truncated {
                        offset,
                        len: u64_of(buf.len()),
                        end: self.file.metadata().map_or(self.len, |m| m.len()),
                    },
                ),
                _ => Error::io(&self.path, "read", source),
            })
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
        // Positions of the file cursor are not used, so threads may seek at the same time.
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(at) if at > offset => HostRun {
                len: at.saturating_sub(offset).min(rest),
                hole: true,
            },
            Ok(_) => match rustix::fs::seek(&self.file, SeekFrom::Hole(offset)) {
                Ok(end) if end > offset => HostRun {
                    len: end.saturating_sub(offset).min(rest),
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
        self.file.metadata().is_ok_and(|m| m.len() >= self.len)
    }
}
