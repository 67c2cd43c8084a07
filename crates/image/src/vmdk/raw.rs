//! Layout of sparse extents, as VMware's "Virtual Disk Format 5.0" names it; that of seSparse, which
//! VMware never published, as QEMU's `block/vmdk.c` does.

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

/// The first of the four sectors of a COWD header. Offsets and sizes count sectors; what the other
/// sectors say (geometry or parent, name, generation) the descriptor says too.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CowDiskHeader {
    pub(super) magic_number: [u8; 4],
    pub(super) version: U32,
    pub(super) flags: U32,
    pub(super) num_sectors: U32,
    pub(super) grain_size: U32,
    pub(super) gd_offset: U32,
    pub(super) num_gd_entries: U32,
    pub(super) free_sector: U32,
    pub(super) rest: [u8; 480],
}

/// The first sector of a seSparse extent. Offsets and sizes count sectors.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SeSparseConstHeader {
    pub(super) magic: [u8; 8],
    pub(super) version: U64,
    pub(super) capacity: U64,
    pub(super) grain_size: U64,
    pub(super) grain_table_size: U64,
    pub(super) flags: U64,
    pub(super) reserved: [U64; 4],
    pub(super) volatile_header_offset: U64,
    pub(super) volatile_header_size: U64,
    pub(super) journal_header_offset: U64,
    pub(super) journal_header_size: U64,
    pub(super) journal_offset: U64,
    pub(super) journal_size: U64,
    pub(super) grain_dir_offset: U64,
    pub(super) grain_dir_size: U64,
    pub(super) grain_tables_offset: U64,
    pub(super) grain_tables_size: U64,
    pub(super) free_bitmap_offset: U64,
    pub(super) free_bitmap_size: U64,
    pub(super) backmap_offset: U64,
    pub(super) backmap_size: U64,
    pub(super) grains_offset: U64,
    pub(super) grains_size: U64,
    pub(super) pad: [u8; 304],
}

/// The header of a seSparse extent that changes while it is in use.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SeSparseVolatileHeader {
    pub(super) magic: [u8; 8],
    pub(super) free_gt_number: U64,
    pub(super) next_txn_seq_number: U64,
    pub(super) replay_journal: U64,
    pub(super) pad: [u8; 480],
}

/// Precedes each compressed grain.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct GrainMarker {
    pub(super) lba: U64,
    pub(super) size: U32,
}

/// Precedes everything else in a stream: tables, the directory, the footer. Alone and of zeros it
/// is the end of the stream.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MetadataMarker {
    pub(super) num_sectors: U64,
    /// Zero: by this it is told from a [`GrainMarker`].
    pub(super) size: U32,
    pub(super) marker_type: U32,
    pub(super) pad: [u8; 496],
}

const _: () = assert!(size_of::<SparseExtentHeader>() == 512);
const _: () = assert!(size_of::<CowDiskHeader>() == 512);
const _: () = assert!(size_of::<SeSparseConstHeader>() == 512);
const _: () = assert!(size_of::<SeSparseVolatileHeader>() == 512);
const _: () = assert!(size_of::<MetadataMarker>() == 512);
const _: () = assert!(size_of::<GrainMarker>() == 12);

pub(super) const MAGIC_SPARSE: [u8; 4] = *b"KDMV";
pub(super) const MAGIC_COWD: [u8; 4] = *b"COWD";
pub(super) const MAGIC_SESPARSE: [u8; 8] = [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0];
pub(super) const MAGIC_SESPARSE_VOLATILE: [u8; 8] = [0xfe, 0xca, 0xfe, 0xca, 0, 0, 0, 0];

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
/// Types of markers, by what follows them.
pub(super) const MARKER_EOS: u32 = 0;
pub(super) const MARKER_GT: u32 = 1;
pub(super) const MARKER_GD: u32 = 2;
pub(super) const MARKER_FOOTER: u32 = 3;
/// A grain table entry of a grain of zeros, with the flag for them.
pub(super) const ZEROED: u64 = 1;

/// The version of a COWD header, and the flags that are known in it.
pub(super) const COWD_VERSION: u32 = 1;
pub(super) const COWD_FLAGS: u32 = 3;
/// Sectors of a COWD header.
pub(super) const COWD_HEADER: u64 = 4;

/// The only version, grain size and table size of seSparse that anybody has seen.
pub(super) const SESPARSE_VERSION: u64 = 0x2_0000_0001;
pub(super) const SESPARSE_GRAIN: u64 = 8;
pub(super) const SESPARSE_TABLE: u64 = 64;
/// The kind of a seSparse entry is in its highest four bits.
pub(super) const SESPARSE_KIND: u64 = 0xf << 60;
pub(super) const SESPARSE_UNMAPPED: u64 = 1 << 60;
pub(super) const SESPARSE_ZERO: u64 = 2 << 60;
pub(super) const SESPARSE_ALLOCATED: u64 = 3 << 60;
/// A seSparse directory entry with a table: this above the number of the table.
pub(super) const SESPARSE_TABLE_PRESENT: u64 = 1 << 28;

pub(super) const SECTOR: u64 = 512;
