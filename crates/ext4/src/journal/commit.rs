//! Commit blocks: the end of a transaction.

use super::log::{be32, be64};
use super::superblock::Checksums;
use crate::checksum::JOURNAL_COMMIT_CHECKSUM;

/// What a commit block says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Commit {
    /// When the transaction was committed, in seconds and nanoseconds.
    pub(super) time: (u64, u32),
    /// What its sum is.
    pub(super) found: u32,
    /// What its sum should be.
    pub(super) computed: u32,
    /// Whether the sum is right, or not kept.
    pub(super) sound: bool,
}

impl Commit {
    /// Reads a commit block; `whole` is the sum of the transaction's descriptors and blocks, for
    /// the oldest kind of checksums.
    pub(super) fn parse(bytes: &[u8], checksums: Checksums, whole: u32) -> Self {
        let found = be32(bytes, JOURNAL_COMMIT_CHECKSUM);
        let kind_and_size = bytes.get(12..14).unwrap_or_default();
        let computed = match checksums {
            Checksums::None => found,
            Checksums::Whole => whole,
            Checksums::PerBlock16(seed) | Checksums::PerBlock32(seed) => seed.commit(bytes),
        };
        let sound = match checksums {
            Checksums::Whole => {
                (found == computed && kind_and_size == [CRC32_CHKSUM, CRC32_CHKSUM_SIZE])
                    || (found == 0 && kind_and_size == [0, 0])
            }
            _ => found == computed,
        };
        Self {
            time: (be64(bytes, 0x30), be32(bytes, 0x38)),
            found,
            computed,
            sound,
        }
    }
}

const CRC32_CHKSUM: u8 = 1;
const CRC32_CHKSUM_SIZE: u8 = 4;
