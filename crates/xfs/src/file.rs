//! Changing what files hold.

use crate::allocator::{Blocks, Purpose};
use crate::error::{Error, UnsupportedKind};
use crate::extent::{Extent, Map, Piece};
use crate::inode::{Fork, Inode, flag2};
use crate::rmap::Owner;
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of};
use std::ops::Range;

/// Bytes that lie in a file.
struct Write<'a> {
    offset: u64,
    content: &'a [u8],
}

impl Write<'_> {
    fn end(&self) -> u64 {
        self.offset.saturating_add(u64_of(self.content.len()))
    }

    /// What of the content belongs into a range of the file.
    fn part(&self, range: &Range<u64>) -> &[u8] {
        let start = range.start.max(self.offset).saturating_sub(self.offset);
        let end = range.end.min(self.end()).saturating_sub(self.offset);
        let part = self.content.get(usize_of(start)..usize_of(end));
        part.unwrap_or_default()
    }
}

impl Volume {
    /// Writes content at `offset`; a gap behind the old end reads as zeros. The inode is changed in
    /// memory only.
    ///
    /// # Errors
    /// [`Error::NoSpace`], sizes that no file has, and what writing meets.
    pub(crate) fn write_content(
        &mut self,
        inode: &mut Inode,
        offset: u64,
        content: &[u8],
    ) -> Result<(), Error> {
        if content.is_empty() {
            return Ok(());
        }
        let write = Write { offset, content };
        let end = offset.saturating_add(u64_of(content.len()));
        self.check_size(inode, end)?;
        let mut map = Map::clone(&*self.map(inode, Fork::Data)?);
        let before = map.clone();
        if end > inode.size() {
            self.cut_reserve(inode, &mut map)?;
        }
        if offset > inode.size() {
            self.zero_tail(inode, &mut map)?;
        }
        self.write_mapped(inode, &mut map, &write, true)?;
        if map != before {
            self.set_map(inode, Fork::Data, map)?;
        }
        if end > inode.size() {
            inode.set_size(end);
        }
        Ok(())
    }

    /// Cuts the content to `size` bytes or grows it with a hole. The inode is changed in memory
    /// only.
    ///
    /// # Errors
    /// Sizes that no file has, and what writing meets.
    pub(crate) fn set_content_size(&mut self, inode: &mut Inode, size: u64) -> Result<(), Error> {
        self.check_size(inode, size)?;
        let mut map = Map::clone(&*self.map(inode, Fork::Data)?);
        let before = map.clone();
        if size < inode.size() {
            inode.set_size(size);
        }
        self.cut_reserve(inode, &mut map)?;
        self.zero_tail(inode, &mut map)?;
        if map != before {
            self.set_map(inode, Fork::Data, map)?;
        }
        inode.set_size(size);
        Ok(())
    }

    fn check_size(&self, inode: &Inode, size: u64) -> Result<(), Error> {
        if size <= i64::MAX.unsigned_abs() {
            return Ok(());
        }
        Err(UnsupportedKind::Inode {
            inode: inode.number(),
            what: "a file of more than 2^63 - 1 bytes",
        }
        .into())
    }

    /// Gives back what lies behind the end of the file. The kernel reserves blocks there, and what
    /// they hold must not come up when the file grows.
    fn cut_reserve(&mut self, inode: &Inode, map: &mut Map) -> Result<(), Error> {
        let end = self.superblock.blocks_for(inode.size());
        for extent in map.remove(&(end..u64::MAX)) {
            self.release_extent(inode.number(), Fork::Data, &extent)?;
        }
        Ok(())
    }

    /// Clears the rest of the last block, which becomes part of the file when it grows.
    fn zero_tail(&mut self, inode: &Inode, map: &mut Map) -> Result<(), Error> {
        let size = inode.size();
        let block_bytes = self.superblock.block_bytes();
        let end = self.superblock.blocks_for(size).saturating_mul(block_bytes);
        let zeros = vec![0; usize_of(end.saturating_sub(size))];
        let write = Write {
            offset: size,
            content: &zeros,
        };
        self.write_mapped(inode, map, &write, false)
    }

