//! Checking what editing touches: counters against trees, trees against who uses blocks, counts of
//! links against names, and every sum on the way.
//!
//! This is not `xfs_repair`: nothing is repaired, and blocks that are neither free nor in use are
//! not reported, because they do no harm. The cost is in proportion to the metadata.

mod claims;
mod keys;
mod maps;

use crate::attr;
use crate::dir;
use crate::error::Error;
use crate::fork_access::ForkReader;
use crate::group::Group;
use crate::inode::{Fork, Format, Inode};
use crate::rmap::Owner;
use crate::sharing::Sharing;
use crate::superblock::FsBlock;
use crate::tree::Tree;
use crate::volume::Volume;
use claims::{Claim, Claims};
use fs::{Kind, Problem};
use ondisk::width::{u64_of, usize_of_u32};
use std::collections::HashMap;
use std::sync::Arc;

/// Problems that are listed at most.
const MOST: usize = 100;

/// Checks a whole volume.
///
/// # Errors
/// A failing device, and trees that are too large to be held.
pub(crate) fn check(volume: &Volume) -> Result<Vec<Problem>, Error> {
    let mut check = Check {
        volume,
        problems: Vec::new(),
        groups: Vec::new(),
        claims: Vec::new(),
        names: HashMap::new(),
        links: Vec::new(),
        all_listed: true,
        is_overfull: false,
    };
    check.groups()?;
    if check.problems.is_empty() {
        check.counters();
        check.inodes()?;
        check.compare_links();
        check.compare_claims();
    }
    Ok(check.problems)
}

struct Check<'v> {
    volume: &'v Volume,
    problems: Vec<Problem>,
    groups: Vec<Arc<Group>>,
    /// For each group, who uses which of its blocks.
    claims: Vec<Claims>,
    /// How often each inode is named, `.` and `..` included.
    names: HashMap<u64, u32>,
    /// What inodes say how often they are named.
    links: Vec<(u64, u32)>,
    /// Whether the names of every directory could be read.
    all_listed: bool,
    /// Whether a group has more users than blocks: no end of inodes may claim the same ones.
    is_overfull: bool,
}

