//! Content that can only be read once, kept in a temporary file so that it can be read anywhere.

use crate::Error;
use crate::file::ImageFile;
use crate::zeros;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Interrupted, Progress, Unit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The path that means the standard input; a file of this name is `./-`.
pub(crate) const STANDARD_INPUT: &str = "-";

/// What the standard input is called in messages.
const NAME: &str = "standard input";

/// A file without a name that grows, with holes where zeros are appended.
///
/// Nothing is left of it however the process ends.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    /// Of what it keeps.
    path: PathBuf,
    len: u64,
}

/// Bytes that are appended at once; whole pieces but for the last one.
pub(crate) const BUFFER: usize = 256 << 10;
/// Zeros of this many bytes become a hole, which file systems keep in blocks of this size.
const PIECE: usize = 4096;
/// How soon an interruption is seen while nothing comes.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

impl Spool {
    /// Begins an empty file for what is called `path`.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(|e| failed(path, e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            len: 0,
        })
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for run in zeros::data_runs(bytes, PIECE) {
            let at = self.len.saturating_add(u64_of(run.start));
            self.file
                .write_all_at(&bytes[run], at)
                .map_err(|e| failed(&self.path, e))?;
        }
        self.len = self.len.saturating_add(u64_of(bytes.len()));
        Ok(())
    }

    /// The whole, to be read.
    pub(crate) fn finish(self) -> Result<ImageFile, Error> {
        self.file
            .set_len(self.len)
            .map_err(|e| failed(&self.path, e))?;
        ImageFile::of(self.file, &self.path)
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Spool {
        path: path.to_owned(),
        directory: std::env::temp_dir(),
        source,
    }
}

/// Reads until the buffer is full or nothing is left; says how much there is.
pub(crate) fn fill(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0_usize;
    while filled < buffer.len() {
        match read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled = filled.saturating_add(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The standard input as a file. What is one already is not copied, and begins where it was read to;
/// its path is given then, if it has one.
pub(crate) fn standard_input(
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(ImageFile, Option<PathBuf>), Error> {
    let file = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|e| Error::io(Path::new(NAME), "open", e))?;
    take_in(file, progress, interrupt)
}

fn take_in(
    file: File,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(ImageFile, Option<PathBuf>), Error> {
    let path = Path::new(NAME);
    let failed = |source: Errno| Error::io(path, "read", source);
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => {
            let at = rustix::fs::seek(&file, SeekFrom::Current(0)).map_err(failed)?;
            let known_as = name_of(&file);
            let whole = ImageFile::of(file, path)?;
            let rest = whole.len().saturating_sub(at);
            let part = whole.part(path.to_owned(), at.min(whole.len()), rest)?;
            Ok((part, known_as))
        }
        _ if file.is_terminal() => Err(Error::Options {
            reason: "the standard input is a terminal, not an image".to_owned(),
        }),
        _ => Ok((spool(file, path, progress, interrupt)?, None)),
    }
}

fn spool(
    mut file: File,
    path: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<ImageFile, Error> {
    let mut spool = Spool::new(path)?;
    let task = progress.start("read standard input", Unit::Bytes, None);
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut stopped: Result<(), Interrupted> = Ok(());
        let len = fill(&mut buffer, |part| {
            stopped = wait(&file, interrupt)?;
            match stopped {
                Ok(()) => file.read(part),
                Err(_) => Ok(0),
            }
        })
        .map_err(|e| Error::io(path, "read", e))?;
        stopped?;
        if len == 0 {
            return spool.finish();
        }
        spool.append(&buffer[..len])?;
        task.advance(u64_of(len));
    }
}

/// Waits until there is something to read, or the work is to stop.
fn wait(file: &File, interrupt: &Interrupt) -> io::Result<Result<(), Interrupted>> {
    loop {
        if let Err(interrupted) = interrupt.check() {
            return Ok(Err(interrupted));
        }
        let mut fds = [PollFd::new(file, PollFlags::IN)];
        match poll(&mut fds, Some(&PATIENCE)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(Ok(())),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The path of an open file, if it is still there under it.
fn name_of(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let (open, named) = (rustix::fs::fstat(file).ok()?, rustix::fs::stat(&path).ok()?);
    ((open.st_dev, open.st_ino) == (named.st_dev, named.st_ino)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ondisk::NoProgress;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    fn content(file: &ImageFile) -> Vec<u8> {
        let mut bytes = vec![0xee; ondisk::width::usize_of(file.len())];
        file.read_exact(0, &mut bytes).unwrap();
        bytes
    }

    fn pipe() -> (File, File) {
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (std::os::fd::OwnedFd::from(reader), writer.into());
        let writer: std::os::fd::OwnedFd = writer;
        (reader.into(), writer.into())
    }

    #[test]
    fn a_pipe_becomes_a_file_with_holes() {
        let (reader, mut writer) = pipe();
        let mut sent = vec![0; (5 << 20) + 77];
        sent[3 << 20] = 1;
        sent[(5 << 20) + 76] = 2;
        let copy = sent.clone();
        let thread = std::thread::spawn(move || {
            // Pieces that fit nothing.
            for piece in copy.chunks(10_007) {
                writer.write_all(piece).unwrap();
            }
        });
        let (file, known_as) = take_in(reader, &NoProgress, &Interrupt::default()).unwrap();
        thread.join().unwrap();
        assert!(content(&file) == sent);
        assert_eq!(known_as, None);
        assert!(file.host_run(0).hole);
        assert!(!file.host_run(3 << 20).hole);
    }

    #[test]
    fn an_empty_pipe_is_an_empty_file() {
        let (reader, writer) = pipe();
        drop(writer);
        let (file, _) = take_in(reader, &NoProgress, &Interrupt::default()).unwrap();
        assert!(file.is_empty());
    }

    #[test]
    fn a_file_is_read_in_place_from_where_it_is() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"headcontent").unwrap();
        let path = file.path().canonicalize().unwrap();
        let open = || File::open(&path).unwrap();
        let (whole, known_as) = take_in(open(), &NoProgress, &Interrupt::default()).unwrap();
        assert_eq!(content(&whole), b"headcontent");
        assert_eq!(known_as.as_deref(), Some(&*path));
        let stat = std::fs::metadata(&path).unwrap();
        assert_eq!(whole.identity(), ImageFile::open(&path).unwrap().identity());
        assert_eq!(stat.nlink(), 1);
        let mut later = open();
        later.read_exact(&mut [0; 4]).unwrap();
        let (rest, _) = take_in(later, &NoProgress, &Interrupt::default()).unwrap();
        assert_eq!(content(&rest), b"content");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn waiting_for_a_silent_pipe_can_be_interrupted() {
        let (reader, writer) = pipe();
        let interrupt = Interrupt::default();
        let other = interrupt.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            other.set();
        });
        let error = take_in(reader, &NoProgress, &interrupt).unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
        thread.join().unwrap();
        drop(writer);
    }
}
