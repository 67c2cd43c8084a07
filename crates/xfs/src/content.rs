//! Reading what nodes hold: files and the targets of links.

use crate::checksum::{self, place};
use crate::error::{CorruptKind, Error};
use crate::extent::{Extent, Piece};
use crate::inode::{Fork, Format, Inode};
use crate::volume::Volume;
use fs::Kind;
use ondisk::width::{u64_of, usize_of};

/// `XFS_SYMLINK_MAXLEN`: no link has a longer target.
pub(crate) const LONGEST_TARGET: u64 = 1024;
/// Bytes of `struct xfs_dsymlink_hdr`.
pub(crate) const LINK_HEADER: usize = 56;
/// "XSLM".
pub(crate) const LINK_MAGIC: [u8; 4] = *b"XSLM";

impl Volume {
    /// Reads content from `offset` on, and says how many bytes were there.
    ///
    /// # Errors
    /// A damaged map, or what the device says.
    pub(crate) fn read_content(
        &self,
        inode: &Inode,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let left = inode.size().saturating_sub(offset);
        let len = usize_of(left.min(u64_of(buf.len())));
        let buf = buf.get_mut(..len).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        let map = self.map(inode, Fork::Data)?;
        let block_bytes = self.superblock.block_bytes();
        let end = offset.saturating_add(u64_of(len));
        let first = offset.checked_div(block_bytes).unwrap_or(0);
        let mut rest = buf;
        let mut at = offset;
        for piece in map.pieces(first..self.superblock.blocks_for(end)) {
            let piece_end = match &piece {
                Piece::Extent(extent) => extent.end(),
                Piece::Hole(range) => range.end,
            };
            let len = piece_end
                .saturating_mul(block_bytes)
                .min(end)
                .saturating_sub(at);
            // Pieces follow on each other and end where the buffer does.
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(usize_of(len));
            match piece {
                Piece::Extent(extent) if !extent.unwritten => {
                    let start = extent.offset.saturating_mul(block_bytes);
                    let position = self.superblock.position(extent.start);
                    let position = position.saturating_add(at.saturating_sub(start));
                    self.device.read_at(position, part)?;
                }
                _ => part.fill(0),
            }
            rest = behind;
            at = at.saturating_add(len);
        }
        Ok(len)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the node is no link; targets that no link has.
    pub(crate) fn read_target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        if inode.kind()? != Kind::Symlink {
            return Err(Error::NotFound);
        }
        let size = inode.size();
        if size == 0 || size > LONGEST_TARGET {
            return Err(CorruptKind::Inode {
                inode: inode.number(),
                field: "di_size of a link",
                value: size,
                expected: "1 to 1024",
            }
            .into());
        }
        let size = usize_of(size);
        if inode.format(Fork::Data)? == Format::Local {
            // That it fits was checked when the inode was read.
            let target = inode.fork(Fork::Data).get(..size);
            return Ok(target.unwrap_or_default().to_vec());
        }
        let mut target = Vec::with_capacity(size);
        for extent in self.map(inode, Fork::Data)?.extents() {
            let left = size.saturating_sub(target.len());
            if left == 0 {
                break;
            }
            if extent.offset > LONGEST_TARGET {
                break;
            }
            self.read_target_part(inode, extent, left, &mut target)?;
        }
        if target.len() == size {
            return Ok(target);
        }
        Err(CorruptKind::Inode {
            inode: inode.number(),
            field: "di_size of a link",
            value: u64_of(size),
            expected: "what its blocks hold",
        }
        .into())
    }

    /// Adds what an extent holds of a target: version 5 has a header in each extent.
    fn read_target_part(
        &self,
        inode: &Inode,
        extent: &Extent,
        left: usize,
        target: &mut Vec<u8>,
    ) -> Result<(), Error> {
        // No target needs more blocks than this, whatever the extent has.
        let most = self.superblock.blocks_for(LONGEST_TARGET.saturating_mul(2));
        let blocks = u64::from(extent.count).min(most);
        let position = self.superblock.position(extent.start);
        let mut bytes = vec![0; usize_of(blocks.saturating_mul(self.superblock.block_bytes()))];
        self.device.read_at(position, &mut bytes)?;
        if !self.superblock.features.v5() {
            target.extend_from_slice(bytes.get(..left.min(bytes.len())).unwrap_or_default());
            return Ok(());
        }
        let wrong = |field, value, expected| {
            Error::from(CorruptKind::Field {
                what: "block of a link",
                position,
                field,
                value,
                expected,
            })
        };
        if !bytes.starts_with(&LINK_MAGIC) {
            return Err(wrong("sl_magic", 0, "\"XSLM\""));
        }
        checksum::verify(&bytes, place::SYMLINK, "block of a link", position)?;
        let (offset, len) = bytes.get(4..).map_or((0, 0), crate::free_space::pair);
        let word = |at: usize| {
            let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>);
            bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        if word(32) != inode.number() {
            return Err(wrong("sl_owner", word(32), "the inode"));
        }
        if word(40) != self.superblock.daddr(extent.start) {
            return Err(wrong("sl_blkno", word(40), "its own place"));
        }
        if u64::from(offset) != u64_of(target.len()) {
            return Err(wrong(
                "sl_offset",
                offset.into(),
                "where the part before ended",
            ));
        }
        let len = usize_of(len.into());
        let part = bytes.get(LINK_HEADER..).and_then(|body| body.get(..len));
        match part.filter(|part| part.len() <= left) {
            Some(part) => target.extend_from_slice(part),
            None => return Err(wrong("sl_bytes", u64_of(len), "what is left of the target")),
        }
        Ok(())
    }
}
