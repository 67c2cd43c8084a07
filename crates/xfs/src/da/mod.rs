//! What directories and attributes have in common: blocks with headers, names that are hashed,
//! and an index of hashes that grows to a tree.
//!
//! Source: the kernel's `libxfs/xfs_da_format.h` and `xfs_da_btree.c`.

mod hash;
mod header;
mod index;
#[cfg(test)]
pub(crate) mod memory;

pub(crate) use hash::{hash_name, hash_name_ignoring_case, lower_case};
pub(crate) use header::{Header, Owner, be16, be32, be64, put};
pub(crate) use index::{
    IndexBlock, IndexEntry, MAX_LEVEL, attribute_leaf_magic, decode_entries, decode_entries_at,
    encode_entries, encode_head, forget_stale, leaf1_magic,
};

use crate::error::{CorruptKind, Error};
use crate::fork::{ForkEdit, ForkRead};
use ondisk::width::usize_of_u32;

/// Whose blocks they are, and how large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// What headers of version 5 hold.
    pub(crate) owner: Owner,
    /// Bytes of a block: a power of two from 512 to 65536.
    pub(crate) block_size: usize,
    /// Blocks of the file system in one block: more than one only in directories.
    pub(crate) count: u32,
    /// Whether the blocks are a directory's; else they hold attributes.
    pub(crate) directory: bool,
}

/// What is wrong inside of a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    /// Byte of the block.
    pub(crate) at: usize,
    pub(crate) reason: &'static str,
    pub(crate) value: u64,
}

impl Geometry {
    /// The blocks of a directory.
    pub(crate) fn of_directory(fork: &dyn ForkRead) -> Self {
        let superblock = fork.superblock();
        Self {
            owner: owner_of(fork),
            block_size: usize_of_u32(superblock.dir_block_size),
            count: superblock.dir_block_blocks,
            directory: true,
        }
    }

    /// The blocks of attributes.
    pub(crate) fn of_attributes(fork: &dyn ForkRead) -> Self {
        Self {
            owner: owner_of(fork),
            block_size: usize_of_u32(fork.superblock().block_size),
            count: 1,
            directory: false,
        }
    }

    /// Whether headers are those of version 5.
    pub(crate) fn v5(&self) -> bool {
        self.owner.uuid.is_some()
    }

    /// Something is wrong in the block that starts at block `block` of the fork.
    pub(crate) fn corrupt(&self, block: u64, fault: Fault) -> Error {
        let Fault { at, reason, value } = fault;
        let inode = self.owner.inode;
        if self.directory {
            CorruptKind::Directory {
                inode,
                block,
                at,
                reason,
                value,
            }
            .into()
        } else {
            CorruptKind::Attribute {
                inode,
                block,
                at,
                reason,
                value,
            }
            .into()
        }
    }

    /// Reads the block that starts at block `block` of the fork, and checks its header; none if
    /// there is a hole.
    ///
    /// # Errors
    /// A wrong header, or what reading meets.
    pub(crate) fn read_if_there(
        &self,
        fork: &dyn ForkRead,
        block: u64,
        header: Header,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(bytes) = fork.read(block, self.count)? else {
            return Ok(None);
        };
        if bytes.len() != self.block_size {
            let fault = Fault {
                at: 0,
                reason: "the block is not whole",
                value: ondisk::width::u64_of(bytes.len()),
            };
            return Err(self.corrupt(block, fault));
        }
        if self.v5() {
            header.check(&self.owner, position(fork, block)?, &bytes)?;
        }
        Ok(Some(bytes))
    }

    /// Reads a block that has to be there.
    ///
    /// # Errors
    /// A hole, a wrong header, or what reading meets.
    pub(crate) fn read(
        &self,
        fork: &dyn ForkRead,
        block: u64,
        header: Header,
    ) -> Result<Vec<u8>, Error> {
        self.read_if_there(fork, block, header)?
            .ok_or_else(|| self.hole(block))
    }

    /// There is a hole where a block has to be.
    pub(crate) fn hole(&self, block: u64) -> Error {
        CorruptKind::Hole {
            inode: self.owner.inode,
            logical: block,
        }
        .into()
    }

    /// Writes a block that is mapped already, with its header filled in.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn write(
        &self,
        fork: &mut dyn ForkEdit,
        block: u64,
        header: Header,
        mut bytes: Vec<u8>,
    ) -> Result<(), Error> {
        if self.v5() {
            header.seal(&self.owner, position(fork, block)?, &mut bytes);
        }
        fork.write(block, &bytes)
    }
}

fn owner_of(fork: &dyn ForkRead) -> Owner {
    let superblock = fork.superblock();
    Owner {
        inode: fork.owner(),
        uuid: superblock.features.v5().then_some(superblock.meta_uuid),
    }
}

/// Where a block of the fork lies, in bytes of the volume.
fn position(fork: &dyn ForkRead, block: u64) -> Result<u64, Error> {
    Ok(fork.daddr(block)?.saturating_mul(512))
}
