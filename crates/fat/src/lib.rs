//! Reads and edits FAT12, FAT16 and FAT32: EFI system partitions, mostly.
//!
//! ```no_run
//! use fs::FileSystem;
//! # use std::sync::Arc;
//! # fn loader(device: Arc<dyn block::BlockWrite>) -> Result<Vec<u8>, fs::Error> {
//! let esp = fat::Fat::open(device)?;
//! let efi = esp.lookup(esp.root(), b"EFI")?;
//! let boot = esp.lookup(efi, b"boot")?; // whatever the case
//! let loader = esp.lookup(boot, b"BOOTX64.EFI")?;
//! fs::read_file(&esp, loader, 16 << 20)
//! # }
//! ```
//!
//! Reading is ours; editing goes through the `fatfs` crate, after the whole tree was walked and
//! every chain found sound: `fatfs` trusts what it reads and never ends in a looping directory.
//! A volume with a damaged structure is still read, but [`fs::FileSystem::edit`] refuses it.
//!
//! What `fatfs` 0.3.6 does wrong, and what is done about it here:
//! - `create_dir` puts long-name slots before `.` and `..` (fixed in its repository, never
//!   released): the new directory's first cluster is written again, right.
//! - `..` of a directory that moves keeps the old parent: it is set.
//! - The root directory of FAT32 grows by a cluster with whatever was in it: what follows the new
//!   last slot is cleared, in every directory.
//! - A rename that changes the case alone does nothing: it goes through a third name.
//! - Names are checked after the old name is gone or a cluster is taken: they are checked before.
//! - The count of free clusters in FSInfo is carried on, right or wrong: it is counted anew.
//! - Only a wall clock or a fixed clock gives times: it gets the time of
//!   [`fs::FileSystemEdit::set_now`]. FAT keeps local time; ours is UTC.
//! - Freeing a chain never ends once the device fails: after the first failure all accesses fail.
//!
//! FAT has no journal. The dirty flag of a volume that was not unmounted stays as it was, so that
//! the guest's fsck still looks at it.
//!
//! Errors sort as everywhere in rehost: [`Corrupt`] breaks the specification, [`Unsupported`] is
//! legal but not done here. Out of scope: exFAT, short names in code pages (bytes from 0x80 on
//! read as U+FFFD), making file systems.
//!
//! Specification: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (field names are
//! from there).
#![warn(clippy::arithmetic_side_effects)]

mod boot_sector;
mod cache;
mod check;
mod clock;
mod directory;
mod driver;
mod edit;
mod error;
mod fs_info;
mod names;
mod nodes;
mod places;
mod table;
mod volume;

pub use driver::{Fat, probe};
pub use error::{Corrupt, Error, Unsupported};
