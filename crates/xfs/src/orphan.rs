//! Orphans: nodes that were open without a name when the machine stopped.
//!
//! Each group keeps 64 chains of them, through `di_next_unlinked`. They are freed as the kernel
//! does when it mounts.

use crate::error::{CorruptKind, Error};
use crate::group::Changed;
use crate::volume::Volume;
use zerocopy::byteorder::big_endian::U32;

/// `NULLAGINO`: the end of a chain.
const END: u32 = u32::MAX;

impl Volume {
    /// Frees all orphans, and says how many there were. Groups are not yet written.
    ///
    /// # Errors
    /// A chain that leads to inodes which have names or are free, or what freeing meets.
    pub(crate) fn finish_orphans(&mut self) -> Result<u64, Error> {
        let mut finished = 0_u64;
        for number in 0..self.superblock.group_count {
            // Loading a whole group only to see that it has none would be slow.
            let heads = self.read_agi(number)?.agi_unlinked.map(U32::get);
            for (bucket, head) in heads.into_iter().enumerate() {
                let mut next = head;
                while next != END {
                    // A free inode is refused, so no chain comes back to where it was.
                    next = self.finish_orphan(number, next)?;
                    finished = finished.saturating_add(1);
                }
                if head != END {
                    let group = self.group_mut(number)?;
                    if let Some(head) = group.agi.agi_unlinked.get_mut(bucket) {
                        head.set(END);
                    }
                    group.changed.insert(Changed::Headers);
                }
            }
        }
        Ok(finished)
    }

    /// Frees an orphan by its number within a group; says which one follows.
    fn finish_orphan(&mut self, group: u32, within: u32) -> Result<u32, Error> {
        let number = self.superblock.inode_number(group, within);
        let mut inode = self.inode(number)?;
        if !inode.is_in_use() || inode.links() != 0 {
            return Err(CorruptKind::Inode {
                inode: number,
                field: "di_nlink of an inode in a chain of unlinked ones",
                value: inode.links().into(),
                expected: "an inode in use without names",
            }
            .into());
        }
        let next = inode.next_unlinked();
        self.free_node(&mut inode)?;
        Ok(next.unwrap_or(END))
    }
}
