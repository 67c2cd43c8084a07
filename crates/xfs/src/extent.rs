//! The map of a fork: which of its blocks lie where.

use crate::error::{CorruptKind, Error};
use crate::superblock::{FsBlock, Superblock};
use std::ops::Range;

/// Blocks of a fork that lie on end, in one group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extent {
    /// First block of the fork, below 2^54.
    pub(crate) offset: u64,
    /// Where it lies.
    pub(crate) start: FsBlock,
    /// Blocks: 1 to 2^21 - 1.
    pub(crate) count: u32,
    /// Reserved only: reads as zeros.
    pub(crate) unwritten: bool,
}

/// The map of a fork, and the blocks that keep it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Map {
    /// Sorted, without overlaps.
    extents: Vec<Extent>,
    /// Blocks of the B+tree, in any order; none if the map lies in the inode.
    pub(crate) nodes: Vec<FsBlock>,
}

/// What a range of a fork consists of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Blocks that are there, cut to the range.
    Extent(Extent),
    /// Blocks that are not.
    Hole(Range<u64>),
}

/// Bytes of a record.
pub(crate) const LEN: usize = 16;
/// `XFS_MAX_BMBT_EXTLEN`.
pub(crate) const MAX_COUNT: u32 = (1 << 21) - 1;
/// `BMBT_STARTOFF_MASK` and one: forks have fewer blocks.
const MAX_OFFSET: u64 = 1 << 54;

impl Extent {
    /// The block of the fork behind the last one.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.count.into())
    }

    /// The part that overlaps a range of the fork.
    pub(crate) fn cut(&self, range: &Range<u64>) -> Option<Self> {
        let offset = self.offset.max(range.start);
        let end = self.end().min(range.end);
        let count = u32::try_from(end.checked_sub(offset)?).ok()?;
        let skipped = offset.saturating_sub(self.offset);
        (count > 0).then_some(Self {
            offset,
            start: FsBlock(self.start.0.saturating_add(skipped)),
            count,
            unwritten: self.unwritten,
        })
    }

    /// `struct xfs_bmbt_rec`: from the highest bit on, the flag, 54 bits of offset, 52 bits of
    /// place, 21 bits of length.
    pub(crate) fn parse(record: &[u8; LEN]) -> Self {
        let bits = u128::from_be_bytes(*record);
        let field = |low: u32, width: u32| {
            let mask = (1_u128 << width).saturating_sub(1);
            // No field is wider than 54 bits.
            u64::try_from((bits >> low) & mask).unwrap_or(u64::MAX)
        };
        Self {
            offset: field(73, 54),
            start: FsBlock(field(21, 52)),
            count: u32::try_from(field(0, 21)).unwrap_or(u32::MAX),
            unwritten: bits >> 127 == 1,
        }
    }

    /// The record of the extent.
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let bits = (u128::from(self.unwritten) << 127)
            | (u128::from(self.offset) << 73)
            | (u128::from(self.start.0) << 21)
            | u128::from(self.count);
        bits.to_be_bytes()
    }

    /// This extent with `next` behind it, if they are one.
    fn joined(&self, next: &Self) -> Option<Self> {
        let fits = self.end() == next.offset
            && self.start.0.saturating_add(self.count.into()) == next.start.0
            && self.unwritten == next.unwritten;
        let count = self.count.checked_add(next.count)?;
        (fits && count <= MAX_COUNT).then_some(Self { count, ..*self })
    }
}

impl Map {
    /// A map of records in their order.
    ///
    /// # Errors
    /// Extents that are empty, overlap, or lie outside of the file system.
    pub(crate) fn parse(
        superblock: &Superblock,
        inode: u64,
        records: &[u8],
        nodes: Vec<FsBlock>,
    ) -> Result<Self, Error> {
        let mut extents: Vec<Extent> = Vec::with_capacity(records.len() / LEN);
        for record in records.chunks_exact(LEN).filter_map(<[u8]>::first_chunk) {
            let extent = Extent::parse(record);
            let (_, block) = superblock.split_block(extent.start);
            if !superblock.has_blocks(extent.start, extent.count.into())
                || block < superblock.header_blocks()
                || extent.end() > MAX_OFFSET
            {
                return Err(CorruptKind::ExtentOutside {
                    inode,
                    logical: extent.offset,
                    what: "an extent",
                }
                .into());
            }
            if let Some(last) = extents.last()
                && last.end() > extent.offset
            {
                return Err(CorruptKind::ExtentOrder {
                    inode,
                    logical: extent.offset,
                    previous: last.end(),
                }
                .into());
            }
            extents.push(extent);
        }
        Ok(Self { extents, nodes })
    }

    /// The extents in their order.
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Blocks of the extents and of the tree.
    pub(crate) fn blocks(&self) -> u64 {
        let extents = self.extents.iter().map(|extent| u64::from(extent.count));
        let nodes = ondisk::width::u64_of(self.nodes.len());
        extents.fold(nodes, u64::saturating_add)
    }

