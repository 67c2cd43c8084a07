//! Files of a package that are compressed as a whole.

use super::envelope::FileRef;
use super::error::Damage;
use crate::Error;
use crate::file::ImageFile;
use crate::spool::{self, Spool};
use flate2::bufread::GzDecoder;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress, Task, Unit};
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

/// What gzip files with deflate inside begin with (RFC 1952).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Most bytes of a disk of which nobody says how large it is: the largest that hypervisors make.
const MAX_EXPANDED: u64 = 64 << 40;
/// Bytes that a file may have more than twice what the descriptor says of it: `size` may be that of
/// the compressed file, and a disk's file has tables besides the content.
const SLACK: u64 = 64 << 20;

pub(super) fn is_gzip(file: &ImageFile) -> Result<bool, Error> {
    let mut magic = [0; MAGIC.len()];
    let len = file.read_up_to(0, &mut magic)?;
    Ok(len == magic.len() && magic == MAGIC)
}

/// Expands a file into a temporary one, which is called as the file but for `.gz`.
pub(super) fn expand(
    file: &ImageFile,
    file_ref: &FileRef,
    capacity: Option<u64>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<ImageFile, Error> {
    let corrupt = |damage| Error::corrupt(file.path(), damage);
    let declared = capacity.max(file_ref.size);
    let limit = declared.map_or(MAX_EXPANDED, |declared| {
        declared.saturating_mul(2).saturating_add(SLACK)
    });
    let task = progress.start("expand", Unit::Bytes, Some(file.len()));
    let mut input = BufReader::with_capacity(
        spool::BUFFER,
        Source {
            file,
            at: 0,
            task: &*task,
            failed: None,
        },
    );
    let mut spool = Spool::new(&expanded_name(file))?;
    let mut buffer = vec![0; spool::BUFFER];
    loop {
        let mut member = GzDecoder::new(&mut input);
        loop {
            interrupt.check()?;
            let filled = spool::fill(&mut buffer, |part| member.read(part));
            let len = match filled {
                Ok(len) => len,
                Err(error) => {
                    drop(member);
                    // What the host or the archive said counts more than what became of it here.
                    if let Some(failed) = input.get_mut().failed.take() {
                        return Err(failed);
                    }
                    let done = input.get_ref().at;
                    let why = match error.kind() {
                        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
                        _ => error.to_string(),
                    };
                    return Err(corrupt(Damage::Gzip { done, why }));
                }
            };
            if spool.len().saturating_add(u64_of(len)) > limit {
                let declared = declared.unwrap_or(limit);
                return Err(corrupt(Damage::Bomb { limit, declared }));
            }
            spool.append(&buffer[..len])?;
            if len < buffer.len() {
                break;
            }
        }
        drop(member);
        if !another_member(&mut input)? {
            return spool.finish();
        }
    }
}

/// Whether something follows a member; zeros, which tapes pad with, do not count.
fn another_member(input: &mut BufReader<Source>) -> Result<bool, Error> {
    loop {
        let rest = match input.fill_buf() {
            Ok(rest) => rest,
            Err(error) => {
                let path = input.get_ref().file.path().to_owned();
                let failed = input.get_mut().failed.take();
                return Err(failed.unwrap_or_else(|| Error::io(&path, "read", error)));
            }
        };
        if rest.is_empty() {
            return Ok(false);
        }
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(true);
        }
        input.consume(zeros);
    }
}

/// The name without `.gz`, so that what is in it is judged by its own.
fn expanded_name(file: &ImageFile) -> PathBuf {
    let path = file.path();
    if path.extension().and_then(OsStr::to_str) == Some("gz") {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

/// A file from its beginning to its end.
struct Source<'f> {
    file: &'f ImageFile,
    at: u64,
    task: &'f dyn Task,
    /// Why a read failed.
    failed: Option<Error>,
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.file.read_up_to(self.at, buf) {
            Ok(len) => {
                self.at = self.at.saturating_add(u64_of(len));
                self.task.advance(u64_of(len));
                Ok(len)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the file cannot be read"))
            }
        }
    }
}
