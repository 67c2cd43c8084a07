//! Where on disks the volumes are: partition tables, logical volumes, software RAID.
//!
//! [`lvm`] and [`md`] put volumes together that lie on several others. [`scan`] gives the [`Table`], which is what a disk says about itself, as the Linux kernel and firmware would read it: a
//! GUID partition table (also from its backup), an MBR with logical partitions, or nothing, in
//! which case the whole disk is one volume.
//!
//! ```
//! // An MBR with one active Linux partition of a MiB, from the second sector on.
//! let mut bytes = vec![0; 2 << 20];
//! bytes[440..444].copy_from_slice(&[0xcd, 0xab, 0x34, 0x12]);
//! bytes[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0]);
//! bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
//!
//! let table = volume::scan(&block::Memory::new(bytes))?;
//! assert_eq!(table.kind, volume::TableKind::Mbr);
//! let root = table.partition(1).unwrap();
//! assert_eq!((root.start, root.size, root.bootable), (512, 1 << 20, true));
//! assert_eq!(root.uuid.as_deref(), Some("1234abcd-01"));
//! # Ok::<(), volume::Error>(())
//! ```
//!
//! Errors sort as everywhere in rehost: [`Corrupt`] breaks the specification, [`Unsupported`] is
//! legal but not done here. What is wrong but leaves the table readable is no error but a
//! [`Finding`]. A partition that leaves the disk stays in the list, marked, and cannot be opened.
//!
//! Out of scope: writing tables and metadata; BSD, Sun, SGI and Apple maps; encryption.
//!
//! Specifications: UEFI 2.10 chapter 5 (GPT, protective MBR); for the MBR, which has none, what
//! Linux does in `block/partitions/msdos.c`.
#![warn(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    expect(clippy::arithmetic_side_effects, reason = "tests may fail by overflow")
)]

mod error;
mod finding;
mod gpt;
pub mod lvm;
mod mbr;
pub mod md;
mod scan;
mod table;

pub use error::{Corrupt, Error, Unsupported};
pub use finding::{ChainEnd, Finding, GptDamage};
pub use scan::scan;
pub use table::{Partition, PartitionKind, Table, TableKind};
