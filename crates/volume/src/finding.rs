//! What is wrong with a table that can still be read.

use thiserror::Error;

/// Something that a person should know about a table that could be read all the same.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The primary GPT cannot be used; everything comes from the backup. Linux looks at the backup
    /// of a damaged primary only when it is started with the parameter `gpt`, so such a disk does
    /// not boot as it is (`find_valid_gpt` in block/partitions/efi.c).
    #[error("the primary GPT is damaged ({primary}); the backup was used")]
    BackupUsed {
        /// What is wrong with the primary.
        primary: GptDamage,
    },
    /// The backup GPT cannot be used.
    #[error("the backup GPT cannot be used: {backup}")]
    BackupDamaged {
        /// What is wrong with the backup.
        backup: GptDamage,
    },
    /// Both copies are sound but say different things.
    #[error("the backup GPT differs from the primary; the primary was used")]
    BackupDiffers,
    /// The backup is not in the last sector: the disk was grown after it was partitioned.
    #[error("the backup GPT is in sector {backup}, not in the last sector {last} of the disk")]
    BackupNotAtEnd {
        /// Where the primary says that the backup is.
        backup: u64,
        /// Last sector of the disk.
        last: u64,
    },
    /// The table was made for a larger disk; Linux refuses to use it on this one.
    #[error(
        "the GPT was made for a larger disk: last usable sector {last_usable}, last sector {last}"
    )]
    MadeForLargerDisk {
        /// Last sector that the table lets partitions use.
        last_usable: u64,
        /// Last sector of the disk.
        last: u64,
    },
    /// A GPT header is there, but no protective MBR says so: Linux and firmware do not look at it.
    #[error("a GPT header is present but no MBR entry of type 0xee announces it: ignored")]
    GptNotAnnounced,
    /// The partition does not lie inside the disk.
    #[error("partition {number} ends at byte {end}, the disk at byte {size}")]
    LeavesDisk {
        /// Partition number.
        number: u32,
        /// The byte after its last one.
        end: u64,
        /// Disk size in bytes.
        size: u64,
    },
    /// A GPT entry ends before it starts or cannot be counted in bytes.
    #[error("partition {number} goes from sector {first_lba} to {last_lba}: not possible")]
    ImpossibleRange {
        /// Partition number.
        number: u32,
        /// First sector.
        first_lba: u64,
        /// Last sector.
        last_lba: u64,
    },
    /// Two partitions share bytes.
    #[error("partitions {first} and {second} overlap")]
    Overlap {
        /// Number of the one that starts first.
        first: u32,
        /// Number of the other.
        second: u32,
    },
    /// The chain of logical partitions ends in damage; those before it are listed.
    #[error("the chain of logical partitions ends at sector {lba}: {end}")]
    LogicalChain {
        /// Sector of the extended boot record where the walk stopped.
        lba: u64,
        /// Why.
        end: ChainEnd,
    },
}

/// Why a copy of a GPT cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum GptDamage {
    /// No header is there.
    #[error("no header at byte {at}")]
    NoHeader {
        /// Where it was looked for.
        at: u64,
    },
    /// The header's checksum is wrong.
    #[error("header checksum wrong at byte {at}")]
    HeaderChecksum {
        /// Where the header is.
        at: u64,
    },
    /// The header says that it is somewhere else.
    #[error("header at sector {lba} says it is at sector {my_lba}")]
    Misplaced {
        /// Where it was read.
        lba: u64,
        /// Where it says it is.
        my_lba: u64,
    },
    /// The header is longer than the 92 bytes that are read here.
    #[error("header of {0} bytes, only 92 are supported")]
    HeaderSize(u32),
    /// Entries of another size than 128 bytes.
    #[error("entries of {0} bytes, only 128 are supported")]
    EntrySize(u32),
    /// More entries than any real table has.
    #[error("{0} entries, at most 4096 are accepted")]
    TooManyEntries(u32),
    /// The entry array leaves the disk.
    #[error("entry array at sector {lba} leaves the disk")]
    ArrayLeavesDisk {
        /// First sector of the array.
        lba: u64,
    },
    /// The checksum of the entry array is wrong.
    #[error("entry array checksum wrong at sector {lba}")]
    ArrayChecksum {
        /// First sector of the array.
        lba: u64,
    },
}

/// Why the walk along the logical partitions stopped before its end.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ChainEnd {
    /// The boot record was visited before.
    #[error("it points back into itself")]
    Loop,
    /// The boot record is not on the disk.
    #[error("it leaves the disk")]
    LeavesDisk,
    /// The sector is no boot record.
    #[error("no boot record signature")]
    NoSignature,
    /// More logical partitions than Linux would number.
    #[error("more than 255 partitions")]
    TooLong,
}