    /// The block of the fork behind the last extent.
    pub(crate) fn end(&self) -> u64 {
        self.extents.last().map_or(0, Extent::end)
    }

    /// Where the extent is, or would be, that ends behind `block`.
    fn index(&self, block: u64) -> usize {
        self.extents.partition_point(|extent| extent.end() <= block)
    }

    /// The first extent that ends behind `block`.
    pub(crate) fn next(&self, block: u64) -> Option<&Extent> {
        self.extents.get(self.index(block))
    }

    /// The extent before `block`.
    pub(crate) fn before(&self, block: u64) -> Option<&Extent> {
        let index = self.extents.partition_point(|extent| extent.offset < block);
        self.extents.get(index.checked_sub(1)?)
    }

    /// What a range consists of, in its order.
    pub(crate) fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let extents = self
            .extents
            .get(self.index(range.start)..)
            .unwrap_or_default();
        for extent in extents {
            let Some(extent) = extent.cut(&range) else {
                break;
            };
            if at < extent.offset {
                pieces.push(Piece::Hole(at..extent.offset));
            }
            at = extent.end();
            pieces.push(Piece::Extent(extent));
        }
        if at < range.end {
            pieces.push(Piece::Hole(at..range.end));
        }
        pieces
    }

    /// Takes a range out of the map and says what was there.
    pub(crate) fn remove(&mut self, range: &Range<u64>) -> Vec<Extent> {
        let first = self.index(range.start);
        let end = self
            .extents
            .partition_point(|extent| extent.offset < range.end);
        if first >= end {
            return Vec::new();
        }
        let overlapping = self.extents.get(first..end).unwrap_or_default();
        let removed = overlapping.iter().filter_map(|extent| extent.cut(range));
        let removed: Vec<Extent> = removed.collect();
        let head = overlapping
            .first()
            .and_then(|extent| extent.cut(&(0..range.start)));
        let tail = overlapping
            .last()
            .and_then(|extent| extent.cut(&(range.end..u64::MAX)));
        self.extents
            .splice(first..end, head.into_iter().chain(tail));
        removed
    }

    /// Puts an extent where a hole is.
    pub(crate) fn insert(&mut self, extent: Extent) {
        let index = self.index(extent.offset);
        let mut extent = extent;
        let mut replaced = index..index;
        if let Some(before) = index.checked_sub(1)
            && let Some(joined) = self
                .extents
                .get(before)
                .and_then(|last| last.joined(&extent))
        {
            extent = joined;
            replaced.start = before;
        }
        if let Some(joined) = self.extents.get(index).and_then(|next| extent.joined(next)) {
            extent = joined;
            replaced.end = index.saturating_add(1);
        }
        self.extents.splice(replaced, [extent]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, start: u64, count: u32) -> Extent {
        Extent {
            offset,
            start: FsBlock(start),
            count,
            unwritten: false,
        }
    }

    #[test]
    fn records_keep_every_bit() {
        let full = Extent {
            offset: MAX_OFFSET - 1,
            start: FsBlock((1 << 52) - 1),
            count: MAX_COUNT,
            unwritten: true,
        };
        assert_eq!(full.encode(), [0xff; LEN]);
        for extent in [full, extent(1, 2, 3), extent(1 << 53, 0, 1)] {
            assert_eq!(Extent::parse(&extent.encode()), extent);
        }
    }

    #[test]
    fn extents_that_follow_each_other_join() {
        let mut map = Map::default();
        map.insert(extent(0, 100, 2));
        map.insert(extent(4, 104, 2));
        map.insert(extent(2, 102, 2));
        assert_eq!(map.extents(), [extent(0, 100, 6)]);
        assert_eq!(map.remove(&(1..3)), [extent(1, 101, 2)]);
        assert_eq!(map.extents(), [extent(0, 100, 1), extent(3, 103, 3)]);
        assert_eq!(map.remove(&(2..3)), []);
        assert_eq!(map.remove(&(0..5)), [extent(0, 100, 1), extent(3, 103, 2)]);
        assert_eq!(map.extents(), [extent(5, 105, 1)]);
    }

    #[test]
    fn pieces_cover_the_range_that_is_asked_for() {
        let mut map = Map::default();
        map.insert(extent(2, 100, 2));
        map.insert(extent(6, 200, 4));
        assert_eq!(
            map.pieces(3..8),
            [
                Piece::Extent(extent(3, 101, 1)),
                Piece::Hole(4..6),
                Piece::Extent(extent(6, 200, 2)),
            ]
        );
        assert_eq!(map.pieces(20..22), [Piece::Hole(20..22)]);
        assert_eq!(map.before(6), Some(&extent(2, 100, 2)));
        assert_eq!(map.next(4), Some(&extent(6, 200, 4)));
    }
}
