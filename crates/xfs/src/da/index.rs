//! Blocks of an index: hashes, in ascending order, with what each leads to.
//!
//! Nodes lead to blocks one level below, of which their hash is the last one. Leaves of a
//! directory lead to names; leaves of attributes hold more and are not read here.
//!
//! Sources: `xfs_da3_intnode` and `xfs_dir3_leaf` in the kernel's `libxfs/xfs_da_format.h`.

use super::Fault;
use super::header::{Header, be16, be32, put};
use ondisk::width::u64_of;

/// A hash, and what it leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IndexEntry {
    pub(crate) hash: u32,
    /// Of a node: a block of the fork. Of a leaf: where a name is, in units of eight bytes.
    pub(crate) value: u32,
}

/// A node, or a leaf of a directory without what it has forgotten.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct IndexBlock {
    /// Levels below: 0 for a leaf.
    pub(crate) level: u16,
    /// The next block of the level; 0 for the last.
    pub(crate) forw: u32,
    /// The block before on the level; 0 for the first.
    pub(crate) back: u32,
    /// Sorted by hash.
    pub(crate) entries: Vec<IndexEntry>,
}

/// The highest level that a node may have, counted from 0 for leaves: repair takes less than
/// `XFS_DA_NODE_MAXDEPTH`.
pub(crate) const MAX_LEVEL: u16 = 4;

const NODE: u16 = 0xfebe;
const NODE_V5: u16 = 0x3ebe;
const LEAF_N: u16 = 0xd2ff;
const LEAF_N_V5: u16 = 0x3dff;

/// What the index of a directory that needs only one block of it starts with.
pub(crate) fn leaf1_magic(v5: bool) -> u16 {
    if v5 { 0x3df1 } else { 0xd2f1 }
}

/// What leaves of attributes start with.
pub(crate) fn attribute_leaf_magic(v5: bool) -> u16 {
    if v5 { 0x3bee } else { 0xfbee }
}

/// Bytes of an entry.
const ENTRY: usize = 8;
/// Where the magic number lies.
const MAGIC: usize = 8;

impl IndexBlock {
    /// What a block starts with.
    pub(crate) fn magic(bytes: &[u8]) -> u16 {
        be16(bytes, MAGIC)
    }

    /// Whether a block is a node.
    pub(crate) fn is_node(v5: bool, bytes: &[u8]) -> bool {
        Self::magic(bytes) == if v5 { NODE_V5 } else { NODE }
    }

    /// Where the entries lie.
    pub(crate) fn first_entry(v5: bool) -> usize {
        if v5 { 64 } else { 16 }
    }

    /// Entries of a full block.
    pub(crate) fn capacity(v5: bool, block_size: usize) -> usize {
        let room = block_size.saturating_sub(Self::first_entry(v5));
        room.checked_div(ENTRY).unwrap_or(0)
    }

    /// The last hash: what the level above knows the block by. 0 if there is none.
    pub(crate) fn last_hash(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.hash)
    }

    /// The last hash of a block as it lies on disk, where forgotten entries count as well: what the
    /// level above has to know it by as long as it is not written anew.
    pub(crate) fn stored_last_hash(v5: bool, bytes: &[u8]) -> u32 {
        let count = usize::from(be16(bytes, Header::Index.len(v5)));
        let last = count.saturating_sub(1).saturating_mul(ENTRY);
        be32(bytes, Self::first_entry(v5).saturating_add(last))
    }

    /// Changes the neighbours of a block and nothing else.
    pub(crate) fn relink(bytes: &mut [u8], back: Option<u32>, forw: Option<u32>) {
        if let Some(forw) = forw {
            put(bytes, 0, &forw.to_be_bytes());
        }
        if let Some(back) = back {
            put(bytes, 4, &back.to_be_bytes());
        }
    }

    /// The first entry that has `hash` or a larger one.
    pub(crate) fn position(&self, hash: u32) -> usize {
        self.entries.partition_point(|entry| entry.hash < hash)
    }

    /// Reads a node, or a leaf of a directory.
    ///
    /// # Errors
    /// What breaks the format.
    pub(crate) fn decode(v5: bool, bytes: &[u8]) -> Result<Self, Fault> {
        let magic = Self::magic(bytes);
        let leaf = magic == if v5 { LEAF_N_V5 } else { LEAF_N };
        if !leaf && !Self::is_node(v5, bytes) {
            return Err(Fault {
                at: MAGIC,
                reason: "no block of an index",
                value: magic.into(),
            });
        }
        let header = Header::Index.len(v5);
        let count = usize::from(be16(bytes, header));
        let second = header.saturating_add(2);
        let mut block = Self {
            level: 0,
            forw: be32(bytes, 0),
            back: be32(bytes, 4),
            entries: decode_entries(v5, bytes, count)?,
        };
        if leaf {
            forget_stale(&mut block.entries, be16(bytes, second).into(), second)?;
            return Ok(block);
        }
        block.level = be16(bytes, second);
        if block.level == 0 || block.level > MAX_LEVEL {
            return Err(Fault {
                at: second,
                reason: "the level of a node is wrong",
                value: block.level.into(),
            });
        }
        if count == 0 {
            return Err(Fault {
                at: header,
                reason: "a node is empty",
                value: 0,
            });
        }
        Ok(block)
    }

    /// The block as it lies on disk, but for what its header gets when it is written. There must
    /// be no more entries than there is room for.
    pub(crate) fn encode(&self, v5: bool, block_size: usize) -> Vec<u8> {
        let mut bytes = vec![0; block_size];
        let magic = match (self.level, v5) {
            (0, true) => LEAF_N_V5,
            (0, false) => LEAF_N,
            (_, true) => NODE_V5,
            (_, false) => NODE,
        };
        encode_head(v5, magic, &self.entries, &mut bytes);
        put(&mut bytes, 0, &self.forw.to_be_bytes());
        put(&mut bytes, 4, &self.back.to_be_bytes());
        // Of leaves, this is the number of entries that are forgotten but there: always none.
        let second = Header::Index.len(v5).saturating_add(2);
        put(&mut bytes, second, &self.level.to_be_bytes());
        bytes
    }
}

