//! The vocabulary that every file system driver speaks.
//!
//! A driver knows nodes ([`NodeId`]) and names in directories; it knows no paths, no mount points
//! and no guest. Paths and symbolic links are resolved above, in `guest`, where the mounts are
//! known.
//!
//! Every driver works over a device that a conversion may throw away: it *recovers* (replays the
//! guest's journal) when it is opened, edits in place, and leaves the file system clean on
//! [`FileSystemEdit::commit`]. What it cannot write safely it refuses by name in
//! [`FileSystem::edit`], before anything is touched; reading works on.
#![warn(clippy::arithmetic_side_effects)]

mod acl;
mod error;
mod info;
pub mod memory;
mod meta;
mod places;
mod system;

pub use acl::{AccessEntry, AccessList, AccessTag};
pub use error::Error;
pub use info::{FsInfo, FsKind, Space};
pub use memory::MemoryFs;
pub use meta::{Kind, Meta, NewNode, Time};
pub use places::{Part, Places, Role, Structure, StructureKind, join_structures};
pub use system::{Entry, FileSystem, FileSystemEdit, NodeId, Problem, Xattr, read_file};
