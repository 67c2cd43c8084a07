//! Checking what editing touches: counters against bitmaps, bitmaps against who claims blocks,
//! counts of links against names, and every sum on the way.
//!
//! This is not `e2fsck`: nothing is repaired, and blocks that are marked but that nobody claims
//! are not reported, because they do no harm.

use crate::bitmap::Bitmap;
use crate::error::Error;
use crate::features::{incompat, ro_compat};
use crate::inode::{Inode, InodeNumber, ROOT, flag};
use crate::volume::Volume;
use fs::{Kind, Problem};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Problems that are listed at most.
const MOST: usize = 100;
/// The inode whose map names blocks that are reserved for descriptors, `EXT4_RESIZE_INO`.
const RESIZE: u32 = 7;
/// The inode of blocks that cannot be used, `EXT4_BAD_INO`.
const BAD_BLOCKS: u32 = 1;

/// Checks a whole volume.
///
/// # Errors
/// A failing device, and maps that are too large to be held.
pub(crate) fn check(volume: &Volume) -> Result<Vec<Problem>, Error> {
    let mut check = Check {
        volume,
        problems: Vec::new(),
        marked: Vec::new(),
        claimed: Vec::new(),
        names: HashMap::new(),
        links: Vec::new(),
        all_listed: true,
    };
    check.groups()?;
    // Bits of a bitmap stand for clusters there, which several nodes may share.
    let bigalloc = volume.superblock.features.ro_compat(ro_compat::BIGALLOC);
    if check.problems.is_empty() && !bigalloc {
        check.claim_metadata()?;
        check.inodes()?;
        check.compare_links();
    }
    Ok(check.problems)
}

struct Check<'v> {
    volume: &'v Volume,
    problems: Vec<Problem>,
    /// For each group, the blocks that are marked as in use.
    marked: Vec<Bitmap>,
    /// For each group, the blocks that somebody claimed.
    claimed: Vec<Bitmap>,
    /// How often each inode is named, `.` and `..` included.
    names: HashMap<u32, u32>,
    /// What inodes say how often they are named, and whether 1 may mean "many".
    links: Vec<(InodeNumber, u16, bool)>,
    /// Whether the names of every directory could be read.
    all_listed: bool,
}

