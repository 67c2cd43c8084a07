//! The file system below names: blocks, and what is known about groups and inodes.

use crate::error::{CorruptKind, Error};
use crate::extent::Map;
use crate::group::Group;
use crate::inode::{Fork, Inode};
use crate::log::Recovery;
use crate::superblock::{FsBlock, Superblock};
use block::{BlockCache, BlockWrite};
use fs::Time;
use ondisk::width::{u64_of, usize_of_u32};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A file system's blocks; reading is shared, changing is not.
///
/// Blocks are written at once: nothing of a block that was given back can come up again later.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) device: Arc<dyn BlockWrite>,
    pub(crate) superblock: Superblock,
    /// The time that changed nodes get.
    pub(crate) now: Time,
    /// The log, if it was dirty when the volume was opened.
    pub(crate) recovery: Option<Recovery>,
    cache: BlockCache,
    /// Groups that were read; those that were changed are written by
    /// [`write_groups`](Self::write_groups).
    pub(crate) groups: Mutex<BTreeMap<u32, Arc<Group>>>,
    /// Maps of the nodes that were read last.
    pub(crate) maps: Mutex<BTreeMap<(u64, Fork), Arc<Map>>>,
}

impl Volume {
    /// Reads the superblock of `device`.
    ///
    /// # Errors
    /// As [`Superblock::read`].
    pub(crate) fn open(device: Arc<dyn BlockWrite>) -> Result<Self, Error> {
        let superblock = Superblock::read(&device)?;
        let cache = BlockCache::new(superblock.block_len());
        Ok(Self {
            device,
            superblock,
            now: Time::default(),
            recovery: None,
            cache,
            groups: Mutex::default(),
            maps: Mutex::default(),
        })
    }

    /// Reads the superblock again and forgets what was read, after the log was replayed.
    ///
    /// # Errors
    /// As [`Superblock::read`].
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        self.superblock = Superblock::read(&self.device)?;
        self.cache.clear();
        let groups = self.groups.get_mut();
        groups.unwrap_or_else(PoisonError::into_inner).clear();
        let maps = self.maps.get_mut();
        maps.unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Reads a block of metadata, which must lie in the file system.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn read_block(&self, block: FsBlock) -> Result<Arc<[u8]>, Error> {
        if let Some(bytes) = self.cache.find(block.0) {
            return Ok(bytes);
        }
        let mut bytes = vec![0; self.superblock.block_len()];
        self.device
            .read_at(self.superblock.position(block), &mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.cache.keep(block.0, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Writes a whole block of metadata.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write_block(&mut self, block: FsBlock, bytes: &[u8]) -> Result<(), Error> {
        self.device
            .write_at(self.superblock.position(block), bytes)?;
        self.cache.keep(block.0, Arc::from(bytes));
        Ok(())
    }

    /// Forgets blocks that are written by position, or belong to somebody else now.
    pub(crate) fn forget(&self, start: FsBlock, count: u64) {
        self.cache.forget(start.0..start.0.saturating_add(count));
    }

    /// Where an inode lies, as a byte position on the device.
    ///
    /// # Errors
    /// A number that no inode can have.
    pub(crate) fn inode_position(&self, number: u64) -> Result<u64, Error> {
        let (block, at) = self.inode_place(number)?;
        Ok(self.superblock.position(block).saturating_add(u64_of(at)))
    }

    fn inode_place(&self, number: u64) -> Result<(FsBlock, usize), Error> {
        let Some((group, block, at)) = self.superblock.split_inode(number) else {
            return Err(CorruptKind::NoSuchInode { inode: number }.into());
        };
        Ok((self.superblock.fs_block(group, block), at))
    }

    /// Reads an inode, in use or not.
    ///
    /// # Errors
    /// A damaged inode, a number that none has, or what the device says.
    pub(crate) fn inode(&self, number: u64) -> Result<Inode, Error> {
        let (block, at) = self.inode_place(number)?;
        let bytes = self.read_block(block)?;
        let end = at.saturating_add(usize_of_u32(self.superblock.inode_size));
        // Inodes have a power of two of bytes, so none crosses the end of a block.
        let position = self.superblock.position(block).saturating_add(u64_of(at));
        let bytes = bytes.get(at..end).unwrap_or_default();
        Inode::parse(&self.superblock, number, bytes, position)
    }

    /// Reads an inode that a name points at.
    ///
    /// # Errors
    /// As [`inode`](Self::inode), and an inode that is not in use.
    pub(crate) fn live_inode(&self, number: u64) -> Result<Inode, Error> {
        let inode = self.inode(number)?;
        if inode.is_in_use() {
            Ok(inode)
        } else {
            Err(CorruptKind::UnusedInode { inode: number }.into())
        }
    }

    /// Writes an inode, with its checksum.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write_inode(&mut self, inode: &Inode) -> Result<(), Error> {
        let (block, at) = self.inode_place(inode.number())?;
        let bytes = inode.encode(&self.superblock);
        let mut all = self.read_block(block)?.to_vec();
        if let Some(place) = all.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(&bytes);
        }
        let position = self.superblock.position(block).saturating_add(u64_of(at));
        self.device.write_at(position, &bytes)?;
        self.cache.keep(block.0, all.into());
        Ok(())
    }
}
