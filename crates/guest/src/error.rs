//! Why a guest could not be read or changed.

use crate::{GuestPath, VolumeId};
use thiserror::Error;

/// Why a guest could not be read or changed, with the place where it happened.
///
/// A path that does not exist is no error of the reading side: there it is `None` or empty.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file system operation failed at this path.
    #[error("cannot {operation} {path} in the guest")]
    Path {
        /// What was tried, as "read".
        operation: &'static str,
        /// Where, as asked for.
        path: GuestPath,
        /// What the driver said.
        source: fs::Error,
    },
    /// Following the path met more than 40 symbolic links: a loop, or what the guest's own kernel
    /// refuses as one.
    #[error("too many symbolic links in {path} in the guest")]
    TooManyLinks {
        /// The path asked for.
        path: GuestPath,
    },
    /// A file is larger than any that is expected at this place.
    #[error("{path} in the guest has {size} bytes, more than the {cap} that are read")]
    TooLarge {
        /// The path asked for.
        path: GuestPath,
        /// Size in bytes.
        size: u64,
        /// The most that is read.
        cap: u64,
    },
    /// A path that was to be edited goes through a symbolic link.
    #[error("{path} in the guest is not canonical: it is {canonical}")]
    NotCanonical {
        /// The path given.
        path: GuestPath,
        /// What it should have been.
        canonical: GuestPath,
    },
    /// Both names of a rename must lie on one file system.
    #[error("{from} and {to} in the guest are on different file systems")]
    AcrossMounts {
        /// The name that is.
        from: GuestPath,
        /// The name that was to be.
        to: GuestPath,
    },
    /// A disk cannot be read at all.
    #[error("cannot read disk {name}")]
    Disk {
        /// The disk's name, as the caller gave it.
        name: String,
        /// What the layer below said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A volume cannot be opened as a file system.
    #[error("cannot open the file system on {volume}")]
    Volume {
        /// Which volume.
        volume: VolumeId,
        /// What the driver said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A volume holds nothing that can be mounted.
    #[error("{volume} holds {content}, not a file system that can be opened")]
    NotAFileSystem {
        /// Which volume.
        volume: VolumeId,
        /// What it holds, in words.
        content: String,
    },
    /// There is no such volume in the machine.
    #[error("there is no {volume}")]
    NoSuchVolume {
        /// Which volume was asked for.
        volume: VolumeId,
    },
    /// The work was stopped because somebody asked for it.
    #[error("the guest was not read to its end")]
    Interrupted(#[source] ondisk::Interrupted),
}
