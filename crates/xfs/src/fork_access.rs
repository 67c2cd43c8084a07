//! One fork of one inode of a volume, as directories and attributes see it.

use crate::allocator::{Blocks, Purpose};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::extent::{Extent, MAX_COUNT, Map, Piece};
use crate::fork::{ForkEdit, ForkRead};
use crate::inode::{Fork, Format, Inode};
use crate::rmap::Owner;
use crate::superblock::{FsBlock, Superblock};
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of, usize_of_u32};

/// A fork to read.
#[derive(Debug)]
pub(crate) struct ForkReader<'a> {
    pub(crate) volume: &'a Volume,
    pub(crate) inode: &'a Inode,
    pub(crate) fork: Fork,
}

/// A fork to change. The inode is changed in memory only.
#[derive(Debug)]
pub(crate) struct ForkEditor<'a> {
    pub(crate) volume: &'a mut Volume,
    pub(crate) inode: &'a mut Inode,
    pub(crate) fork: Fork,
}

/// Bytes that a root of a B+tree with three pointers takes, `XFS_BMDR_SPACE_CALC(MINDBTPTRS)`,
/// rounded up: so much is left to the content.
const LEAST_DATA: usize = 56;
/// The same with two pointers, `MINABTPTRS`: so much is left to the attributes.
pub(crate) const LEAST_ATTRIBUTES: usize = 40;
/// Where attributes that lie outside of the inode begin in it, `xfs_default_attroffset`, rounded
/// up; in inodes of 256 bytes they have what is left to attributes at least.
const DEFAULT_BORDER: usize = 200;
/// The least that a device number leaves.
const DEVICE_LEN: usize = 8;

impl ForkReader<'_> {
    fn pieces(&self, block: u64, count: u32) -> Result<Vec<Piece>, Error> {
        let map = self.volume.map(self.inode, self.fork)?;
        Ok(map.pieces(block..block.saturating_add(count.into())))
    }

    fn hole(&self, logical: u64) -> Error {
        CorruptKind::Hole {
            inode: self.inode.number(),
            logical,
        }
        .into()
    }

    /// Where `count` blocks lie, one by one.
    fn places(&self, block: u64, count: u32) -> Result<Vec<FsBlock>, Error> {
        let mut places = Vec::new();
        for piece in self.pieces(block, count)? {
            match piece {
                Piece::Extent(extent) if !extent.unwritten => {
                    let end = extent.start.0.saturating_add(extent.count.into());
                    places.extend((extent.start.0..end).map(FsBlock));
                }
                Piece::Extent(extent) => return Err(self.hole(extent.offset)),
                Piece::Hole(hole) => return Err(self.hole(hole.start)),
            }
        }
        Ok(places)
    }

    /// The least border that leaves the content what it needs, in bytes.
    pub(crate) fn least_border(&self) -> Result<usize, Error> {
        let inode = self.inode;
        Ok(match inode.format(Fork::Data)? {
            Format::Device => DEVICE_LEN,
            Format::Local => usize_of(inode.size()).next_multiple_of(8).max(LEAST_DATA),
            Format::Extents if self.list_len() <= self.most_border() => {
                self.list_len().max(LEAST_DATA)
            }
            // The root may lose pointers, but not so many that it needs another level.
            Format::Tree if inode.has_attributes() => inode.border(),
            // A list that leaves no room for attributes becomes a tree.
            Format::Extents | Format::Tree => DEFAULT_BORDER.min(self.most_border()),
        })
    }

    /// The border that leaves attributes what they need, in bytes.
    fn most_border(&self) -> usize {
        // It is kept in units of eight bytes, of which version 4 has no whole number.
        self.inode.literal_len().saturating_sub(LEAST_ATTRIBUTES) & !7
    }

    /// Bytes of the content's list of extents, if it is one.
    fn list_len(&self) -> usize {
        usize_of(self.inode.extents(Fork::Data)).saturating_mul(crate::extent::LEN)
    }
}

impl ForkRead for ForkReader<'_> {
    fn superblock(&self) -> &Superblock {
        &self.volume.superblock
    }

    fn owner(&self) -> u64 {
        self.inode.number()
    }

    fn size(&self) -> u64 {
        self.inode.size()
    }

    fn inline(&self) -> Option<&[u8]> {
        if self.inode.format(self.fork).ok()? != Format::Local {
            return None;
        }
        let bytes = self.inode.fork(self.fork);
        match self.fork {
            Fork::Data => bytes.get(..usize_of(self.inode.size())),
            Fork::Attributes => Some(bytes),
        }
    }

    fn max_inline(&self) -> usize {
        if self.fork == Fork::Data {
            return self.inode.room(Fork::Data);
        }
        if !self.volume.superblock.features.attr2() && self.inode.has_attributes() {
            return self.inode.room(Fork::Attributes);
        }
        let least = self.least_border().unwrap_or(usize::MAX);
        self.inode.literal_len().saturating_sub(least)
    }

    fn read(&self, block: u64, count: u32) -> Result<Option<Vec<u8>>, Error> {
        let pieces = self.pieces(block, count)?;
        if let None | Some(Piece::Hole(_)) = pieces.first() {
            return Ok(None);
        }
        let len = self.volume.superblock.block_len();
        let mut bytes = Vec::with_capacity(usize_of_u32(count).saturating_mul(len));
        for place in self.places(block, count)? {
            bytes.extend_from_slice(&self.volume.read_block(place)?);
        }
        Ok(Some(bytes))
    }

    fn daddr(&self, block: u64) -> Result<u64, Error> {
        let place = self.places(block, 1)?.into_iter().next();
        let place = place.ok_or_else(|| self.hole(block))?;
        Ok(self.volume.superblock.daddr(place))
    }

    fn next_mapped(&self, from: u64) -> Result<Option<u64>, Error> {
        let map = self.volume.map(self.inode, self.fork)?;
        Ok(map.next(from).map(|extent| extent.offset.max(from)))
    }

    fn end(&self) -> Result<u64, Error> {
        Ok(self.volume.map(self.inode, self.fork)?.end())
    }
}

