//! What can be wrong with a VHD image.

use thiserror::Error;

/// A rule of the format that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("it has neither a footer at its end nor a copy of one at its beginning")]
    NoFooter,
    #[error("it begins with the copy of a footer, but the footer of a fixed disk is at its end")]
    NoFixedFooter,
    #[error(
        "the checksum of the {what} at byte {at} is {stored:#010x}, but its bytes give \
         {computed:#010x}"
    )]
    Checksum {
        what: &'static str,
        at: u64,
        stored: u32,
        computed: u32,
    },
    #[error(
        "the footer at byte {at} and its copy at byte 0 are both sound, but differ in {field}: \
         {footer} and {copy}"
    )]
    FootersDiffer {
        at: u64,
        field: &'static str,
        footer: String,
        copy: String,
    },
    #[error("disk_type is {0}; 2 (fixed), 3 (dynamic) and 4 (differencing) are legal")]
    DiskType(u32),
    #[error("current_size is {0} bytes, whole sectors of 512 are legal")]
    CurrentSize(u64),
    #[error("disk_geometry is empty, though {0:?} made the image, which sizes disks by it")]
    NoGeometry(String),
    #[error("a fixed disk of {size} bytes is expected before the footer at byte {at}")]
    FixedSize { size: u64, at: u64 },
    #[error("there is no dynamic disk header at byte {0}, where the footer says it is")]
    NoHeader(u64),
    #[error("block_size is {0}, a power of two of 512 at least is legal")]
    BlockSize(u32),
    #[error("max_table_entries is {entries}, but a disk of {size} bytes has {needed} blocks")]
    TableTooShort {
        entries: u32,
        size: u64,
        needed: u64,
    },
    #[error("{what} ({len} bytes at byte {offset}) overlaps {other}")]
    Overlap {
        what: String,
        offset: u64,
        len: u64,
        other: String,
    },
    #[error("it is a differencing disk, but does not say where its parent is")]
    NoParentName,
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("its {what} is of version {}.{}, 1.0 is read", .version >> 16, .version & 0xffff)]
    Version { what: &'static str, version: u32 },
    #[error("its blocks have {0} bytes, at most {1} are read")]
    BlockSize(u32, u32),
}
