//! Reading what nodes hold: files and the targets of links.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::inline_data;
use crate::inode::{Inode, flag};
use crate::mapping::Piece;
use crate::volume::Volume;
use fs::Kind;
use ondisk::width::{u64_of, usize_of};

/// The kernel's `PATH_MAX`: no link has a longer target.
const LONGEST_TARGET: u64 = 4096;

impl Volume {
    /// Reads content from `offset` on, and says how many bytes were there.
    ///
    /// # Errors
    /// A damaged map, encrypted content, or what the device says.
    pub(crate) fn read_content(
        &self,
        inode: &Inode,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        refuse_encrypted(inode)?;
        let left = inode.size().saturating_sub(offset);
        let len = usize_of(left.min(u64_of(buf.len())));
        let buf = buf.get_mut(..len).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        if inode.has_flag(flag::INLINE_DATA) {
            inline_data::read(self, inode, offset, buf)?;
        } else {
            self.read_mapped(inode, offset, buf)?;
        }
        Ok(len)
    }

    /// Fills `buf` with content that lies in blocks, below the size.
    fn read_mapped(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mapping = self.mapping(inode)?;
        let block_bytes = self.superblock.block_bytes();
        let end = offset.saturating_add(u64_of(buf.len()));
        let first = offset.checked_div(block_bytes).unwrap_or(0);
        let mut buf = buf;
        let mut at = offset;
        for piece in mapping.pieces(first..self.superblock.blocks_for(end)) {
            let piece_end = match &piece {
                Piece::Run(run) => run.end(),
                Piece::Hole(range) => range.end,
            };
            let len = piece_end
                .saturating_mul(block_bytes)
                .min(end)
                .saturating_sub(at);
            // Pieces follow on each other and end where the buffer does.
            let (part, rest) = std::mem::take(&mut buf).split_at_mut(usize_of(len));
            match piece {
                Piece::Run(run) if !run.unwritten => {
                    let start = u64::from(run.logical).saturating_mul(block_bytes);
                    let position = self
                        .superblock
                        .position(run.physical)
                        .saturating_add(at.saturating_sub(start));
                    self.device.read_at(position, part)?;
                }
                _ => part.fill(0),
            }
            buf = rest;
            at = at.saturating_add(len);
        }
        Ok(())
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the node is no link; targets that no link has.
    pub(crate) fn read_target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        if inode.kind()? != Kind::Symlink {
            return Err(Error::NotFound);
        }
        refuse_encrypted(inode)?;
        let size = inode.size();
        if size == 0 || size > LONGEST_TARGET {
            return Err(CorruptKind::Inode {
                inode: inode.number().get(),
                field: "i_size of a link",
                value: size,
                expected: "1 to 4096",
            }
            .into());
        }
        if !inode.has_flag(flag::INLINE_DATA) && inode.is_fast_symlink(&self.superblock) {
            let target = inode.block().get(..usize_of(size)).unwrap_or_default();
            return Ok(target.to_vec());
        }
        let mut target = vec![0; usize_of(size)];
        self.read_content(inode, 0, &mut target)?;
        Ok(target)
    }
}

/// Refuses nodes whose content only their owner's key opens.
pub(crate) fn refuse_encrypted(inode: &Inode) -> Result<(), Error> {
    if !inode.has_flag(flag::ENCRYPT) {
        return Ok(());
    }
    Err(UnsupportedKind::Inode {
        inode: inode.number().get(),
        what: "content is encrypted",
    }
    .into())
}
