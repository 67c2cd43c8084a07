//! Chunks of 64 inodes: records of the trees "inobt" and "finobt".

use crate::error::{CorruptKind, Error};
use crate::free_space::pair;
use crate::superblock::Superblock;
use std::collections::BTreeMap;
use std::ops::Range;

/// A chunk of 64 inodes, with holes of four where the chunk is sparse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Chunk {
    /// The first inode, numbered within the group.
    pub(crate) start: u32,
    /// A bit for each four inodes that have no place on the volume.
    pub(crate) holes: u16,
    /// A bit for each inode that is free; also for those in holes.
    pub(crate) free: u64,
}

/// Inodes of a chunk.
pub(crate) const INODES: u32 = 64;
/// Inodes for which a bit of `ir_holemask` stands.
pub(crate) const INODES_OF_HOLE: u32 = 4;
/// Bytes of a record.
const LEN: usize = 16;

impl Chunk {
    /// The inodes that have a place.
    pub(crate) fn present(&self) -> u64 {
        (0..16_u32)
            .filter(|bit| self.holes & (1 << bit) == 0)
            .fold(0, |all, bit| {
                all | (0xf << bit.saturating_mul(INODES_OF_HOLE))
            })
    }

    /// The inodes that can be taken.
    pub(crate) fn available(&self) -> u64 {
        self.free & self.present()
    }

    /// How many inodes can be taken.
    pub(crate) fn free_count(&self) -> u32 {
        self.available().count_ones()
    }

    /// How many inodes have a place.
    pub(crate) fn count(&self) -> u32 {
        self.present().count_ones()
    }

    /// The blocks of the group that the chunk takes.
    pub(crate) fn blocks(&self, superblock: &Superblock) -> Vec<Range<u32>> {
        let per_block = superblock.inodes_per_block.max(1);
        let block = |inode: u32| {
            self.start
                .saturating_add(inode)
                .checked_div(per_block)
                .unwrap_or(0)
        };
        let mut blocks: Vec<Range<u32>> = Vec::new();
        for bit in (0..16_u32).filter(|bit| self.holes & (1 << bit) == 0) {
            let first = bit.saturating_mul(INODES_OF_HOLE);
            let last = first.saturating_add(INODES_OF_HOLE).saturating_sub(1);
            let (start, end) = (block(first), block(last).saturating_add(1));
            match blocks.last_mut() {
                Some(run) if run.end >= start => run.end = end.max(run.end),
                _ => blocks.push(start..end),
            }
        }
        blocks
    }

    fn parse(record: &[u8], sparse: bool) -> (Self, u32) {
        let (start, counts) = pair(record);
        let [a, b, _, free_count] = counts.to_be_bytes();
        let (high, low) = record.get(8..).map_or((0, 0), pair);
        let chunk = Self {
            start,
            holes: if sparse {
                u16::from_be_bytes([a, b])
            } else {
                0
            },
            free: (u64::from(high) << 32) | u64::from(low),
        };
        (chunk, if sparse { free_count.into() } else { counts })
    }

    fn encode(&self, sparse: bool) -> [u8; LEN] {
        let byte = |count: u32| u8::try_from(count).unwrap_or(u8::MAX);
        let [a, b, c, d] = self.start.to_be_bytes();
        let [e, f] = self.holes.to_be_bytes();
        let count = if sparse { byte(self.count()) } else { 0 };
        let [i, j, k, l, m, n, o, p] = self.free.to_be_bytes();
        [
            a,
            b,
            c,
            d,
            e,
            f,
            count,
            byte(self.free_count()),
            i,
            j,
            k,
            l,
            m,
            n,
            o,
            p,
        ]
    }
}

/// Reads the records of the tree of chunks of a group.
///
/// # Errors
/// Chunks that are unsorted, overlap, leave the group or count wrongly.
pub(crate) fn parse(
    superblock: &Superblock,
    group: u32,
    records: &[u8],
) -> Result<BTreeMap<u32, Chunk>, Error> {
    let sparse = superblock.features.sparse_inodes();
    let end = superblock.blocks_of_group(group);
    let first = superblock.header_blocks();
    let mut chunks = BTreeMap::new();
    let mut behind = 0;
    for record in records.chunks_exact(LEN) {
        let (chunk, free_count) = Chunk::parse(record, sparse);
        let wrong = |expected| {
            Error::from(CorruptKind::Group {
                group,
                field: "chunk of inodes at",
                value: chunk.start.into(),
                expected,
            })
        };
        // A group may have 2^32 inodes at most, so this ends there.
        let next = chunk.start.saturating_add(INODES);
        if chunk.start < behind || next.saturating_sub(chunk.start) < INODES {
            return Err(wrong("sorted chunks that do not overlap"));
        }
        behind = next;
        let inside = |run: &Range<u32>| run.start >= first && run.end <= end;
        if chunk.holes == u16::MAX || !chunk.blocks(superblock).iter().all(inside) {
            return Err(wrong("blocks within the group"));
        }
        let per_block = superblock.inodes_per_block.min(INODES);
        if !chunk.start.is_multiple_of(per_block) {
            return Err(wrong("the start of a block"));
        }
        if free_count != chunk.free_count() {
            return Err(wrong("as many free inodes as ir_freecount says"));
        }
        chunks.insert(chunk.start, chunk);
    }
    Ok(chunks)
}

/// The records of the tree of all chunks, or of those with free inodes.
pub(crate) fn records(chunks: &BTreeMap<u32, Chunk>, sparse: bool, only_free: bool) -> Vec<u8> {
    let wanted = chunks
        .values()
        .filter(|chunk| !only_free || chunk.free_count() > 0);
    wanted.flat_map(|chunk| chunk.encode(sparse)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_in_holes_are_not_available() {
        let chunk = Chunk {
            start: 128,
            holes: 0xff00,
            free: u64::MAX << 1,
        };
        assert_eq!((chunk.count(), chunk.free_count()), (32, 31));
        let record = chunk.encode(true);
        assert_eq!(Chunk::parse(&record, true), (chunk, 31));
        let whole = Chunk { holes: 0, ..chunk };
        assert_eq!(Chunk::parse(&whole.encode(false), false), (whole, 63));
    }
}
