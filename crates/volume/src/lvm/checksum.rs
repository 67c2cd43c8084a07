//! LVM2's checksum: the CRC-32 of Ethernet with another start and no inversion.

/// `INITIAL_CRC` of lib/misc/crc.h in LVM2.
const INITIAL_CRC: u32 = 0xf597_a6cf;

/// `calc_crc` of LVM2 over several pieces, one after the other.
pub(super) fn checksum(pieces: &[&[u8]]) -> u32 {
    // The library inverts its register before and after.
    let mut hasher = crc32fast::Hasher::new_with_initial(!INITIAL_CRC);
    pieces.iter().for_each(|piece| hasher.update(piece));
    !hasher.finalize()
}
