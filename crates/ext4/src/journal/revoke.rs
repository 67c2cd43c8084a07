//! Revoke blocks: logged blocks that must not be replayed, because they were freed since and may
//! hold something that is not logged.

use super::log::{be32, be64, corrupt, is_at_or_after};
use super::superblock::JournalSuperblock;
use crate::Error;
use ondisk::width::usize_of_u32;
use std::collections::HashMap;

/// The last transaction that revoked each block. No larger than the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Revoked(HashMap<u64, u32>);

impl Revoked {
    /// Notes what the revoke block at `at` says.
    pub(super) fn note(
        &mut self,
        at: u32,
        bytes: &[u8],
        sequence: u32,
        superblock: &JournalSuperblock,
    ) -> Result<(), Error> {
        let tail = if superblock.checksums.seed().is_some() {
            4
        } else {
            0
        };
        let r_count = be32(bytes, 12);
        let end = usize_of_u32(r_count);
        if end > bytes.len().saturating_sub(tail) {
            return Err(corrupt(at, "r_count leaves the block", r_count.into()));
        }
        let records = bytes.get(HEADER..end).unwrap_or_default();
        let len = if superblock.wide { 8 } else { 4 };
        for record in records.chunks_exact(len) {
            let block = if superblock.wide {
                be64(record, 0)
            } else {
                u64::from(be32(record, 0))
            };
            let last = self.0.entry(block).or_insert(sequence);
            if is_at_or_after(sequence, *last) {
                *last = sequence;
            }
        }
        Ok(())
    }

    /// Whether a block that transaction `sequence` logged was revoked by it or a later one.
    pub(super) fn covers(&self, block: u64, sequence: u32) -> bool {
        let last = self.0.get(&block);
        last.is_some_and(|last| is_at_or_after(*last, sequence))
    }
}

const HEADER: usize = 16;
