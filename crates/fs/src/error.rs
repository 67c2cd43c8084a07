//! Why a file system operation failed.

use thiserror::Error;

/// Why a file system operation failed, as callers tell the cases apart.
///
/// Drivers keep their own, finer error and box it as the source of [`Corrupt`](Self::Corrupt) and
/// [`Unsupported`](Self::Unsupported).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No such name, node or attribute.
    #[error("not found")]
    NotFound,
    /// The name is taken.
    #[error("already exists")]
    Exists,
    /// The node is not a directory.
    #[error("not a directory")]
    NotADirectory,
    /// The node is a directory, where none may be.
    #[error("is a directory")]
    IsADirectory,
    /// The node is not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The directory still holds names.
    #[error("directory not empty")]
    NotEmpty,
    /// The name is empty, too long, or holds a byte that names cannot hold here.
    #[error("name not possible on this file system")]
    BadName,
    /// There is no room for what was to be written.
    #[error("no space left: {needed} bytes needed, {free} free")]
    NoSpace {
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes free for data.
        free: u64,
    },
    /// All inodes are taken.
    #[error("no free inode left")]
    NoInodes,
    /// The file system breaks its specification.
    #[error("damaged file system")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Legal, but not done by this driver.
    #[error("not supported")]
    Unsupported(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The device below failed.
    #[error("the device cannot be read or written")]
    Block(#[from] block::Error),
}
