//! The file system below names: blocks, inodes and what is known about groups.

use crate::allocator::Allocator;
use crate::checksum::InodeSeed;
use crate::error::{CorruptKind, Error};
use crate::group_descriptor::GroupDescriptor;
use crate::inode::{Inode, InodeNumber, flag};
use crate::mapping::Mapping;
use crate::superblock::Superblock;
use crate::{block_map, extent};
use block::{BlockCache, BlockWrite};
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bitmap::Bitmap;
    use crate::error::Corrupt;
    use crate::features::{compat, incompat, ro_compat};
    use crate::mapping::Run;
    use crate::raw::RawSuperblock;
    use crate::superblock::POSITION;
    use block::Memory;
    use fs::{Kind, NewNode};
    use ondisk::width::usize_of;
    use zerocopy::{FromZeros, IntoBytes};

    pub(crate) const BLOCKS: u32 = 8192;
    const INODES: u32 = 32;
    /// Superblock, descriptors, two bitmaps and eight blocks of inodes.
    const METADATA: u32 = 12;

    /// A superblock of one group of blocks of 1 KiB.
    pub(crate) fn superblock(incompat: u32, ro_compat: u32) -> RawSuperblock {
        let mut raw = RawSuperblock::new_zeroed();
        raw.s_magic.set(0xef53);
        raw.s_rev_level.set(1);
        raw.s_state.set(1);
        raw.s_inodes_count.set(INODES);
        raw.s_inodes_per_group.set(INODES);
        raw.s_blocks_count_lo.set(BLOCKS);
        raw.s_blocks_per_group.set(8192);
        raw.s_clusters_per_group.set(8192);
        raw.s_first_data_block.set(1);
        raw.s_first_ino.set(11);
        raw.s_inode_size.set(256);
        raw.s_free_blocks_count_lo.set(BLOCKS - 1 - METADATA);
        raw.s_free_inodes_count.set(INODES - 10);
        raw.s_feature_compat.set(compat::DIR_INDEX);
        raw.s_feature_incompat.set(incompat | incompat::FILETYPE);
        raw.s_feature_ro_compat.set(ro_compat);
        raw.s_checksum_type = 1;
        raw.s_uuid = [7; 16];
        raw.s_wtime.set(1_600_000_000);
        raw
    }

    /// A volume in memory without any directory.
    pub(crate) fn volume(incompat: u32, ro_compat: u32) -> Volume {
        let device = Arc::new(Memory::new(vec![0; usize_of(u64::from(BLOCKS) << 10)]));
        let mut raw = superblock(incompat, ro_compat);
        let sum = crate::checksum::superblock(raw.as_bytes());
        raw.s_checksum.set(sum);
        device.write_at(POSITION, raw.as_bytes()).unwrap();
        let parsed = Superblock::read(&device).unwrap();

        let mut blocks = Bitmap::empty(1024, BLOCKS - 1);
        blocks.set(0..METADATA, true);
        let mut inodes = Bitmap::empty(1024, INODES);
        inodes.set(0..10, true);
        let mut places = [0; 32];
        for (at, value) in [(0, 3_u32), (4, 4), (8, 5)] {
            places[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let seed = parsed.seed;
        let unsummed = Superblock::parse(
            superblock(incompat, 0).as_bytes().try_into().unwrap(),
            u64::from(BLOCKS) << 10,
        )
        .unwrap();
        let mut descriptor = GroupDescriptor::parse(&unsummed, 0, &places).unwrap();
        descriptor.set_free_blocks(blocks.free());
        descriptor.set_free_inodes(inodes.free());
        descriptor.set_block_bitmap_sum(seed.bitmap(blocks.bytes()));
        descriptor.set_inode_bitmap_sum(seed.bitmap(&inodes.bytes()[..4]));
        device.write_at(2048, descriptor.encode(&parsed)).unwrap();
        device.write_at(3 << 10, blocks.bytes()).unwrap();
        device.write_at(4 << 10, inodes.bytes()).unwrap();
        Volume::open(device).unwrap()
    }

    pub(crate) fn new_file(volume: &mut Volume) -> Inode {
        let number = volume.allocate_inode(0, false).unwrap();
        let new = NewNode::root(0o644);
        let now = volume.now;
        let mut inode = Inode::new(&volume.superblock, number, 9, Kind::File, new, now);
        inode.set_links(1);
        volume.start_mapping(&mut inode);
        volume.write_inode(&mut inode).unwrap();
        inode
    }

    /// What the inode reads as after everything kept in memory is forgotten.
    fn reread(volume: &mut Volume, inode: &mut Inode) -> Vec<u8> {
        volume.write_inode(inode).unwrap();
        volume.commit().unwrap();
        volume.reopen().unwrap();
        *inode = volume.live_inode(inode.number()).unwrap();
        let mut content = vec![0xee; usize_of(inode.size())];
        let read = volume.read_content(inode, 0, &mut content).unwrap();
        assert_eq!(read, content.len());
        content
    }

    fn kinds() -> Vec<Volume> {
        vec![
            volume(incompat::EXTENTS, ro_compat::METADATA_CSUM),
            volume(incompat::EXTENTS, ro_compat::GDT_CSUM),
            volume(0, 0),
        ]
    }

    #[test]
    fn a_file_with_many_holes_reads_back_and_gives_everything_back() {
        for mut volume in kinds() {
            let free = volume.count_free().unwrap();
            let mut inode = new_file(&mut volume);
            let mut want = vec![0; 1500 * 1024 + 5];
            for block in (0..1500).step_by(2) {
                let at = block * 1024 + 3;
                let bytes = [u8::try_from(block % 251).unwrap(); 500];
                want[at..at + 500].copy_from_slice(&bytes);
                volume
                    .write_content(&mut inode, u64_of(at), &bytes)
                    .unwrap();
            }
            volume
                .set_content_size(&mut inode, u64_of(want.len()))
                .unwrap();
            assert!(reread(&mut volume, &mut inode) == want);
            let mapping = volume.mapping(&inode).unwrap();
            assert_eq!(mapping.content_blocks(), 750);
            // Nine leaves under an index block; or one indirect block and five under a double one.
            let nodes = if inode.has_flag(flag::EXTENTS) {
                10
            } else {
                1 + 1 + 5
            };
            assert_eq!(mapping.nodes.len(), nodes);
            assert_eq!(inode.blocks(&volume.superblock), 750 + u64_of(nodes));

            for at in [1000 * 1024, 12 * 1024 + 100, 7] {
                volume.set_content_size(&mut inode, at).unwrap();
                want.truncate(usize_of(at));
                assert!(reread(&mut volume, &mut inode) == want);
            }
            volume.set_content_size(&mut inode, 2000).unwrap();
            want.resize(2000, 0);
            assert!(reread(&mut volume, &mut inode) == want);
            volume.delete_node(&mut inode).unwrap();
            assert_eq!(volume.count_free().unwrap(), free);
        }
    }

    #[test]
    fn content_is_overwritten_in_place_and_appended_contiguously() {
        for mut volume in kinds() {
            let mut inode = new_file(&mut volume);
            let mut want: Vec<u8> = Vec::new();
            for piece in 0..40_u8 {
                let bytes = vec![piece; 5001];
                volume
                    .write_content(&mut inode, u64_of(want.len()), &bytes)
                    .unwrap();
                want.extend(bytes);
            }
            let blocks = inode.blocks(&volume.superblock);
            volume
                .write_content(&mut inode, 70_000, &[9; 3000])
                .unwrap();
            want[70_000..73_000].fill(9);
            assert_eq!(inode.blocks(&volume.superblock), blocks);
            assert!(reread(&mut volume, &mut inode) == want);
            if inode.has_flag(flag::EXTENTS) {
                assert_eq!(volume.mapping(&inode).unwrap().runs().len(), 1);
            }
        }
    }

    #[test]
    fn reserved_blocks_read_as_zeros_until_they_are_written() {
        let mut volume = volume(incompat::EXTENTS, ro_compat::METADATA_CSUM);
        let mut inode = new_file(&mut volume);
        let blocks = volume.allocate_blocks(100, 10).unwrap();
        for block in blocks.clone() {
            let position = volume.superblock.position(block);
            volume.device.write_at(position, &[0xaa; 1024]).unwrap();
        }
        let mut mapping = Mapping::default();
        mapping.push(Run {
            logical: 0,
            len: 10,
            physical: blocks.start,
            unwritten: true,
        });
        volume.set_mapping(&mut inode, mapping).unwrap();
        inode.set_size(10 * 1024);
        let mut want = vec![0; 10 * 1024];
        assert!(reread(&mut volume, &mut inode) == want);
        volume.write_content(&mut inode, 5000, &[1; 3]).unwrap();
        want[5000..5003].fill(1);
        assert!(reread(&mut volume, &mut inode) == want);
    }

    #[test]
    fn a_full_volume_says_so() {
        let mut volume = volume(incompat::EXTENTS, 0);
        let mut inode = new_file(&mut volume);
        let (free, _) = volume.count_free().unwrap();
        let all = vec![1; usize_of(free << 10)];
        volume.write_content(&mut inode, 0, &all).unwrap();
        assert_eq!(volume.count_free().unwrap().0, 0);
        let refused = volume.write_content(&mut inode, u64_of(all.len()), &[1]);
        assert!(matches!(refused, Err(Error::NoSpace { free: 0, .. })));
        for _ in 0..INODES - 11 {
            new_file(&mut volume);
        }
        let refused = volume.allocate_inode(0, false);
        assert!(matches!(refused, Err(Error::NoInodes)));
    }

    fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> CorruptKind {
        match result {
            Err(Error::Corrupt(Corrupt(kind))) => kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_free_cannot_be_freed() {
        let mut volume = volume(incompat::EXTENTS, 0);
        let freed = volume.free_blocks(100..101);
        assert_eq!(reason(freed), CorruptKind::FreeBlockFreed { block: 100 });
        let beyond = volume.free_blocks(u64::from(BLOCKS)..u64::from(BLOCKS) + 1);
        assert!(matches!(reason(beyond), CorruptKind::FreeBlockFreed { .. }));
        let number = InodeNumber::new(&volume.superblock, 20).unwrap();
        let freed = volume.free_inode(number, false);
        assert_eq!(reason(freed), CorruptKind::FreeInodeFreed { inode: 20 });
    }

    #[test]
    fn a_bitmap_that_contradicts_its_descriptor_is_not_changed() {
        for sums in [0, ro_compat::METADATA_CSUM] {
            let volume = volume(incompat::EXTENTS, sums);
            volume.device.write_at(3 << 10, &[0xff; 2]).unwrap();
            volume.device.write_at(4 << 10, &[0xfe]).unwrap();
            for found in [volume.load_block_bitmap(0), volume.load_inode_bitmap(0)] {
                let CorruptKind::Group { field, .. } = reason(found) else {
                    panic!("another reason");
                };
                assert_eq!(field.ends_with("csum"), sums != 0);
            }
        }
    }

    /// Makes a file with an extent tree of two levels, and returns its first node.
    fn file_with_tree(volume: &mut Volume) -> (Inode, u64) {
        let mut inode = new_file(volume);
        for block in 0..100 {
            volume
                .write_content(&mut inode, block * 2048, &[1])
                .unwrap();
        }
        volume.write_inode(&mut inode).unwrap();
        let node = volume.mapping(&inode).unwrap().nodes[0];
        volume.forget_mapping(inode.number());
        (inode, node)
    }

    #[test]
    fn each_fault_of_an_extent_node_has_its_reason() {
        let faults: [(u64, &[u8], &str); 8] = [
            (0, &[0], "eh_magic"),
            (2, &[0xff], "eh_entries"),
            (4, &[0xff, 1], "eh_entries"),
            (6, &[1], "eh_depth"),
            (16, &[0, 0], "ee_len"),
            (24, &[0], "comes after"),
            (18, &[1], "outside the blocks"),
            (20, &[0, 0, 0, 0], "outside the blocks"),
        ];
        for (at, bytes, want) in faults {
            let mut volume = volume(incompat::EXTENTS, 0);
            let (inode, node) = file_with_tree(&mut volume);
            let position = volume.superblock.position(node) + at;
            volume.device.write_at(position, bytes).unwrap();
            volume.cache.clear();
            let found = reason(volume.mapping(&inode)).to_string();
            assert!(found.contains(want), "{found}");
        }
    }

    #[test]
    fn a_node_with_a_wrong_sum_or_that_occurs_twice_is_refused() {
        let mut summed = volume(incompat::EXTENTS, ro_compat::METADATA_CSUM);
        let (inode, node) = file_with_tree(&mut summed);
        let position = summed.superblock.position(node);
        summed.device.write_at(position + 20, &[0x55]).unwrap();
        summed.cache.clear();
        let found = reason(summed.mapping(&inode));
        assert!(matches!(
            found,
            CorruptKind::Checksum {
                what: "extent node",
                ..
            }
        ));

        let mut volume = volume(incompat::EXTENTS, 0);
        let (mut inode, node) = file_with_tree(&mut volume);
        let twice = inode.block()[12..24].to_vec();
        inode.block_mut()[24..36].copy_from_slice(&twice);
        inode.block_mut()[2] = 2;
        let number = inode.number().get();
        let found = reason(volume.mapping(&inode));
        let cycle = CorruptKind::MapCycle {
            inode: number,
            block: node,
        };
        let order = matches!(found, CorruptKind::ExtentOrder { .. });
        assert!(found == cycle || order, "{found}");
    }

    #[test]
    fn an_indirect_block_that_names_itself_is_refused() {
        let mut volume = volume(0, 0);
        let mut inode = new_file(&mut volume);
        volume
            .write_content(&mut inode, 300 * 1024, &[1; 3000])
            .unwrap();
        let node = volume.mapping(&inode).unwrap().nodes[0];
        volume.forget_mapping(inode.number());
        let number = u32::try_from(node).unwrap().to_le_bytes();
        let position = volume.superblock.position(node);
        volume.device.write_at(position, &number).unwrap();
        volume.cache.clear();
        let found = reason(volume.mapping(&inode));
        assert!(matches!(found, CorruptKind::MapCycle { .. }), "{found}");
    }
}
