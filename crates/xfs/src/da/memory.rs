//! A fork in memory, for tests.

use crate::error::{CorruptKind, Error};
use crate::fork::{ForkEdit, ForkRead};
use crate::raw::RawSuperblock;
use crate::superblock::Superblock;
use ondisk::width::{u64_of, usize_of};
use std::collections::{BTreeMap, HashMap};
use zerocopy::{FromZeros, IntoBytes};

/// What the file system of a fork is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) block_size: u32,
    pub(crate) dir_block_size: u32,
    pub(crate) v5: bool,
    pub(crate) ascii_ci: bool,
}

impl Kind {
    /// Blocks and directory blocks of one size.
    pub(crate) fn new(block_size: u32, v5: bool) -> Self {
        Self {
            block_size,
            dir_block_size: block_size,
            v5,
            ascii_ci: false,
        }
    }

    fn superblock(self) -> Superblock {
        let mut raw = RawSuperblock::new_zeroed();
        let inode_size = if self.v5 { 512 } else { 256 };
        let blocks = 1 << 20;
        let log = |value: u32| u8::try_from(value.ilog2()).unwrap();
        raw.sb_magicnum.set(0x5846_5342);
        raw.sb_blocksize.set(self.block_size);
        raw.sb_blocklog = log(self.block_size);
        raw.sb_dblocks.set(blocks.into());
        raw.sb_logstart.set(16);
        raw.sb_logblocks.set(512);
        raw.sb_rootino
            .set(u64::from(self.block_size / inode_size) * 8);
        raw.sb_agblocks.set(blocks);
        raw.sb_agblklog = log(blocks);
        raw.sb_agcount.set(1);
        raw.sb_sectsize.set(512);
        raw.sb_sectlog = 9;
        raw.sb_inodesize.set(u16::try_from(inode_size).unwrap());
        raw.sb_inodelog = log(inode_size);
        let per_block = self.block_size / inode_size;
        raw.sb_inopblock.set(u16::try_from(per_block).unwrap());
        raw.sb_inopblog = log(per_block);
        raw.sb_dirblklog = log(self.dir_block_size) - log(self.block_size);
        let ci = if self.ascii_ci { 0x4000 } else { 0 };
        raw.sb_versionnum
            .set(if self.v5 { 0xb4a5 } else { 0xb4a4 } | ci);
        raw.sb_features2.set(0x28a);
        raw.sb_features_incompat.set(1);
        raw.sb_uuid = [7; 16];
        let mut sector = raw.as_bytes().to_vec();
        sector.resize(512, 0);
        crate::checksum::set(&mut sector, crate::checksum::place::SUPERBLOCK);
        Superblock::parse(&sector, u64::MAX).unwrap()
    }
}

/// A fork in memory. Blocks that were given back are gone, and nothing takes their place.
#[derive(Clone, Debug)]
pub(crate) struct MemoryFork {
    superblock: Superblock,
    size: u64,
    inline: Option<Vec<u8>>,
    pub(crate) max_inline: usize,
    /// From blocks of the fork to those of the volume.
    map: BTreeMap<u64, u64>,
    pub(crate) blocks: HashMap<u64, Vec<u8>>,
    next: u64,
    /// How many blocks may still be mapped.
    pub(crate) free: u64,
}

/// The inode that all forks in memory belong to.
pub(crate) const OWNER: u64 = 131;

impl MemoryFork {
    /// A mapped fork without blocks.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            superblock: kind.superblock(),
            size: 0,
            inline: None,
            max_inline: if kind.v5 { 336 } else { 156 },
            map: BTreeMap::new(),
            blocks: HashMap::new(),
            next: 1000,
            free: u64::MAX,
        }
    }

    /// How many blocks are mapped.
    pub(crate) fn mapped(&self) -> usize {
        self.map.len()
    }

    /// The bytes of a block of the fork, to be broken.
    pub(crate) fn bytes_mut(&mut self, block: u64) -> &mut Vec<u8> {
        self.blocks.get_mut(&self.map[&block]).unwrap()
    }

    /// All blocks of the fork that are mapped.
    pub(crate) fn mapped_blocks(&self) -> Vec<u64> {
        self.map.keys().copied().collect()
    }

    fn hole(block: u64) -> Error {
        CorruptKind::Hole {
            inode: OWNER,
            logical: block,
        }
        .into()
    }
}

impl ForkRead for MemoryFork {
    fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    fn owner(&self) -> u64 {
        OWNER
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn inline(&self) -> Option<&[u8]> {
        self.inline.as_deref()
    }

    fn max_inline(&self) -> usize {
        self.max_inline
    }

    fn read(&self, block: u64, count: u32) -> Result<Option<Vec<u8>>, Error> {
        if !self.map.contains_key(&block) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for block in block..block + u64::from(count) {
            let place = self.map.get(&block).ok_or_else(|| Self::hole(block))?;
            bytes.extend(&self.blocks[place]);
        }
        Ok(Some(bytes))
    }

    fn daddr(&self, block: u64) -> Result<u64, Error> {
        let place = self.map.get(&block).ok_or_else(|| Self::hole(block))?;
        Ok(place * self.superblock.block_bytes() / 512)
    }

    fn next_mapped(&self, from: u64) -> Result<Option<u64>, Error> {
        Ok(self.map.range(from..).next().map(|(block, _)| *block))
    }

    fn end(&self) -> Result<u64, Error> {
        Ok(self.map.keys().next_back().map_or(0, |last| last + 1))
    }
}

impl ForkEdit for MemoryFork {
    fn set_inline(&mut self, bytes: &[u8]) -> Result<(), Error> {
        assert!(bytes.len() <= self.max_inline);
        self.map.clear();
        self.blocks.clear();
        // An inode without attributes has a mapped fork without blocks.
        self.inline = (!bytes.is_empty()).then(|| bytes.to_vec());
        Ok(())
    }

    fn set_mapped(&mut self) -> Result<(), Error> {
        assert!(self.map.is_empty());
        self.inline = None;
        Ok(())
    }

    fn set_size(&mut self, size: u64) {
        self.size = size;
    }

    fn write(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error> {
        let len = self.superblock.block_len();
        assert_eq!(bytes.len() % len, 0);
        for (at, bytes) in bytes.chunks(len).enumerate() {
            let block = block + u64_of(at);
            let place = *self.map.get(&block).ok_or_else(|| Self::hole(block))?;
            self.blocks.insert(place, bytes.to_vec());
        }
        Ok(())
    }

    fn allocate(&mut self, block: u64, count: u32) -> Result<(), Error> {
        assert!(self.inline.is_none());
        let needed = u64::from(count);
        self.free = self
            .free
            .checked_sub(needed)
            .ok_or(Error::NoSpace { needed, free: 0 })?;
        for block in block..block + needed {
            if self.map.contains_key(&block) {
                return Err(CorruptKind::Hole {
                    inode: OWNER,
                    logical: block,
                }
                .into());
            }
            self.map.insert(block, self.next);
            let junk = vec![0xee; usize_of(self.superblock.block_bytes())];
            self.blocks.insert(self.next, junk);
            self.next += 1;
        }
        Ok(())
    }

    fn free(&mut self, block: u64, count: u32) -> Result<(), Error> {
        for block in block..block + u64::from(count) {
            if let Some(place) = self.map.remove(&block) {
                self.blocks.remove(&place);
            }
        }
        Ok(())
    }
}
