//! Making a snapshot of a disk.

use crate::index::{Digest, Index, hex};
use crate::manifest::{self, Manifest, SnapshotId};
use crate::{BLOCK, Error, FORMAT, MAX_DISK, Store};
use block::{BlockRead, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Progress, Unit};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;

/// A snapshot that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its name.
    pub id: SnapshotId,
    /// Blocks it holds: those that are not all zeros.
    pub blocks: u64,
    /// Blocks that the store did not hold before.
    pub new_blocks: u64,
}

/// What became of a block.
enum Outcome {
    Zero,
    Put { digest: Digest, new: bool },
}

impl Store {
    /// Makes a snapshot of `disk`. Holes are not read; blocks are read, hashed and compressed on
    /// all cores, with one block in memory for each.
    ///
    /// # Errors
    /// [`Error::Block`] if the disk cannot be read, [`Error::Io`] if the store cannot be written,
    /// [`Error::Interrupted`]. No snapshot exists then; blocks that were stored stay.
    pub fn write(
        &self,
        disk: &dyn BlockRead,
        description: &str,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Written, Error> {
        let needed = blocks_with_data(disk)?;
        let total = u64_of(needed.len()).saturating_mul(BLOCK);
        let task = progress.start("storing", Unit::Bytes, Some(total));
        let outcomes: Vec<_> = needed
            .par_iter()
            .map_init(
                || vec![0; usize_of(BLOCK)],
                |buf, index| {
                    interrupt.check()?;
                    let outcome = self.store_block(disk, *index, buf)?;
                    task.advance(BLOCK);
                    Ok((*index, outcome))
                },
            )
            .collect::<Result<_, Error>>()?;
        let mut index = Index::default();
        // Two cores may have stored the same block at the same time.
        let mut new_digests = BTreeSet::new();
        for (at, outcome) in outcomes {
            if let Outcome::Put { digest, new } = outcome {
                index.0.push((at, digest));
                if new {
                    new_digests.insert(digest);
                }
            }
        }
        let blocks = u64_of(index.0.len());
        let new_blocks = u64_of(new_digests.len());
        let id = self.publish(&index, disk.size(), description)?;
        Ok(Written {
            id,
            blocks,
            new_blocks,
        })
    }

    fn store_block(
        &self,
        disk: &dyn BlockRead,
        index: u32,
        buf: &mut [u8],
    ) -> Result<Outcome, Error> {
        let start = u64::from(index).saturating_mul(BLOCK);
        let len = usize_of(disk.size().saturating_sub(start).min(BLOCK));
        let (content, padding) = buf.split_at_mut(len);
        disk.read_at(start, content)?;
        padding.fill(0);
        if is_zero(buf) {
            return Ok(Outcome::Zero);
        }
        let digest: Digest = Sha256::digest(&*buf).into();
        let new = self.put_block(&digest, buf)?;
        Ok(Outcome::Put { digest, new })
    }

    /// Makes the snapshot visible once everything it needs is on disk.
    fn publish(
        &self,
        index: &Index,
        disk_size: u64,
        description: &str,
    ) -> Result<SnapshotId, Error> {
        let encoded = index.encode();
        let index_sha256 = hex(&Sha256::digest(&encoded));
        let identity = format!("{disk_size} {index_sha256}");
        let id = SnapshotId::of_digest(&hex(&Sha256::digest(identity.as_bytes())));
        let io = |error: rustix::io::Errno| Error::Io {
            path: self.dir.clone(),
            source: error.into(),
        };
        let dir = File::open(&self.dir).map_err(|source| Error::Io {
            path: self.dir.clone(),
            source,
        })?;
        // One flush for all blocks, instead of one for each.
        rustix::fs::syncfs(&dir).map_err(io)?;
        manifest::publish(&self.index_path(&id), &encoded, true)?;
        let manifest = Manifest {
            format: FORMAT,
            id: id.clone(),
            description: description.to_owned(),
            disk_size,
            block_size: BLOCK,
            blocks: u64_of(index.0.len()),
            linear_sha256: index.linear(),
            index_sha256,
        };
        manifest::write_json(&self.manifest_path(&id), &manifest)?;
        Ok(id)
    }
}

/// Blocks that hold a byte of a data extent, ascending.
fn blocks_with_data(disk: &dyn BlockRead) -> Result<Vec<u32>, Error> {
    if u32::try_from(disk.size().div_ceil(BLOCK)).is_err() || disk.size() > MAX_DISK {
        return Err(Error::TooLarge(disk.size()));
    }
    let mut blocks = Vec::new();
    for extent in disk.extents() {
        let extent = extent?;
        if extent.kind == ExtentKind::Zero {
            continue;
        }
        let first = extent.range.start / BLOCK;
        let last = extent.range.end.saturating_sub(1) / BLOCK;
        for block in first..=last {
            let block = u32::try_from(block).expect("the disk was checked to have fewer blocks");
            if blocks.last() != Some(&block) {
                blocks.push(block);
            }
        }
    }
    Ok(blocks)
}

/// Whether a block holds zeros alone; written so that it compiles to wide words.
fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<256>();
    let zero = |word: &[u8; 256]| word.iter().fold(0, |all, byte| all | byte) == 0;
    words.iter().all(zero) && rest.iter().all(|byte| *byte == 0)
}
