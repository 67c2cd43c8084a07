//! Extent trees, as ext4 maps content.
//!
//! A tree is read whole and written whole, from the leaves up: a file of a conversion has a few
//! extents, and a tree that is built anew cannot be left half split. Its blocks are reused.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::inode::Inode;
use crate::mapping::{Mapping, Run};
use crate::raw::{RawExtent, RawExtentHeader, RawExtentIndex, high_32, join, low_16, low_32};
use crate::volume::Volume;
use std::collections::HashSet;
use zerocopy::{FromBytes, IntoBytes};

const MAGIC: u16 = 0xf30a;
/// Bytes of a header, and of an entry of either kind.
const ENTRY: usize = 12;
/// The kernel's `EXT4_MAX_EXTENT_DEPTH`: enough for 2^32 blocks.
const MAX_DEPTH: u16 = 5;
/// Blocks of a written extent; those that are reserved only have one less, see `ee_len`.
const MAX_LEN: u32 = 32768;
/// Runs of one file that are kept in memory: 48 MiB of them. A file of 8 GiB in single blocks.
pub(crate) const MAX_RUNS: usize = 1 << 21;

/// Reads the whole tree of an inode.
///
/// # Errors
/// Nodes that break the format, occur twice or whose sums are wrong; extents that overlap, are out
/// of order or outside the file system; more than two million of them.
pub(crate) fn read(volume: &Volume, inode: &Inode) -> Result<Mapping, Error> {
    let mut reader = Reader {
        volume,
        inode,
        mapping: Mapping::default(),
        seen: HashSet::new(),
    };
    let position = volume.inode_position(inode.number())?;
    reader.node(inode.block(), position, None)?;
    Ok(reader.mapping)
}

struct Reader<'v> {
    volume: &'v Volume,
    inode: &'v Inode,
    mapping: Mapping,
    seen: HashSet<u64>,
}

impl Reader<'_> {
    /// Reads a node at a byte position of the device; `depth` is what its parent demands.
    fn node(&mut self, bytes: &[u8], position: u64, depth: Option<u16>) -> Result<(), Error> {
        let bad = |field, value, expected| {
            Err(Error::from(CorruptKind::Field {
                what: "extent node",
                position,
                field,
                value,
                expected,
            }))
        };
        let Ok((header, entries)) = RawExtentHeader::ref_from_prefix(bytes) else {
            return bad("length", 0, "a header");
        };
        let magic = header.eh_magic.get();
        if magic != MAGIC {
            return bad("eh_magic", magic.into(), "0xf30a");
        }
        let found = header.eh_depth.get();
        if found > MAX_DEPTH || depth.is_some_and(|depth| depth != found) {
            return bad(
                "eh_depth",
                found.into(),
                "one less than the parent's, at most 5",
            );
        }
        let count = header.eh_entries.get();
        let max = header.eh_max.get();
        if count > max || usize::from(max) > entries.len() / ENTRY {
            return bad("eh_entries", count.into(), "at most eh_max, and that fits");
        }
        if depth.is_some() {
            self.check_sum(bytes, max, position)?;
        }
        let used = usize::from(count).saturating_mul(ENTRY);
        for entry in entries.get(..used).unwrap_or_default().chunks_exact(ENTRY) {
            // Chunks are as long as either kind of entry.
            if let Some(below) = found.checked_sub(1) {
                let index = RawExtentIndex::read_from_bytes(entry).expect("12 bytes");
                self.child(
                    join(index.ei_leaf_hi.get().into(), index.ei_leaf_lo.get()),
                    below,
                )?;
            } else {
                self.extent(RawExtent::read_from_bytes(entry).expect("12 bytes"))?;
            }
        }
        Ok(())
    }

    fn child(&mut self, block: u64, depth: u16) -> Result<(), Error> {
        let inode = self.inode.number();
        self.volume.check_data_blocks(inode, block, 1)?;
        if !self.seen.insert(block) {
            let inode = inode.get();
            return Err(CorruptKind::MapCycle { inode, block }.into());
        }
        self.mapping.nodes.push(block);
        let bytes = self.volume.read_block(block)?;
        self.node(&bytes, self.volume.superblock.position(block), Some(depth))
    }

    fn extent(&mut self, extent: RawExtent) -> Result<(), Error> {
        let inode = self.inode.number();
        let raw_len = u32::from(extent.ee_len.get());
        let (len, unwritten) = if raw_len > MAX_LEN {
            (raw_len.saturating_sub(MAX_LEN), true)
        } else {
            (raw_len, false)
        };
        let run = Run {
            logical: extent.ee_block.get(),
            len,
            physical: join(extent.ee_start_hi.get().into(), extent.ee_start_lo.get()),
            unwritten,
        };
        if len == 0 || run.end() > u64::from(u32::MAX).saturating_add(1) {
            return Err(CorruptKind::Inode {
                inode: inode.get(),
                field: "ee_len",
                value: raw_len.into(),
                expected: "blocks that end below 2^32",
            }
            .into());
        }
        if u64::from(run.logical) < self.mapping.end() {
            return Err(CorruptKind::ExtentOrder {
                inode: inode.get(),
                logical: run.logical.into(),
                previous: self.mapping.end(),
            }
            .into());
        }
        self.volume
            .check_data_blocks(inode, run.physical, len.into())?;
        self.mapping.push(run);
        check_count(self.inode, &self.mapping)
    }

    fn check_sum(&self, bytes: &[u8], max: u16, position: u64) -> Result<(), Error> {
        if !self.volume.superblock.features.metadata_csum() {
            return Ok(());
        }
        let summed = usize::from(max).saturating_add(1).saturating_mul(ENTRY);
        let (summed, tail) = bytes.split_at_checked(summed).unwrap_or((bytes, &[]));
        let computed = self.volume.inode_seed(self.inode).extent_block(summed);
        // Block sizes leave 4 or 8 bytes behind the last entry.
        let found = tail
            .first_chunk::<4>()
            .map_or(0, |sum| u32::from_le_bytes(*sum));
        if found == computed {
            return Ok(());
        }
        Err(CorruptKind::Checksum {
            what: "extent node",
            position,
            found,
            computed,
        }
        .into())
    }
}

