//! Finding zeros.

/// Whether a block holds zeros alone; written so that it compiles to wide words.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<256>();
    let zero = |word: &[u8; 256]| word.iter().fold(0, |all, byte| all | byte) == 0;
    words.iter().all(zero) && rest.iter().all(|byte| *byte == 0)
}
