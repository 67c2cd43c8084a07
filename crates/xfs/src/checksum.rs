//! The checksums of version 5: crc32c of a whole structure with its own field taken as zero, which
//! lies in that field in little-endian order.

use crate::error::{CorruptKind, Error};

/// Where the sum lies in each kind of structure, in bytes.
pub(crate) mod place {
    pub(crate) const SUPERBLOCK: usize = 224;
    pub(crate) const AGF: usize = 216;
    pub(crate) const AGI: usize = 312;
    pub(crate) const AGFL: usize = 32;
    /// B+tree blocks that point within a group.
    pub(crate) const SHORT_BLOCK: usize = 52;
    /// B+tree blocks that point anywhere: those of extent maps.
    pub(crate) const LONG_BLOCK: usize = 64;
    pub(crate) const INODE: usize = 100;
    /// Blocks of long link targets.
    pub(crate) const SYMLINK: usize = 12;
}

/// The sum of `bytes` whose field lies at `at`; of all bytes if the field lies outside.
pub(crate) fn compute(bytes: &[u8], at: usize) -> u32 {
    let Some((before, from)) = bytes.split_at_checked(at) else {
        return crc32c::crc32c(bytes);
    };
    let Some((_, after)) = from.split_first_chunk::<4>() else {
        return crc32c::crc32c(bytes);
    };
    let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    crc32c::crc32c_append(sum, after)
}

/// Checks the sum of a structure at byte `position` of the volume.
///
/// # Errors
/// Another sum than the one that is kept.
pub(crate) fn verify(
    bytes: &[u8],
    at: usize,
    what: &'static str,
    position: u64,
) -> Result<(), Error> {
    let kept = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    let found = kept.map_or(0, |kept| u32::from_le_bytes(*kept));
    let computed = compute(bytes, at);
    if found == computed && kept.is_some() {
        return Ok(());
    }
    Err(CorruptKind::Checksum {
        what,
        position,
        found,
        computed,
    }
    .into())
}

/// Sets the sum of a structure.
pub(crate) fn set(bytes: &mut [u8], at: usize) {
    let sum = compute(bytes, at);
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *field = sum.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_was_set_is_right_and_any_flip_shows() {
        let mut bytes = vec![7; 512];
        set(&mut bytes, place::AGF);
        assert!(verify(&bytes, place::AGF, "agf", 0).is_ok());
        for at in 0..bytes.len() {
            bytes[at] ^= 4;
            assert!(verify(&bytes, place::AGF, "agf", 0).is_err(), "byte {at}");
            bytes[at] ^= 4;
        }
    }

    #[test]
    fn short_bytes_are_no_panic() {
        for len in 0..16 {
            let mut bytes = vec![1; len];
            set(&mut bytes, place::SYMLINK);
            assert_eq!(verify(&bytes, place::SYMLINK, "", 0).is_ok(), len >= 16);
        }
    }
}
