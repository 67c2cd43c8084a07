//! The operating system found on the volumes: one tree of paths, and facts as plain data.
//!
//! A [`Guest`] puts the file systems of a machine together as its fstab says and resolves paths
//! and links inside. Everything found in a guest is hostile: paths cannot leave it, every walk is
//! bounded, and what cannot be understood is a finding, not a failure.
//!
//! ```
//! use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};
//! use guest::Guest;
//!
//! let mut root = MemoryFs::new("f0ae", Some("root"));
//! let top = root.root();
//! let file = root.create(top, b"hostname", NewNode::root(0o644))?;
//! root.replace(file, b"web1\n")?;
//! root.symlink(top, b"etc", b"..", NewNode::root(0o777))?;
//! let guest = Guest::of(Box::new(root));
//! assert_eq!(guest.read(&"/etc/hostname".into(), 64)?.unwrap(), b"web1\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Errors name the path in the guest, or the volume, that failed ([`Error`]); the driver's own
//! reason is the source. Running guest code, and guests that are no Linux, are out of scope.

mod assembly;
pub mod assignment;
pub mod boot;
pub mod cloud_init;
mod content;
pub mod crypttab;
mod device_name;
pub mod difference;
mod error;
mod facts;
mod field_line;
mod firmware;
pub mod fstab;
pub mod ini;
mod inspect;
mod kernels;
mod machine;
mod mdadm;
mod mount;
pub mod network;
mod os;
mod packages;
mod path;
pub mod selinux;
pub mod source_tools;
#[cfg(test)]
mod testing;
mod tree;
mod volume_id;

pub use boot::Boot;
pub use cloud_init::CloudInit;
pub use content::{Content, OtherFormat};
pub use device_name::DeviceName;
pub use error::Error;
pub use facts::{Architecture, Facts, Firmware, FstabFact, VolumeFact};
pub use firmware::boot_disk;
pub use inspect::inspect;
pub use kernels::{Kernel, inspect as kernels};
pub use machine::{Disk, Machine, Root, SourceDisk, Volume};
pub use network::Network;
pub use os::{Family, Lineage, Os};
pub use packages::{PackageManager, Packages};
pub use path::GuestPath;
pub use selinux::{Selinux, SelinuxMode};
pub use source_tools::SourceTool;
pub use tree::{DirEntry, Guest, Mount};
pub use volume_id::VolumeId;
