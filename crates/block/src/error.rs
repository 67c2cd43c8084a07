//! Why a device could not be read or written.

use std::io;
use thiserror::Error;

/// Why a device access failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The range does not lie inside the device.
    #[error("{len} bytes at byte {offset} lie beyond the end of a device of {size} bytes")]
    OutOfBounds {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Device size in bytes.
        size: u64,
    },
    /// The host could not read or write.
    #[error("the host failed at byte {offset}")]
    Io {
        /// First byte of the access, in device coordinates.
        offset: u64,
        /// What the host said.
        source: io::Error,
    },
    /// The format below the device is damaged or not supported at this place.
    #[error("the image cannot be read at byte {offset}")]
    Format {
        /// First byte of the access, in device coordinates.
        offset: u64,
        /// What the format's reader said; names file, offset and what was expected.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The layer below reads this place, but cannot change it.
    #[error("the volume cannot be written at byte {offset}")]
    Refused {
        /// First byte of the access, in device coordinates.
        offset: u64,
        /// Why, and what to do.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The first byte of the access that failed, in coordinates of the device that failed.
    pub fn offset(&self) -> u64 {
        match self {
            Self::OutOfBounds { offset, .. }
            | Self::Io { offset, .. }
            | Self::Format { offset, .. }
            | Self::Refused { offset, .. } => *offset,
        }
    }
}
