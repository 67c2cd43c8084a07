//! What can be wrong with a VHDX image.

use thiserror::Error;
use uuid::Uuid;

/// A rule of the format that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("it does not begin with the signature of VHDX")]
    Signature,
    #[error("both headers are damaged (bytes 65536 and 131072)")]
    NoHeader,
    #[error("both headers have sequence number {0}, but they differ: none is the current one")]
    EqualHeaders(u64),
    #[error(
        "the log is said to be {length} bytes at byte {offset}, whole MiB behind the first are legal"
    )]
    LogPlace { offset: u64, length: u64 },
    #[error("the log has to be replayed, but holds no sequence of valid entries")]
    LogWithoutSequence,
    #[error(
        "the file has {len} bytes, but its log was written when {flushed} were safe: its end is lost"
    )]
    LogOfLongerFile { len: u64, flushed: u64 },
    #[error("both region tables are damaged (bytes 196608 and 262144)")]
    NoRegionTable,
    #[error(
        "the region {guid} is said to be {length} bytes at byte {offset}, whole MiB behind the \
         first are legal"
    )]
    RegionPlace {
        guid: Uuid,
        offset: u64,
        length: u64,
    },
    #[error("the region {guid} ends at byte {to}, but the file at byte {end}")]
    RegionBeyondEnd { guid: Uuid, to: u64, end: u64 },
    #[error("two regions overlap at byte {0}")]
    RegionsOverlap(u64),
    #[error("there are two {0} regions")]
    RegionTwice(&'static str),
    #[error("there is no {0} region")]
    RegionMissing(&'static str),
    #[error("the metadata table at byte {0} does not begin with its signature")]
    MetadataSignature(u64),
    #[error("the metadata item {item} ({length} bytes at byte {offset}) leaves its region")]
    ItemPlace {
        item: Uuid,
        offset: u32,
        length: u32,
    },
    #[error("the metadata item {item} has {length} bytes, {expected} are expected")]
    ItemLength {
        item: &'static str,
        length: usize,
        expected: usize,
    },
    #[error("there are two metadata items {0}")]
    ItemTwice(&'static str),
    #[error("the metadata item {0} is missing")]
    ItemMissing(&'static str),
    #[error("BlockSize is {0}, a power of two from 1 MiB to 256 MiB is legal")]
    BlockSize(u32),
    #[error("LogicalSectorSize is {0}, 512 or 4096 is legal")]
    LogicalSectorSize(u32),
    #[error("VirtualDiskSize is {size}, which are no whole sectors of {sector} bytes")]
    VirtualDiskSize { size: u64, sector: u64 },
    #[error("the BAT needs {needed} bytes for a disk of {size}, its region has {length}")]
    BatLength { size: u64, needed: u64, length: u64 },
    #[error("the BAT entry at byte {at} is {entry:#018x}, which has an illegal state")]
    BlockState { at: u64, entry: u64 },
    #[error("the BAT entry at byte {at} is {entry:#018x}, where bits {mask:#x} are reserved")]
    BatReserved { at: u64, entry: u64, mask: u64 },
    #[error(
        "the BAT entry at byte {at} is of a partial block, which only differencing images have"
    )]
    PartialWithoutParent { at: u64 },
    #[error("the BAT entry at byte {at} leads to byte {offset}, into {what}")]
    BlockInside {
        at: u64,
        offset: u64,
        what: &'static str,
    },
    #[error("the BAT entry at byte {at} is of a partial block, but its chunk has no sector bitmap")]
    NoBitmap { at: u64 },
    #[error("it has a parent, but no parent locator")]
    NoLocator,
    #[error("the parent locator leaves its {length} bytes at entry {entry}")]
    LocatorPlace { entry: usize, length: usize },
    #[error("the parent locator's entry {0} has the key of one before it")]
    LocatorTwice(usize),
    #[error("the parent locator's {0} is no GUID")]
    LocatorGuid(&'static str),
    #[error("the parent locator lacks {0}")]
    LocatorLacks(&'static str),
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("it is VHDX version {0}, only 1 is read")]
    Version(u16),
    #[error("its log is of version {0}, only 0 is replayed")]
    LogVersion(u16),
    #[error("it needs the unknown region {0}")]
    Region(Uuid),
    #[error("it needs the unknown metadata item {0}")]
    Item(Uuid),
    #[error("its parent is named by a locator of the unknown type {0}")]
    Locator(Uuid),
}
