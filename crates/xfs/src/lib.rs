//! Reads and edits XFS, versions 4 and 5, in user space.
//!
//! [`Xfs::open`] replays the guest's log into the device it is given, so that what is read is what
//! the guest would see; [`fs::FileSystem::edit`] finishes what the guest had begun to delete, and
//! from there on nodes are changed in place. No log is written: the device is an overlay that is
//! thrown away when anything fails, and [`fs::FileSystemEdit::commit`] leaves the file system clean,
//! with trees, counters and sums that `xfs_repair` agrees with.
//!
//! Names, inodes and extent maps are written as they change. An allocation group's trees are read
//! as a whole when the group is first needed, edited in memory, and written anew by a commit: no
//! B+tree is split or joined here.
//!
//! ```
//! use block::{BlockWrite, Memory};
//! use std::sync::Arc;
//!
//! let device: Arc<dyn BlockWrite> = Arc::new(Memory::new(vec![0; 8192]));
//! assert!(xfs::probe(&device)?.is_none());
//! let error = xfs::Xfs::open(device).unwrap_err();
//! assert!(matches!(error, xfs::Error::NotXfs { magic: 0 }));
//! # Ok::<(), xfs::Error>(())
//! ```
//!
//! # Errors
//! [`Corrupt`] breaks the format: checksums, owners and places are checked wherever there are any,
//! numbers before they are used, and no walk visits a block of metadata twice. [`Unsupported`] is
//! legal but not done here. The rest is what callers of a file system expect, as
//! [`Error::NotFound`].
//!
//! # Out of scope
//! Realtime devices, logs on another device, directories of version 1, metadata directories.
//! Writing is refused with parent pointers, names without case, version 1 inodes, `needsrepair` and
//! unknown features. Quota is not counted along: the bits that say that it is right are cleared, so
//! that the guest counts anew. Copies of the superblock are not brought up to date, as the kernel
//! does not either.
//!
//! # Sources
//! "XFS Algorithms & Data Structures", 3rd edition, and the kernel's `fs/xfs`, whose names raw
//! fields have.
#![warn(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "tests may fail by overflow")
)]

mod allocator;
mod attr;
mod attributes;
mod check;
mod checksum;
mod chunk;
mod content;
mod da;
mod dir;
mod edit;
mod error;
mod extent;
mod extent_tree;
mod features;
mod file;
mod filesystem;
mod fork;
mod fork_access;
mod free_space;
mod group;
mod group_write;
mod inode;
mod inode_allocator;
mod link;
mod log;
mod nodes;
mod orphan;
mod places;
mod raw;
#[cfg(test)]
mod real;
mod recovery;
mod rmap;
mod sharing;
mod superblock;
mod timestamp;
mod tree;
mod unfinished;
mod volume;

pub use error::{Corrupt, Error, Unsupported};
pub use filesystem::{Xfs, probe};
