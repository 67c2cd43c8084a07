//! Layout of the header and of table entries, as `docs/interop/qcow2.txt` of QEMU names them.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The part of the header that every version has.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 4],
    pub(super) version: U32,
    pub(super) backing_file_offset: U64,
    pub(super) backing_file_size: U32,
    pub(super) cluster_bits: U32,
    pub(super) size: U64,
    pub(super) crypt_method: U32,
    pub(super) l1_size: U32,
    pub(super) l1_table_offset: U64,
    pub(super) refcount_table_offset: U64,
    pub(super) refcount_table_clusters: U32,
    pub(super) nb_snapshots: U32,
    pub(super) snapshots_offset: U64,
}

/// What version 3 adds to it.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HeaderV3 {
    pub(super) incompatible_features: U64,
    pub(super) compatible_features: U64,
    pub(super) autoclear_features: U64,
    pub(super) refcount_order: U32,
    pub(super) header_length: U32,
}

/// What a header longer than that adds.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HeaderTail {
    pub(super) compression_type: u8,
    pub(super) padding: [u8; 7],
}

/// Precedes the data of each header extension, which is padded to 8 bytes.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Extension {
    pub(super) kind: U32,
    pub(super) len: U32,
}

/// An entry of the snapshot table; extra data, identifier and name follow, padded to 8 bytes.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Snapshot {
    pub(super) l1_table_offset: U64,
    pub(super) l1_size: U32,
    pub(super) id_str_size: U16,
    pub(super) name_size: U16,
    pub(super) date_sec: U32,
    pub(super) date_nsec: U32,
    pub(super) vm_clock_nsec: U64,
    pub(super) vm_state_size: U32,
    pub(super) extra_data_size: U32,
}

/// The data of the bitmaps extension.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Bitmaps {
    pub(super) nb_bitmaps: U32,
    pub(super) reserved: U32,
    pub(super) bitmap_directory_size: U64,
    pub(super) bitmap_directory_offset: U64,
}

/// An entry of the bitmap directory; extra data and the name follow, padded to 8 bytes.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Bitmap {
    pub(super) bitmap_table_offset: U64,
    pub(super) bitmap_table_size: U32,
    pub(super) flags: U32,
    /// `type` in the specification.
    pub(super) kind: u8,
    pub(super) granularity_bits: u8,
    pub(super) name_size: U16,
    pub(super) extra_data_size: U32,
}

const _: () = assert!(size_of::<Bitmaps>() == 24);
const _: () = assert!(size_of::<Bitmap>() == 24);
const _: () = assert!(size_of::<Snapshot>() == 40);
const _: () = assert!(size_of::<Header>() == 72);
const _: () = assert!(size_of::<HeaderV3>() == 32);
const _: () = assert!(size_of::<HeaderTail>() == 8);
const _: () = assert!(size_of::<Extension>() == 8);

/// Bits of `incompatible_features`.
pub(super) const DIRTY: u64 = 1 << 0;
pub(super) const CORRUPT: u64 = 1 << 1;
pub(super) const DATA_FILE: u64 = 1 << 2;
pub(super) const COMPRESSION: u64 = 1 << 3;
pub(super) const EXTENDED_L2: u64 = 1 << 4;

/// A bit of `autoclear_features`: the bitmaps are as the disk is.
pub(super) const BITMAPS: u64 = 1 << 0;

/// Kinds of header extensions.
pub(super) const EXTENSION_END: u32 = 0;
pub(super) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
pub(super) const EXTENSION_BITMAPS: u32 = 0x2385_2875;
pub(super) const EXTENSION_FEATURE_NAMES: u32 = 0x6803_f857;
pub(super) const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// Bytes of an entry of the feature name table: kind, bit, name.
pub(super) const FEATURE_NAME_LEN: usize = 48;
/// Its kind for `incompatible_features`.
pub(super) const FEATURE_NAME_INCOMPATIBLE: u8 = 0;

/// Bits of L1 and L2 entries.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
pub(super) const COPIED: u64 = 1 << 63;
pub(super) const COMPRESSED: u64 = 1 << 62;
pub(super) const ZERO: u64 = 1 << 0;
pub(super) const L1_RESERVED: u64 = !(OFFSET | COPIED);
pub(super) const L2_RESERVED: u64 = !(OFFSET | COPIED | COMPRESSED | ZERO);

/// Bits of the flags of a bitmap.
pub(super) const BITMAP_IN_USE: u32 = 1 << 0;
pub(super) const BITMAP_AUTO: u32 = 1 << 1;
pub(super) const BITMAP_EXTRA_COMPATIBLE: u32 = 1 << 2;
pub(super) const BITMAP_FLAGS: u32 = BITMAP_IN_USE | BITMAP_AUTO | BITMAP_EXTRA_COMPATIBLE;
/// Its type.
pub(super) const BITMAP_DIRTY_TRACKING: u8 = 1;
/// Bits of the entries of its table: of one without an offset, all bits of the cluster are set.
pub(super) const BITMAP_ALL_ONES: u64 = 1 << 0;
pub(super) const BITMAP_RESERVED: u64 = !(OFFSET | BITMAP_ALL_ONES);
