//! Eight messages at a time, by AVX-512's instructions for registers of 256 bits. Sixteen in its whole
//! width take twice the memory, and an upload is not faster for it.
//!
//! A register holds one word of each message. The names are those of FIPS 180-4.

use super::LANES;
use crate::index::Digest;
use ondisk::width::u64_of;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_permute2x128_si256, _mm256_ror_epi32, _mm256_set1_epi32,
    _mm256_shuffle_epi8, _mm256_srli_epi32, _mm256_ternarylogic_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::transmute;

/// A word of each message.
type Words = __m256i;

/// The initial hash value (§5.3.3).
const H: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The constants of the rounds (§4.2.2).
const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// The digests of messages of one length in whole blocks of 64 bytes.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn digests(messages: [&[u8]; LANES]) -> [Digest; LANES] {
    let bits = u64_of(messages[0].len()).wrapping_mul(8);
    let blocks = messages.map(|message| message.as_chunks().0);
    let mut hash = [everywhere(0); 8];
    for (word, initial) in hash.iter_mut().zip(H) {
        *word = everywhere(initial);
    }
    for at in 0..blocks[0].len() {
        compress(&mut hash, words(blocks.map(|blocks| &blocks[at])));
    }
    compress(&mut hash, padding(bits));
    let lanes: [[u32; 8]; LANES] = transmute!(transposed(hash));
    lanes.map(|digest| transmute!(digest.map(u32::to_be)))
}

/// The block after messages of whole blocks (§5.1.1).
#[target_feature(enable = "avx512f,avx512vl")]
fn padding(bits: u64) -> [Words; 16] {
    let [high, low]: [U32; 2] = transmute!(bits.to_be_bytes());
    let mut block = [everywhere(0); 16];
    block[0] = everywhere(1 << 31);
    block[14] = everywhere(high.get());
    block[15] = everywhere(low.get());
    block
}

/// The words of a block of each message (§5.2.1).
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn words(blocks: [&[u8; 64]; LANES]) -> [Words; 16] {
    const REVERSED: [[u8; 16]; 2] = [[3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12]; 2];
    let mut halves = [[everywhere(0); LANES]; 2];
    for (lane, block) in blocks.into_iter().enumerate() {
        let [first, second]: [Words; 2] = transmute!(*block);
        halves[0][lane] = _mm256_shuffle_epi8(first, transmute!(REVERSED));
        halves[1][lane] = _mm256_shuffle_epi8(second, transmute!(REVERSED));
    }
    let [first, second] = halves;
    transmute!([transposed(first), transposed(second)])
}

/// Of registers that each have words of a lane, registers that each have a word of the lanes; and
/// back.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn transposed(rows: [Words; 8]) -> [Words; 8] {
    // In each half of a register, words of two rows lie together, then of four.
    let mut twos = rows;
    for at in [0, 2, 4, 6] {
        twos[at] = _mm256_unpacklo_epi32(rows[at], rows[at + 1]);
        twos[at + 1] = _mm256_unpackhi_epi32(rows[at], rows[at + 1]);
    }
    let mut fours = twos;
    for at in [0, 4] {
        fours[at] = _mm256_unpacklo_epi64(twos[at], twos[at + 2]);
        fours[at + 1] = _mm256_unpackhi_epi64(twos[at], twos[at + 2]);
        fours[at + 2] = _mm256_unpacklo_epi64(twos[at + 1], twos[at + 3]);
        fours[at + 3] = _mm256_unpackhi_epi64(twos[at + 1], twos[at + 3]);
    }
    // Register 4n + m has, in half h, the words 4h + m of four rows from 4n on.
    let mut columns = fours;
    for m in 0..4 {
        columns[m] = _mm256_permute2x128_si256::<0x20>(fours[m], fours[m + 4]);
        columns[m + 4] = _mm256_permute2x128_si256::<0x31>(fours[m], fours[m + 4]);
    }
    columns
}

/// One block of each message (§6.2.2).
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn compress(hash: &mut [Words; 8], mut w: [Words; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *hash;
    for (sixteenth, constants) in K.as_chunks::<16>().0.iter().enumerate() {
        // Written out, since a loop would keep the words in memory: a sixth slower.
        macro_rules! rounds {
            ($($at:literal)*) => {$(
                if sixteenth > 0 {
                    let (of_15, of_2) = (sigma0(w[($at + 1) % 16]), sigma1(w[($at + 14) % 16]));
                    w[$at] = sum(sum(w[$at], of_15), sum(w[($at + 9) % 16], of_2));
                }
                let kw = sum(w[$at], everywhere(constants[$at]));
                let t1 = sum(sum(h, kw), sum(big_sigma1(e), ch(e, f, g)));
                let t2 = sum(big_sigma0(a), maj(a, b, c));
                (h, g, f, e, d, c, b, a) = (g, f, e, sum(d, t1), c, b, a, sum(t1, t2));
            )*};
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    }
    for (word, new) in hash.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = sum(*word, new);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sum(x: Words, y: Words) -> Words {
    _mm256_add_epi32(x, y)
}

/// A word in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn everywhere(word: u32) -> Words {
    _mm256_set1_epi32(word.cast_signed())
}

// The functions of §4.1.2; the numbers of the ternary ones are their truth tables.

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn ch(x: Words, y: Words, z: Words) -> Words {
    _mm256_ternarylogic_epi32::<0b1100_1010>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn maj(x: Words, y: Words, z: Words) -> Words {
    _mm256_ternarylogic_epi32::<0b1110_1000>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn xor(x: Words, y: Words, z: Words) -> Words {
    _mm256_ternarylogic_epi32::<0b1001_0110>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn big_sigma0(x: Words) -> Words {
    xor(
        _mm256_ror_epi32::<2>(x),
        _mm256_ror_epi32::<13>(x),
        _mm256_ror_epi32::<22>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn big_sigma1(x: Words) -> Words {
    xor(
        _mm256_ror_epi32::<6>(x),
        _mm256_ror_epi32::<11>(x),
        _mm256_ror_epi32::<25>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sigma0(x: Words) -> Words {
    xor(
        _mm256_ror_epi32::<7>(x),
        _mm256_ror_epi32::<18>(x),
        _mm256_srli_epi32::<3>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sigma1(x: Words) -> Words {
    xor(
        _mm256_ror_epi32::<17>(x),
        _mm256_ror_epi32::<19>(x),
        _mm256_srli_epi32::<10>(x),
    )
}
