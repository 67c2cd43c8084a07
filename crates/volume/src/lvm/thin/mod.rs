//! Thin pools: volumes whose blocks lie where a tree in the pool's metadata says.

mod block;
mod pool;
mod space_map;
mod tree;
mod volume;

pub(super) use pool::Pool;
pub use volume::ThinRefusal;

use ::block::Error as BlockError;
use thiserror::Error;

/// Why the metadata of a thin pool cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ThinDamage {
    /// The volume with the metadata cannot be read.
    #[error("the metadata of the thin pool cannot be read")]
    Block(#[from] BlockError),
    /// A checksum is wrong.
    #[error("checksum of {what} in block {block} of the thin pool's metadata is wrong")]
    Checksum {
        /// What the block is.
        what: &'static str,
        /// Its number.
        block: u64,
    },
    /// A block is not what it should be.
    #[error("block {block} of the thin pool's metadata is no sound {what}: {why}")]
    Fields {
        /// What the block should be.
        what: &'static str,
        /// Its number.
        block: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A version that is not known, or features.
    #[error("thin pool metadata of version {version}, incompatible features {features:#x}")]
    Version {
        /// `version`.
        version: u32,
        /// `incompat_flags`.
        features: u32,
    },
    /// The volume group and the pool disagree about the size of blocks.
    #[error("the thin pool maps {pool} bytes at once, the volume group says {group}")]
    BlockSize {
        /// By the pool.
        pool: u64,
        /// By the volume group.
        group: u64,
    },
    /// The volume group and the pool are of different moments.
    #[error(
        "the thin pool is at transaction {pool}, the volume group at {group}: its disks are not of \
         one moment, and LVM2 does not activate it"
    )]
    Transaction {
        /// By the pool.
        pool: u64,
        /// By the volume group.
        group: u64,
    },
    /// The pool has no such volume.
    #[error("the thin pool has no volume {0}")]
    NoVolume(u64),
}
