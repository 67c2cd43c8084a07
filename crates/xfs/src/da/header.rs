//! What every block of a directory or of attributes starts with: in version 5, whose it is and
//! where it lies, under a checksum.
//!
//! Sources: `xfs_da3_blkinfo`, `xfs_dir3_blk_hdr` and `xfs_attr3_rmt_hdr` in the kernel's
//! `libxfs/xfs_da_format.h`.

use crate::checksum;
use crate::error::{CorruptKind, Error};

/// The three layouts of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Header {
    /// Blocks of an index, and leaves of attributes: they have siblings.
    Index,
    /// Blocks with names, and those that say where there is room.
    Names,
    /// Values of attributes.
    Value,
}

/// Whose blocks they are: what version 5 writes into each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    /// The inode.
    pub(crate) inode: u64,
    /// `sb_meta_uuid` of a file system of version 5; none in version 4, whose headers end early.
    pub(crate) uuid: Option<[u8; 16]>,
}

/// Where the fields of version 5 lie.
struct Places {
    crc: usize,
    blkno: usize,
    lsn: usize,
    uuid: usize,
    owner: usize,
}

impl Header {
    /// Bytes of the header. What of it is there in version 4 is there in version 5 as well.
    pub(crate) fn len(self, v5: bool) -> usize {
        match (self, v5) {
            (Self::Index, false) => 12,
            (Self::Names, false) => 4,
            (Self::Value, false) => 0,
            (Self::Index | Self::Value, true) => 56,
            (Self::Names, true) => 48,
        }
    }

    fn places(self) -> Places {
        match self {
            Self::Index => Places {
                crc: 12,
                blkno: 16,
                lsn: 24,
                uuid: 32,
                owner: 48,
            },
            Self::Names => Places {
                crc: 4,
                blkno: 8,
                lsn: 16,
                uuid: 24,
                owner: 40,
            },
            Self::Value => Places {
                crc: 12,
                blkno: 40,
                lsn: 48,
                uuid: 16,
                owner: 32,
            },
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Index => "index block",
            Self::Names => "directory block",
            Self::Value => "attribute value",
        }
    }

    /// Checks that a block is the owner's, is the one that was to be read, and has its checksum
    /// right. `position` is where it lies, in bytes of the volume. Version 4 has nothing to check.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(self, owner: &Owner, position: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(uuid) = owner.uuid else {
            return Ok(());
        };
        let places = self.places();
        checksum::verify(bytes, places.crc, self.what(), position)?;
        let wrong = |field, value, expected| -> Error {
            CorruptKind::Field {
                what: self.what(),
                position,
                field,
                value,
                expected,
            }
            .into()
        };
        let blkno = be64(bytes, places.blkno);
        if blkno != position >> SECTOR_LOG {
            return Err(wrong("blkno", blkno, "its own place in sectors"));
        }
        let inode = be64(bytes, places.owner);
        if inode != owner.inode {
            return Err(wrong("owner", inode, "the inode that led here"));
        }
        if bytes.get(places.uuid..).and_then(<[u8]>::first_chunk) != Some(&uuid) {
            let value = be64(bytes, places.uuid);
            return Err(wrong("uuid", value, "that of the file system"));
        }
        Ok(())
    }

    /// Makes a block the owner's, at byte `position` of the volume, and sums it. Version 4 needs
    /// nothing.
    pub(crate) fn seal(self, owner: &Owner, position: u64, bytes: &mut [u8]) {
        let Some(uuid) = owner.uuid else {
            return;
        };
        let places = self.places();
        put(bytes, places.blkno, &(position >> SECTOR_LOG).to_be_bytes());
        // No log of this file system holds the block; zero is older than everything in one.
        put(bytes, places.lsn, &[0; 8]);
        put(bytes, places.uuid, &uuid);
        put(bytes, places.owner, &owner.inode.to_be_bytes());
        checksum::set(bytes, places.crc);
    }
}

/// A 16-bit number; zero if the bytes end before.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_be_bytes)
}

/// A 32-bit number; zero if the bytes end before.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_be_bytes)
}

/// A 64-bit number; zero if the bytes end before.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes `value` at `at`, where there must be room for it.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let place = bytes.get_mut(at..).and_then(|b| b.get_mut(..value.len()));
    debug_assert!(place.is_some(), "{at} lies outside");
    if let Some(place) = place {
        place.copy_from_slice(value);
    }
}

/// Places are counted in sectors of 512 bytes.
const SECTOR_LOG: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        inode: 131,
        uuid: Some([7; 16]),
    };

    #[test]
    fn a_sealed_block_is_accepted_where_it_belongs_and_nowhere_else() {
        for header in [Header::Index, Header::Names, Header::Value] {
            let mut bytes = vec![3; 512];
            header.seal(&OWNER, 0x5000, &mut bytes);
            header.check(&OWNER, 0x5000, &bytes).unwrap();
            assert!(header.check(&OWNER, 0x6000, &bytes).is_err());
            let other = Owner {
                inode: 132,
                ..OWNER
            };
            assert!(header.check(&other, 0x5000, &bytes).is_err());
            let other = Owner {
                uuid: Some([8; 16]),
                ..OWNER
            };
            assert!(header.check(&other, 0x5000, &bytes).is_err());
            bytes[511] ^= 1;
            assert!(header.check(&OWNER, 0x5000, &bytes).is_err());
        }
    }

    #[test]
    fn version_4_has_no_such_fields() {
        let owner = Owner {
            inode: 131,
            uuid: None,
        };
        let mut bytes = vec![3; 64];
        Header::Index.seal(&owner, 0x5000, &mut bytes);
        assert_eq!(bytes, [3; 64]);
        Header::Index.check(&owner, 0x5000, &bytes).unwrap();
    }
}
