//! Reads and edits ext2, ext3 and ext4 in user space.
#![warn(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "tests may fail by overflow")
)]

mod allocator;
mod attributes;
mod bitmap;
mod block_map;
mod cache;
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
mod raw;
mod recovery;
mod superblock;
mod timestamp;
mod volume;
mod xattr;

pub use error::{Corrupt, Error, Unsupported};
pub use filesystem::{Ext4, probe};
