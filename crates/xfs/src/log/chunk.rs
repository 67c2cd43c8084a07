//! Chunks of inodes that were made: all of them new, so the log says only where and how many.

use super::area::be32;
use super::transaction::Item;
use crate::checksum;
use crate::error::{CorruptKind, Error};
use crate::raw::RawInode;
use crate::superblock::{FsBlock, Superblock};
use ondisk::width::usize_of_u32;
use zerocopy::{FromZeros, IntoBytes};

/// Bytes that the kernel reads of inodes at once where they have 256 bytes each.
const CLUSTER: u32 = 8192;
/// Inodes of a whole chunk.
const CHUNK: u32 = 64;

/// A chunk of new inodes, `struct xfs_icreate_log`.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewChunk {
    group: u32,
    block: u32,
    /// Blocks.
    length: u32,
    generation: u32,
}

impl NewChunk {
    /// Reads an item and checks that it is about a chunk that this file system can have.
    ///
    /// # Errors
    /// Another size of inodes, a place outside, a length that chunks do not have.
    pub(super) fn parse(item: &Item, superblock: &Superblock) -> Result<Self, Error> {
        let bytes = item.description();
        let (group, block) = (be32(bytes, 4), be32(bytes, 8));
        let (count, size) = (be32(bytes, 12), be32(bytes, 16));
        let length = be32(bytes, 20);
        let damaged = |field, value: u32, expected| CorruptKind::Group {
            group,
            field,
            value: value.into(),
            expected,
        };
        if size != superblock.inode_size {
            return Err(damaged("icl_isize", size, "the superblock's").into());
        }
        let inside = superblock.has_blocks(superblock.fs_block(group, block), length.into());
        if group >= superblock.group_count || block < superblock.header_blocks() || !inside {
            return Err(damaged("icl_agbno", block, "blocks of the group").into());
        }
        let whole = CHUNK.div_ceil(superblock.inodes_per_block);
        let sparse = superblock.raw().sb_spino_align.get();
        if length != whole && length != sparse {
            return Err(damaged("icl_length", length, "the blocks of a chunk").into());
        }
        if count.checked_div(superblock.inodes_per_block) != Some(length) {
            return Err(damaged("icl_count", count, "the inodes of icl_length").into());
        }
        Ok(Self {
            group,
            block,
            length,
            generation: be32(bytes, 24),
        })
    }

    /// Where the clusters of the chunk lie, as buffers of them are named in the log.
    pub(super) fn clusters(&self, superblock: &Superblock) -> Vec<(u64, u16)> {
        let per_cluster = cluster_blocks(superblock).min(self.length).max(1);
        let units = superblock.block_size.saturating_mul(per_cluster) / 512;
        let starts = (0..self.length).step_by(usize_of_u32(per_cluster));
        starts
            .map(|within| {
                let block = self.first(superblock).0.saturating_add(within.into());
                let place = superblock.daddr(FsBlock(block));
                (place, u16::try_from(units).unwrap_or(u16::MAX))
            })
            .collect()
    }

    /// Byte of the volume that the chunk starts at.
    pub(super) fn position(&self, superblock: &Superblock) -> u64 {
        superblock.position(self.first(superblock))
    }

    /// The chunk as it lies on the volume: free inodes.
    pub(super) fn bytes(&self, superblock: &Superblock) -> Vec<u8> {
        let size = usize_of_u32(superblock.inode_size);
        let len = usize_of_u32(self.length).saturating_mul(superblock.block_len());
        let first = self.first(superblock).0 << superblock.inodes_per_block.ilog2();
        let mut bytes = vec![0; len];
        for (number, inode) in (first..).zip(bytes.chunks_exact_mut(size)) {
            let mut raw = RawInode::new_zeroed();
            raw.di_magic.set(super::inode::MAGIC);
            raw.di_version = 3;
            raw.di_gen.set(self.generation);
            raw.di_next_unlinked.set(u32::MAX);
            raw.di_ino.set(number);
            raw.di_uuid = superblock.meta_uuid;
            if let Some(place) = inode.get_mut(..size_of::<RawInode>()) {
                place.copy_from_slice(raw.as_bytes());
            }
            checksum::set(inode, checksum::place::INODE);
        }
        bytes
    }

    fn first(&self, superblock: &Superblock) -> FsBlock {
        superblock.fs_block(self.group, self.block)
    }
}

/// Blocks of a cluster: 8 KiB for inodes of 256 bytes and more for larger ones, where chunks are
/// aligned to it.
fn cluster_blocks(superblock: &Superblock) -> u32 {
    let larger = CLUSTER.saturating_mul(superblock.inode_size / 256);
    let larger_blocks = larger.checked_div(superblock.block_size).unwrap_or(0);
    let bytes = if superblock.raw().sb_inoalignmt.get() >= larger_blocks {
        larger
    } else {
        CLUSTER
    };
    bytes.checked_div(superblock.block_size).unwrap_or(0).max(1)
}
