//! Blocks that say, for a stretch of a large directory's blocks with names, how large the largest
//! unused place of each is.
//!
//! Source: `xfs_dir3_free` in the kernel's `libxfs/xfs_da_format.h`.

use super::format::Format;
use crate::da::{Fault, be32, put};
use ondisk::width::{u64_of, usize_of_u32};

/// One of these blocks, without the numbers that follow from it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Free {
    /// The first block with names that it tells about.
    first: u32,
    /// Of each block its largest unused place, or [`NO_BLOCK`]. The last one is a block.
    pub(super) bests: Vec<u16>,
}

/// Stands for a block that is not there.
pub(super) const NO_BLOCK: u16 = 0xffff;

/// How many blocks with names one of these blocks tells about.
pub(super) fn capacity(format: &Format) -> u32 {
    let room = format.block_size().saturating_sub(first_best(format));
    u32::try_from(room / 2).unwrap_or(u32::MAX)
}

/// Which of these blocks tells about a block with names, and where in it.
pub(super) fn place(format: &Format, number: u32) -> (u32, usize) {
    let capacity = capacity(format).max(1);
    let index = number.checked_div(capacity).unwrap_or(0);
    let at = number.checked_rem(capacity).unwrap_or(0);
    (index, usize_of_u32(at))
}

fn first_best(format: &Format) -> usize {
    if format.v5() { 64 } else { 16 }
}

/// Where the counts lie.
fn counts(format: &Format) -> usize {
    if format.v5() { 48 } else { 4 }
}

fn magic(format: &Format) -> &'static [u8; 4] {
    if format.v5() { b"XDF3" } else { b"XD2F" }
}

impl Free {
    /// Block number `index` of these, which tells about nothing yet.
    pub(super) fn new(format: &Format, index: u32) -> Self {
        Self {
            first: capacity(format).saturating_mul(index),
            bests: Vec::new(),
        }
    }

    /// The block with names that is told about at `at`.
    pub(super) fn number(&self, at: usize) -> u32 {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.first.saturating_add(at)
    }

    /// Reads block number `index` of these.
    ///
    /// # Errors
    /// What breaks the format.
    pub(super) fn decode(format: &Format, index: u32, bytes: &[u8]) -> Result<Self, Fault> {
        let at = counts(format);
        let fault = |at, reason, value| Fault { at, reason, value };
        if !bytes.starts_with(magic(format)) {
            let magic = be32(bytes, 0);
            return Err(fault(0, "no block about free space", magic.into()));
        }
        let new = Self::new(format, index);
        let first = be32(bytes, at);
        if first != new.first {
            let reason = "it tells about other blocks than its place says";
            return Err(fault(at, reason, first.into()));
        }
        let valid_at = at.saturating_add(4);
        let valid = be32(bytes, valid_at);
        if valid > capacity(format) {
            let reason = "it tells about more blocks than it has room for";
            return Err(fault(valid_at, reason, valid.into()));
        }
        let start = first_best(format);
        let end = usize_of_u32(valid).saturating_mul(2).saturating_add(start);
        let (chunks, _) = bytes.get(start..end).unwrap_or_default().as_chunks();
        let bests: Vec<_> = chunks
            .iter()
            .map(|best| u16::from_be_bytes(*best))
            .collect();
        let used_at = at.saturating_add(8);
        let used = be32(bytes, used_at);
        let read = Self { first, bests };
        if usize_of_u32(used) != read.used() {
            let reason = "the count of blocks is wrong";
            return Err(fault(used_at, reason, used.into()));
        }
        Ok(read)
    }

    /// The block as it lies on disk, but for what its header gets when it is written.
    pub(super) fn encode(&self, format: &Format) -> Vec<u8> {
        let mut bytes = vec![0; format.block_size()];
        put(&mut bytes, 0, magic(format));
        let at = counts(format);
        let counts = [
            u64::from(self.first),
            u64_of(self.bests.len()),
            u64_of(self.used()),
        ];
        for (index, count) in counts.into_iter().enumerate() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            put(
                &mut bytes,
                index.saturating_mul(4).saturating_add(at),
                &count.to_be_bytes(),
            );
        }
        let places = bytes.get_mut(first_best(format)..).unwrap_or_default();
        for (place, best) in places.as_chunks_mut().0.iter_mut().zip(&self.bests) {
            *place = best.to_be_bytes();
        }
        bytes
    }

    /// Keeps how large the largest unused place of the block at `at` is, [`NO_BLOCK`] if there is
    /// no such block any more.
    pub(super) fn set(&mut self, at: usize, best: u16) {
        if self.bests.len() <= at {
            self.bests.resize(at.saturating_add(1), NO_BLOCK);
        }
        if let Some(place) = self.bests.get_mut(at) {
            *place = best;
        }
        self.cut();
    }

    /// Forgets what is behind the last block.
    pub(super) fn cut(&mut self) {
        while self.bests.last() == Some(&NO_BLOCK) {
            self.bests.pop();
        }
    }

    /// How many blocks there are.
    fn used(&self) -> usize {
        self.bests.iter().filter(|best| **best != NO_BLOCK).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::format;
    use super::*;

    #[test]
    fn blocks_survive_both_ways() {
        for v5 in [false, true] {
            let format = format(512, v5);
            let mut free = Free::new(&format, 1);
            free.set(5, 100);
            free.set(7, NO_BLOCK);
            free.set(3, 0);
            assert_eq!(free.bests, [0xffff, 0xffff, 0xffff, 0, 0xffff, 100]);
            assert_eq!(free.number(5), capacity(&format) + 5);
            assert_eq!(place(&format, free.number(5)), (1, 5));
            let bytes = free.encode(&format);
            assert_eq!(Free::decode(&format, 1, &bytes).unwrap(), free);
        }
        assert_eq!(capacity(&format(4096, true)), 2016);
    }

    #[test]
    fn every_broken_field_is_found() {
        let format = format(512, true);
        let mut free = Free::new(&format, 0);
        free.set(5, 100);
        let bytes = free.encode(&format);
        for (at, value, reason) in [
            (0, 1, "no block about free space"),
            (51, 1, "it tells about other blocks than its place says"),
            (55, 225, "it tells about more blocks than it has room for"),
            (59, 2, "the count of blocks is wrong"),
        ] {
            let mut broken = bytes.clone();
            broken[at] = value;
            let fault = Free::decode(&format, 0, &broken).unwrap_err();
            assert_eq!(fault.reason, reason, "byte {at}");
        }
    }
}
