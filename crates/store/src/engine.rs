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

mod room;
mod walk;

use crate::index::{self, Digest, Index, Record, ZERO};
use crate::sha256;
use crate::zeros::is_zero;
use crate::{BLOCK, Error, Job, MAX_DISK, Outcome, SnapshotSink};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Progress};
use rayon::prelude::*;
use room::Room;
use walk::{Seen, Unit, Walk};

/// Reads, hashes and compares blocks on all threads and puts the ones that the snapshot needs.
///
/// Holes are not read. In memory are the blocks that each thread hashes together, 4 MiB, and as much
/// again where the disk is decompressed in pieces larger than a block; 36 bytes for each block that
/// is put and for each in the index; and what the sink holds.
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
    run_together(job, sink, progress, interrupt, sha256::together())
}

/// [`run`], with so many blocks read and hashed together.
fn run_together(
    job: &Job<'_>,
    sink: &dyn SnapshotSink,
    progress: &dyn Progress,
    interrupt: &Interrupt,
    together: u32,
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
    let mut walk = Walk::new(job, before, disk_blocks, together);
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
            .map_init(Room::default, |room, unit| {
                interrupt.check()?;
                let blocks = u64_of(unit.blocks.len()).saturating_mul(BLOCK);
                task.advance(unit.advance.saturating_sub(blocks));
                let (contents, read) = room.read(job.disk, unit)?;
                let put = decide(job, sink, unit, contents, &|| {
                    task.advance(BLOCK);
                    Ok(interrupt.check()?)
                })?;
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
///
/// `contents` are the blocks' where the unit was read; those that are put are taken out of it.
/// `after` each block it may be told to end.
fn decide(
    job: &Job<'_>,
    sink: &dyn SnapshotSink,
    unit: &Unit,
    contents: &mut [Vec<u8>],
    after: &dyn Fn() -> Result<(), Error>,
) -> Result<Vec<Record>, Error> {
    let mut own = Vec::new();
    let digests = digests(unit.blocks.len(), contents);
    for (at, (block, digest)) in unit.blocks.clone().zip(digests).enumerate() {
        let put_before = index::find(sink.put_before(), block);
        let inherited = job.parent.and_then(|parent| parent.get(block));
        let present = match put_before.or(inherited) {
            Some(present) => *present == digest,
            None if job.encrypted => unit.seen == Seen::Hole && !job.zero_fill,
            None => digest == ZERO,
        };
        if !present {
            let mut content = sink.buffer();
            if let Some(read) = contents.get_mut(at) {
                std::mem::swap(read, &mut content);
            } else {
                content.clear();
                content.resize(usize_of(BLOCK), 0);
            }
            sink.put(block, digest, content)
                .map_err(|source| Error::Put { block, source })?;
        }
        if !present || put_before.is_some() {
            own.push((block, digest));
        }
        after()?;
    }
    Ok(own)
}

/// The digests of the blocks of a unit, of zeros where nothing was read.
fn digests(blocks: usize, contents: &[Vec<u8>]) -> Vec<Digest> {
    let mut digests = vec![ZERO; blocks];
    let (mut places, mut messages) = (Vec::new(), Vec::new());
    for (place, content) in digests.iter_mut().zip(contents) {
        if !is_zero(content) {
            places.push(place);
            messages.push(content.as_slice());
        }
    }
    for (place, digest) in places.into_iter().zip(sha256::digests(&messages)) {
        *place = digest;
    }
    digests
}

#[cfg(test)]
mod tests;