/// Writes the magic number, the count and the entries.
pub(crate) fn encode_head(v5: bool, magic: u16, entries: &[IndexEntry], bytes: &mut [u8]) {
    put(bytes, MAGIC, &magic.to_be_bytes());
    // A block of 64 KiB has room for fewer than 2^13.
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    put(bytes, Header::Index.len(v5), &count.to_be_bytes());
    encode_entries(entries, bytes, IndexBlock::first_entry(v5));
}

/// Writes entries from `at` on.
pub(crate) fn encode_entries(entries: &[IndexEntry], bytes: &mut [u8], at: usize) {
    let places = bytes.get_mut(at..).unwrap_or_default();
    debug_assert!(places.len() / ENTRY >= entries.len(), "too many entries");
    let (places, _) = places.as_chunks_mut::<ENTRY>();
    for (place, entry) in places.iter_mut().zip(entries) {
        place[..4].copy_from_slice(&entry.hash.to_be_bytes());
        place[4..].copy_from_slice(&entry.value.to_be_bytes());
    }
}

/// Reads `count` entries of a block of an index, stale ones as well, and checks their order.
pub(crate) fn decode_entries(
    v5: bool,
    bytes: &[u8],
    count: usize,
) -> Result<Vec<IndexEntry>, Fault> {
    decode_entries_at(bytes, IndexBlock::first_entry(v5), count)
}

/// Reads `count` entries from `at` on, and checks their order.
pub(crate) fn decode_entries_at(
    bytes: &[u8],
    at: usize,
    count: usize,
) -> Result<Vec<IndexEntry>, Fault> {
    let end = count.saturating_mul(ENTRY).saturating_add(at);
    let Some(range) = bytes.get(at..end) else {
        return Err(Fault {
            at,
            reason: "more entries than the block has room for",
            value: u64_of(count),
        });
    };
    let (chunks, _) = range.as_chunks::<ENTRY>();
    let entries: Vec<_> = chunks
        .iter()
        .map(|chunk| IndexEntry {
            hash: be32(chunk, 0),
            value: be32(chunk, 4),
        })
        .collect();
    if let Some(index) = entries
        .windows(2)
        .position(|pair| matches!(pair, [a, b] if a.hash > b.hash))
    {
        let at = index.saturating_mul(ENTRY).saturating_add(at);
        return Err(Fault {
            at,
            reason: "hashes are out of order",
            value: u64_of(index),
        });
    }
    Ok(entries)
}

/// Drops the entries of a leaf that lead nowhere, of which there must be `stale`.
pub(crate) fn forget_stale(
    entries: &mut Vec<IndexEntry>,
    stale: usize,
    at: usize,
) -> Result<(), Fault> {
    let before = entries.len();
    entries.retain(|entry| entry.value != 0);
    if before.saturating_sub(entries.len()) != stale {
        return Err(Fault {
            at,
            reason: "the count of forgotten entries is wrong",
            value: u64_of(stale),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(level: u16) -> IndexBlock {
        IndexBlock {
            level,
            forw: 7,
            back: 9,
            entries: (1..20).map(|hash| IndexEntry { hash, value: 3 }).collect(),
        }
    }

    #[test]
    fn nodes_and_leaves_survive_both_ways() {
        for v5 in [false, true] {
            for level in [0, 1, 4] {
                let bytes = block(level).encode(v5, 512);
                assert_eq!(IndexBlock::decode(v5, &bytes).unwrap(), block(level));
                assert!(IndexBlock::decode(!v5, &bytes).is_err());
            }
        }
        assert_eq!(IndexBlock::capacity(true, 4096), 504);
        assert_eq!(IndexBlock::capacity(false, 4096), 510);
    }

    #[test]
    fn every_broken_field_is_found() {
        for (level, at, value, reason) in [
            (1, 8, 0, "no block of an index"),
            (1, 56, 255, "more entries than the block has room for"),
            (1, 57, 0, "a node is empty"),
            (1, 59, 0, "the level of a node is wrong"),
            (1, 59, 5, "the level of a node is wrong"),
            (0, 59, 1, "the count of forgotten entries is wrong"),
            (0, 71, 0, "the count of forgotten entries is wrong"),
            (0, 64, 1, "hashes are out of order"),
        ] {
            let mut bytes = block(level).encode(true, 512);
            bytes[at] = value;
            let fault = IndexBlock::decode(true, &bytes).unwrap_err();
            assert_eq!(fault.reason, reason, "byte {at}");
        }
    }

    #[test]
    fn forgotten_entries_are_dropped() {
        let mut bytes = block(0).encode(false, 512);
        put(&mut bytes, 14, &1_u16.to_be_bytes());
        put(&mut bytes, 16 + 4, &[0; 4]);
        let read = IndexBlock::decode(false, &bytes).unwrap();
        assert_eq!(read.entries, block(0).entries[1..]);
    }
}
