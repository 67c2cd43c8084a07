//! Host clusters of an image that is written from its beginning to its end, and their refcounts.

use super::header::ClusterSize;
use crate::Error;
use crate::write::Job;
use ondisk::width::{u64_of, usize_of};
use std::collections::VecDeque;
use std::num::NonZeroU64;

/// Hands out host clusters in ascending order and never takes one back.
///
/// The refcount block of clusters that are settled is written as soon as all of them are, so that
/// memory does not grow with the image.
#[derive(Debug)]
pub(super) struct Allocator {
    cluster: NonZeroU64,
    /// The next cluster that nobody has.
    next: u64,
    /// Where the next compressed cluster goes, unless a whole cluster was handed out since.
    packed: Option<u64>,
    /// Refcounts of clusters from `settled` on.
    refcounts: VecDeque<u16>,
    /// Clusters whose refcounts are written.
    settled: u64,
    /// Positions of the refcount blocks.
    blocks: Vec<u64>,
}

/// Bytes of a refcount, as `refcount_order` 4 has it.
const REFCOUNT_BYTES: u64 = 2;
/// Bytes in which the size of a compressed cluster is counted.
const SECTOR: u64 = 512;

/// The refcount table of a finished image.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefcountTable {
    pub(super) offset: u64,
    pub(super) clusters: u32,
}

impl Allocator {
    /// Starts with the header's cluster taken.
    pub(super) fn new(cluster: ClusterSize) -> Self {
        Self {
            cluster: cluster.bytes(),
            next: 1,
            packed: None,
            refcounts: VecDeque::from([1]),
            settled: 0,
            blocks: Vec::new(),
        }
    }

    /// Takes `count` neighbouring clusters and says where they begin.
    pub(super) fn clusters(&mut self, count: u64) -> u64 {
        let offset = self.next.saturating_mul(self.cluster.get());
        for _ in 0..count {
            self.refcounts.push_back(1);
        }
        self.next = self.next.saturating_add(count);
        self.packed = None;
        offset
    }

    /// Takes `len` bytes for a compressed cluster, behind the last one if nothing is between.
    pub(super) fn bytes(&mut self, len: u64) -> u64 {
        let offset = match self.packed {
            Some(offset) if !self.is_full(offset) => offset,
            _ => self.next.saturating_mul(self.cluster.get()),
        };
        let end = offset.saturating_add(len);
        // Readers take whole sectors, and so do the refcounts.
        let last = end.next_multiple_of(SECTOR).saturating_sub(1) / self.cluster;
        for cluster in offset / self.cluster..=last {
            if cluster == self.next {
                self.refcounts.push_back(0);
                self.next = self.next.saturating_add(1);
            }
            let index = cluster.saturating_sub(self.settled);
            if let Some(count) = self.refcounts.get_mut(usize_of(index)) {
                *count = count.saturating_add(1);
            }
        }
        self.packed = Some(end);
        offset
    }

    /// Whether the cluster at `offset` cannot be shared by one more.
    fn is_full(&self, offset: u64) -> bool {
        let index = (offset / self.cluster).saturating_sub(self.settled);
        self.refcounts
            .get(usize_of(index))
            .is_some_and(|count| *count == u16::MAX)
    }

    /// Writes the refcount blocks of clusters that cannot be shared any more.
    pub(super) fn settle(&mut self, job: &Job) -> Result<(), Error> {
        let open = self.packed.map_or(self.next, |end| end / self.cluster);
        while self.settled.saturating_add(self.block_len()) <= open {
            let offset = self.clusters(1);
            self.write_block(job, offset)?;
        }
        Ok(())
    }

    /// Writes all that is left: the last refcount blocks and the refcount table.
    pub(super) fn finish(mut self, job: &Job) -> Result<(RefcountTable, u64), Error> {
        self.packed = None;
        let (mut blocks, mut table) = (0_u64, 1_u64);
        // Blocks and table are counted by themselves: both only grow, and soon fit.
        loop {
            let total = self.next.saturating_add(blocks).saturating_add(table);
            let open = total
                .saturating_sub(self.settled)
                .div_ceil(self.block_len());
            let entries = u64_of(self.blocks.len()).saturating_add(open);
            let needed = entries.saturating_mul(8).div_ceil(self.cluster.get());
            if (open, needed) == (blocks, table) {
                break;
            }
            (blocks, table) = (open.max(blocks), needed.max(table));
        }
        let first_block = self.clusters(blocks);
        let offset = self.clusters(table);
        for number in 0..blocks {
            let at = number.saturating_mul(self.cluster.get());
            self.write_block(job, first_block.saturating_add(at))?;
        }
        let mut bytes: Vec<u8> = self.blocks.iter().flat_map(|at| at.to_be_bytes()).collect();
        bytes.resize(
            bytes.len().next_multiple_of(usize_of(self.cluster.get())),
            0,
        );
        job.write_at(&bytes, offset)?;
        let clusters = u32::try_from(table).map_err(|_| Error::Options {
            reason: "the disk is too large for clusters of this size".to_owned(),
        })?;
        let end = self.next.saturating_mul(self.cluster.get());
        Ok((RefcountTable { offset, clusters }, end))
    }

    /// Refcounts in a block.
    fn block_len(&self) -> u64 {
        self.cluster.get() / REFCOUNT_BYTES
    }

    fn write_block(&mut self, job: &Job, offset: u64) -> Result<(), Error> {
        let len = usize_of(self.block_len()).min(self.refcounts.len());
        let mut bytes: Vec<u8> = self
            .refcounts
            .drain(..len)
            .flat_map(u16::to_be_bytes)
            .collect();
        bytes.resize(usize_of(self.cluster.get()), 0);
        self.settled = self.settled.saturating_add(self.block_len());
        self.blocks.push(offset);
        job.write_at(&bytes, offset)
    }
}
