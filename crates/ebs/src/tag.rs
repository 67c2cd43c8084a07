//! The tags by which snapshots are found again.

/// The tag whose value says that rehost made the snapshot; policies name it.
pub const TOOL: &str = "rehost:tool";
/// The value of [`TOOL`].
pub const TOOL_VALUE: &str = "rehost";
/// The project that the machine belongs to, if it has one.
pub const PROJECT: &str = "rehost:project";
/// The machine.
pub const MACHINE: &str = "rehost:machine";
/// The disk of the machine.
pub const DISK: &str = "rehost:disk";
/// What the snapshot is for: a [`Role`](crate::Role).
pub const ROLE: &str = "rehost:role";
/// What was uploaded, as a digest: the same again is the same upload.
pub const SOURCE: &str = "rehost:source";
/// What snapshots of several disks have in common that were made in one run.
pub const SET: &str = "rehost:set";
/// The snapshot of which it inherits: EC2 does not tell.
pub const PARENT: &str = "rehost:parent";
/// Bytes of the disk: the volume's size is in GiB.
pub const SIZE: &str = "rehost:size";

/// The most tags that StartSnapshot takes.
pub(crate) const MAX_TAGS: usize = 50;
/// Characters of a key, and of a value.
pub(crate) const MAX_KEY: usize = 127;
pub(crate) const MAX_VALUE: usize = 255;
