//! Reads and edits ext2, ext3 and ext4 in user space.
#![warn(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "tests may fail by overflow")
)]

mod checksum;
mod dir;
mod error;
mod features;
mod hash;
mod journal;

pub use error::{Corrupt, Error, Unsupported};
