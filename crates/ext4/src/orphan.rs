//! Orphans: nodes that were open without a name, or were being cut, when the machine stopped.
//!
//! They are named by a list through `i_dtime` that starts in the superblock, or in the blocks of a
//! file of their own (`orphan_file`). Both are worked off as the kernel does when it mounts:
//! nodes without names are freed, others are cut to their size.

use crate::error::{CorruptKind, Error};
use crate::features::{compat, ro_compat};
use crate::inode::{Inode, InodeNumber};
use crate::volume::Volume;
use std::collections::BTreeSet;

impl Volume {
    /// Finishes all orphans, and says how many there were. Changes are not yet committed.
    ///
    /// # Errors
    /// A list that leads to inodes which are free, or back to itself; a damaged orphan file; what
    /// freeing meets.
    pub(crate) fn finish_orphans(&mut self) -> Result<u32, Error> {
        let listed = self.finish_listed_orphans()?;
        let filed = self.finish_filed_orphans()?;
        Ok(listed.saturating_add(filed))
    }

    fn finish_listed_orphans(&mut self) -> Result<u32, Error> {
        let mut seen = BTreeSet::new();
        let mut next = self.superblock.last_orphan();
        while next != 0 {
            let number = InodeNumber::new(&self.superblock, next.into())?;
            if !seen.insert(next) {
                return Err(orphan_list(
                    "leads back to an inode that it named before",
                    next,
                ));
            }
            let inode = self.orphan(number)?;
            next = inode.dtime();
            self.finish_orphan(inode)?;
        }
        self.superblock.set_last_orphan(0);
        Ok(u32::try_from(seen.len()).unwrap_or(u32::MAX))
    }

    fn finish_filed_orphans(&mut self) -> Result<u32, Error> {
        let features = self.superblock.features;
        if !features.ro_compat(ro_compat::ORPHAN_PRESENT) {
            return Ok(0);
        }
        let mut finished = 0_u32;
        if features.compat(compat::ORPHAN_FILE) {
            let number = self.superblock.raw().s_orphan_file_inum.get();
            let number = InodeNumber::new(&self.superblock, number.into())?;
            let file = self.live_inode(number)?;
            for run in self.mapping(&file)?.runs() {
                for block in run.blocks() {
                    finished = finished.saturating_add(self.finish_orphan_block(&file, block)?);
                }
            }
        }
        self.superblock.clear_orphan_present();
        Ok(finished)
    }

    /// Finishes the orphans that a block of the orphan file names, and empties it.
    fn finish_orphan_block(&mut self, file: &Inode, block: u64) -> Result<u32, Error> {
        let bytes = self.read_block(block)?;
        // A block has at least 1024 bytes.
        let split = bytes.len().saturating_sub(TAIL);
        let (numbers, tail) = bytes.split_at(split);
        let field = |at: usize| {
            let field = tail.get(at..).and_then(<[u8]>::first_chunk);
            field.map_or(0, |field| u32::from_le_bytes(*field))
        };
        let position = self.superblock.position(block);
        if field(0) != MAGIC {
            return Err(CorruptKind::Field {
                what: "block of the orphan file",
                position,
                field: "ob_magic",
                value: field(0).into(),
                expected: "0x0b10ca04",
            }
            .into());
        }
        let seed = self.inode_seed(file);
        let computed = seed.orphan_block(block, numbers);
        if self.superblock.features.metadata_csum() && field(4) != computed {
            return Err(CorruptKind::Checksum {
                what: "block of the orphan file",
                position,
                found: field(4),
                computed,
            }
            .into());
        }
        let mut finished = 0_u32;
        for number in numbers.chunks_exact(4) {
            let number = number.first_chunk().map_or(0, |n| u32::from_le_bytes(*n));
            if number != 0 {
                let number = InodeNumber::new(&self.superblock, number.into())?;
                let inode = self.orphan(number)?;
                self.finish_orphan(inode)?;
                finished = finished.saturating_add(1);
            }
        }
        if finished > 0 {
            let mut empty = vec![0; split];
            let sum = if self.superblock.features.metadata_csum() {
                seed.orphan_block(block, &empty)
            } else {
                field(4)
            };
            empty.extend(MAGIC.to_le_bytes());
            empty.extend(sum.to_le_bytes());
            self.write_block(block, &empty)?;
        }
        Ok(finished)
    }

    /// Reads an inode that must still be marked as in use.
    fn orphan(&mut self, number: InodeNumber) -> Result<Inode, Error> {
        if number.get() < self.superblock.first_inode || !self.inode_is_marked(number)? {
            return Err(orphan_list(
                "leads to an inode that is not in use",
                number.get(),
            ));
        }
        self.inode(number)
    }

    fn finish_orphan(&mut self, mut inode: Inode) -> Result<(), Error> {
        if inode.links() > 0 {
            inode.set_dtime(0);
            if inode.has_mapped_content(&self.superblock)? {
                let size = inode.size();
                self.set_content_size(&mut inode, size)?;
            }
            return self.write_inode(&mut inode);
        }
        self.delete_node(&mut inode)
    }
}

fn orphan_list(what: &'static str, inode: u32) -> Error {
    CorruptKind::Orphan { inode, what }.into()
}

/// Bytes behind the numbers of a block: magic number and checksum.
const TAIL: usize = 8;
/// `EXT4_ORPHAN_BLOCK_MAGIC`.
const MAGIC: u32 = 0x0b10_ca04;
