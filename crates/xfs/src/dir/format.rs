//! How a directory's blocks are laid out, which depends on the file system's version and features.

use crate::da::{Fault, Geometry, hash_name, hash_name_ignoring_case, lower_case};
use crate::error::{Error, UnsupportedKind};
use crate::fork::ForkRead;
use ondisk::width::{u64_of, usize_of_u32};

/// What has to be known about a file system and one of its directories.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) geometry: Geometry,
    /// Whether entries tell the kind of what they name (`ftype`).
    pub(super) file_type: bool,
    /// Whether names that differ in case only are the same.
    pub(super) ascii_ci: bool,
}

/// Where the index lies in a directory's content, `XFS_DIR2_LEAF_OFFSET`.
const LEAF_OFFSET: u64 = 1 << 35;
/// Where the blocks lie that say where there is room, `XFS_DIR2_FREE_OFFSET`.
const FREE_OFFSET: u64 = 1 << 36;
/// Entries start at multiples of this, in bytes.
const ALIGN: usize = 8;

impl Format {
    pub(super) fn of(fork: &dyn ForkRead) -> Self {
        let features = fork.superblock().features;
        Self {
            geometry: Geometry::of_directory(fork),
            file_type: features.ftype(),
            ascii_ci: features.ascii_ci(),
        }
    }

    pub(super) fn v5(&self) -> bool {
        self.geometry.v5()
    }

    pub(super) fn block_size(&self) -> usize {
        self.geometry.block_size
    }

    /// Where the first entry of a block with names lies.
    pub(super) fn first_entry(&self) -> usize {
        if self.v5() { 64 } else { 16 }
    }

    /// Bytes of an entry with a name of this length.
    pub(super) fn entry_len(&self, name_len: usize) -> usize {
        // Inode and length of the name, the name, the kind, the entry's own place.
        let kind = usize::from(self.file_type);
        let len = 8_usize.saturating_add(1).saturating_add(name_len);
        len.saturating_add(kind)
            .saturating_add(2)
            .next_multiple_of(ALIGN)
    }

    /// The hash that the index knows a name by.
    pub(super) fn hash(&self, name: &[u8]) -> u32 {
        if self.ascii_ci {
            hash_name_ignoring_case(name)
        } else {
            hash_name(name)
        }
    }

    /// Whether two names are the same to this file system.
    pub(super) fn same(&self, a: &[u8], b: &[u8]) -> bool {
        a == b || (self.ascii_ci && a.len() == b.len() && self.folded(a) == self.folded(b))
    }

    /// What names that are the same have in common.
    pub(super) fn folded(&self, name: &[u8]) -> Vec<u8> {
        if self.ascii_ci {
            name.iter().map(|byte| lower_case(*byte)).collect()
        } else {
            name.to_vec()
        }
    }

    /// Blocks of the file system in a block of the directory.
    fn count(&self) -> u64 {
        self.geometry.count.into()
    }

    fn block_of_offset(&self, offset: u64) -> u64 {
        let blocks = offset.checked_div(u64_of(self.block_size())).unwrap_or(0);
        blocks.saturating_mul(self.count())
    }

    /// The block of the fork where block number `number` with names lies.
    pub(super) fn data_block(&self, number: u32) -> u64 {
        u64::from(number).saturating_mul(self.count())
    }

    /// The number of the block with names in which block `block` of the fork lies, with where
    /// that one starts.
    pub(super) fn data_number(&self, block: u64) -> (u32, u64) {
        let number = block.checked_div(self.count()).unwrap_or(0);
        let start = number.saturating_mul(self.count());
        (u32::try_from(number).unwrap_or(u32::MAX), start)
    }

    /// The block of the fork where the index starts; its root if it is a tree.
    pub(super) fn leaf_block(&self) -> u64 {
        self.block_of_offset(LEAF_OFFSET)
    }

    /// The block of the fork where block number `number` of those lies that say where there is
    /// room.
    pub(super) fn free_block(&self, number: u32) -> u64 {
        self.block_of_offset(FREE_OFFSET)
            .saturating_add(u64::from(number).saturating_mul(self.count()))
    }

    /// How the index leads to an entry.
    ///
    /// # Errors
    /// A directory whose names take more than 32 GiB.
    pub(super) fn address(&self, number: u32, at: usize) -> Result<u32, Error> {
        let offset = u64::from(number)
            .saturating_mul(u64_of(self.block_size()))
            .saturating_add(u64_of(at));
        u32::try_from(offset >> 3).map_err(|_| {
            UnsupportedKind::TooLarge {
                field: "size of a directory",
                value: offset,
                cap: LEAF_OFFSET,
            }
            .into()
        })
    }

    /// The block with names, and the byte in it, that the index leads to.
    pub(super) fn place(&self, address: u32) -> (u32, usize) {
        let offset = usize_of_u32(address).saturating_mul(ALIGN);
        let number = offset.checked_div(self.block_size()).unwrap_or(0);
        let at = offset & self.block_size().saturating_sub(1);
        (u32::try_from(number).unwrap_or(u32::MAX), at)
    }

    /// Something is wrong in a block of the fork.
    pub(super) fn corrupt(&self, block: u64, fault: Fault) -> Error {
        self.geometry.corrupt(block, fault)
    }
}
