//! What an upload has done so far, for the run that continues it.
//!
//! # The file
//! All numbers are little endian; each part ends with the CRC-32C of its other bytes.
//!
//! | bytes | content |
//! |---|---|
//! | 0..64 | magic `rehostUP`, version (u32), attempt (u32), digest of what is uploaded (32), blocks of the disk (u32), when it was begun (u64, Unix seconds), CRC |
//! | 64..136 | the snapshot's id: its length (u32), 64 bytes padded with zeros, CRC; absent until it is known |
//! | then 44 each | block (u32), 1 = is about to be put, 2 = is put, 3 = all is put and the snapshot is about to be sealed (u32), digest (32), CRC |
//!
//! A run that was killed leaves a record that is not whole at the end; it is cut off. Anything else
//! that is wrong is damage, and the file is not used: a block that was put and is not in it would be
//! missed only by the service, when all is uploaded.

mod raw;

use crate::Error;
use ondisk::width::u64_of;
use raw::{Header, Id, Record, Step};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Digest;
use zerocopy::{FromBytes, IntoBytes};

/// The journal of one upload, open and locked against other processes.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    /// Which attempt of this upload it is; 0 is the first.
    pub(crate) attempt: u32,
    /// The snapshot, once it is known.
    pub(crate) id: Option<String>,
    /// When it was begun.
    pub(crate) started: SystemTime,
    /// What was put, ascending. [`MAYBE`] where it is not known whether it was.
    pub(crate) put: Vec<store::Record>,
    /// Whether all was put, and the snapshot may have been sealed.
    pub(crate) sealing: bool,
}

/// The digest of no block: it was sent, but the answer did not come. It must be put again.
const MAYBE: Digest = [0xff; 32];
/// Two records for each block of 64 TiB are 12 GiB, but no upload is continued that often; this is
/// 16 TiB put once, and bounds what is read.
const MAX_FILE: u64 = 3 << 30;

/// Opens the journal of an upload if there is one.
pub(crate) fn open(path: &Path, source: &Digest, blocks: u32) -> Result<Option<Journal>, Error> {
    let file = File::options().read(true).write(true).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(path)(error)),
    };
    lock(path, &file)?;
    Journal::read(path, file, source, blocks)
}

/// Begins the journal of an upload; there must be none.
pub(crate) fn create(
    path: &Path,
    attempt: u32,
    source: &Digest,
    blocks: u32,
) -> Result<Journal, Error> {
    let started = SystemTime::now();
    let seconds = started.duration_since(UNIX_EPOCH);
    let seconds = seconds.map_or(0, |since| since.as_secs());
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Busy(path.to_owned()),
            _ => io(path)(error),
        })?;
    lock(path, &file)?;
    let header = Header::new(attempt, source, blocks, seconds);
    file.write_all(header.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io(path))?;
    Ok(Journal {
        path: path.to_owned(),
        file: Mutex::new(file),
        attempt,
        id: None,
        started,
        put: Vec::new(),
        sealing: false,
    })
}

fn lock(path: &Path, file: &File) -> Result<(), Error> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(path.to_owned())),
        Err(error) => Err(io(path)(error.into())),
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

impl Journal {
    /// `None` if it was killed before its header was whole: nothing was done then.
    fn read(
        path: &Path,
        mut file: File,
        source: &Digest,
        blocks: u32,
    ) -> Result<Option<Self>, Error> {
        let damaged = |offset: u64, what: String| Error::Journal {
            path: path.to_owned(),
            offset,
            what,
        };
        let len = file.metadata().map_err(io(path))?.len();
        if len > MAX_FILE {
            return Err(damaged(
                0,
                format!("{len} bytes are more than an upload writes"),
            ));
        }
        let mut header = [0; size_of::<Header>()];
        if len < u64_of(header.len()) {
            std::fs::remove_file(path).map_err(io(path))?;
            return Ok(None);
        }
        file.read_exact(&mut header).map_err(io(path))?;
        let header = Header::parse(&header, source, blocks).map_err(|what| damaged(0, what))?;
        let mut whole = u64_of(size_of::<Header>());
        let mut journal = Self {
            path: path.to_owned(),
            attempt: header.attempt.get(),
            id: None,
            started: header.started(),
            put: Vec::new(),
            sealing: false,
            // The file itself comes last: it is read until then.
            file: Mutex::new(file.try_clone().map_err(io(path))?),
        };
        let mut rest = std::io::BufReader::new(&file);
        let mut id = [0; size_of::<Id>()];
        if len >= whole.saturating_add(u64_of(id.len())) {
            rest.read_exact(&mut id).map_err(io(path))?;
            let text = Id::parse(&id).map_err(|what| damaged(whole, what))?;
            crate::info::check_id(&text).map_err(|error| damaged(whole, error.to_string()))?;
            journal.id = Some(text);
            whole = whole.saturating_add(u64_of(id.len()));
            let mut put = BTreeMap::new();
            let step = u64_of(size_of::<Record>());
            let mut bytes = [0; size_of::<Record>()];
            while whole.saturating_add(step) <= len {
                rest.read_exact(&mut bytes).map_err(io(path))?;
                let record = Record::ref_from_bytes(&bytes);
                // The array has the record's size, and the record no alignment.
                let record = record.expect("a record of its own size");
                match record.parse(blocks) {
                    Ok(Step::Putting(block)) => drop(put.insert(block, MAYBE)),
                    Ok(Step::Put(block, digest)) => drop(put.insert(block, digest)),
                    Ok(Step::Sealing) => journal.sealing = true,
                    // A host that crashed may have the file's length without its last bytes.
                    Err(_) if whole.saturating_add(step) == len => break,
                    Err(what) => return Err(damaged(whole, what)),
                }
                whole = whole.saturating_add(step);
            }
            journal.put = put.into_iter().collect();
        }
        file.set_len(whole).map_err(io(path))?;
        file.seek(SeekFrom::Start(whole)).map_err(io(path))?;
        Ok(Some(journal))
    }

    /// Writes down which snapshot it is.
    pub(crate) fn set_id(&mut self, id: &str) -> Result<(), Error> {
        let record = Id::new(id);
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        file.write_all(record.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io(&self.path))?;
        self.id = Some(id.to_owned());
        Ok(())
    }

    /// Writes down that a block is about to be put.
    pub(crate) fn putting(&self, block: u32, digest: &Digest) -> Result<(), Error> {
        self.append(&Record::new(block, raw::PUTTING, digest))
    }

    /// Writes down that a block is put.
    pub(crate) fn done(&self, block: u32, digest: &Digest) -> Result<(), Error> {
        self.append(&Record::new(block, raw::PUT, digest))
    }

    /// Writes down that all is put, and the snapshot is about to be sealed.
    pub(crate) fn sealing(&self) -> Result<(), Error> {
        self.append(&Record::new(0, raw::SEALING, &[0; 32]))
    }

    /// Killing the process loses nothing of it. A crash of the host may, and what is missed then is
    /// found by the service, which counts: a flush for each block would cost more than its upload.
    fn append(&self, record: &Record) -> Result<(), Error> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(record.as_bytes()).map_err(io(&self.path))
    }

    /// Removes it: the upload is done, or of no use.
    pub(crate) fn remove(self) -> Result<(), Error> {
        std::fs::remove_file(&self.path).map_err(io(&self.path))
    }
}

#[cfg(test)]
mod tests;
