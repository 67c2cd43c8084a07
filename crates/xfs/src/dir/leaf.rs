//! The index of a directory of several blocks, as long as one block is enough for it: hashes from
//! its start, and from its end how large the largest unused place of each block with names is.
//!
//! Source: `xfs_dir3_leaf` and `xfs_dir2_leaf_tail` in the kernel's `libxfs/xfs_da_format.h`.

use super::format::Format;
use super::free::NO_BLOCK;
use crate::da::{
    Fault, Header, IndexBlock, IndexEntry, be16, be32, decode_entries, encode_head, forget_stale,
    leaf1_magic, put,
};
use ondisk::width::usize_of_u32;

/// The index.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Leaf {
    /// Sorted by hash.
    pub(super) entries: Vec<IndexEntry>,
    /// Of each block with names its largest unused place, or [`NO_BLOCK`]. The last one is a block.
    pub(super) bests: Vec<u16>,
}

impl Leaf {
    /// Whether a block is one of these.
    pub(super) fn is_one(format: &Format, bytes: &[u8]) -> bool {
        IndexBlock::magic(bytes) == leaf1_magic(format.v5())
    }

    /// Reads the block.
    ///
    /// # Errors
    /// What breaks the format.
    pub(super) fn decode(format: &Format, bytes: &[u8]) -> Result<Self, Fault> {
        let v5 = format.v5();
        let header = Header::Index.len(v5);
        let count = usize::from(be16(bytes, header));
        let mut entries = decode_entries(v5, bytes, count)?;
        let at = header.saturating_add(2);
        forget_stale(&mut entries, be16(bytes, at).into(), at)?;

        let tail = bytes.len().saturating_sub(4);
        let best_count = be32(bytes, tail);
        let first = IndexBlock::first_entry(v5).saturating_add(count.saturating_mul(8));
        let start = tail.checked_sub(usize_of_u32(best_count).saturating_mul(2));
        let Some(start) = start.filter(|start| *start >= first) else {
            return Err(Fault {
                at: tail,
                reason: "more blocks than the index has room for",
                value: best_count.into(),
            });
        };
        let (bests, _) = bytes.get(start..tail).unwrap_or_default().as_chunks();
        let bests = bests.iter().map(|best| u16::from_be_bytes(*best)).collect();
        Ok(Self { entries, bests })
    }

    /// The block, if it has room.
    pub(super) fn encode(&self, format: &Format) -> Option<Vec<u8>> {
        let v5 = format.v5();
        if len(format, self.entries.len(), self.bests.len()) > format.block_size() {
            return None;
        }
        let tail = format.block_size().checked_sub(4)?;
        let start = tail.checked_sub(self.bests.len().saturating_mul(2))?;
        let mut bytes = vec![0; format.block_size()];
        encode_head(v5, leaf1_magic(v5), &self.entries, &mut bytes);
        let bests = bytes.get_mut(start..tail)?;
        for (place, best) in bests.as_chunks_mut().0.iter_mut().zip(&self.bests) {
            *place = best.to_be_bytes();
        }
        let count = u32::try_from(self.bests.len()).ok()?;
        put(&mut bytes, tail, &count.to_be_bytes());
        Some(bytes)
    }

    /// How many blocks with names there are, gaps among them as well.
    pub(super) fn block_count(&self) -> u32 {
        u32::try_from(self.bests.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is such a block with names.
    pub(super) fn has_block(&self, number: u32) -> bool {
        let best = self.bests.get(usize_of_u32(number));
        best.is_some_and(|best| *best != NO_BLOCK)
    }

    /// The first block with names that has an unused place of `len` bytes, else the number for a
    /// new one.
    pub(super) fn room(&self, len: usize) -> u32 {
        let fits = |best: &u16| *best != NO_BLOCK && usize::from(*best) >= len;
        let fitting = self.bests.iter().position(fits);
        let gap = || self.bests.iter().position(|best| *best == NO_BLOCK);
        let number = fitting.or_else(gap).unwrap_or(self.bests.len());
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Whether the index has room for one more name, which goes to block `number`.
    pub(super) fn takes_one_more(&self, format: &Format, number: u32) -> bool {
        let bests = self.bests.len().max(usize_of_u32(number).saturating_add(1));
        len(format, self.entries.len().saturating_add(1), bests) <= format.block_size()
    }

    /// Keeps how large the largest unused place of a block is, [`NO_BLOCK`] if there is no such
    /// block any more.
    pub(super) fn set_best(&mut self, number: u32, best: u16) {
        let number = usize_of_u32(number);
        if self.bests.len() <= number {
            self.bests.resize(number.saturating_add(1), NO_BLOCK);
        }
        if let Some(place) = self.bests.get_mut(number) {
            *place = best;
        }
        while self.bests.last() == Some(&NO_BLOCK) {
            self.bests.pop();
        }
    }
}

/// Bytes of an index of so many names in so many blocks.
fn len(format: &Format, entries: usize, bests: usize) -> usize {
    IndexBlock::first_entry(format.v5())
        .saturating_add(entries.saturating_mul(8))
        .saturating_add(bests.saturating_mul(2))
        .saturating_add(4)
}

#[cfg(test)]
mod tests {
    use super::super::tests::format;
    use super::*;

    fn leaf(entries: u32, bests: u16) -> Leaf {
        let entry = |hash| IndexEntry { hash, value: 8 };
        Leaf {
            entries: (0..entries).map(entry).collect(),
            bests: (0..bests).collect(),
        }
    }

    #[test]
    fn a_block_takes_hashes_and_places_until_they_meet() {
        for (v5, entries) in [(true, 54), (false, 60)] {
            let format = format(512, v5);
            for bests in 2..6 {
                let whole = leaf(entries, bests).encode(&format);
                assert_eq!(whole.is_some(), bests < 7, "{bests}");
                let read = Leaf::decode(&format, &whole.unwrap()).unwrap();
                assert_eq!(read, leaf(entries, bests));
            }
            assert_eq!(leaf(entries + 1, 6).encode(&format), None);
        }
    }

    #[test]
    fn blocks_that_are_gone_are_kept_as_such_or_cut_off() {
        let mut leaf = leaf(1, 4);
        leaf.set_best(2, NO_BLOCK);
        assert_eq!(leaf.bests, [0, 1, NO_BLOCK, 3]);
        leaf.set_best(3, NO_BLOCK);
        assert_eq!(leaf.bests, [0, 1]);
        leaf.set_best(3, 8);
        assert_eq!(leaf.bests, [0, 1, NO_BLOCK, 8]);
    }

    #[test]
    fn every_broken_field_is_found() {
        let format = format(512, true);
        let bytes = leaf(3, 4).encode(&format).unwrap();
        for (at, value, reason) in [
            (57, 60, "more entries than the block has room for"),
            (59, 1, "the count of forgotten entries is wrong"),
            (511, 255, "more blocks than the index has room for"),
            (508, 1, "more blocks than the index has room for"),
            (64, 1, "hashes are out of order"),
        ] {
            let mut broken = bytes.clone();
            broken[at] = value;
            let fault = Leaf::decode(&format, &broken).unwrap_err();
            assert_eq!(fault.reason, reason, "byte {at}");
        }
    }
}
