//! Why there is no connection to AWS.

use ondisk::Interrupted;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no connection to AWS. None of it holds credentials.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing says which region to use.
    #[error("no AWS region is known: give --region, or set AWS_REGION or the profile's region")]
    NoRegion,
    /// A setting cannot be used.
    #[error("{what} cannot be used: {why}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// No source of the standard chain gave credentials.
    #[error("there are no usable AWS credentials: {0}")]
    Credentials(String),
    /// The host failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
