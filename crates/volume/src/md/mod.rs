//! Linux software RAID: arrays over any number of devices.
//!
//! [`Superblock::read`] tells whether a device is a member of an array, [`assemble`] puts the
//! members of arrays together as their event counts say. Superblocks are never written: after a
//! conversion the members that were written are still the same among each other, and a member that
//! was left out, because it was stale or its disk was not given, has to be added anew.
//!
//! Read and written are linear arrays, RAID0, RAID1 and RAID10 with near copies. RAID with parity,
//! arrays whose shape is changing, and containers of firmware are refused by name.
//!
//! Specification: include/uapi/linux/raid/md_p.h and drivers/md of Linux 6.12, md(4).

mod assemble;
mod error;
mod raid0;
mod superblock;
mod version0;
mod version1;

pub use assemble::{Array, Assembled, assemble};
pub use error::{Damage, Error, Finding};
pub use superblock::{Level, Role, Superblock, Version};
