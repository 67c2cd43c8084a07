//! A volume: the device and its geometry.

use crate::boot_sector::BootSector;
use crate::directory::{DirStart, Entry};
use crate::{Corrupt, Error};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};

/// What all reading needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) device: &'a dyn BlockRead,
    pub(crate) boot: &'a BootSector,
}

impl Volume<'_> {
    /// The label: the root directory's, else the boot sector's.
    pub(crate) fn label(&self) -> Result<Option<String>, Error> {
        let root = self.directory(DirStart::Root)?.label();
        Ok(root
            .filter(|label| !label.is_empty())
            .or_else(|| self.boot.label.clone()))
    }

    /// The clusters of a file, exactly as many as its size asks for or more, never fewer.
    pub(crate) fn file_chain(&self, entry: &Entry) -> Result<Vec<u32>, Error> {
        // A file has at most 2^32 bytes and a cluster at least 512.
        let needed = u32::try_from(self.boot.clusters_for(u64::from(entry.size)))
            .map_err(|_| Corrupt::BootSector("cluster size"))?;
        let first = entry.first_cluster;
        let chain = if first == 0 {
            Vec::new()
        } else {
            self.chain(first, self.boot.longest_chain())?
        };
        let clusters = u32::try_from(chain.len()).unwrap_or(u32::MAX);
        if clusters < needed {
            return Err(Corrupt::ChainTooShort {
                first,
                clusters,
                needed,
            }
            .into());
        }
        Ok(chain)
    }

    /// Reads a file from `offset` on and says how many bytes were there.
    pub(crate) fn read_file(
        &self,
        entry: &Entry,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let left = u64::from(entry.size).saturating_sub(offset);
        let len = usize_of(left.min(u64_of(buf.len())));
        let buf = buf.get_mut(..len).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        let chain = self.file_chain(entry)?;
        let cluster_size = u64::from(self.boot.cluster_size);
        let mut done = 0;
        while done < len {
            let at = offset.saturating_add(u64_of(done));
            // The chain covers the size, so every index below it exists.
            let Some(cluster) = chain.get(usize_of(at.checked_div(cluster_size).unwrap_or(0)))
            else {
                return Err(Corrupt::BootSector("cluster size").into());
            };
            let within = at.checked_rem(cluster_size).unwrap_or(0);
            let n = usize_of(cluster_size.saturating_sub(within)).min(len.saturating_sub(done));
            let part = buf
                .get_mut(done..done.saturating_add(n))
                .unwrap_or_default();
            let start = self.boot.cluster_start(*cluster).saturating_add(within);
            self.device.read_at(start, part)?;
            done = done.saturating_add(n);
        }
        Ok(len)
    }
}