impl ForkEditor<'_> {
    fn reader(&self) -> ForkReader<'_> {
        ForkReader {
            volume: self.volume,
            inode: self.inode,
            fork: self.fork,
        }
    }

    /// Gives back all blocks of the fork, which then is a mapped one without any.
    fn release_all(&mut self) -> Result<(), Error> {
        if matches!(
            self.inode.format(self.fork)?,
            Format::Extents | Format::Tree
        ) {
            self.volume.release_fork(self.inode, self.fork)?;
        }
        Ok(())
    }

    /// Gives the room of the attributes, which are gone, to the content.
    fn remove_attributes(&mut self) -> Result<(), Error> {
        let map = self.volume.map(self.inode, Fork::Data)?;
        self.inode.remove_border();
        self.volume
            .forget_map(self.inode.number(), Fork::Attributes);
        self.lay_out_root(&map)
    }

    /// Writes the root of the content's tree anew, which is laid out for the room that it has, or
    /// makes a tree of a list that has too little room.
    fn lay_out_root(&mut self, map: &Map) -> Result<(), Error> {
        let fits = match self.inode.format(Fork::Data)? {
            Format::Device | Format::Local => true,
            Format::Extents => self.reader().list_len() <= self.inode.room(Fork::Data),
            Format::Tree => false,
        };
        if fits {
            return Ok(());
        }
        let before = map.blocks();
        self.volume
            .store_map(self.inode, Fork::Data, map.clone(), before)
    }

    /// Moves the border between the forks so that the attributes have `needed` bytes.
    fn make_room(&mut self, needed: usize, preferred: usize) -> Result<(), Error> {
        if self.inode.has_attributes() && self.inode.room(Fork::Attributes) >= needed {
            return Ok(());
        }
        let least = self.reader().least_border()?;
        let most = self
            .inode
            .literal_len()
            .saturating_sub(needed.max(LEAST_ATTRIBUTES));
        // Behind the number of a device the kernel takes no other border
        // (`xfs_dinode_verify_forkoff`).
        let preferred = match self.inode.format(Fork::Data)? {
            Format::Device => least,
            _ => preferred,
        };
        let border = preferred.min(most).max(least) & !7;
        let fixed = !self.volume.superblock.features.attr2() && self.inode.has_attributes();
        if border < least || border > most || border == 0 || fixed {
            return Err(UnsupportedKind::Inode {
                inode: self.inode.number(),
                what: "attributes that leave no room for the content",
            }
            .into());
        }
        let map = self.volume.map(self.inode, Fork::Data)?;
        self.inode.set_border(border);
        self.volume.superblock.add_attr();
        self.lay_out_root(&map)
    }
}

impl ForkRead for ForkEditor<'_> {
    fn superblock(&self) -> &Superblock {
        &self.volume.superblock
    }

    fn owner(&self) -> u64 {
        self.inode.number()
    }

    fn size(&self) -> u64 {
        self.inode.size()
    }

    fn inline(&self) -> Option<&[u8]> {
        if self.inode.format(self.fork).ok()? != Format::Local {
            return None;
        }
        let bytes = self.inode.fork(self.fork);
        match self.fork {
            Fork::Data => bytes.get(..usize_of(self.inode.size())),
            Fork::Attributes => Some(bytes),
        }
    }

    fn max_inline(&self) -> usize {
        self.reader().max_inline()
    }

    fn read(&self, block: u64, count: u32) -> Result<Option<Vec<u8>>, Error> {
        self.reader().read(block, count)
    }

    fn daddr(&self, block: u64) -> Result<u64, Error> {
        self.reader().daddr(block)
    }

    fn next_mapped(&self, from: u64) -> Result<Option<u64>, Error> {
        self.reader().next_mapped(from)
    }

    fn end(&self) -> Result<u64, Error> {
        self.reader().end()
    }
}

