//! Layout of sparse extents, as VMware's "Virtual Disk Format 5.0" names it.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first sector of a hosted sparse extent, and its footer. Offsets and sizes count sectors.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SparseExtentHeader {
    pub(super) magic_number: [u8; 4],
    pub(super) version: U32,
    pub(super) flags: U32,
    pub(super) capacity: U64,
    pub(super) grain_size: U64,
    pub(super) descriptor_offset: U64,
    pub(super) descriptor_size: U64,
    pub(super) num_gtes_per_gt: U32,
    pub(super) rgd_offset: U64,
    pub(super) gd_offset: U64,
    pub(super) over_head: U64,
    pub(super) unclean_shutdown: u8,
    /// singleEndLineChar, nonEndLineChar, doubleEndLineChar1, doubleEndLineChar2.
    pub(super) line_ends: [u8; 4],
    pub(super) compress_algorithm: U16,
    pub(super) pad: [u8; 433],
}

/// Precedes each compressed grain.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct GrainMarker {
    pub(super) lba: U64,
    pub(super) size: U32,
}

const _: () = assert!(size_of::<SparseExtentHeader>() == 512);
const _: () = assert!(size_of::<GrainMarker>() == 12);

pub(super) const MAGIC_SPARSE: [u8; 4] = *b"KDMV";
pub(super) const MAGIC_COWD: [u8; 4] = *b"COWD";
pub(super) const MAGIC_SESPARSE: [u8; 8] = [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0];

/// Bits of `flags`.
pub(super) const VALID_LINE_ENDS: u32 = 1 << 0;
pub(super) const ZEROED_GRAINS: u32 = 1 << 2;
pub(super) const COMPRESSED: u32 = 1 << 16;
pub(super) const MARKERS: u32 = 1 << 17;

pub(super) const LINE_ENDS: [u8; 4] = *b"\n \r\n";
/// `gd_offset` of a header whose truth is in the footer.
pub(super) const GD_AT_END: u64 = u64::MAX;
/// `compress_algorithm` of zlib streams.
pub(super) const DEFLATE: u16 = 1;
/// Type of the marker before the footer.
pub(super) const MARKER_FOOTER: u32 = 3;
/// A grain table entry of a grain of zeros, with the flag for them.
pub(super) const ZEROED: u32 = 1;

pub(super) const SECTOR: u64 = 512;
