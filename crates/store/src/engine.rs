//! Deciding, block by block, what a snapshot of a disk needs.
//!
//! A snapshot has its parent's blocks where none is put. So a block is put when what the snapshot
//! would have there otherwise is not what the disk has:
//!
//! | without a put the snapshot has there | put if the disk has there |
//! |---|---|
//! | the parent's block, or what an interrupted run of the same snapshot put | another content; zeros too |
//! | zeros: no parent has the block, not encrypted | anything but zeros |
//! | nothing defined: no parent has the block, encrypted | anything that the disk calls data; a hole with [`Job::zero_fill`] |

mod walk;

use crate::index::{self, Index, Record, ZERO};
use crate::zeros::is_zero;
use crate::{BLOCK, Error, Job, MAX_DISK, Outcome, SnapshotSink};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Progress};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use walk::{Seen, Unit, Walk};

/// Reads, hashes and compares blocks on all threads and puts the ones that the snapshot needs.
///
/// Holes are not read. In memory are a unit of the disk for each thread, at most 4 MiB; 36 bytes for
/// each block that is put and for each in the index; and what the sink holds.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Block`] if the disk cannot be read, [`Error::Put`] if the sink
/// failed, [`Error::Resume`] if an earlier run put what is not on the disk, [`Error::Interrupted`].
pub fn run(
    job: &Job<'_>,
    sink: &dyn SnapshotSink,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Outcome, Error> {
    let size = job.disk.size();
    let disk_blocks = disk_blocks(size)?;
    let before = sink.put_before();
    if let Some((block, _)) = before.last().filter(|last| last.0 >= disk_blocks) {
        return Err(Error::Resume {
            block: *block,
            disk_blocks,
        });
    }
    let mut walk = Walk::new(job, before, disk_blocks);
    let task = progress.start("storing", ondisk::Unit::Bytes, Some(walk.total()));
    let mut outcome = Outcome::default();
    loop {
        interrupt.check()?;
        let batch: Vec<Unit> = walk.by_ref().take(BATCH).collect::<Result<_, Error>>()?;
        if batch.is_empty() {
            break;
        }
        let results: Vec<(Vec<Record>, u64)> = batch
            .par_iter()
            .map_init(Vec::new, |buf, unit| {
                interrupt.check()?;
                let read = unit.read(job.disk, buf)?;
                let put = decide(job, sink, unit, buf)?;
                task.advance(unit.advance);
                Ok((put, read))
            })
            .collect::<Result<_, Error>>()?;
        for (put, read) in results {
            outcome.put.extend(put);
            outcome.read = outcome.read.saturating_add(read);
        }
    }
    task.advance(walk.rest());
    let none = Index::default();
    let parent = job.parent.unwrap_or(&none);
    outcome.index = parent.child(&outcome.put, disk_blocks, job.encrypted);
    Ok(outcome)
}

/// Units that are at hand at a time. They are only numbers, but threads wait for the last of them.
const BATCH: usize = 512;

/// Blocks of a disk of `size` bytes.
///
/// # Errors
/// [`Error::TooLarge`]: no snapshot can hold it.
pub fn disk_blocks(size: u64) -> Result<u32, Error> {
    match u32::try_from(size.div_ceil(BLOCK)) {
        Ok(blocks) if size <= MAX_DISK => Ok(blocks),
        _ => Err(Error::TooLarge(size)),
    }
}

/// Puts the blocks of a unit that the snapshot needs, and says which ones it has of its own.
fn decide(
    job: &Job<'_>,
    sink: &dyn SnapshotSink,
    unit: &Unit,
    buf: &mut Vec<u8>,
) -> Result<Vec<Record>, Error> {
    let mut own = Vec::new();
    for (at, block) in unit.blocks.clone().enumerate() {
        let start = at.saturating_mul(usize_of(BLOCK));
        // A hole has no bytes.
        let content = buf.get(start..start.saturating_add(usize_of(BLOCK)));
        let content = content.filter(|bytes| !is_zero(bytes));
        let digest = content.map_or(ZERO, |bytes| Sha256::digest(bytes).into());
        let put_before = index::find(sink.put_before(), block);
        let inherited = job.parent.and_then(|parent| parent.get(block));
        let present = match put_before.or(inherited) {
            Some(present) => *present == digest,
            None if job.encrypted => unit.seen == Seen::Hole && !job.zero_fill,
            None => digest == ZERO,
        };
        if !present {
            let mut spare = sink.buffer();
            let content = match content {
                // The only block of the unit needs no copy.
                Some(bytes) if bytes.len() == buf.len() => std::mem::replace(buf, spare),
                Some(bytes) => {
                    spare.clear();
                    spare.extend_from_slice(bytes);
                    spare
                }
                None => {
                    spare.clear();
                    spare.resize(usize_of(BLOCK), 0);
                    spare
                }
            };
            sink.put(block, digest, content)
                .map_err(|source| Error::Put { block, source })?;
        }
        if !present || put_before.is_some() {
            own.push((block, digest));
        }
    }
    Ok(own)
}

impl Unit {
    /// Reads the unit into `buf`, whole blocks; says how many bytes that were of the disk.
    fn read(&self, disk: &dyn BlockRead, buf: &mut Vec<u8>) -> Result<u64, Error> {
        if self.seen == Seen::Hole {
            buf.clear();
            return Ok(0);
        }
        let start = u64::from(self.blocks.start).saturating_mul(BLOCK);
        let end = u64::from(self.blocks.end).saturating_mul(BLOCK);
        buf.resize(usize_of(end.saturating_sub(start)), 0);
        let len = usize_of(end.min(disk.size()).saturating_sub(start));
        let (content, padding) = buf.split_at_mut(len);
        disk.read_at(start, content)?;
        padding.fill(0);
        Ok(u64_of(len))
    }
}

#[cfg(test)]
mod tests;
