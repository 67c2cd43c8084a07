//! A snapshot as a block device.

use crate::files::{self, corrupt};
use crate::index::{Digest, Index, RECORD, hex};
use crate::{BLOCK, Error, Manifest, SnapshotId, Store};
use block::{BlockRead, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// A snapshot as a block device: each block is checked against its digest when it is read.
#[derive(Debug)]
pub struct Snapshot {
    store: Store,
    manifest: Manifest,
    index: Index,
    /// The block read last: readers of file systems come back to it.
    last: Mutex<Option<(Digest, Arc<Vec<u8>>)>>,
}

impl Store {
    /// Opens a snapshot.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], or [`Error::Corrupt`] if its index is not what the manifest says.
    pub fn read(&self, id: &SnapshotId) -> Result<Snapshot, Error> {
        let manifest = self.manifest(id)?;
        let index = self.index(&manifest)?;
        Ok(Snapshot {
            store: self.clone(),
            manifest,
            index,
            last: Mutex::default(),
        })
    }
}

impl Store {
    /// What is known about a snapshot.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], or as [`Manifest::decode`].
    pub fn manifest(&self, id: &SnapshotId) -> Result<Manifest, Error> {
        let path = self.manifest_path(id);
        match Manifest::read(&path) {
            Err(error) if files::is_missing(&error) => Err(Error::NoSnapshot {
                store: self.dir.clone(),
                id: id.clone(),
            }),
            result => result,
        }
    }

    /// Reads a snapshot's index and checks it against the manifest.
    pub(crate) fn index(&self, manifest: &Manifest) -> Result<Index, Error> {
        let path = self.index_path(&manifest.id);
        let bytes = files::read(&path, manifest.blocks.saturating_mul(RECORD))?;
        if hex(&Sha256::digest(&bytes)) != manifest.index_sha256 {
            let what = "its SHA-256 is not the one in the manifest".to_owned();
            return Err(corrupt(&path, what));
        }
        let index = Index::decode(&path, &bytes, manifest.disk_blocks())?;
        if u64_of(index.len()) != manifest.blocks {
            let what = format!("it has {} blocks, not {}", index.len(), manifest.blocks);
            return Err(corrupt(&path, what));
        }
        Ok(index)
    }
}

impl Snapshot {
    /// What is known about it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Which blocks it holds.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The store it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Position in the index: of the block, or of the first one behind it.
    fn find(&self, block: u64) -> Result<usize, usize> {
        self.index
            .records()
            .binary_search_by_key(&block, |record| u64::from(record.0))
    }

    fn block(&self, digest: &Digest) -> Result<Arc<Vec<u8>>, Error> {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((_, content)) = last.filter(|(known, _)| known == digest) {
            return Ok(content);
        }
        let content = Arc::new(self.store.read_block(digest)?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((*digest, content.clone()));
        Ok(content)
    }
}

impl BlockRead for Snapshot {
    fn size(&self) -> u64 {
        self.manifest.disk_size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        let (size, len) = (self.size(), u64_of(buf.len()));
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(block::Error::OutOfBounds { offset, len, size });
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(u64_of(done));
            let within = usize_of(at % BLOCK);
            let n = (usize_of(BLOCK) - within).min(buf.len() - done);
            let part = &mut buf[done..done + n];
            match self.find(at / BLOCK) {
                Err(_) => part.fill(0),
                Ok(found) => {
                    let content = self
                        .block(&self.index.records()[found].1)
                        .map_err(|error| block::Error::Format {
                            offset: at,
                            source: error.into(),
                        })?;
                    let whole = content.get(within..within + n);
                    part.copy_from_slice(whole.ok_or_else(|| block::Error::Format {
                        offset: at,
                        source: format!("a stored block has only {} bytes", content.len()).into(),
                    })?);
                }
            }
            done += n;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        let size = self.size();
        if offset >= size {
            return Err(block::Error::OutOfBounds {
                offset,
                len: 1,
                size,
            });
        }
        let start_of = |block: u64| block.saturating_mul(BLOCK).min(size);
        let block = offset / BLOCK;
        Ok(match self.find(block) {
            Ok(_) => Extent {
                range: start_of(block)..start_of(block + 1),
                kind: ExtentKind::Data,
            },
            Err(next) => {
                let before = next
                    .checked_sub(1)
                    .and_then(|at| self.index.records().get(at));
                let start = before.map_or(0, |record| start_of(u64::from(record.0) + 1));
                let after = self.index.records().get(next);
                let end = after.map_or(size, |record| start_of(u64::from(record.0)));
                Extent {
                    range: start..end,
                    kind: ExtentKind::Zero,
                }
            }
        })
    }

    fn granule(&self) -> u64 {
        BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewSnapshot;
    use block::Memory;
    use ondisk::{Interrupt, NoProgress};

    fn disk() -> Memory {
        let mut bytes = vec![0; usize_of(3 * BLOCK) + 1000];
        bytes[5] = 1;
        let at = bytes.len() - 1;
        bytes[at] = 9;
        Memory::new(bytes)
    }

    fn stored(store: &Store, disk: &Memory) -> crate::Written {
        store
            .write(
                disk,
                &NewSnapshot::default(),
                &NoProgress,
                &Interrupt::default(),
            )
            .unwrap()
    }

    #[test]
    fn a_snapshot_reads_as_its_disk_and_the_same_disk_gives_the_same_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("s")).unwrap();
        let disk = disk();
        let first = stored(&store, &disk);
        assert_eq!((first.blocks, first.new_blocks), (2, 2));
        let again = stored(&store, &disk);
        assert_eq!((&again.id, again.new_blocks), (&first.id, 0));
        let snapshot = Store::open(store.dir()).unwrap().read(&first.id).unwrap();
        let mut bytes = vec![0xee; usize_of(snapshot.size())];
        snapshot.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, disk.bytes());
        let zero = snapshot.extent_at(BLOCK + 1).unwrap();
        assert_eq!(
            zero,
            Extent {
                range: BLOCK..3 * BLOCK,
                kind: ExtentKind::Zero
            }
        );
        assert_eq!(store.snapshots().unwrap().len(), 1);
    }

    #[test]
    fn a_flipped_bit_is_an_error_and_never_data() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("s")).unwrap();
        let written = stored(&store, &disk());
        let snapshot = store.read(&written.id).unwrap();
        let digest = hex(&snapshot.index.records()[0].1);
        let path = store
            .dir()
            .join("blocks")
            .join(&digest[..2])
            .join(format!("{digest}.zst"));
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(snapshot.read_at(0, &mut [0; 8]).is_err());
        let index = store.index_path(&written.id);
        let mut bytes = std::fs::read(&index).unwrap();
        bytes[7] ^= 1;
        std::fs::write(&index, bytes).unwrap();
        assert!(matches!(
            store.read(&written.id),
            Err(Error::Corrupt { .. })
        ));
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), "x").unwrap();
        assert!(matches!(
            Store::create(dir.path()),
            Err(Error::NotAStore(_))
        ));
        assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore(_))));
    }

    #[test]
    fn an_interrupted_write_leaves_no_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("s")).unwrap();
        let interrupt = Interrupt::default();
        interrupt.set();
        let result = store.write(&disk(), &NewSnapshot::default(), &NoProgress, &interrupt);
        assert!(matches!(result, Err(Error::Interrupted(_))));
        assert!(store.snapshots().unwrap().is_empty());
    }
}
