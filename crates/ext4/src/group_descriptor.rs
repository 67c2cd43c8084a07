//! Group descriptors: where a group keeps its bitmaps and inodes, and what is free in it.

use crate::checksum;
use crate::error::{CorruptKind, Error};
use crate::features::incompat;
use crate::raw::{RawGroupDescriptor, high_16, join, low_16};
use crate::superblock::Superblock;
use std::ops::Range;
use zerocopy::FromBytes;

/// One group's descriptor, whose places lie inside the file system.
#[derive(Clone, Debug)]
pub(crate) struct GroupDescriptor {
    group: u32,
    /// As long as on disk, but at least as the whole structure; what is not there is zero.
    bytes: Vec<u8>,
    on_disk: usize,
}

/// `bg_flags`: the inode bitmap was never written, no inode is in use.
pub(crate) const INODE_UNINIT: u16 = 1;
/// `bg_flags`: the block bitmap was never written, only metadata is in use.
pub(crate) const BLOCK_UNINIT: u16 = 2;

impl GroupDescriptor {
    /// Makes sense of the descriptor that lies at `bytes`.
    ///
    /// # Errors
    /// A wrong checksum, or a bitmap or table outside the file system.
    pub(crate) fn parse(superblock: &Superblock, group: u32, bytes: &[u8]) -> Result<Self, Error> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().max(size_of::<RawGroupDescriptor>()), 0);
        let descriptor = Self {
            group,
            bytes: padded,
            on_disk: bytes.len(),
        };
        if let Some(computed) = descriptor.computed_checksum(superblock) {
            let found = descriptor.raw().bg_checksum.get();
            if found != computed {
                return Err(CorruptKind::Group {
                    group,
                    field: "bg_checksum",
                    value: found.into(),
                    expected: "the sum of the descriptor",
                }
                .into());
            }
        }
        let data =
            u64::from(superblock.first_data_block).saturating_add(1)..superblock.blocks_count;
        let places = [
            ("bg_block_bitmap", descriptor.block_bitmap(), 1),
            ("bg_inode_bitmap", descriptor.inode_bitmap(), 1),
            (
                "bg_inode_table",
                descriptor.inode_table(),
                superblock.inode_table_blocks(),
            ),
        ];
        for (field, value, blocks) in places {
            if value < data.start || value.saturating_add(blocks) > data.end {
                let expected = "a place inside the file system";
                return Err(CorruptKind::Group {
                    group,
                    field,
                    value,
                    expected,
                }
                .into());
            }
        }
        Ok(descriptor)
    }

    /// The bytes to write, with the checksum renewed.
    pub(crate) fn encode(&mut self, superblock: &Superblock) -> &[u8] {
        if let Some(sum) = self.computed_checksum(superblock) {
            self.raw_mut().bg_checksum.set(sum);
        }
        self.on_disk_bytes()
    }

    fn computed_checksum(&self, superblock: &Superblock) -> Option<u16> {
        let bytes = self.on_disk_bytes();
        if superblock.features.metadata_csum() {
            Some(superblock.seed.group_descriptor(self.group, bytes))
        } else if superblock.features.group_csum() {
            let uuid = &superblock.raw().s_uuid;
            Some(checksum::group_descriptor_crc16(uuid, self.group, bytes))
        } else {
            None
        }
    }

    fn on_disk_bytes(&self) -> &[u8] {
        self.bytes.get(..self.on_disk).unwrap_or(&self.bytes)
    }

    fn raw(&self) -> &RawGroupDescriptor {
        // The bytes were padded to the structure's size when they were parsed.
        RawGroupDescriptor::ref_from_prefix(&self.bytes)
            .expect("padded")
            .0
    }

    fn raw_mut(&mut self) -> &mut RawGroupDescriptor {
        // As in `raw`.
        RawGroupDescriptor::mut_from_prefix(&mut self.bytes)
            .expect("padded")
            .0
    }

    /// The block of the block bitmap.
    pub(crate) fn block_bitmap(&self) -> u64 {
        let raw = self.raw();
        join(raw.bg_block_bitmap_hi.get(), raw.bg_block_bitmap_lo.get())
    }

    /// The block of the inode bitmap.
    pub(crate) fn inode_bitmap(&self) -> u64 {
        let raw = self.raw();
        join(raw.bg_inode_bitmap_hi.get(), raw.bg_inode_bitmap_lo.get())
    }

    /// The first block of the table of inodes.
    pub(crate) fn inode_table(&self) -> u64 {
        let raw = self.raw();
        join(raw.bg_inode_table_hi.get(), raw.bg_inode_table_lo.get())
    }

    /// The blocks of bitmaps and table, wherever they lie.
    pub(crate) fn metadata(&self, superblock: &Superblock) -> [Range<u64>; 3] {
        let run = |start: u64, blocks: u64| start..start.saturating_add(blocks);
        [
            run(self.block_bitmap(), 1),
            run(self.inode_bitmap(), 1),
            run(self.inode_table(), superblock.inode_table_blocks()),
        ]
    }

    /// Whether a lazy flag is set; without descriptor sums the field means nothing.
    pub(crate) fn has_flag(&self, superblock: &Superblock, flag: u16) -> bool {
        superblock.features.group_csum() && self.raw().bg_flags.get() & flag != 0
    }

    /// Notes that a bitmap is now written.
    pub(crate) fn clear_flag(&mut self, flag: u16) {
        let flags = self.raw().bg_flags.get() & !flag;
        self.raw_mut().bg_flags.set(flags);
    }

    /// Free blocks of the group, as counted.
    pub(crate) fn free_blocks(&self) -> u32 {
        let raw = self.raw();
        wide(
            raw.bg_free_blocks_count_hi.get(),
            raw.bg_free_blocks_count_lo.get(),
        )
    }

    /// Free inodes of the group, as counted.
    pub(crate) fn free_inodes(&self) -> u32 {
        let raw = self.raw();
        wide(
            raw.bg_free_inodes_count_hi.get(),
            raw.bg_free_inodes_count_lo.get(),
        )
    }

    /// Directories of the group, as counted.
    pub(crate) fn used_dirs(&self) -> u32 {
        let raw = self.raw();
        wide(
            raw.bg_used_dirs_count_hi.get(),
            raw.bg_used_dirs_count_lo.get(),
        )
    }

    /// Inodes at the end of the table that were never in use and need not be read.
    pub(crate) fn itable_unused(&self) -> u32 {
        let raw = self.raw();
        wide(raw.bg_itable_unused_hi.get(), raw.bg_itable_unused_lo.get())
    }

    /// Sets the count of free blocks.
    pub(crate) fn set_free_blocks(&mut self, count: u32) {
        let raw = self.raw_mut();
        raw.bg_free_blocks_count_lo.set(low_16(count));
        raw.bg_free_blocks_count_hi.set(high_16(count));
    }

    /// Sets the count of free inodes.
    pub(crate) fn set_free_inodes(&mut self, count: u32) {
        let raw = self.raw_mut();
        raw.bg_free_inodes_count_lo.set(low_16(count));
        raw.bg_free_inodes_count_hi.set(high_16(count));
    }

    /// Sets the count of directories.
    pub(crate) fn set_used_dirs(&mut self, count: u32) {
        let raw = self.raw_mut();
        raw.bg_used_dirs_count_lo.set(low_16(count));
        raw.bg_used_dirs_count_hi.set(high_16(count));
    }

    /// Sets the count of inodes that were never in use.
    pub(crate) fn set_itable_unused(&mut self, count: u32) {
        let raw = self.raw_mut();
        raw.bg_itable_unused_lo.set(low_16(count));
        raw.bg_itable_unused_hi.set(high_16(count));
    }

    /// Whether the sum of the block bitmap is `sum`, as far as the descriptor has room for it.
    pub(crate) fn block_bitmap_sum_is(&self, superblock: &Superblock, sum: u32) -> bool {
        let raw = self.raw();
        low_16(sum) == raw.bg_block_bitmap_csum_lo.get()
            && (!superblock.features.incompat(incompat::BIT64)
                || high_16(sum) == raw.bg_block_bitmap_csum_hi.get())
    }

    /// Whether the sum of the inode bitmap is `sum`, as far as the descriptor has room for it.
    pub(crate) fn inode_bitmap_sum_is(&self, superblock: &Superblock, sum: u32) -> bool {
        let raw = self.raw();
        low_16(sum) == raw.bg_inode_bitmap_csum_lo.get()
            && (!superblock.features.incompat(incompat::BIT64)
                || high_16(sum) == raw.bg_inode_bitmap_csum_hi.get())
    }

    /// Sets the sum of the block bitmap.
    pub(crate) fn set_block_bitmap_sum(&mut self, sum: u32) {
        let raw = self.raw_mut();
        raw.bg_block_bitmap_csum_lo.set(low_16(sum));
        raw.bg_block_bitmap_csum_hi.set(high_16(sum));
    }

    /// Sets the sum of the inode bitmap.
    pub(crate) fn set_inode_bitmap_sum(&mut self, sum: u32) {
        let raw = self.raw_mut();
        raw.bg_inode_bitmap_csum_lo.set(low_16(sum));
        raw.bg_inode_bitmap_csum_hi.set(high_16(sum));
    }
}

fn wide(hi: u16, lo: u16) -> u32 {
    (u32::from(hi) << 16) | u32::from(lo)
}
