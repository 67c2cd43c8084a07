//! Partition tables: where on a disk the volumes are.
//!
//! [`scan`] gives the [`Table`], which is what a disk says about itself, as the Linux kernel and firmware would read it: a
//! GUID partition table (also from its backup), an MBR with logical partitions, or nothing, in
//! which case the whole disk is one volume.
//!
//! Errors sort as everywhere in rehost: [`Corrupt`] breaks the specification, [`Unsupported`] is
//! legal but not done here. What is wrong but leaves the table readable is no error but a
//! [`Finding`]. A partition that leaves the disk stays in the list, marked, and cannot be opened.
//!
//! Out of scope: writing tables; BSD, Sun, SGI and Apple maps; LVM and md, which live inside
//! partitions.
//!
//! Specifications: UEFI 2.10 chapter 5 (GPT, protective MBR); for the MBR, which has none, what
//! Linux does in `block/partitions/msdos.c`.
#![warn(clippy::arithmetic_side_effects)]

mod error;
mod finding;
mod gpt;
mod mbr;
mod scan;
mod table;

pub use error::{Corrupt, Error, Unsupported};
pub use finding::{ChainEnd, Finding, GptDamage};
pub use scan::scan;
pub use table::{Partition, PartitionKind, Table, TableKind};