impl ForkEdit for ForkEditor<'_> {
    fn set_inline(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.release_all()?;
        if self.fork == Fork::Attributes {
            if bytes.is_empty() {
                return self.remove_attributes();
            }
            let end = self.inode.literal_len();
            self.make_room(bytes.len(), end.saturating_sub(bytes.len()))?;
        }
        let inode = self.inode.number();
        let place = self.inode.fork_mut(self.fork);
        place.fill(0);
        let Some(place) = place.get_mut(..bytes.len()) else {
            let what = "more bytes than fit into the inode";
            return Err(UnsupportedKind::Inode { inode, what }.into());
        };
        place.copy_from_slice(bytes);
        self.inode.set_format(self.fork, Format::Local);
        if self.fork == Fork::Data {
            self.inode.set_size(u64_of(bytes.len()));
        }
        self.volume.forget_map(inode, self.fork);
        Ok(())
    }

    fn set_mapped(&mut self) -> Result<(), Error> {
        if self.fork == Fork::Attributes {
            let default = DEFAULT_BORDER;
            self.make_room(LEAST_ATTRIBUTES, default)?;
        }
        if self.inode.format(self.fork)? == Format::Local || self.fork == Fork::Attributes {
            self.inode.fork_mut(self.fork).fill(0);
        }
        self.inode.set_format(self.fork, Format::Extents);
        // No count is too small for any inode.
        let _ = self.inode.set_extents(self.fork, 0);
        self.volume.forget_map(self.inode.number(), self.fork);
        Ok(())
    }

    fn set_size(&mut self, size: u64) {
        self.inode.set_size(size);
    }

    fn write(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error> {
        let len = self.volume.superblock.block_len();
        let count = u32::try_from(bytes.len().div_ceil(len.max(1))).unwrap_or(u32::MAX);
        let places = self.reader().places(block, count)?;
        for (place, bytes) in places.into_iter().zip(bytes.chunks_exact(len)) {
            self.volume.write_block(place, bytes)?;
        }
        Ok(())
    }

    fn allocate(&mut self, block: u64, count: u32) -> Result<(), Error> {
        let mut map = Map::clone(&*self.volume.map(self.inode, self.fork)?);
        let range = block..block.saturating_add(count.into());
        if let Some(Piece::Extent(extent)) = map
            .pieces(range.clone())
            .into_iter()
            .find(|piece| matches!(piece, Piece::Extent(_)))
        {
            return Err(CorruptKind::Inode {
                inode: self.inode.number(),
                field: "block to map",
                value: extent.offset,
                expected: "a hole",
            }
            .into());
        }
        self.volume
            .fill(self.inode.number(), self.fork, &mut map, range)?;
        self.volume.set_map(self.inode, self.fork, map)
    }

    fn free(&mut self, block: u64, count: u32) -> Result<(), Error> {
        let mut map = Map::clone(&*self.volume.map(self.inode, self.fork)?);
        let removed = map.remove(&(block..block.saturating_add(count.into())));
        for extent in removed {
            self.volume
                .release_extent(self.inode.number(), self.fork, &extent)?;
        }
        self.volume.set_map(self.inode, self.fork, map)
    }
}

impl Volume {
    /// Maps a hole to new blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or damaged groups.
    pub(crate) fn fill(
        &mut self,
        inode: u64,
        fork: Fork,
        map: &mut Map,
        hole: std::ops::Range<u64>,
    ) -> Result<Vec<Extent>, Error> {
        let owner = Owner::content(inode, fork == Fork::Attributes);
        let mut filled = Vec::new();
        let mut at = hole.start;
        while at < hole.end {
            let left = hole.end.saturating_sub(at);
            let count = u32::try_from(left).unwrap_or(MAX_COUNT).min(MAX_COUNT);
            let goal = match map.before(at) {
                Some(last) => FsBlock(last.start.0.saturating_add(last.count.into())),
                None => self.inode_goal(inode),
            };
            let purpose = Purpose {
                owner,
                offset: at,
                unwritten: false,
            };
            let Blocks { start, count } = self.allocate(goal, count, purpose)?;
            let extent = Extent {
                offset: at,
                start,
                count,
                unwritten: false,
            };
            map.insert(extent);
            filled.push(extent);
            at = extent.end();
        }
        Ok(filled)
    }

    /// Gives back the blocks of an extent that its file does not map any more.
    ///
    /// # Errors
    /// As [`Volume::release`].
    pub(crate) fn release_extent(
        &mut self,
        inode: u64,
        fork: Fork,
        extent: &Extent,
    ) -> Result<(), Error> {
        let purpose = Purpose {
            owner: Owner::content(inode, fork == Fork::Attributes),
            offset: extent.offset,
            unwritten: extent.unwritten,
        };
        let Extent { start, count, .. } = *extent;
        self.release(Blocks { start, count }, purpose)
    }

    /// Gives back all blocks of a fork. The inode is changed in memory only.
    ///
    /// # Errors
    /// A damaged map, and what writing meets.
    pub(crate) fn release_fork(&mut self, inode: &mut Inode, fork: Fork) -> Result<(), Error> {
        let mut map = Map::clone(&*self.map(inode, fork)?);
        for extent in map.remove(&(0..u64::MAX)) {
            self.release_extent(inode.number(), fork, &extent)?;
        }
        self.set_map(inode, fork, map)
    }
}
