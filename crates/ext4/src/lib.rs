//! Reads and edits ext2, ext3 and ext4 in user space.
//!
//! [`Ext4::open`] replays the guest's journal into the device it is given, so that what is read is
//! what the guest would see; [`fs::FileSystem::edit`] finishes what the guest had begun to delete,
//! and from there on nodes are changed in place. No journal is written: the device is an overlay
//! that is thrown away when anything fails, and [`fs::FileSystemEdit::commit`] leaves the file
//! system clean, with bitmaps, counters and sums that `e2fsck` agrees with.
//!
//! ```
//! use block::{BlockWrite, Memory};
//! use std::sync::Arc;
//!
//! let device: Arc<dyn BlockWrite> = Arc::new(Memory::new(vec![0; 8192]));
//! assert!(ext4::probe(&device)?.is_none());
//! let error = ext4::Ext4::open(device).unwrap_err();
//! assert!(matches!(error, ext4::Error::NotExt4 { magic: 0 }));
//! # Ok::<(), ext4::Error>(())
//! ```
//!
//! # Errors
//! [`Corrupt`] breaks the format: checksums are checked wherever there are any, numbers before they
//! are used, and no walk visits a block of metadata twice. [`Unsupported`] is legal but not done
//! here. The rest is what callers of a file system expect, as [`Error::NotFound`].
//!
//! # Out of scope
//! Content and names that are encrypted, and replay of an external journal or of fast commits.
//! Writing is refused with `bigalloc`, `casefold`, `ea_inode`, `encrypt`, `quota`, `project` and
//! unknown features, while multi-mount protection is active, to files that fs-verity seals, and to
//! file systems with recorded errors, which need `e2fsck` first. Copies of superblock and
//! descriptors are not brought up to date, as the kernel does not either.
//!
//! # Source
//! The kernel's `Documentation/filesystems/ext4` and `fs/ext4`, whose names raw fields have.
#![warn(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "tests may fail by overflow")
)]

mod allocator;
mod attributes;
mod bitmap;
mod block_map;
mod check;
mod checksum;
mod content;
mod dir;
mod directory;
mod edit;
mod error;
mod extent;
mod features;
mod file;
mod filesystem;
mod group_descriptor;
mod hash;
mod inline_data;
mod inode;
mod journal;
mod mapping;
mod nodes;
mod orphan;
mod places;
mod raw;
mod recovery;
mod superblock;
mod timestamp;
mod volume;
mod xattr;

pub use error::{Corrupt, Error, Unsupported};
pub use filesystem::{Ext4, probe};
