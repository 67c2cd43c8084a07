//! Layout of the structures, as \[MS-VHDX\] names them. GUIDs are stored as Microsoft does: their
//! first three fields are little endian.

use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A GUID in the order of its bytes on disk.
#[derive(
    Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned,
)]
#[repr(C)]
pub(super) struct Guid([u8; 16]);

impl Guid {
    pub(super) fn uuid(self) -> Uuid {
        Uuid::from_bytes_le(self.0)
    }
}

impl From<Uuid> for Guid {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_bytes_le())
    }
}

/// The first bytes of the file.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileTypeIdentifier {
    pub(super) signature: [u8; 8],
    /// UTF-16, filled up with zeros.
    pub(super) creator: [U16; 256],
}

#[derive(Clone, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) signature: [u8; 4],
    pub(super) checksum: U32,
    pub(super) sequence_number: U64,
    pub(super) file_write_guid: Guid,
    pub(super) data_write_guid: Guid,
    pub(super) log_guid: Guid,
    pub(super) log_version: U16,
    pub(super) version: U16,
    pub(super) log_length: U32,
    pub(super) log_offset: U64,
    pub(super) reserved: [u8; 4016],
}

/// Precedes the entries of a region table.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RegionTableHeader {
    pub(super) signature: [u8; 4],
    pub(super) checksum: U32,
    pub(super) entry_count: U32,
    pub(super) reserved: U32,
}

#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RegionTableEntry {
    pub(super) guid: Guid,
    pub(super) file_offset: U64,
    pub(super) length: U32,
    /// Bit 0: whether a reader must know the region.
    pub(super) required: U32,
}

/// Precedes the descriptors of a log entry.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LogEntryHeader {
    pub(super) signature: [u8; 4],
    pub(super) checksum: U32,
    pub(super) entry_length: U32,
    pub(super) tail: U32,
    pub(super) sequence_number: U64,
    pub(super) descriptor_count: U32,
    pub(super) reserved: U32,
    pub(super) log_guid: Guid,
    pub(super) flushed_file_offset: U64,
    pub(super) last_file_offset: U64,
}

/// A zero descriptor or a data descriptor.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LogDescriptor {
    pub(super) signature: [u8; 4],
    /// The last bytes of the sector, in a data descriptor.
    pub(super) trailing_bytes: [u8; 4],
    /// The first bytes of the sector in a data descriptor, the number of zeros in the other.
    pub(super) leading_bytes: [u8; 8],
    pub(super) file_offset: U64,
    pub(super) sequence_number: U64,
}

/// A sector that a data descriptor describes.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LogDataSector {
    pub(super) signature: [u8; 4],
    pub(super) sequence_high: U32,
    pub(super) data: [u8; 4084],
    pub(super) sequence_low: U32,
}

/// Precedes the entries of the metadata table.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MetadataTableHeader {
    pub(super) signature: [u8; 8],
    pub(super) reserved: U16,
    pub(super) entry_count: U16,
    pub(super) reserved2: [u8; 20],
}

#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MetadataTableEntry {
    pub(super) item_id: Guid,
    /// From the beginning of the metadata region on.
    pub(super) offset: U32,
    pub(super) length: U32,
    pub(super) flags: U32,
    pub(super) reserved2: U32,
}

#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileParameters {
    pub(super) block_size: U32,
    pub(super) flags: U32,
}

#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ParentLocatorHeader {
    pub(super) locator_type: Guid,
    pub(super) reserved: U16,
    pub(super) key_value_count: U16,
}

/// Where a key and its value are in the parent locator, in bytes.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ParentLocatorEntry {
    pub(super) key_offset: U32,
    pub(super) value_offset: U32,
    pub(super) key_length: U16,
    pub(super) value_length: U16,
}

