//! The hashes by which indexed directories sort their names.
//!
//! Source: `fs/ext4/hash.c` of the kernel.

/// A way to hash names, as index roots name it in `hash_version`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HashVersion {
    /// The first one, of the time before ext3 was released.
    Legacy,
    /// Cut down MD4: what every `mkfs` takes.
    HalfMd4,
    /// The Tiny Encryption Algorithm.
    Tea,
}

/// How one file system hashes names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hasher {
    /// `s_hash_seed`; all zeros stand for the algorithm's own start.
    pub(crate) seed: [u32; 4],
    /// Whether bytes above 127 count as positive: `s_flags` says so where `char` is unsigned.
    pub(crate) unsigned: bool,
}

/// A name's place in the order of an indexed directory: an even number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct NameHash(pub(crate) u32);

impl HashVersion {
    /// Reads `hash_version`; the numbers from 3 to 5 are the unsigned kinds, which are never on
    /// disk but were written by old tools and say the same as `s_flags`.
    pub(crate) fn from_raw(hash_version: u8) -> Option<(Self, bool)> {
        Some(match hash_version {
            0 => (Self::Legacy, false),
            1 => (Self::HalfMd4, false),
            2 => (Self::Tea, false),
            3 => (Self::Legacy, true),
            4 => (Self::HalfMd4, true),
            5 => (Self::Tea, true),
            _ => return None,
        })
    }
}

impl Hasher {
    /// Hashes `name` for a directory whose root says `hash_version`; none if the number stands for
    /// no hash that is known here.
    pub(crate) fn hash(&self, hash_version: u8, name: &[u8]) -> Option<NameHash> {
        let (version, unsigned) = HashVersion::from_raw(hash_version)?;
        let signs = Signs {
            unsigned: unsigned || self.unsigned,
        };
        let start = if self.seed == [0; 4] {
            START
        } else {
            self.seed
        };
        let hash = match version {
            HashVersion::Legacy => legacy(name, signs),
            HashVersion::HalfMd4 => {
                let mut buffer = start;
                for at in (0..name.len()).step_by(32) {
                    let rest = name.get(at..).unwrap_or_default();
                    half_md4(&mut buffer, words::<8>(rest, signs));
                }
                buffer[1]
            }
            HashVersion::Tea => {
                let mut buffer = start;
                for at in (0..name.len()).step_by(16) {
                    let rest = name.get(at..).unwrap_or_default();
                    tea(&mut buffer, words::<4>(rest, signs));
                }
                buffer[0]
            }
        };
        // The highest place stands for the end of the directory.
        Some(NameHash(match hash & !1 {
            END => END.wrapping_sub(2),
            hash => hash,
        }))
    }
}

/// How bytes above 127 count.
#[derive(Clone, Copy)]
struct Signs {
    unsigned: bool,
}

impl Signs {
    /// A byte widened to 32 bits, in two's complement.
    fn widen(self, byte: u8) -> u32 {
        if self.unsigned {
            u32::from(byte)
        } else {
            i32::from(byte.cast_signed()).cast_unsigned()
        }
    }
}

fn legacy(name: &[u8], signs: Signs) -> u32 {
    let (mut hash0, mut hash1) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
    for byte in name {
        let product = signs.widen(*byte).wrapping_mul(7_152_373);
        let mut hash = hash1.wrapping_add(hash0 ^ product);
        if hash & 0x8000_0000 != 0 {
            hash = hash.wrapping_sub(0x7fff_ffff);
        }
        hash1 = hash0;
        hash0 = hash;
    }
    hash0 << 1
}

/// Packs the start of `rest`, which is the name from some place on, into `N` words; what is
/// missing is filled with the length of the rest.
fn words<const N: usize>(rest: &[u8], signs: Signs) -> [u32; N] {
    let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let pad = len | (len << 8);
    let pad = pad | (pad << 16);
    let mut words = [pad; N];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for byte in bytes {
            *word = signs.widen(*byte).wrapping_add(*word << 8);
        }
    }
    words
}

fn tea(buffer: &mut [u32; 4], [a, b, c, d]: [u32; 4]) {
    let [mut b0, mut b1, ..] = *buffer;
    let mut sum = 0_u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        b0 = b0.wrapping_add(
            (b1 << 4).wrapping_add(a) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(b),
        );
        b1 = b1.wrapping_add(
            (b0 << 4).wrapping_add(c) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(d),
        );
    }
    buffer[0] = buffer[0].wrapping_add(b0);
    buffer[1] = buffer[1].wrapping_add(b1);
}

