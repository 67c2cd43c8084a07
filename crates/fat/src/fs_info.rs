//! FSInfo: FAT32's count of free clusters.

use crate::Error;
use crate::volume::Volume;
use block::BlockWrite;

impl Volume<'_> {
    /// How many clusters FSInfo says are free; nothing if it does not say, or is none.
    pub(crate) fn counted_free(&self) -> Result<Option<u32>, Error> {
        let Some(at) = self.boot.fs_info_at else {
            return Ok(None);
        };
        let mut sector = [0; 512];
        self.device.read_at(at, &mut sector)?;
        let word = |at: usize| {
            let bytes = sector.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let signed = [0, 484, 508].map(word) == SIGNATURES;
        Ok(Some(word(FREE_COUNT)).filter(|free| signed && *free != u32::MAX))
    }

    /// Writes the count of free clusters where FSInfo is sound.
    pub(crate) fn set_counted_free(&self, device: &dyn BlockWrite, free: u32) -> Result<(), Error> {
        if let Some(at) = self.boot.fs_info_at
            && self.has_fs_info(at)?
        {
            let at = at.saturating_add(ondisk::width::u64_of(FREE_COUNT));
            device.write_at(at, &free.to_le_bytes())?;
        }
        Ok(())
    }

    fn has_fs_info(&self, at: u64) -> Result<bool, Error> {
        let mut word = [0; 4];
        for (offset, signature) in [0, 484, 508].into_iter().zip(SIGNATURES) {
            self.device.read_at(at.saturating_add(offset), &mut word)?;
            if u32::from_le_bytes(word) != signature {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// FSI_LeadSig, FSI_StrucSig, FSI_TrailSig.
const SIGNATURES: [u32; 3] = [0x4161_5252, 0x6141_7272, 0xaa55_0000];
/// FSI_Free_Count.
const FREE_COUNT: usize = 488;