impl Check<'_> {
    /// Headers, and the trees that they lead to.
    fn groups(&mut self) -> Result<(), Error> {
        let superblock = &self.volume.superblock;
        for number in 0..superblock.raw().sb_agcount.get() {
            if self.problems.len() >= MOST {
                return Ok(());
            }
            // What loading compares: most counters, and those trees that hold the same.
            let group = self.volume.load_group(number).map(Arc::new);
            let Some(group) = self.note(group)? else {
                continue;
            };
            let keys = keys::check(self.volume, &group);
            self.note(keys)?;
            self.block_counters(&group);
            let mut claims = Claims::default();
            claim_metadata(self.volume, &group, &mut claims);
            self.claims.push(claims);
            self.groups.push(group);
        }
        Ok(())
    }

    /// What a group's headers say of the blocks of its trees.
    fn block_counters(&mut self, group: &Group) {
        let features = self.volume.superblock.features;
        let (agf, agi) = (&group.agf, &group.agi);
        let blocks = |tree| u32::try_from(group.blocks_of(tree).len()).unwrap_or(u32::MAX);
        let (counts, sharing) = (features.inobtcount(), features.reflink());
        // Before `lazysbcount` nobody kept this one.
        let lazy = features.lazy_counters();
        for (kept, field, value, counted) in [
            (
                lazy,
                "agf_btreeblks",
                agf.agf_btreeblks.get(),
                group.tree_blocks(),
            ),
            (
                features.rmapbt(),
                "agf_rmap_blocks",
                agf.agf_rmap_blocks.get(),
                blocks(Tree::Owners),
            ),
            (
                sharing,
                "agf_refcount_blocks",
                agf.agf_refcount_blocks.get(),
                blocks(Tree::Sharing),
            ),
            (
                counts,
                "agi_iblocks",
                agi.agi_iblocks.get(),
                blocks(Tree::Inodes),
            ),
            (
                counts,
                "agi_fblocks",
                agi.agi_fblocks.get(),
                blocks(Tree::FreeInodes),
            ),
        ] {
            if kept && value != counted {
                let number = group.number;
                self.say(format!(
                    "allocation group {number}: {field} is {value}, counted {counted}"
                ));
            }
        }
    }

    /// What the superblock says of all groups.
    fn counters(&mut self) {
        let raw = self.volume.superblock.raw();
        let (mut inodes, mut free_inodes, mut blocks) = (0_u64, 0_u64, 0_u64);
        for group in &self.groups {
            let (count, free) = group.inodes();
            inodes = inodes.saturating_add(count.into());
            free_inodes = free_inodes.saturating_add(free.into());
            let list = u64_of(group.list.len());
            for free in [group.free.total().into(), list, group.tree_blocks().into()] {
                blocks = blocks.saturating_add(free);
            }
        }
        for (field, value, counted) in [
            ("sb_icount", raw.sb_icount.get(), inodes),
            ("sb_ifree", raw.sb_ifree.get(), free_inodes),
            ("sb_fdblocks", raw.sb_fdblocks.get(), blocks),
        ] {
            if value != counted {
                self.say(format!(
                    "superblock: {field} is {value}, the groups have {counted}"
                ));
            }
        }
    }

    /// Every inode of every chunk.
    fn inodes(&mut self) -> Result<(), Error> {
        for group in self.groups.clone() {
            for chunk in group.chunks.values() {
                let present = chunk.present();
                for bit in (0..64_u32).filter(|bit| present & (1 << bit) != 0) {
                    if self.problems.len() >= MOST || self.is_overfull {
                        return Ok(());
                    }
                    let within = chunk.start.saturating_add(bit);
                    let number = self.volume.superblock.inode_number(group.number, within);
                    let inode = self.volume.inode(number);
                    let Some(inode) = self.note(inode)? else {
                        continue;
                    };
                    let is_free = chunk.free & (1 << bit) != 0;
                    if is_free == inode.is_in_use() {
                        let marked = if is_free { "free" } else { "in use" };
                        self.say(format!("inode {number}: marked as {marked}, and is not"));
                    }
                    if inode.is_in_use() {
                        let checked = self.inode(&inode);
                        self.note(checked)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn inode(&mut self, inode: &Inode) -> Result<(), Error> {
        let number = inode.number();
        let mut blocks = 0_u64;
        for fork in [Fork::Data, Fork::Attributes] {
            if matches!(inode.format(fork)?, Format::Device | Format::Local) {
                continue;
            }
            let attributes = fork == Fork::Attributes;
            let map = self.volume.map(inode, fork)?;
            maps::check(self.volume, inode, fork)?;
            for extent in map.extents() {
                let claim = Claim {
                    start: 0,
                    count: extent.count,
                    owner: Owner::content(number, attributes),
                    offset: extent.offset,
                    unwritten: extent.unwritten,
                    may_be_shared: !attributes && inode.has_flag2(crate::inode::flag2::REFLINK),
                };
                self.claim(extent.start, claim);
            }
            for node in &map.nodes {
                self.claim(*node, Claim::plain(1, Owner::map(number, attributes)));
            }
            blocks = blocks.saturating_add(map.blocks());
        }
        if inode.blocks() != blocks {
            let counted = inode.blocks();
            self.say(format!(
                "inode {number}: di_nblocks counts {counted} blocks, it has {blocks}"
            ));
        }
        let attributes = attr::check(&ForkReader {
            volume: self.volume,
            inode,
            fork: Fork::Attributes,
        });
        self.say_all("attributes of inode", number, attributes)?;
        if self.is_internal(number) {
            return Ok(());
        }
        if inode.kind()? == Kind::Dir {
            self.directory(inode)?;
        }
        self.links.push((number, inode.links()));
        Ok(())
    }

    /// Whether the file system itself has it: quota, and what a realtime device would need.
    fn is_internal(&self, number: u64) -> bool {
        let raw = self.volume.superblock.raw();
        [
            raw.sb_rbmino.get(),
            raw.sb_rsumino.get(),
            raw.sb_uquotino.get(),
            raw.sb_gquotino.get(),
            raw.sb_pquotino.get(),
        ]
        .contains(&number)
    }

    fn directory(&mut self, inode: &Inode) -> Result<(), Error> {
        let fork = ForkReader {
            volume: self.volume,
            inode,
            fork: Fork::Data,
        };
        let listed = dir::list(&fork).and_then(|names| Ok((names, dir::parent(&fork)?)));
        let Some((names, parent)) = self.note(listed)? else {
            self.all_listed = false;
            return Ok(());
        };
        let named = names.into_iter().map(|entry| entry.target.inode);
        for named in named.chain([inode.number(), parent]) {
            let count = self.names.entry(named).or_default();
            *count = count.saturating_add(1);
        }
        self.say_all("directory", inode.number(), dir::check(&fork))
    }

    fn compare_links(&mut self) {
        if !self.all_listed || !self.problems.is_empty() {
            return;
        }
        let mut names = std::mem::take(&mut self.names);
        for (number, links) in std::mem::take(&mut self.links) {
            let named = names.remove(&number).unwrap_or(0);
            if named != links {
                self.say(format!("inode {number}: {links} links, but {named} names"));
            }
        }
        let mut left: Vec<u64> = names.into_keys().collect();
        left.sort_unstable();
        for number in left {
            self.say(format!(
                "inode {number}: named in a directory, but not in use"
            ));
        }
    }

    fn claim(&mut self, start: FsBlock, claim: Claim) {
        let (group, start) = self.volume.superblock.split_block(start);
        let blocks = self.volume.superblock.blocks_of_group(group);
        let Some(claims) = self.claims.get_mut(usize_of_u32(group)) else {
            return;
        };
        claims.add(Claim { start, ..claim });
        if claims.unshared() > blocks.into() && !self.is_overfull {
            self.is_overfull = true;
            self.say(format!(
                "allocation group {group}: more blocks are in use than it has"
            ));
        }
    }

    fn compare_claims(&mut self) {
        let groups = std::mem::take(&mut self.groups);
        for (group, claims) in groups.iter().zip(std::mem::take(&mut self.claims)) {
            for problem in claims.compare(group) {
                self.say(format!("allocation group {}: {problem}", group.number));
            }
        }
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

    /// Notes what the parts of a fork were found to have.
    fn say_all(
        &mut self,
        what: &str,
        inode: u64,
        problems: Result<Vec<String>, Error>,
    ) -> Result<(), Error> {
        for problem in self.note(problems)?.unwrap_or_default() {
            self.say(format!("{what} {inode}: {problem}"));
        }
        Ok(())
    }

    fn say(&mut self, problem: String) {
        if self.problems.len() < MOST {
            self.problems.push(Problem(problem));
        }
    }
}

/// What the file system itself uses of a group.
fn claim_metadata(volume: &Volume, group: &Group, claims: &mut Claims) {
    let superblock = &volume.superblock;
    claims.add(Claim::plain(superblock.header_blocks(), Owner::HEADERS));
    for block in &group.list {
        claims.add(Claim::plain(1, Owner::GROUP).at(*block));
    }
    for (tree, blocks) in &group.blocks {
        let owner = match tree {
            Tree::FreeByBlock | Tree::FreeByLength | Tree::Owners => Owner::GROUP,
            Tree::Inodes | Tree::FreeInodes => Owner::INODE_TREES,
            Tree::Sharing => Owner::SHARING,
        };
        for block in blocks {
            claims.add(Claim::plain(1, owner).at(*block));
        }
    }
    // A block of more than 64 inodes holds several chunks, which follow on each other.
    let mut behind = 0;
    for run in group.chunks.values().flat_map(|c| c.blocks(superblock)) {
        let start = run.start.max(behind);
        let count = run.end.saturating_sub(start);
        if count > 0 {
            claims.add(Claim::plain(count, Owner::INODES).at(start));
            behind = run.end;
        }
    }
    let reserved = group.sharing.iter().flat_map(Sharing::reserved);
    for (start, count) in reserved {
        claims.add(Claim::plain(count, Owner::COPIES).at(start));
    }
    let (log_group, log_start) = superblock.split_block(superblock.log_start());
    if log_group == group.number {
        let count = u32::try_from(superblock.log_blocks()).unwrap_or(u32::MAX);
        claims.add(Claim::plain(count, Owner::LOG).at(log_start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::Image;

    #[test]
    fn blocks_of_several_chunks_are_used_once() {
        for args in [
            &["-b", "size=65536", "-m", "rmapbt=1", "-d", "agcount=2"][..],
            &["-b", "size=32768", "-i", "size=256", "-m", "crc=0"],
        ] {
            let Some(image) = Image::make(args, None) else {
                return;
            };
            let volume = image.open();
            assert!(volume.superblock.inodes_per_block > 64);
            assert_eq!(check(&volume).unwrap(), [], "{args:?}");
        }
    }
}