fn half_md4(buffer: &mut [u32; 4], input: [u32; 8]) {
    let mut state = *buffer;
    for (round, mix) in [selection, majority, parity].into_iter().enumerate() {
        for step in 0..8 {
            let Round {
                constant,
                order,
                shifts,
            } = &ROUNDS[round];
            let [a, b, c, d] = state;
            let word = input[order[step]].wrapping_add(*constant);
            let a = a.wrapping_add(mix(b, c, d)).wrapping_add(word);
            // The four registers change places with each step.
            state = [d, a.rotate_left(shifts[step % 4]), b, c];
        }
    }
    for (sum, word) in buffer.iter_mut().zip(state) {
        *sum = sum.wrapping_add(word);
    }
}

fn selection(x: u32, y: u32, z: u32) -> u32 {
    z ^ (x & (y ^ z))
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y).wrapping_add((x ^ y) & z)
}

fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

/// One of the three rounds of the cut down MD4.
struct Round {
    constant: u32,
    order: [usize; 8],
    shifts: [u32; 4],
}

const ROUNDS: [Round; 3] = [
    Round {
        constant: 0,
        order: [0, 1, 2, 3, 4, 5, 6, 7],
        shifts: [3, 7, 11, 19],
    },
    Round {
        constant: 0x5a82_7999,
        order: [1, 3, 5, 7, 0, 2, 4, 6],
        shifts: [3, 5, 9, 13],
    },
    Round {
        constant: 0x6ed9_eba1,
        order: [3, 7, 2, 6, 1, 5, 0, 4],
        shifts: [3, 9, 11, 15],
    },
];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// What no name may hash to: `EXT4_HTREE_EOF_32BIT` in its place.
const END: u32 = 0xffff_fffe;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Hasher = Hasher {
        seed: [0; 4],
        unsigned: false,
    };
    /// The seed `01020304-0506-0708-090a-0b0c0d0e0f10` as four little-endian words.
    const SEEDED: Hasher = Hasher {
        seed: [0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d],
        unsigned: false,
    };
    const LONG: &[u8] = &[b'a'; 40];
    const FOREIGN: &[u8] = b"caf\xc3\xa9-\xff\xfe";

    /// Said by `dx_hash` of debugfs 1.47.0.
    #[test]
    fn names_hash_as_debugfs_says() {
        for (hasher, version, name, want) in [
            (PLAIN, 0, &b"hello.txt"[..], 0x65a0_5776),
            (PLAIN, 0, LONG, 0xd7ba_a792),
            (PLAIN, 1, b"a", 0xd5fa_7d7a),
            (PLAIN, 1, b"hello.txt", 0xa26e_1d86),
            (PLAIN, 1, LONG, 0x2eea_49e4),
            (SEEDED, 1, b"hello.txt", 0xac15_d19c),
            (SEEDED, 1, LONG, 0xfa1c_424e),
            (PLAIN, 2, b"hello.txt", 0x5107_c3f2),
            (PLAIN, 2, LONG, 0x8b06_be02),
            (SEEDED, 2, LONG, 0xfa87_1bf8),
            (PLAIN, 0, FOREIGN, 0xcde4_cb70),
            (PLAIN, 1, FOREIGN, 0x3f3d_dfc4),
            (PLAIN, 2, FOREIGN, 0xf315_0fa4),
        ] {
            assert_eq!(
                hasher.hash(version, name),
                Some(NameHash(want)),
                "{version} {name:?}"
            );
        }
    }

    #[test]
    fn signs_matter_only_above_127() {
        let unsigned = Hasher {
            unsigned: true,
            ..PLAIN
        };
        for version in 0..3 {
            assert_ne!(
                unsigned.hash(version, FOREIGN),
                PLAIN.hash(version, FOREIGN)
            );
            assert_eq!(unsigned.hash(version, LONG), PLAIN.hash(version, LONG));
            assert_eq!(
                PLAIN.hash(version + 3, FOREIGN),
                unsigned.hash(version, FOREIGN)
            );
        }
    }

    #[test]
    fn an_unknown_version_hashes_nothing() {
        assert_eq!(PLAIN.hash(6, b"a"), None);
    }
}
