//! What the engine is asked, and what it gives.

use crate::index::{Digest, Index, Record};
use block::BlockRead;
use std::ops::Range;

/// A snapshot to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The disk.
    pub disk: &'a dyn BlockRead,
    /// What the parent holds, of which the snapshot inherits.
    pub parent: Option<&'a Index>,
    /// Whether the snapshot is encrypted: a block that no snapshot of the chain put is undefined
    /// then, instead of zeros.
    pub encrypted: bool,
    /// Puts holes of the disk too where they would be undefined. Without it a hole counts as never
    /// written, which nobody reads; but an image may tell zeros that a guest wrote as a hole too,
    /// so leave it out only where the source is known not to.
    pub zero_fill: bool,
    /// Bytes that can differ from the parent's, in any order: nothing else is read. What the disk
    /// has beyond the end of the parent's must be in them. Means nothing without a parent.
    pub changed: Option<&'a [Range<u64>]>,
}

/// Why a sink could not take a block.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Takes the blocks of one snapshot, from many threads.
pub trait SnapshotSink: Sync {
    /// Takes one block of [`BLOCK`](crate::BLOCK) bytes with its digest. May return before it is stored, and
    /// waits while too much is under way. No block comes twice in a run.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn put(&self, block: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError>;

    /// Memory for a block that is to be put later, of any length and content. A sink that gives back
    /// what it has put spares the system to make 512 KiB of fresh memory for each block.
    fn buffer(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The blocks that an earlier, interrupted run of the same snapshot has put, ascending. They
    /// are put again only where the disk has changed since.
    fn put_before(&self) -> &[Record] {
        &[]
    }
}

/// What a snapshot came to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Everything, own and inherited.
    pub index: Index,
    /// Its own blocks, ascending, those of an interrupted run among them.
    pub put: Vec<Record>,
    /// Bytes of the disk that were read.
    pub read: u64,
}
