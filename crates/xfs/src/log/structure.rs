//! Metadata of version 5 that says when it was last written: where the order number, the
//! identifier and the sum lie in each kind, which is told by its magic number.

use super::area::{be32, be64};
use crate::checksum;
use crate::error::Error;
use crate::superblock::Superblock;

/// Where a kind of metadata keeps what replay must look at and set. All in bytes.
#[derive(Debug)]
pub(super) struct Structure {
    pub(super) name: &'static str,
    magic: Magic,
    lsn: usize,
    uuid: usize,
    crc: usize,
}

#[derive(Debug)]
enum Magic {
    /// The first word.
    Word(&'static [u32]),
    /// Two bytes at 8: blocks of trees over hashes of names.
    Hashed(&'static [u16]),
}

/// `sb_meta_uuid`, which a superblock has with that feature alone.
const SUPERBLOCK_META_UUID: usize = 248;
/// "XFSB".
const SUPERBLOCK: u32 = 0x5846_5342;

const STRUCTURES: &[Structure] = &[
    Structure {
        name: "block of a group's tree",
        // AB3B, AB3C, IAB3, FIB3, RMB3, R3FC
        magic: Magic::Word(&[
            0x4142_3342,
            0x4142_3343,
            0x4941_4233,
            0x4649_4233,
            0x524d_4233,
            0x5233_4643,
        ]),
        lsn: 24,
        uuid: 32,
        crc: checksum::place::SHORT_BLOCK,
    },
    Structure {
        name: "block of an extent tree",
        // BMA3
        magic: Magic::Word(&[0x424d_4133]),
        lsn: 32,
        uuid: 40,
        crc: checksum::place::LONG_BLOCK,
    },
    Structure {
        name: "agf",
        magic: Magic::Word(&[0x5841_4746]),
        lsn: 208,
        uuid: 64,
        crc: checksum::place::AGF,
    },
    Structure {
        name: "agfl",
        magic: Magic::Word(&[0x5841_464c]),
        lsn: 24,
        uuid: 8,
        crc: checksum::place::AGFL,
    },
    Structure {
        name: "agi",
        magic: Magic::Word(&[0x5841_4749]),
        lsn: 320,
        uuid: 296,
        crc: checksum::place::AGI,
    },
    Structure {
        name: "symbolic link",
        // XSLM
        magic: Magic::Word(&[0x5853_4c4d]),
        lsn: 48,
        uuid: 16,
        crc: checksum::place::SYMLINK,
    },
    Structure {
        name: "directory block",
        // XDB3, XDD3, XDF3
        magic: Magic::Word(&[0x5844_4233, 0x5844_4433, 0x5844_4633]),
        lsn: 16,
        uuid: 24,
        crc: 4,
    },
    Structure {
        name: "superblock",
        magic: Magic::Word(&[SUPERBLOCK]),
        lsn: 240,
        uuid: 32,
        crc: checksum::place::SUPERBLOCK,
    },
    Structure {
        name: "block of hashes or attributes",
        // directory leaf, directory node leaf, attribute leaf, node
        magic: Magic::Hashed(&[0x3df1, 0x3dff, 0x3bee, 0x3ebe]),
        lsn: 24,
        uuid: 32,
        crc: 12,
    },
];

impl Structure {
    /// The kind that `bytes` are, if it is one that carries an order number.
    pub(super) fn of(bytes: &[u8]) -> Option<&'static Self> {
        let word = be32(bytes, 0);
        let hashed = u16::try_from(be32(bytes, 8) >> 16).unwrap_or(0);
        let is_one = |structure: &&Self| match structure.magic {
            Magic::Word(words) => words.contains(&word),
            Magic::Hashed(numbers) => numbers.contains(&hashed),
        };
        STRUCTURES.iter().find(is_one)
    }

    /// When the structure was last written; nothing if it was not in this file system.
    pub(super) fn lsn(&self, bytes: &[u8], superblock: &Superblock) -> Option<u64> {
        let uuid = if be32(bytes, 0) == SUPERBLOCK && superblock.features.meta_uuid() {
            SUPERBLOCK_META_UUID
        } else {
            self.uuid
        };
        let uuid = bytes.get(uuid..).and_then(<[u8]>::first_chunk::<16>)?;
        (*uuid == superblock.meta_uuid).then(|| be64(bytes, self.lsn))
    }

    /// Says in the structure that it was written at `lsn`, and sums it.
    pub(super) fn stamp(&self, bytes: &mut [u8], lsn: u64) {
        let place = bytes.get_mut(self.lsn..);
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
            *place = lsn.to_be_bytes();
        }
        checksum::set(bytes, self.crc);
    }

    /// Checks the sum of a structure that was read from byte `position`.
    ///
    /// # Errors
    /// A wrong sum.
    pub(super) fn verify(&self, bytes: &[u8], position: u64) -> Result<(), Error> {
        checksum::verify(bytes, self.crc, self.name, position)
    }
}
