//! Integer widths that cannot lose bits on the machines rehost runs on.
//!
//! `usize` is 64 bits wide there, which is checked when this file is compiled, so these
//! conversions need neither `as` nor an error.

const _: () = assert!(
    size_of::<usize>() == size_of::<u64>(),
    "rehost needs a 64-bit machine"
);

/// A length or index in memory as a number of bytes on a device.
pub const fn u64_of(value: usize) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

/// A number of bytes on a device as a length or index in memory. Says nothing about whether it
/// is sensible to allocate that much: see [`crate::cap`].
pub const fn usize_of(value: u64) -> usize {
    usize::from_ne_bytes(value.to_ne_bytes())
}

/// A 32-bit field as a length or index in memory.
pub fn usize_of_u32(value: u32) -> usize {
    usize_of(u64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_survives() {
        assert_eq!(u64_of(usize::MAX), u64::MAX);
        assert_eq!(usize_of(u64::MAX), usize::MAX);
        assert_eq!(usize_of_u32(u32::MAX), 0xffff_ffff);
    }
}
