//! Descriptor blocks: where the blocks that follow them in the log belong.

use super::log::{be16, be32};
use super::superblock::{Checksums, JournalSuperblock};

/// Where one logged block belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tag {
    /// Block of the file system.
    pub(super) block: u64,
    /// Whether the block started with the journal's magic number, which was taken out of the log.
    pub(super) escaped: bool,
    /// What the tag keeps of the block's sum.
    pub(super) checksum: u32,
}

/// Reads the tags of a descriptor block. Each tag takes at least eight bytes, so they are few.
pub(super) fn tags(bytes: &[u8], superblock: &JournalSuperblock) -> Vec<Tag> {
    let len = tag_len(superblock);
    let tail = if superblock.checksums.seed().is_some() {
        TAIL
    } else {
        0
    };
    let end = bytes.len().saturating_sub(tail);
    let mut tags = Vec::new();
    let mut at = HEADER;
    while at.saturating_add(len) <= end {
        let tag = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
        let flags = be16(tag, 6);
        let high = match superblock.wide {
            true => u64::from(be32(tag, 8)) << 32,
            false => 0,
        };
        let checksum = match superblock.checksums {
            Checksums::None | Checksums::Whole => 0,
            Checksums::PerBlock16(_) => u32::from(be16(tag, 4)),
            Checksums::PerBlock32(_) => be32(tag, 12),
        };
        tags.push(Tag {
            block: high | u64::from(be32(tag, 0)),
            escaped: flags & FLAG_ESCAPE != 0,
            checksum,
        });
        if flags & FLAG_LAST_TAG != 0 {
            break;
        }
        at = at.saturating_add(len);
        if flags & FLAG_SAME_UUID == 0 {
            at = at.saturating_add(UUID);
        }
    }
    tags
}

fn tag_len(superblock: &JournalSuperblock) -> usize {
    match (superblock.checksums, superblock.wide) {
        (Checksums::PerBlock32(_), _) => 16,
        (Checksums::PerBlock16(_), true) => 14,
        (Checksums::PerBlock16(_), false) => 10,
        (_, true) => 12,
        (_, false) => 8,
    }
}

const HEADER: usize = 12;
const UUID: usize = 16;
const TAIL: usize = 4;
const FLAG_ESCAPE: u16 = 1;
const FLAG_SAME_UUID: u16 = 2;
const FLAG_LAST_TAG: u16 = 8;
