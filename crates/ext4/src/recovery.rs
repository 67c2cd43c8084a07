//! Opening after a crash: gives the journal's code the blocks that it works on.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::incompat;
use crate::inode::InodeNumber;
use crate::journal::{self, Log};
use crate::mapping::Mapping;
use crate::volume::Volume;
use std::sync::Arc;

/// The journal of a volume.
struct VolumeLog<'v> {
    volume: &'v mut Volume,
    inode: u32,
    mapping: Arc<Mapping>,
}

impl Log for VolumeLog<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.mapping.end()).unwrap_or(u32::MAX)
    }

    fn read(&self, logical: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; self.volume.superblock.block_len()];
        let position = self.position(logical)?;
        self.volume.device.read_at(position, &mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, logical: u32, bytes: &[u8]) -> Result<(), Error> {
        let position = self.position(logical)?;
        self.volume.device.write_at(position, bytes)?;
        Ok(())
    }

    fn write_home(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error> {
        let end = self.volume.superblock.blocks_count;
        if block >= end {
            return Err(CorruptKind::BlockOutside {
                inode: self.inode,
                block,
                first: 0,
                end,
            }
            .into());
        }
        let position = self.volume.superblock.position(block);
        self.volume.device.write_at(position, bytes)?;
        Ok(())
    }
}

impl VolumeLog<'_> {
    fn position(&self, logical: u32) -> Result<u64, Error> {
        match self.mapping.block(logical) {
            Some(block) => Ok(self.volume.superblock.position(block)),
            None => Err(CorruptKind::Journal {
                block: logical,
                reason: "the block is a hole in the journal",
                value: 0,
            }
            .into()),
        }
    }
}

impl Volume {
    /// Replays the journal if the superblock says that it must be, and says whether it did.
    ///
    /// # Errors
    /// An external journal, and what reading and replaying the journal meets.
    pub(crate) fn recover(&mut self) -> Result<bool, Error> {
        if !self.superblock.features.incompat(incompat::RECOVER) {
            return Ok(false);
        }
        let number = self.superblock.raw().s_journal_inum.get();
        if number == 0 {
            let what = "replaying a journal that lies on another device";
            return Err(UnsupportedKind::Other(what).into());
        }
        let number = InodeNumber::new(&self.superblock, number.into())?;
        let inode = self.inode(number)?;
        if !inode.is_in_use() {
            return Err(CorruptKind::Inode {
                inode: number.get(),
                field: "i_links_count of the journal",
                value: inode.links().into(),
                expected: "an inode in use",
            }
            .into());
        }
        let mapping = self.mapping(&inode)?;
        let block_size = self.superblock.block_size;
        let mut log = VolumeLog {
            volume: self,
            inode: number.get(),
            mapping,
        };
        let recovered = journal::recover(&mut log, block_size)?;
        tracing::debug!(recovered.transactions, recovered.blocks, "journal replayed");
        // The journal may have held the superblock itself.
        self.reopen()?;
        self.superblock.clear_needs_recovery();
        // Mounted file systems do not keep the superblock's counters.
        self.recount()?;
        let Self {
            superblock, device, ..
        } = self;
        superblock.write(device)?;
        Ok(true)
    }
}