impl Check<'_> {
    /// Descriptors, bitmaps and counters.
    fn groups(&mut self) -> Result<(), Error> {
        let superblock = &self.volume.superblock;
        let bigalloc = superblock.features.ro_compat(ro_compat::BIGALLOC);
        let (mut blocks, mut inodes) = (0_u64, 0_u32);
        for group in 0..superblock.group_count {
            let Some(descriptor) = self.note(self.volume.descriptor(group))? else {
                continue;
            };
            blocks = blocks.saturating_add(descriptor.free_blocks().into());
            inodes = inodes.saturating_add(descriptor.free_inodes());
            if !bigalloc {
                let marked = self.note(self.volume.load_block_bitmap(group))?;
                self.marked.extend(marked);
            }
            self.note(self.volume.load_inode_bitmap(group))?;
        }
        if !bigalloc && superblock.free_blocks() != blocks {
            let counted = superblock.free_blocks();
            self.say(format!(
                "superblock: {counted} free blocks, but the groups have {blocks}"
            ));
        }
        if superblock.free_inodes() != inodes {
            let counted = superblock.free_inodes();
            self.say(format!(
                "superblock: {counted} free inodes, but the groups have {inodes}"
            ));
        }
        Ok(())
    }

    /// Claims what belongs to the file system itself.
    fn claim_metadata(&mut self) -> Result<(), Error> {
        let superblock = &self.volume.superblock;
        for group in 0..superblock.group_count {
            let blocks = superblock.group_blocks(group);
            let bits = blocks.end.saturating_sub(blocks.start);
            let bits = u32::try_from(bits).unwrap_or(u32::MAX);
            self.claimed
                .push(Bitmap::empty(superblock.block_len(), bits));
        }
        for group in 0..superblock.group_count {
            let start = superblock.group_blocks(group).start;
            let backup = superblock.backup_blocks(group);
            self.claim(
                "superblock and descriptors",
                0,
                start..start.saturating_add(backup),
            )?;
            let descriptor = self.volume.descriptor(group)?;
            for run in descriptor.metadata(superblock) {
                self.claim("bitmap or table of inodes", 0, run)?;
            }
        }
        if superblock.features.incompat(incompat::MMP) {
            let block = superblock.raw().s_mmp_block.get();
            self.claim("multi-mount protection", 0, block..block.saturating_add(1))?;
        }
        Ok(())
    }

    /// Every inode that is marked as in use.
    fn inodes(&mut self) -> Result<(), Error> {
        let superblock = &self.volume.superblock;
        let mut shared = HashSet::new();
        for group in 0..superblock.group_count {
            let bitmap = self.volume.load_inode_bitmap(group)?;
            for index in (0..superblock.inodes_per_group).filter(|index| bitmap.is_set(*index)) {
                if self.problems.len() >= MOST {
                    return Ok(());
                }
                let number = u64::from(group)
                    .saturating_mul(superblock.inodes_per_group.into())
                    .saturating_add(index.into())
                    .saturating_add(1);
                let number = InodeNumber::new(superblock, number)?;
                let inode = self.volume.inode(number);
                if let Some(inode) = self.note(inode)? {
                    let checked = self.inode(&inode, &mut shared);
                    self.note(checked)?;
                }
            }
        }
        Ok(())
    }

    fn inode(&mut self, inode: &Inode, shared: &mut HashSet<u64>) -> Result<(), Error> {
        let number = inode.number();
        let reserved = number != ROOT && number.get() < self.volume.superblock.first_inode;
        if number.get() == BAD_BLOCKS || (reserved && !inode.is_in_use()) {
            return Ok(());
        }
        if number.get() == RESIZE {
            // Its indirect blocks are those that are reserved for descriptors.
            let tree = inode.block().get(52..).and_then(<[u8]>::first_chunk::<4>);
            let block = tree.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
            return match block {
                0 => Ok(()),
                _ => self.claim("resize inode", RESIZE, block..block.saturating_add(1)),
            };
        }
        let kind = inode.kind()?;
        let mut blocks = u64::from(inode.file_acl() != 0);
        if inode.has_mapped_content(&self.volume.superblock)? {
            let mapping = self.volume.mapping(inode)?;
            for run in mapping.runs() {
                self.claim("content", number.get(), run.blocks())?;
            }
            for block in &mapping.nodes {
                self.claim("map", number.get(), *block..block.saturating_add(1))?;
                blocks = blocks.saturating_add(1);
            }
            blocks = blocks.saturating_add(mapping.content_blocks());
            // Kept maps of a whole volume would push out those that are in use.
            self.volume.forget_mapping(number);
        }
        let acl = inode.file_acl();
        if acl != 0 && shared.insert(acl) {
            self.claim("attributes", number.get(), acl..acl.saturating_add(1))?;
        }
        self.volume.attributes(inode)?;
        let counted = inode.blocks(&self.volume.superblock);
        // Values in inodes of their own count where they are used, too.
        if counted != blocks && !self.volume.superblock.features.incompat(incompat::EA_INODE) {
            self.say(format!(
                "inode {}: i_blocks counts {counted} blocks, it has {blocks}",
                number.get()
            ));
        }
        if kind == Kind::Dir && inode.is_in_use() {
            self.directory(inode)?;
        }
        let is_named = number == ROOT || !self.volume.is_reserved(number);
        if is_named && inode.is_in_use() && !inode.has_flag(flag::EA_INODE) {
            let may_be_many = kind == Kind::Dir
                && self
                    .volume
                    .superblock
                    .features
                    .ro_compat(ro_compat::DIR_NLINK);
            self.links.push((number, inode.links(), may_be_many));
        }
        Ok(())
    }

    fn directory(&mut self, inode: &Inode) -> Result<(), Error> {
        let number = inode.number().get();
        let listed = self.volume.list_names(inode).and_then(|names| {
            let parent = self.volume.parent_of(inode)?;
            Ok((names, parent))
        });
        let (names, parent) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.all_listed = false;
                return match error {
                    Error::Unsupported(_) => Ok(()),
                    error => Err(error),
                };
            }
        };
        let named = names.iter().map(|name| name.found.inode);
        for named in named.chain([number, parent]) {
            let count = self.names.entry(named).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn compare_links(&mut self) {
        if !self.all_listed || !self.problems.is_empty() {
            return;
        }
        let mut names = std::mem::take(&mut self.names);
        for (number, links, may_be_many) in std::mem::take(&mut self.links) {
            let named = names.remove(&number.get()).unwrap_or(0);
            if named != u32::from(links) && !(may_be_many && links == 1) {
                let number = number.get();
                self.say(format!("inode {number}: {links} links, but {named} names"));
            }
        }
        let orphan_file = self.volume.superblock.raw().s_orphan_file_inum.get();
        let mut left: Vec<u32> = names.into_keys().collect();
        left.sort_unstable();
        for number in left {
            if number != orphan_file {
                self.say(format!(
                    "inode {number}: named in a directory, but not in use"
                ));
            }
        }
    }

    /// Notes that blocks are in use by somebody.
    fn claim(&mut self, what: &str, inode: u32, blocks: Range<u64>) -> Result<(), Error> {
        let superblock = &self.volume.superblock;
        let mut at = blocks.start;
        let mut problem = None;
        while at < blocks.end {
            let group = superblock.group_of_block(at);
            let within = superblock.group_blocks(group);
            let end = blocks.end.min(within.end);
            if end <= at {
                break;
            }
            let bit =
                |block: u64| u32::try_from(block.saturating_sub(within.start)).unwrap_or(u32::MAX);
            let bits = bit(at)..bit(end);
            let index = ondisk::width::usize_of_u32(group);
            let marked = self.marked.get(index);
            if marked.is_some_and(|marked| !marked.all_set(bits.clone())) {
                problem = Some("is marked as free");
            }
            if let Some(claimed) = self.claimed.get_mut(index) {
                let len = bits.end.saturating_sub(bits.start);
                if claimed.free_run(bits.start, len).len() < ondisk::width::usize_of_u32(len) {
                    problem = Some("is claimed twice");
                }
                claimed.set(bits, true);
            }
            at = end;
        }
        if let Some(problem) = problem {
            let Range { start, end } = blocks;
            self.say(format!(
                "blocks {start}..{end}, {what} of inode {inode}: one {problem}"
            ));
        }
        Ok(())
    }

    /// Turns damage into a problem; other errors end the check.
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Corrupt(corrupt)) => {
                self.say(corrupt.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn say(&mut self, problem: String) {
        if self.problems.len() < MOST {
            self.problems.push(Problem(problem));
        }
    }
}
