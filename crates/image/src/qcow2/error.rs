//! What can be wrong with a qcow2 image.

use thiserror::Error;

/// A rule of the format that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("cluster_bits is {0}, 9 to 21 are legal")]
    ClusterBits(u32),
    #[error("extended L2 entries need cluster_bits of 14 at least, it is {0}")]
    ExtendedClusterBits(u32),
    #[error("header_length is {length}, {least} to {most} are legal")]
    HeaderLength { length: u32, least: u32, most: u64 },
    #[error("refcount_order is {0}, at most 6 is legal")]
    RefcountOrder(u32),
    #[error("compression_type {compression_type} contradicts the compression feature bit")]
    CompressionBit { compression_type: u8 },
    #[error("the header extension {kind:#010x} at byte {at} is {len} bytes long, {left} are left")]
    Extension {
        kind: u32,
        at: u64,
        len: u64,
        left: u64,
    },
    #[error("the backing file's name ({len} bytes at byte {offset}) leaves the first {end} bytes")]
    BackingName { offset: u64, len: u64, end: u64 },
    #[error("the image names a data file, but has no data file feature")]
    DataFileWithoutFeature,
    #[error("the image has a data file, but does not name it")]
    DataFileUnnamed,
    #[error("size is {size}, for which l1_size must be {needed} at least, but it is {l1_size}")]
    L1Size {
        size: u64,
        needed: u64,
        l1_size: u32,
    },
    #[error("{what} at byte {at} points to byte {offset}, which is not aligned to {align}")]
    Unaligned {
        what: &'static str,
        at: u64,
        offset: u64,
        align: u64,
    },
    #[error("{what} at byte {at} is {entry:#018x}, where bits {mask:#018x} are reserved")]
    Reserved {
        what: &'static str,
        at: u64,
        entry: u64,
        mask: u64,
    },
    #[error("the L2 entry at byte {0} marks zeros, which version 2 does not know")]
    ZeroInVersion2(u64),
    #[error("the L2 entry at byte {0} is of a compressed cluster in an external data file")]
    CompressedInDataFile(u64),
    #[error("the L2 entry at byte {at} has the subcluster bitmap {bitmap:#018x}, which is illegal")]
    Subclusters { at: u64, bitmap: u64 },
    #[error("the bitmaps extension is {0} bytes long, 24 are expected")]
    BitmapsLength(u64),
    #[error("entry {number} of the bitmap directory cannot be read up to byte {at}: {what}")]
    BitmapEntry {
        number: u32,
        at: u64,
        what: &'static str,
    },
    #[error("the bitmap directory of {size} bytes has {left} left after {count} entries")]
    BitmapDirectory { count: u32, size: u64, left: u64 },
    #[error("{what} is {offset}, which is not a cluster of {align} bytes")]
    BitmapOffset {
        what: &'static str,
        offset: u64,
        align: u64,
    },
    #[error("it has two bitmaps {0:?}")]
    BitmapTwice(String),
    #[error("the bitmap {name:?} has a table of {have} entries, the disk needs {needed}")]
    BitmapTable {
        name: String,
        have: u32,
        needed: u64,
    },
    #[error("its bitmaps overlap: they take more than the {0} bytes of the file")]
    BitmapsOverlap(u64),
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("it is qcow version {0}, only 2 and 3 are read")]
    Version(u32),
    #[error("it is encrypted with AES")]
    Aes,
    #[error("it is encrypted with LUKS")]
    Luks,
    #[error("it is encrypted with the unknown method {0}")]
    Encryption(u32),
    #[error("it is marked corrupt, so that no part of it can be relied on; repair it first")]
    MarkedCorrupt,
    #[error("it needs the unknown feature{}", bits_and_names(.0))]
    Incompatible(Vec<(u32, Option<String>)>),
    #[error("it is compressed with the unknown method {0}")]
    Compression(u8),
    #[error("its bitmap {0:?} is of the unknown type {1}")]
    BitmapType(String, u8),
    #[error("its bitmap {0:?} has the unknown flags {1:#x}")]
    BitmapFlags(String, u32),
    #[error("its bitmap {0:?} needs extra data to be understood")]
    BitmapExtraData(String),
    #[error("its bitmap {0:?} has granularity_bits of {1}, 9 to 31 are read")]
    BitmapGranularity(String, u8),
}

fn bits_and_names(features: &[(u32, Option<String>)]) -> String {
    let mut text = String::new();
    for (bit, name) in features {
        let name = name.as_deref().unwrap_or("unnamed");
        text.push_str(&format!(" {name:?} (incompatible bit {bit})"));
    }
    text
}
