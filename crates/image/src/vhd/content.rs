//! An identity for what we write, made of the content alone.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums up the pages of a disk that are not zero, in any order and from any thread.
///
/// Readers tell images apart by their unique id, and refuse to have two of one. An id from chance
/// would make two conversions of one disk differ; one from the content does not. It is no proof
/// of anything: whoever wants two disks with one id can have them.
#[derive(Debug, Default)]
pub(super) struct Content {
    low: AtomicU64,
    high: AtomicU64,
}

/// Bytes that are summed up at a time.
const PAGE: usize = 4096;
const PAGE_BYTES: u64 = 4096;

impl Content {
    /// Adds whole pages that begin at a byte of the disk; the last one of the disk may be short.
    pub(super) fn add(&self, offset: u64, bytes: &[u8]) {
        let mut number = offset / PAGE_BYTES;
        for page in bytes.chunks(PAGE) {
            // Without its last zeros, a page is the same whether the disk ends in it or not.
            let len = page.iter().rposition(|byte| *byte != 0);
            let len = len.map_or(0, |last| last.saturating_add(1));
            let sum = u64::from(crc32c::crc32c(&page[..len]));
            let word = number.wrapping_shl(32) | sum;
            self.low.fetch_add(mix(word), Ordering::Relaxed);
            self.high.fetch_add(mix(!word), Ordering::Relaxed);
            number = number.saturating_add(1);
        }
    }

    /// The id of a disk of so many bytes with this content: a UUID of version 8.
    pub(super) fn unique_id(&self, size: u64) -> [u8; 16] {
        let low = mix(self.low.load(Ordering::Relaxed) ^ mix(size));
        let high = mix(self.high.load(Ordering::Relaxed) ^ mix(!size));
        let id = u128::from(high).wrapping_shl(64) | u128::from(low);
        let mut id = id.to_be_bytes();
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

/// Spreads every bit over all others (the finaliser of `SplitMix64`).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        let id = |pieces: &[(u64, &[u8])], size| {
            let content = Content::default();
            for (at, bytes) in pieces {
                content.add(*at, bytes);
            }
            content.unique_id(size)
        };
        let (a, b) = ([1; 4096], [2; 4096]);
        let both = [a, b].concat();
        let whole = id(&[(8192, &both)], 1 << 20);
        assert_eq!(whole, id(&[(12_288, &b), (8192, &a)], 1 << 20));
        assert_eq!((whole[6] >> 4, whole[8] >> 6), (8, 2));
        for other in [
            id(&[(8192, &both)], 2 << 20),
            id(&[(0, &both)], 1 << 20),
            id(&[(8192, &b), (12_288, &a)], 1 << 20),
            id(&[(8192, &a)], 1 << 20),
            id(&[], 1 << 20),
        ] {
            assert_ne!(whole, other);
        }
    }
}
