//! Telling zeros from data.

use std::ops::Range;

/// Whether every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Looking at a block at a time lets the compiler use the widest registers, and still stops
    // early where there is data.
    let (blocks, rest) = bytes.as_chunks::<256>();
    blocks
        .iter()
        .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// The maximal runs of pieces of `piece` bytes that are not all zero, as ranges of `bytes`.
pub(crate) fn data_runs(bytes: &[u8], piece: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start = 0_usize;
    for chunk in bytes.chunks(piece) {
        let end = start.saturating_add(chunk.len());
        if !is_zero(chunk) {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_data() {
        let mut bytes = vec![0; 1003];
        assert!(is_zero(&bytes));
        assert!(is_zero(&[]));
        for at in [0, 255, 256, 767, 768, 1002] {
            bytes[at] = 0x80;
            assert!(!is_zero(&bytes), "{at}");
            bytes[at] = 0;
        }
    }

    #[test]
    fn runs_are_maximal_and_end_with_the_bytes() {
        let mut bytes = vec![0; 50];
        for at in [11, 25, 49] {
            bytes[at] = 1;
        }
        assert_eq!(data_runs(&bytes, 10), [10..30, 40..50]);
        assert_eq!(data_runs(&bytes, 7), [7..14, 21..28, 49..50]);
    }
}
