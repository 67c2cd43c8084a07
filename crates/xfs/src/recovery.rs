//! Opening after a crash: the log's replay, and then what the kernel does before the first user
//! comes.

use crate::error::Error;
use crate::log;
use crate::volume::Volume;

impl Volume {
    /// Replays the log, if it is dirty, and says whether it was. What is read from here on is what
    /// the guest would see.
    ///
    /// # Errors
    /// As [`log::recover`], and what unfinished work meets.
    pub(crate) fn recover(&mut self) -> Result<bool, Error> {
        let mut recovery = log::recover(&self.device, &self.superblock)?;
        if !recovery.was_dirty() {
            return Ok(false);
        }
        // The log may have held the superblock itself.
        self.reopen()?;
        let work = std::mem::take(&mut recovery.work);
        if !work.is_empty() {
            self.superblock.features.check_writable()?;
            self.finish_work(work)?;
            // The log would announce the work again to whoever opens the volume next.
            self.recovery = Some(recovery);
            self.finish_recovery()?;
            return Ok(true);
        }
        self.recovery = Some(recovery);
        self.recount()?;
        Ok(true)
    }

    /// Finishes what was left to do when the machine stopped and leaves the log clean, if it was
    /// not. To be called before the first change.
    ///
    /// # Errors
    /// Orphans or reserved blocks that are not what they should be.
    pub(crate) fn finish_recovery(&mut self) -> Result<(), Error> {
        let Some(mut recovery) = self.recovery.take() else {
            return Ok(());
        };
        let orphans = self.finish_orphans()?;
        let reserved = self.free_reserved()?;
        self.write_groups()?;
        self.recount()?;
        recovery.write_clean()?;
        tracing::debug!(orphans, reserved, "recovery finished");
        Ok(())
    }

    /// Brings the superblock's counters up to date: mounted file systems keep them in memory, and
    /// after a crash they are what the headers of the groups add up to. Without `lazy-count` they
    /// were in the log, and the headers do not count the blocks of trees.
    fn recount(&mut self) -> Result<(), Error> {
        if !self.superblock.features.lazy_counters() {
            return self.superblock.write(&self.device);
        }
        let (mut inodes, mut free_inodes, mut free_blocks) = (0_u64, 0_u64, 0_u64);
        for group in 0..self.superblock.group_count {
            let agf = self.read_agf(group)?;
            // Blocks in the list of reserved blocks and in trees of free blocks count as free.
            for blocks in [agf.agf_freeblks, agf.agf_flcount, agf.agf_btreeblks] {
                free_blocks = free_blocks.saturating_add(blocks.get().into());
            }
            let agi = self.read_agi(group)?;
            inodes = inodes.saturating_add(agi.agi_count.get().into());
            free_inodes = free_inodes.saturating_add(agi.agi_freecount.get().into());
        }
        let raw = self.superblock.raw_mut();
        raw.sb_icount.set(inodes);
        raw.sb_ifree.set(free_inodes);
        raw.sb_fdblocks.set(free_blocks);
        self.superblock.write(&self.device)
    }
}
