//! Where a thread reads blocks to.

use super::walk::{Seen, Unit};
use crate::{BLOCK, Error};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};

/// Memory for the blocks of a unit, each of its own: one that is put goes without being copied.
#[derive(Debug, Default)]
pub(super) struct Room {
    blocks: Vec<Vec<u8>>,
    /// Several blocks that are decompressed at once.
    piece: Vec<u8>,
}

impl Room {
    /// The blocks of a unit, none if it is a hole, and how many bytes were read of the disk.
    ///
    /// What the disk's last block has beyond its end is zeros.
    pub(super) fn read(
        &mut self,
        disk: &dyn BlockRead,
        unit: &Unit,
    ) -> Result<(&mut [Vec<u8>], u64), Error> {
        if unit.seen == Seen::Hole {
            return Ok((&mut [], 0));
        }
        let count = unit.blocks.len();
        if self.blocks.len() < count {
            self.blocks.resize_with(count, Vec::new);
        }
        let (contents, _) = self.blocks.split_at_mut(count);
        let (mut number, mut read) = (unit.blocks.start, 0_u64);
        let mut rest = &mut *contents;
        while !rest.is_empty() {
            // To the end of the piece that the block lies in.
            let piece = unit.piece.saturating_sub(number % unit.piece).max(1);
            let (blocks, after) = rest.split_at_mut(usize_of(piece.into()).min(rest.len()));
            let at = u64::from(number).saturating_mul(BLOCK);
            let len = blocks.len().saturating_mul(usize_of(BLOCK));
            let of_disk = if let [block] = blocks {
                read_padded(disk, at, len, block)?
            } else {
                let of_disk = read_padded(disk, at, len, &mut self.piece)?;
                for (block, content) in blocks.iter_mut().zip(self.piece.chunks(usize_of(BLOCK))) {
                    block.clear();
                    block.extend_from_slice(content);
                }
                of_disk
            };
            read = read.saturating_add(of_disk);
            number = number.saturating_add(piece);
            rest = after;
        }
        Ok((contents, read))
    }
}

/// Fills `buf` with `len` bytes from `at` on; says how many of them the disk has.
fn read_padded(disk: &dyn BlockRead, at: u64, len: usize, buf: &mut Vec<u8>) -> Result<u64, Error> {
    buf.resize(len, 0);
    let of_disk = disk.size().saturating_sub(at).min(u64_of(len));
    let (content, padding) = buf.split_at_mut(usize_of(of_disk));
    disk.read_at(at, content)?;
    padding.fill(0);
    Ok(of_disk)
}
