//! An allocation group: its headers, and the records of its trees in memory.

use crate::checksum::{self, place};
use crate::chunk::{self, Chunk};
use crate::error::{CorruptKind, Error};
use crate::free_space::FreeSpace;
use crate::raw::{RawAgf, RawAgflHeader, RawAgi};
use crate::rmap::Owners;
use crate::sharing::Sharing;
use crate::tree::{NO_BLOCK, Tree, list_capacity};
use crate::volume::Volume;
use ondisk::width::usize_of_u32;
use std::collections::{BTreeMap, HashSet};
use zerocopy::FromBytes;

/// What is known about a group. All of it agrees with each other once it is parsed.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) number: u32,
    pub(crate) agf: RawAgf,
    pub(crate) agi: RawAgi,
    pub(crate) free: FreeSpace,
    pub(crate) chunks: BTreeMap<u32, Chunk>,
    /// Present with `rmapbt`.
    pub(crate) owners: Option<Owners>,
    /// Present with `reflink`.
    pub(crate) sharing: Option<Sharing>,
    /// Blocks that the trees of free space and owners grow from.
    pub(crate) list: Vec<u32>,
    /// Blocks of each tree that the file system has.
    pub(crate) blocks: BTreeMap<Tree, Vec<u32>>,
    /// What the group adds to the superblock's counters, as they are.
    pub(crate) counted: Counted,
    /// Trees whose records or blocks are not what the volume holds.
    pub(crate) changed: HashSet<Changed>,
}

/// What a group adds to the counters of the superblock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counted {
    /// To `sb_fdblocks`.
    pub(crate) free: u64,
    /// To `sb_icount`.
    pub(crate) inodes: u32,
    /// To `sb_ifree`.
    pub(crate) free_inodes: u32,
}

/// What of a group has to be written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Changed {
    /// Both trees of free space.
    Space,
    /// Both trees of inodes.
    Inodes,
    /// The tree of owners.
    Owners,
    /// The tree of shared blocks.
    Sharing,
    /// Headers alone.
    Headers,
}

/// "XAGF".
const AGF_MAGIC: u32 = 0x5841_4746;
/// "XAGI".
const AGI_MAGIC: u32 = 0x5841_4749;
/// "XAFL".
pub(crate) const AGFL_MAGIC: u32 = 0x5841_464c;

impl Group {
    /// Chunks with free inodes.
    pub(crate) fn free_chunks(&self) -> usize {
        let free = self.chunks.values().filter(|chunk| chunk.free_count() > 0);
        free.count()
    }

    /// Blocks of a tree.
    pub(crate) fn blocks_of(&self, tree: Tree) -> &[u32] {
        self.blocks.get(&tree).map_or(&[], Vec::as_slice)
    }

