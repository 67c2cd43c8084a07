//! The file system below names: blocks, inodes and what is known about groups.

use crate::allocator::Allocator;
use crate::cache::BlockCache;
use crate::checksum::InodeSeed;
use crate::error::{CorruptKind, Error};
use crate::group_descriptor::GroupDescriptor;
use crate::inode::{Inode, InodeNumber, flag};
use crate::mapping::Mapping;
use crate::superblock::Superblock;
use crate::{block_map, extent};
use block::BlockWrite;
use fs::Time;
use ondisk::width::{u64_of, usize_of_u32};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A file system's blocks and inodes; reading is shared, changing is not.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) device: Arc<dyn BlockWrite>,
    pub(crate) superblock: Superblock,
    /// Bitmaps and counters that were changed.
    pub(crate) allocator: Allocator,
    /// The time that changed nodes get.
    pub(crate) now: Time,
    cache: BlockCache,
    /// Maps of the nodes that were read last.
    mappings: Mutex<BTreeMap<InodeNumber, Arc<Mapping>>>,
}

/// Maps that are kept; reading a file in pieces needs its map again for each piece.
const KEPT_MAPPINGS: usize = 32;
/// Runs of a map that is kept at most, so that the store stays small: 1.5 MiB.
const KEPT_RUNS: usize = 1 << 16;

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
            allocator: Allocator::default(),
            now: Time::default(),
            cache,
            mappings: Mutex::default(),
        })
    }

    /// Reads the superblock again and forgets what was read, after a journal was replayed.
    ///
    /// # Errors
    /// As [`Superblock::read`].
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        self.superblock = Superblock::read(&self.device)?;
        self.cache.clear();
        self.allocator = Allocator::default();
        self.mappings = Mutex::default();
        Ok(())
    }

    /// Reads a block of metadata.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn read_block(&self, block: u64) -> Result<Arc<[u8]>, Error> {
        if let Some(bytes) = self.cache.find(block) {
            return Ok(bytes);
        }
        let mut bytes = vec![0; self.superblock.block_len()];
        self.device
            .read_at(self.superblock.position(block), &mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.cache.keep(block, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Writes a block of metadata, unless it is known to hold these bytes.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write_block(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error> {
        if self.cache.find(block).is_some_and(|kept| *kept == *bytes) {
            return Ok(());
        }
        self.device
            .write_at(self.superblock.position(block), bytes)?;
        self.cache.keep(block, Arc::from(bytes));
        Ok(())
    }

    /// Forgets blocks that are written by position, or belong to somebody else now.
    pub(crate) fn forget(&self, blocks: Range<u64>) {
        self.cache.forget(blocks);
    }

    /// Reads a group's descriptor.
    ///
    /// # Errors
    /// A damaged descriptor, or what the device says.
    pub(crate) fn descriptor(&self, group: u32) -> Result<GroupDescriptor, Error> {
        if let Some(descriptor) = self.allocator.descriptor(group) {
            return Ok(descriptor.clone());
        }
        let (block, at) = self.descriptor_place(group);
        let bytes = self.read_block(block)?;
        let len = usize::from(self.superblock.desc_size);
        let bytes = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
        GroupDescriptor::parse(&self.superblock, group, bytes)
    }

    /// The block of a group's descriptor, and where in it the descriptor starts.
    pub(crate) fn descriptor_place(&self, group: u32) -> (u64, usize) {
        let per_block = self.superblock.descriptors_per_block();
        let within = group.checked_rem(per_block).unwrap_or(0);
        let at = within.saturating_mul(u32::from(self.superblock.desc_size));
        (self.superblock.descriptor_block(group), usize_of_u32(at))
    }

    /// Where an inode lies, as a byte position on the device.
    ///
    /// # Errors
    /// A damaged descriptor.
    pub(crate) fn inode_position(&self, number: InodeNumber) -> Result<u64, Error> {
        let (group, index) = number.place(&self.superblock);
        let table = self.descriptor(group)?.inode_table();
        let within = u64::from(index).saturating_mul(u64::from(self.superblock.inode_size));
        Ok(self.superblock.position(table).saturating_add(within))
    }

    /// Reads an inode, in use or not.
    ///
    /// # Errors
    /// A damaged inode, or what the device says.
    pub(crate) fn inode(&self, number: InodeNumber) -> Result<Inode, Error> {
        let position = self.inode_position(number)?;
        let (block, at) = self.split(position);
        let bytes = self.read_block(block)?;
        let len = usize::from(self.superblock.inode_size);
        // Inodes have a power of two of bytes, so none crosses the end of a block.
        let bytes = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
        Inode::parse(&self.superblock, number, bytes.to_vec(), position)
    }

    /// Reads an inode that a name points at.
    ///
    /// # Errors
    /// As [`inode`](Self::inode), and an inode that is not in use.
    pub(crate) fn live_inode(&self, number: InodeNumber) -> Result<Inode, Error> {
        let inode = self.inode(number)?;
        if inode.is_in_use() {
            Ok(inode)
        } else {
            Err(CorruptKind::UnusedInode {
                inode: number.get(),
            }
            .into())
        }
    }

    /// Writes an inode, with its checksum.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write_inode(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let position = self.inode_position(inode.number())?;
        let (block, at) = self.split(position);
        let bytes = inode.encode(&self.superblock);
        let mut table = self.read_block(block)?.to_vec();
        if let Some(place) = table.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
        self.device.write_at(position, bytes)?;
        self.cache.keep(block, table.into());
        Ok(())
    }

    /// A byte position as a block and a position in it.
    fn split(&self, position: u64) -> (u64, usize) {
        let size = self.superblock.block_bytes();
        let block = position.checked_div(size).unwrap_or(0);
        let within = position.saturating_sub(block.saturating_mul(size));
        (block, ondisk::width::usize_of(within))
    }

    /// What the sums of an inode's blocks start with.
    pub(crate) fn inode_seed(&self, inode: &Inode) -> InodeSeed {
        self.superblock
            .seed
            .inode(inode.number().get(), inode.generation())
    }

    /// Checks that blocks which a node claims lie where content may lie.
    ///
    /// # Errors
    /// Blocks outside.
    pub(crate) fn check_data_blocks(
        &self,
        inode: InodeNumber,
        block: u64,
        len: u64,
    ) -> Result<(), Error> {
        let first = u64::from(self.superblock.first_data_block).saturating_add(1);
        let end = self.superblock.blocks_count;
        match block.checked_add(len) {
            Some(last) if block >= first && last <= end => Ok(()),
            _ => Err(CorruptKind::BlockOutside {
                inode: inode.get(),
                block,
                first,
                end,
            }
            .into()),
        }
    }

    /// The map of a node whose content lies in blocks.
    ///
    /// # Errors
    /// A damaged map, or what the device says.
    pub(crate) fn mapping(&self, inode: &Inode) -> Result<Arc<Mapping>, Error> {
        let number = inode.number();
        let lock = || self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapping) = lock().get(&number) {
            return Ok(Arc::clone(mapping));
        }
        let mapping = Arc::new(if inode.has_flag(flag::EXTENTS) {
            extent::read(self, inode)?
        } else {
            block_map::read(self, inode)?
        });
        if mapping.runs().len() <= KEPT_RUNS {
            let mut kept = lock();
            if kept.len() >= KEPT_MAPPINGS {
                kept.clear();
            }
            kept.insert(number, Arc::clone(&mapping));
        }
        Ok(mapping)
    }

    /// Makes `mapping` the map of a node, in the form that the node has, and counts its blocks.
    /// The inode is changed in memory only.
    ///
    /// # Errors
    /// No room for the map, or what writing meets.
    pub(crate) fn set_mapping(
        &mut self,
        inode: &mut Inode,
        mut mapping: Mapping,
    ) -> Result<(), Error> {
        if inode.has_flag(flag::EXTENTS) {
            extent::write(self, inode, &mut mapping)?;
        } else {
            block_map::write(self, inode, &mut mapping)?;
        }
        let attributes = u64::from(inode.file_acl() != 0);
        let blocks = mapping
            .content_blocks()
            .saturating_add(u64_of(mapping.nodes.len()))
            .saturating_add(attributes);
        inode.set_blocks(&self.superblock, blocks)?;
        let mut kept = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(inode.number(), Arc::new(mapping));
        Ok(())
    }

    /// Forgets the map of a node that has none any more.
    pub(crate) fn forget_mapping(&self, number: InodeNumber) {
        let mut kept = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&number);
    }

    /// Takes or gives back blocks for the nodes of a map until there are `needed`.
    ///
    /// # Errors
    /// No room.
    pub(crate) fn resize_nodes(
        &mut self,
        inode: &Inode,
        nodes: &mut Vec<u64>,
        needed: usize,
    ) -> Result<(), Error> {
        while nodes.len() > needed {
            if let Some(block) = nodes.pop() {
                self.free_blocks(block..block.saturating_add(1))?;
            }
        }
        while nodes.len() < needed {
            let goal = nodes.last().map_or_else(
                || self.inode_goal(inode.number()),
                |block| block.saturating_add(1),
            );
            nodes.push(self.allocate_block(goal)?);
        }
        Ok(())
    }

    /// Where content of a node is placed that has none yet.
    pub(crate) fn inode_goal(&self, number: InodeNumber) -> u64 {
        let (group, _) = number.place(&self.superblock);
        self.superblock.group_blocks(group).start
    }
}
