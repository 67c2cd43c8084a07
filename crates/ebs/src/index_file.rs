//! The index of an uploaded snapshot, kept for the run that makes its child.
//!
//! The file `snap-….index`: magic `rehostIX`, blocks of the disk (u64, little endian), SHA-256 of all
//! that follows it, then the records of [`Index::encode`].

use crate::Error;
use ondisk::Cursor;
use ondisk::width::u64_of;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use store::Index;

const MAGIC: &[u8; 8] = b"rehostIX";
const HEAD: usize = 48;
/// A full index of 64 TiB, the largest disk: 36 bytes for each of its blocks.
const MAX_FILE: u64 = 48 + 36 * (128 << 20);

/// Where the index of a snapshot is.
fn path_of(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.index"))
}

/// Keeps the index of a snapshot of a disk of `blocks` blocks; it has its name when it is whole and
/// on disk.
///
/// # Errors
/// [`Error::Io`].
pub fn save_index(dir: &Path, id: &str, index: &Index, blocks: u32) -> Result<(), Error> {
    crate::info::check_id(id)?;
    std::fs::create_dir_all(dir).map_err(|source| Error::Io {
        path: dir.to_owned(),
        source,
    })?;
    save(dir, id, index, blocks)
}

/// As [`save_index`], into a directory that is there.
pub(crate) fn save(dir: &Path, id: &str, index: &Index, blocks: u32) -> Result<(), Error> {
    let path = path_of(dir, id);
    let io = |source| Error::Io {
        path: path.clone(),
        source,
    };
    let records = index.encode();
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
    let blocks = u64::from(blocks).to_le_bytes();
    let digest = digest(&blocks, &records);
    for part in [&MAGIC[..], &blocks, &digest, &records] {
        file.write_all(part).map_err(io)?;
    }
    file.as_file().sync_all().map_err(io)?;
    file.persist(&path).map_err(|error| io(error.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}

/// Removes the index of a snapshot of which no child will be made, if there is one.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_index(dir: &Path, id: &str) -> Result<(), Error> {
    crate::info::check_id(id)?;
    let path = path_of(dir, id);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path, source })
        }
        _ => Ok(()),
    }
}

/// The index of a snapshot and the blocks of its disk, if `dir`, the journal directory of the run that
/// made the snapshot, has it.
///
/// # Errors
/// [`Error::Journal`] if the file is damaged, [`Error::Io`].
pub fn load_index(dir: &Path, id: &str) -> Result<Option<(Index, u32)>, Error> {
    crate::info::check_id(id)?;
    let path = path_of(dir, id);
    let io = |source| Error::Io {
        path: path.clone(),
        source,
    };
    let damaged = |offset: u64, what: String| Error::Journal {
        path: path.clone(),
        offset,
        what,
    };
    let len = match std::fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if len > MAX_FILE {
        return Err(damaged(
            0,
            format!("{len} bytes are more than an index has"),
        ));
    }
    let bytes = std::fs::read(&path).map_err(io)?;
    let mut cursor = Cursor::new(&bytes);
    let mut head = || {
        let magic: [u8; 8] = cursor.take_array()?;
        let blocks: [u8; 8] = cursor.take_array()?;
        let digest: [u8; 32] = cursor.take_array()?;
        Ok((magic, blocks, digest))
    };
    let (magic, blocks, expected) =
        head().map_err(|short: ondisk::Short| damaged(u64_of(bytes.len()), short.to_string()))?;
    if magic != *MAGIC {
        return Err(damaged(0, "it is no index of a snapshot".to_owned()));
    }
    let records = bytes.get(HEAD..).unwrap_or_default();
    if digest(&blocks, records) != expected {
        let what = "its SHA-256 is not the one it was written with".to_owned();
        return Err(damaged(16, what));
    }
    let blocks = u64::from_le_bytes(blocks);
    let index = Index::decode(&path, records, blocks).map_err(Error::Store)?;
    let count = u32::try_from(blocks);
    let count = count.map_err(|_| damaged(8, format!("no disk has {blocks} blocks")))?;
    Ok(Some((index, count)))
}

fn digest(blocks: &[u8; 8], records: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(blocks);
    hasher.update(records);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_and_no_flipped_bit_does() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::from_records(vec![(1, [1; 32]), (9, [2; 32])]).unwrap();
        save(dir.path(), "snap-12", &index, 10).unwrap();
        let loaded = load_index(dir.path(), "snap-12").unwrap();
        assert_eq!(loaded, Some((index, 10)));
        assert_eq!(load_index(dir.path(), "snap-13").unwrap(), None);
        assert!(load_index(dir.path(), "../snap-12").is_err());
        let path = path_of(dir.path(), "snap-12");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(load_index(dir.path(), "snap-12").is_err(), "{at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(load_index(dir.path(), "snap-12").is_err(), "{at}");
        }
    }
}
