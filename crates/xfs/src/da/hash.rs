//! Hashes of names: what the indexes of directories and attributes are sorted by.
//!
//! Sources: `xfs_da_hashname` and `xfs_ascii_ci_hashname` of the kernel.

/// The hash of a name's bytes.
pub(crate) fn hash_name(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash, byte| add(hash, *byte))
}

/// The hash of a name whose case does not matter.
pub(crate) fn hash_name_ignoring_case(name: &[u8]) -> u32 {
    name.iter()
        .fold(0, |hash, byte| add(hash, lower_case(*byte)))
}

/// The byte in lower case, as file systems that ignore case take it: Latin-1, whatever the name
/// is encoded in.
pub(crate) fn lower_case(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte | 0x20,
        _ => byte,
    }
}

fn add(hash: u32, byte: u8) -> u32 {
    hash.rotate_left(7) ^ u32::from(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_kernel() {
        // As `xfs_db`'s command `hash` prints them.
        for (name, hash) in [
            (".", 0x2e),
            ("..", 0x172e),
            ("abc", 0x0018_7163),
            ("lost+found", 0x021a_a60c),
            ("SGI_ACL_FILE", 0x275b_19c4),
            ("0123456789abcdef0123456789abcdef", 0xb049_b049),
        ] {
            assert_eq!(hash_name(name.as_bytes()), hash, "{name}");
        }
    }

    #[test]
    fn case_is_ignored_in_latin_1() {
        let hash = hash_name_ignoring_case;
        assert_eq!(hash(b"ReadMe\xc9"), hash(b"readme\xe9"));
        assert_ne!(hash(b"\xd7"), hash(b"\xf7"));
        assert_eq!(hash(b"abc"), hash_name(b"abc"));
    }
}