    /// `agf_btreeblks`: blocks of the trees of free space and owners without their roots.
    pub(crate) fn tree_blocks(&self) -> u32 {
        let trees = [Tree::FreeByBlock, Tree::FreeByLength, Tree::Owners];
        let without_root = trees.map(|tree| self.blocks_of(tree).len().saturating_sub(1));
        u32::try_from(without_root.iter().sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// What the group adds to the superblock's counters now.
    pub(crate) fn count(&self) -> Counted {
        let list = u64::try_from(self.list.len()).unwrap_or(0);
        let free = u64::from(self.free.total())
            .saturating_add(list)
            .saturating_add(self.tree_blocks().into());
        let (inodes, free_inodes) = self.inodes();
        Counted {
            free,
            inodes,
            free_inodes,
        }
    }

    /// Inodes with a place, and those of them that are free.
    pub(crate) fn inodes(&self) -> (u32, u32) {
        let chunks = self.chunks.values();
        chunks.fold((0, 0), |(count, free): (u32, u32), chunk| {
            let count = count.saturating_add(chunk.count());
            (count, free.saturating_add(chunk.free_count()))
        })
    }
}

impl Volume {
    /// Reads and checks the header of a group's free space.
    ///
    /// # Errors
    /// A damaged header.
    pub(crate) fn read_agf(&self, group: u32) -> Result<RawAgf, Error> {
        let sector = self.read_header(group, 1, place::AGF, "AGF")?;
        let (agf, _) = RawAgf::read_from_prefix(&sector)
            .map_err(|_| header_error(group, "AGF", 0, "a sector"))?;
        let same = [
            ("agf_magicnum", agf.agf_magicnum.get(), AGF_MAGIC),
            ("agf_versionnum", agf.agf_versionnum.get(), 1),
            ("agf_seqno", agf.agf_seqno.get(), group),
            (
                "agf_length",
                agf.agf_length.get(),
                self.superblock.blocks_of_group(group),
            ),
        ];
        self.check_header(group, &same, &agf.agf_uuid)?;
        Ok(agf)
    }

    /// Reads and checks the header of a group's inodes.
    ///
    /// # Errors
    /// A damaged header.
    pub(crate) fn read_agi(&self, group: u32) -> Result<RawAgi, Error> {
        let sector = self.read_header(group, 2, place::AGI, "AGI")?;
        let (agi, _) = RawAgi::read_from_prefix(&sector)
            .map_err(|_| header_error(group, "AGI", 0, "a sector"))?;
        let same = [
            ("agi_magicnum", agi.agi_magicnum.get(), AGI_MAGIC),
            ("agi_versionnum", agi.agi_versionnum.get(), 1),
            ("agi_seqno", agi.agi_seqno.get(), group),
            (
                "agi_length",
                agi.agi_length.get(),
                self.superblock.blocks_of_group(group),
            ),
        ];
        self.check_header(group, &same, &agi.agi_uuid)?;
        Ok(agi)
    }

    /// Reads everything about a group.
    ///
    /// # Errors
    /// Damaged headers or trees, or counters that do not agree with the trees.
    pub(crate) fn load_group(&self, number: u32) -> Result<Group, Error> {
        let superblock = &self.superblock;
        let (agf, agi) = (self.read_agf(number)?, self.read_agi(number)?);
        let features = superblock.features;
        let mut blocks = BTreeMap::new();
        let mut read = |tree, root: u32, levels: u32| -> Result<Vec<u8>, Error> {
            let content = self.read_tree(tree, number, root, levels)?;
            blocks.insert(tree, content.blocks);
            Ok(content.records)
        };
        let data = superblock.header_blocks()..superblock.blocks_of_group(number);
        let by_block = read(
            Tree::FreeByBlock,
            agf.agf_bno_root.get(),
            agf.agf_bno_level.get(),
        )?;
        let by_length = read(
            Tree::FreeByLength,
            agf.agf_cnt_root.get(),
            agf.agf_cnt_level.get(),
        )?;
        let free = FreeSpace::parse(number, &by_block, data.clone())?;
        if free.records_by_length() != by_length {
            let value = u64::try_from(by_length.len() / 8).unwrap_or(0);
            let expected = "the extents of the tree by block, sorted";
            return Err(header_error(
                number,
                "tree of free extents by length",
                value,
                expected,
            ));
        }
        let inodes = read(Tree::Inodes, agi.agi_root.get(), agi.agi_level.get())?;
        let chunks = chunk::parse(superblock, number, &inodes)?;
        if features.finobt() {
            let kept = read(
                Tree::FreeInodes,
                agi.agi_free_root.get(),
                agi.agi_free_level.get(),
            )?;
            if kept != chunk::records(&chunks, features.sparse_inodes(), true) {
                let value = u64::try_from(kept.len() / 16).unwrap_or(0);
                let expected = "the chunks with free inodes";
                return Err(header_error(number, "tree of free inodes", value, expected));
            }
        }
        let owners = if features.rmapbt() {
            let records = read(
                Tree::Owners,
                agf.agf_rmap_root.get(),
                agf.agf_rmap_level.get(),
            )?;
            // Headers of the group have an owner too.
            Some(Owners::parse(number, &records, 0..data.end)?)
        } else {
            None
        };
        let sharing = if features.reflink() {
            let (root, level) = (agf.agf_refcount_root.get(), agf.agf_refcount_level.get());
            let records = read(Tree::Sharing, root, level)?;
            Some(Sharing::parse(number, &records, data.clone())?)
        } else {
            None
        };
        let list = self.read_list(number, &agf)?;
        let mut group = Group {
            counted: Counted::default(),
            number,
            agf,
            agi,
            free,
            chunks,
            owners,
            sharing,
            list,
            blocks,
            changed: HashSet::new(),
        };
        check_group(&group)?;
        group.counted = group.count();
        Ok(group)
    }

    /// The blocks that a group's list of reserved blocks holds.
    fn read_list(&self, group: u32, agf: &RawAgf) -> Result<Vec<u32>, Error> {
        let v5 = self.superblock.features.v5();
        let sector = self.read_header(group, 3, place::AGFL, "AGFL")?;
        let mut body = sector.as_slice();
        if v5 {
            let (header, rest) = RawAgflHeader::read_from_prefix(&sector)
                .map_err(|_| header_error(group, "AGFL", 0, "a sector"))?;
            let same = [
                ("agfl_magicnum", header.agfl_magicnum.get(), AGFL_MAGIC),
                ("agfl_seqno", header.agfl_seqno.get(), group),
            ];
            self.check_header(group, &same, &header.agfl_uuid)?;
            body = rest;
        }
        let capacity = list_capacity(v5, self.superblock.sector_size);
        let (first, last) = (agf.agf_flfirst.get(), agf.agf_fllast.get());
        let count = agf.agf_flcount.get();
        let wrong = |field, value: u32| {
            let expected = "a list within its sector";
            header_error(group, field, value.into(), expected)
        };
        if first >= capacity || last >= capacity {
            return Err(wrong("agf_flfirst or agf_fllast", first.max(last)));
        }
        let span = if last >= first {
            last.saturating_sub(first)
        } else {
            capacity.saturating_sub(first).saturating_add(last)
        };
        if count > capacity || (count > 0 && count != span.saturating_add(1)) {
            return Err(wrong("agf_flcount", count));
        }
        let mut list = Vec::new();
        for step in 0..count {
            let slot = first
                .saturating_add(step)
                .checked_rem(capacity)
                .unwrap_or(0);
            let at = usize_of_u32(slot).saturating_mul(4);
            let bytes = body.get(at..).and_then(<[u8]>::first_chunk::<4>);
            let block = bytes.map_or(NO_BLOCK, |bytes| u32::from_be_bytes(*bytes));
            if block >= self.superblock.blocks_of_group(group)
                || block < self.superblock.header_blocks()
            {
                let expected = "blocks within the group";
                return Err(header_error(
                    group,
                    "a block of the AGFL",
                    block.into(),
                    expected,
                ));
            }
            list.push(block);
        }
        Ok(list)
    }

    /// Reads a sector of a group's headers and checks its sum.
    pub(crate) fn read_header(
        &self,
        group: u32,
        sector: u32,
        sum_at: usize,
        what: &'static str,
    ) -> Result<Vec<u8>, Error> {
        let position = self.superblock.header_position(group, sector);
        let mut bytes = vec![0; usize_of_u32(self.superblock.sector_size)];
        self.device.read_at(position, &mut bytes)?;
        if self.superblock.features.v5() {
            checksum::verify(&bytes, sum_at, what, position)?;
        }
        Ok(bytes)
    }

    fn check_header(
        &self,
        group: u32,
        same: &[(&'static str, u32, u32)],
        uuid: &[u8; 16],
    ) -> Result<(), Error> {
        for (field, value, expected) in same {
            if value != expected {
                let expected = "what belongs into this group's header";
                return Err(header_error(group, field, (*value).into(), expected));
            }
        }
        if self.superblock.features.v5() && *uuid != self.superblock.meta_uuid {
            let expected = "the identifier of the file system";
            return Err(header_error(group, "uuid in a header", 0, expected));
        }
        Ok(())
    }
}

/// Compares the counters of the headers with the trees, and looks whether any block has two uses.
fn check_group(group: &Group) -> Result<(), Error> {
    let (agf, agi) = (&group.agf, &group.agi);
    let (inodes, free_inodes) = group.inodes();
    let counters = [
        ("agf_freeblks", agf.agf_freeblks.get(), group.free.total()),
        ("agf_longest", agf.agf_longest.get(), group.free.longest()),
        ("agi_count", agi.agi_count.get(), inodes),
        ("agi_freecount", agi.agi_freecount.get(), free_inodes),
    ];
    for (field, value, counted) in counters {
        if value != counted {
            let expected = "what the trees of the group say";
            return Err(header_error(group.number, field, value.into(), expected));
        }
    }
    let mut seen = HashSet::new();
    let used = group.blocks.values().flatten().chain(&group.list);
    for block in used {
        let end = block.saturating_add(1);
        if !seen.insert(*block) || group.free.within(*block..end).next().is_some() {
            let expected = "one use of each block";
            let field = "a block of a tree or of the AGFL";
            return Err(header_error(group.number, field, (*block).into(), expected));
        }
    }
    Ok(())
}

pub(crate) fn header_error(
    group: u32,
    field: &'static str,
    value: u64,
    expected: &'static str,
) -> Error {
    CorruptKind::Group {
        group,
        field,
        value,
        expected,
    }
    .into()
}
