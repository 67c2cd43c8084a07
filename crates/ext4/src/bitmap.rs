//! Bitmaps of blocks and inodes: a set bit is in use.

use ondisk::width::{u64_of, usize_of_u32};
use std::ops::Range;

/// A block full of bits, of which the first `bits` have a meaning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bitmap {
    bytes: Vec<u8>,
    bits: u32,
}

impl Bitmap {
    /// Takes the bits of a block that was read.
    pub(crate) fn new(bytes: Vec<u8>, bits: u32) -> Self {
        Self { bytes, bits }
    }

    /// A bitmap with nothing in use but the padding behind `bits`, as the kernel pads.
    pub(crate) fn empty(block_len: usize, bits: u32) -> Self {
        let mut bitmap = Self {
            bytes: vec![0; block_len],
            bits,
        };
        let end = u32::try_from(u64_of(block_len).saturating_mul(8)).unwrap_or(u32::MAX);
        bitmap.set(bits..end, true);
        bitmap
    }

    /// The bytes as they lie on disk.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a bit is set; bits that are not there are.
    pub(crate) fn is_set(&self, bit: u32) -> bool {
        self.bytes
            .get(usize_of_u32(bit / 8))
            .is_none_or(|byte| byte & mask(bit) != 0)
    }

    /// Sets or clears bits.
    pub(crate) fn set(&mut self, bits: Range<u32>, on: bool) {
        let mut bit = bits.start;
        while bit < bits.end {
            let Some(byte) = self.bytes.get_mut(usize_of_u32(bit / 8)) else {
                return;
            };
            if bit.is_multiple_of(8) && bits.end.saturating_sub(bit) >= 8 {
                *byte = if on { 0xff } else { 0 };
                bit = bit.saturating_add(8);
                continue;
            }
            if on {
                *byte |= mask(bit);
            } else {
                *byte &= !mask(bit);
            }
            bit = bit.saturating_add(1);
        }
    }

    /// Whether all bits of a range are set.
    pub(crate) fn all_set(&self, bits: Range<u32>) -> bool {
        self.next(bits.start, false) >= bits.end
    }

    /// How many bits are clear.
    pub(crate) fn free(&self) -> u32 {
        let whole = usize_of_u32(self.bits / 8);
        let in_bytes: u32 = self
            .bytes
            .iter()
            .take(whole)
            .map(|byte| byte.count_zeros())
            .fold(0, u32::saturating_add);
        let rest = (self.bits / 8).saturating_mul(8)..self.bits;
        let in_rest = rest.filter(|bit| !self.is_set(*bit)).count();
        in_bytes.saturating_add(u32::try_from(in_rest).unwrap_or(0))
    }

    /// The first clear bit at or after `from`.
    pub(crate) fn first_free(&self, from: u32) -> Option<u32> {
        Some(self.next(from, false)).filter(|bit| *bit < self.bits)
    }

    /// The clear bits from `from` on, at most `most`; empty if `from` is set.
    pub(crate) fn free_run(&self, from: u32, most: u32) -> Range<u32> {
        let end = from.saturating_add(most).min(self.bits);
        from..self.next(from, true).clamp(from, end.max(from))
    }

    /// The first run of `want` clear bits at or after `from`, else the longest one.
    pub(crate) fn best_run(&self, from: u32, want: u32) -> Option<Range<u32>> {
        let mut best: Option<Range<u32>> = None;
        let mut at = from;
        while let Some(start) = self.first_free(at) {
            let run = self.free_run(start, want);
            at = run.end;
            let longest = best.as_ref().map_or(0, ExactSizeIterator::len);
            if run.len() > longest {
                best = Some(run);
            }
            if best
                .as_ref()
                .is_some_and(|best| best.len() >= usize_of_u32(want))
            {
                break;
            }
        }
        best
    }

    /// The first bit at or after `from` that is set or clear; the number of bits if there is none.
    fn next(&self, from: u32, set: bool) -> u32 {
        let dull = if set { 0 } else { 0xff };
        let mut bit = from;
        while bit < self.bits {
            let byte = self.bytes.get(usize_of_u32(bit / 8)).copied();
            if bit.is_multiple_of(8) && byte == Some(dull) {
                bit = bit.saturating_add(8);
            } else if self.is_set(bit) == set {
                return bit;
            } else {
                bit = bit.saturating_add(1);
            }
        }
        self.bits
    }
}

fn mask(bit: u32) -> u8 {
    1 << (bit % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_bytes() {
        let mut bitmap = Bitmap::empty(8, 60);
        assert_eq!(bitmap.free(), 60);
        assert!(bitmap.is_set(60) && bitmap.is_set(63) && bitmap.is_set(1000));
        bitmap.set(0..3, true);
        bitmap.set(5..21, true);
        assert_eq!(bitmap.free(), 41);
        assert_eq!(bitmap.first_free(0), Some(3));
        assert_eq!(bitmap.best_run(0, 2), Some(3..5));
        assert_eq!(bitmap.best_run(0, 30), Some(21..51));
        assert_eq!(bitmap.best_run(0, 100), Some(21..60));
        assert_eq!(bitmap.best_run(60, 1), None);
        assert_eq!(bitmap.free_run(5, 4), 5..5);
        assert!(bitmap.all_set(5..21) && !bitmap.all_set(5..22));
        bitmap.set(0..60, true);
        assert_eq!(bitmap.first_free(0), None);
        assert_eq!(bitmap.free(), 0);
    }
}