const _: () = assert!(size_of::<FileTypeIdentifier>() == 520);
const _: () = assert!(size_of::<Header>() == 4096);
const _: () = assert!(size_of::<RegionTableHeader>() == 16);
const _: () = assert!(size_of::<RegionTableEntry>() == 32);
const _: () = assert!(size_of::<LogEntryHeader>() == 64);
const _: () = assert!(size_of::<LogDescriptor>() == 32);
const _: () = assert!(size_of::<LogDataSector>() == 4096);
const _: () = assert!(size_of::<MetadataTableHeader>() == 32);
const _: () = assert!(size_of::<MetadataTableEntry>() == 32);
const _: () = assert!(size_of::<FileParameters>() == 8);
const _: () = assert!(size_of::<ParentLocatorHeader>() == 20);
const _: () = assert!(size_of::<ParentLocatorEntry>() == 12);

pub(super) const SIGNATURE: [u8; 8] = *b"vhdxfile";
pub(super) const SIGNATURE_HEADER: [u8; 4] = *b"head";
pub(super) const SIGNATURE_REGIONS: [u8; 4] = *b"regi";
pub(super) const SIGNATURE_METADATA: [u8; 8] = *b"metadata";
pub(super) const SIGNATURE_LOG_ENTRY: [u8; 4] = *b"loge";
pub(super) const SIGNATURE_LOG_ZERO: [u8; 4] = *b"zero";
pub(super) const SIGNATURE_LOG_DATA: [u8; 4] = *b"desc";
pub(super) const SIGNATURE_LOG_SECTOR: [u8; 4] = *b"data";

/// Where the structures of the header section stand.
pub(super) const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
pub(super) const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
/// Bytes of a region table, and of the metadata table.
pub(super) const TABLE_LEN: usize = 64 << 10;
/// Most entries of either: as many as have room behind the table's header.
pub(super) const MAX_ENTRIES: u64 = 2047;

/// Everything outside of the header section is aligned to this and as long as multiples of it.
pub(super) const MIB: u64 = 1 << 20;
/// Bytes of a sector of the log.
pub(super) const LOG_SECTOR: u64 = 4096;
/// Sectors of the disk that one sector bitmap block describes.
pub(super) const BITMAP_SECTORS: u64 = 1 << 23;

/// Where the checksum stands in a header, a region table and a log entry.
pub(super) const CHECKSUM: std::ops::Range<usize> = 4..8;

/// Regions.
pub(super) const BAT: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
pub(super) const METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
/// Bit of `required` of a region.
pub(super) const REGION_REQUIRED: u32 = 1 << 0;

/// Metadata items.
pub(super) const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
pub(super) const VIRTUAL_DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
pub(super) const VIRTUAL_DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
pub(super) const LOGICAL_SECTOR_SIZE: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
pub(super) const PHYSICAL_SECTOR_SIZE: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
pub(super) const PARENT_LOCATOR: Uuid = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");
/// Bits of `flags` of a metadata item.
pub(super) const ITEM_IS_USER: u32 = 1 << 0;
pub(super) const ITEM_IS_VIRTUAL_DISK: u32 = 1 << 1;
pub(super) const ITEM_IS_REQUIRED: u32 = 1 << 2;
/// Bits of `flags` of the file parameters.
pub(super) const LEAVE_BLOCK_ALLOCATED: u32 = 1 << 0;
pub(super) const HAS_PARENT: u32 = 1 << 1;

/// The one type of parent locator.
pub(super) const LOCATOR_VHDX: Uuid = uuid!("b04aefb7-d19e-4a81-b789-25b8e9445913");

/// Fields of a BAT entry: the state, and the position in the file, which counts MiB from bit 20 on
/// and so is one of bytes as it stands.
pub(super) const BAT_STATE: u64 = 0x7;
pub(super) const BAT_RESERVED: u64 = 0xf_fff8;
pub(super) const BAT_OFFSET: u64 = !0xf_ffff;
/// States of payload blocks.
pub(super) const NOT_PRESENT: u64 = 0;
pub(super) const UNDEFINED: u64 = 1;
pub(super) const ZERO: u64 = 2;
pub(super) const UNMAPPED: u64 = 3;
pub(super) const FULLY_PRESENT: u64 = 6;
pub(super) const PARTIALLY_PRESENT: u64 = 7;
/// State of a sector bitmap block.
pub(super) const BITMAP_PRESENT: u64 = 6;