/// Refuses maps that would take too much memory.
pub(crate) fn check_count(inode: &Inode, mapping: &Mapping) -> Result<(), Error> {
    if mapping.runs().len() <= MAX_RUNS {
        return Ok(());
    }
    Err(UnsupportedKind::TooMany {
        inode: inode.number().get(),
        what: "runs of blocks",
        cap: MAX_RUNS,
    }
    .into())
}

/// Makes `mapping` the tree of the inode, and updates the blocks in `mapping.nodes`.
///
/// The inode is changed in memory only. `i_blocks` is the caller's.
///
/// # Errors
/// No room for nodes, or what writing meets.
pub(crate) fn write(
    volume: &mut Volume,
    inode: &mut Inode,
    mapping: &mut Mapping,
) -> Result<(), Error> {
    let mut level: Vec<[u8; ENTRY]> = Vec::new();
    let mut firsts: Vec<u32> = Vec::new();
    for run in mapping.runs() {
        let longest = if run.unwritten {
            MAX_LEN.saturating_sub(1)
        } else {
            MAX_LEN
        };
        let mut skip = 0;
        while skip < run.len {
            let part = run.part(skip, longest);
            level.push(leaf_entry(&part));
            firsts.push(part.logical);
            skip = skip.saturating_add(part.len);
        }
    }
    let in_root = capacity(inode.block().len());
    let in_block = capacity(volume.superblock.block_len());
    let mut needed = 0_usize;
    let mut count = level.len();
    while count > in_root {
        count = count.div_ceil(in_block);
        needed = needed.saturating_add(count);
    }
    volume.resize_nodes(inode, &mut mapping.nodes, needed)?;
    let mut nodes = mapping.nodes.iter().copied();

    let mut depth = 0_u16;
    while level.len() > in_root {
        let mut above = Vec::new();
        let mut above_firsts = Vec::new();
        for (entries, logicals) in level.chunks(in_block).zip(firsts.chunks(in_block)) {
            // As many nodes were taken as chunks were counted above.
            let block = nodes.next().expect("counted");
            let mut bytes = vec![0; volume.superblock.block_len()];
            let end = fill_node(&mut bytes, entries, in_block, depth);
            if volume.superblock.features.metadata_csum() {
                let (summed, tail) = bytes.split_at_mut(end);
                let sum = volume.inode_seed(inode).extent_block(summed);
                if let Some(field) = tail.first_chunk_mut::<4>() {
                    *field = sum.to_le_bytes();
                }
            }
            volume.write_block(block, &bytes)?;
            let first = logicals.first().copied().unwrap_or(0);
            above.push(index_entry(first, block));
            above_firsts.push(first);
        }
        level = above;
        firsts = above_firsts;
        depth = depth.saturating_add(1);
    }
    let root = inode.block_mut();
    root.fill(0);
    fill_node(root, &level, in_root, depth);
    Ok(())
}

/// Entries that a node of `len` bytes has room for behind its header; at least 4.
fn capacity(len: usize) -> usize {
    (len / ENTRY).saturating_sub(1)
}

/// Writes header and entries to the front of a node and returns where room for entries ends.
fn fill_node(bytes: &mut [u8], entries: &[[u8; ENTRY]], max: usize, depth: u16) -> usize {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let header = RawExtentHeader {
        eh_magic: MAGIC.into(),
        eh_entries: count(entries.len()).into(),
        eh_max: count(max).into(),
        eh_depth: depth.into(),
        eh_generation: 0.into(),
    };
    let slots = bytes.chunks_exact_mut(ENTRY);
    let written =
        std::iter::once(header.as_bytes()).chain(entries.iter().map(<[u8; ENTRY]>::as_slice));
    for (slot, entry) in slots.zip(written) {
        slot.copy_from_slice(entry);
    }
    max.saturating_add(1).saturating_mul(ENTRY)
}

fn leaf_entry(run: &Run) -> [u8; ENTRY] {
    let reserved = if run.unwritten { MAX_LEN } else { 0 };
    zerocopy::transmute!(RawExtent {
        ee_block: run.logical.into(),
        ee_len: low_16(run.len.saturating_add(reserved)).into(),
        ee_start_hi: low_16(high_32(run.physical)).into(),
        ee_start_lo: low_32(run.physical).into(),
    })
}

fn index_entry(first: u32, block: u64) -> [u8; ENTRY] {
    zerocopy::transmute!(RawExtentIndex {
        ei_block: first.into(),
        ei_leaf_lo: low_32(block).into(),
        ei_leaf_hi: low_16(high_32(block)).into(),
        ei_unused: 0.into(),
    })
}

/// Makes the inode's map an empty tree.
pub(crate) fn clear(inode: &mut Inode) {
    let root = inode.block_mut();
    root.fill(0);
    let room = capacity(root.len());
    fill_node(root, &[], room, 0);
}