    /// Writes into the blocks of a file; into holes and reserved blocks only if `everywhere`.
    fn write_mapped(
        &mut self,
        inode: &Inode,
        map: &mut Map,
        write: &Write<'_>,
        everywhere: bool,
    ) -> Result<(), Error> {
        let block_bytes = self.superblock.block_bytes();
        let first = write.offset.checked_div(block_bytes).unwrap_or(0);
        let blocks = first..self.superblock.blocks_for(write.end());
        for piece in map.pieces(blocks) {
            match piece {
                Piece::Extent(extent) if !extent.unwritten => {
                    self.write_over(inode, map, write, extent)?;
                }
                Piece::Extent(extent) if everywhere => {
                    self.write_reserved(inode, map, write, extent)?;
                }
                Piece::Hole(hole) if everywhere => {
                    for extent in self.fill(inode.number(), Fork::Data, map, hole)? {
                        self.write_new(write, &extent)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes into blocks that hold content already: in place, but to a copy if others share them.
    fn write_over(
        &mut self,
        inode: &Inode,
        map: &mut Map,
        write: &Write<'_>,
        extent: Extent,
    ) -> Result<(), Error> {
        let mut left = Some(extent);
        while let Some(extent) = left {
            let Extent { start, count, .. } = extent;
            let (count, is_shared) = if inode.has_flag2(flag2::REFLINK) {
                self.shared_run(Blocks { start, count })?
            } else {
                (count, false)
            };
            let end = extent.offset.saturating_add(count.into());
            left = extent.cut(&(end..u64::MAX));
            let Some(alike) = extent.cut(&(0..end)) else {
                break;
            };
            if is_shared {
                self.write_copy(inode, map, write, &alike)?;
            } else {
                self.write_in_place(write, &alike)?;
            }
        }
        Ok(())
    }

    fn write_in_place(&mut self, write: &Write<'_>, extent: &Extent) -> Result<(), Error> {
        let bytes = self.file_bytes(extent);
        let skipped = write.offset.saturating_sub(bytes.start);
        let position = self
            .superblock
            .position(extent.start)
            .saturating_add(skipped);
        self.device.write_at(position, write.part(&bytes))?;
        self.forget(extent.start, extent.count.into());
        Ok(())
    }

    /// Writes shared blocks elsewhere, with what of them is not written, and gives up the share.
    fn write_copy(
        &mut self,
        inode: &Inode,
        map: &mut Map,
        write: &Write<'_>,
        extent: &Extent,
    ) -> Result<(), Error> {
        let range = extent.offset..extent.end();
        map.remove(&range);
        // What others share does not become free, and so keeps what is copied from it.
        self.release_extent(inode.number(), Fork::Data, extent)?;
        let copies = self.fill(inode.number(), Fork::Data, map, range)?;
        for copy in copies {
            let bytes = self.file_bytes(&copy);
            let shared = extent.cut(&(copy.offset..copy.end()));
            let shared = shared.map_or(extent.start, |shared| shared.start);
            let block_bytes = self.superblock.block_bytes();
            // Only the first and the last block can keep something.
            for (block, from) in [
                (bytes.start, shared.0),
                (
                    bytes.end.saturating_sub(block_bytes),
                    shared
                        .0
                        .saturating_add(u64::from(copy.count).saturating_sub(1)),
                ),
            ] {
                let inside =
                    write.offset <= block && write.end() >= block.saturating_add(block_bytes);
                if inside {
                    continue;
                }
                let mut old = vec![0; self.superblock.block_len()];
                let from = self.superblock.position(crate::superblock::FsBlock(from));
                self.device.read_at(from, &mut old)?;
                let skipped = block.saturating_sub(bytes.start);
                let to = self.superblock.position(copy.start).saturating_add(skipped);
                self.device.write_at(to, &old)?;
            }
            self.write_in_place(write, &copy)?;
        }
        Ok(())
    }

    /// Writes blocks that were reserved only.
    fn write_reserved(
        &mut self,
        inode: &Inode,
        map: &mut Map,
        write: &Write<'_>,
        extent: Extent,
    ) -> Result<(), Error> {
        map.remove(&(extent.offset..extent.end()));
        let written = Extent {
            unwritten: false,
            ..extent
        };
        map.insert(written);
        let purpose = Purpose {
            owner: Owner::content(inode.number(), false),
            offset: extent.offset,
            unwritten: true,
        };
        let Extent { start, count, .. } = extent;
        self.note_written(Blocks { start, count }, purpose)?;
        self.write_new(write, &written)
    }

    /// Writes whole blocks, with zeros where there is no content for them.
    fn write_new(&mut self, write: &Write<'_>, extent: &Extent) -> Result<(), Error> {
        let bytes = self.file_bytes(extent);
        let position = self.superblock.position(extent.start);
        let head = write.offset.saturating_sub(bytes.start);
        let tail = bytes.end.saturating_sub(write.end().max(bytes.start));
        if head > 0 {
            let zeros = vec![0; usize_of(head.min(self.superblock.block_bytes()))];
            self.device.write_at(position, &zeros)?;
        }
        self.device
            .write_at(position.saturating_add(head), write.part(&bytes))?;
        if tail > 0 && tail < self.superblock.block_bytes() {
            let len = bytes.end.saturating_sub(bytes.start);
            let at = position.saturating_add(len.saturating_sub(tail));
            self.device.write_at(at, &vec![0; usize_of(tail)])?;
        }
        self.forget(extent.start, extent.count.into());
        Ok(())
    }

    /// The bytes of the file that an extent holds.
    fn file_bytes(&self, extent: &Extent) -> Range<u64> {
        let byte = |block: u64| block.saturating_mul(self.superblock.block_bytes());
        byte(extent.offset)..byte(extent.end())
    }
}
