//! Layout of the footer and of the dynamic disk header, as Microsoft's "Virtual Hard Disk Image
//! Format Specification" 1.0 names them.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The last sector of every image; dynamic and differencing ones begin with a copy of it.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Footer {
    pub(super) cookie: [u8; 8],
    pub(super) features: U32,
    pub(super) file_format_version: U32,
    pub(super) data_offset: U64,
    /// Seconds since the year 2000.
    pub(super) time_stamp: U32,
    pub(super) creator_application: [u8; 4],
    pub(super) creator_version: U32,
    pub(super) creator_host_os: [u8; 4],
    pub(super) original_size: U64,
    pub(super) current_size: U64,
    pub(super) disk_geometry: Geometry,
    pub(super) disk_type: U32,
    pub(super) checksum: U32,
    pub(super) unique_id: [u8; 16],
    pub(super) saved_state: u8,
    pub(super) reserved: [u8; 427],
}

/// How many sectors an ATA disk has.
#[derive(
    Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned,
)]
#[repr(C)]
pub(super) struct Geometry {
    pub(super) cylinders: U16,
    pub(super) heads: u8,
    pub(super) sectors_per_track: u8,
}

/// Where the blocks and the parent of a dynamic or differencing disk are.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DynamicHeader {
    pub(super) cookie: [u8; 8],
    pub(super) data_offset: U64,
    pub(super) table_offset: U64,
    pub(super) header_version: U32,
    pub(super) max_table_entries: U32,
    pub(super) block_size: U32,
    pub(super) checksum: U32,
    pub(super) parent_unique_id: [u8; 16],
    pub(super) parent_time_stamp: U32,
    pub(super) reserved: U32,
    /// UTF-16, big endian.
    pub(super) parent_unicode_name: [u8; 512],
    pub(super) parent_locators: [ParentLocator; 8],
    pub(super) reserved_end: [u8; 256],
}

/// Where a name of the parent stands.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ParentLocator {
    pub(super) platform_code: [u8; 4],
    /// Sectors by the specification, bytes by most writers; nobody needs it.
    pub(super) platform_data_space: U32,
    pub(super) platform_data_length: U32,
    pub(super) reserved: U32,
    pub(super) platform_data_offset: U64,
}

const _: () = assert!(size_of::<Footer>() == 512);
const _: () = assert!(size_of::<DynamicHeader>() == 1024);
const _: () = assert!(size_of::<ParentLocator>() == 24);

pub(super) const COOKIE: [u8; 8] = *b"conectix";
pub(super) const HEADER_COOKIE: [u8; 8] = *b"cxsparse";

/// Bytes of a footer, and of those from before Virtual PC 2004.
pub(super) const FOOTER: u64 = 512;
pub(super) const OLD_FOOTER: u64 = 511;
/// Bytes of a dynamic disk header.
pub(super) const HEADER: u64 = 1024;
pub(super) const SECTOR: u64 = 512;
/// `features`: a bit that is always set.
pub(super) const FEATURES: u32 = 2;
/// `file_format_version` and `header_version`: major in the upper half.
pub(super) const VERSION: u32 = 0x1_0000;
/// `data_offset` where nothing follows.
pub(super) const NOTHING: u64 = u64::MAX;
/// An entry of the block allocation table that maps nothing.
pub(super) const UNUSED: u32 = u32::MAX;

/// Values of `disk_type`.
pub(super) const FIXED: u32 = 2;
pub(super) const DYNAMIC: u32 = 3;
pub(super) const DIFFERENCING: u32 = 4;

/// Values of `platform_code` whose names are understood: Windows paths in UTF-16, little endian,
/// relative and absolute, and file URLs.
pub(super) const WINDOWS_RELATIVE: [u8; 4] = *b"W2ru";
pub(super) const WINDOWS_ABSOLUTE: [u8; 4] = *b"W2ku";
pub(super) const MAC_URL: [u8; 4] = *b"MacX";

impl Footer {
    /// What `checksum` should be.
    pub(super) fn sum(&self) -> u32 {
        let mut summed = self.clone();
        summed.checksum = 0.into();
        sum(summed.as_bytes())
    }
}

impl DynamicHeader {
    /// What `checksum` should be.
    pub(super) fn sum(&self) -> u32 {
        let mut summed = self.clone();
        summed.checksum = 0.into();
        sum(summed.as_bytes())
    }
}

/// One's complement of the sum of all bytes.
fn sum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}
