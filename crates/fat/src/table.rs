//! The table: what follows each cluster.

use crate::boot_sector::{BootSector, FIRST_CLUSTER, FatKind};
use crate::volume::Volume;
use crate::{Corrupt, Error};
use ondisk::width::usize_of;

/// An entry of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TableEntry {
    Free,
    /// The chain goes on; the number is not checked.
    Next(u32),
    End,
    Bad,
}

impl Volume<'_> {
    /// The entry of a cluster whose number was checked.
    pub(crate) fn table_entry(&self, cluster: u32) -> Result<TableEntry, Error> {
        let start = self.boot.active_table_start();
        let index = u64::from(cluster);
        Ok(match self.boot.kind {
            FatKind::Fat12 => {
                let mut bytes = [0; 2];
                let at = start.saturating_add(index).saturating_add(index / 2);
                self.device.read_at(at, &mut bytes)?;
                let packed = u16::from_le_bytes(bytes);
                let value = if index % 2 == 0 {
                    packed & 0xfff
                } else {
                    packed >> 4
                };
                entry(u32::from(value), 0xfff)
            }
            FatKind::Fat16 => {
                let mut bytes = [0; 2];
                let at = start.saturating_add(index.saturating_mul(2));
                self.device.read_at(at, &mut bytes)?;
                entry(u32::from(u16::from_le_bytes(bytes)), 0xffff)
            }
            FatKind::Fat32 => {
                let mut bytes = [0; 4];
                let at = start.saturating_add(index.saturating_mul(4));
                self.device.read_at(at, &mut bytes)?;
                entry(u32::from_le_bytes(bytes) & 0x0fff_ffff, 0x0fff_ffff)
            }
        })
    }

    /// The clusters of the chain from `first` on; an error if there are more than `most`.
    pub(crate) fn chain(&self, first: u32, most: u32) -> Result<Vec<u32>, Error> {
        let mut chain = Vec::new();
        let mut cluster = self.existing(first)?;
        loop {
            if u64::from(most) <= ondisk::width::u64_of(chain.len()) {
                return Err(Corrupt::ChainTooLong {
                    first,
                    expected: most,
                }
                .into());
            }
            chain.push(cluster);
            match self.table_entry(cluster)? {
                TableEntry::Next(next) => cluster = self.existing(next)?,
                TableEntry::End => return Ok(chain),
                TableEntry::Free | TableEntry::Bad => {
                    return Err(Corrupt::ChainBroken { first, cluster }.into());
                }
            }
        }
    }

    /// Checks a cluster number.
    pub(crate) fn existing(&self, cluster: u32) -> Result<u32, Error> {
        let last = self.boot.last_cluster();
        if (FIRST_CLUSTER..=last).contains(&cluster) {
            Ok(cluster)
        } else {
            Err(Corrupt::NoSuchCluster { cluster, last }.into())
        }
    }

    /// Lets `see` at the entry of every cluster, in order.
    pub(crate) fn each_entry(&self, mut see: impl FnMut(u32, TableEntry)) -> Result<(), Error> {
        if self.boot.kind == FatKind::Fat12 {
            for cluster in FIRST_CLUSTER..=self.boot.last_cluster() {
                see(cluster, self.table_entry(cluster)?);
            }
            return Ok(());
        }
        let width: u32 = if self.boot.kind == FatKind::Fat16 {
            2
        } else {
            4
        };
        let mut buf = vec![0; PART];
        let mut cluster = FIRST_CLUSTER;
        while cluster <= self.boot.last_cluster() {
            let skipped = u64::from(cluster).saturating_mul(u64::from(width));
            let at = self.boot.active_table_start().saturating_add(skipped);
            let left = u64::from(self.boot.last_cluster().saturating_sub(cluster))
                .saturating_add(1)
                .saturating_mul(u64::from(width));
            let len = usize_of(left).min(PART);
            let part = buf.get_mut(..len).unwrap_or_default();
            self.device.read_at(at, part)?;
            for bytes in part.chunks_exact(usize_of(u64::from(width))) {
                see(
                    cluster,
                    match *bytes {
                        [a, b] => entry(u32::from(u16::from_le_bytes([a, b])), 0xffff),
                        [a, b, c, d] => {
                            entry(u32::from_le_bytes([a, b, c, d]) & 0x0fff_ffff, 0x0fff_ffff)
                        }
                        _ => TableEntry::Bad,
                    },
                );
                cluster = cluster.saturating_add(1);
            }
        }
        Ok(())
    }

    /// How many clusters are free, and the first of them.
    pub(crate) fn free_clusters(&self) -> Result<(u32, Option<u32>), Error> {
        let (mut free, mut first) = (0_u32, None);
        self.each_entry(|cluster, entry| {
            if entry == TableEntry::Free {
                free = free.saturating_add(1);
                first.get_or_insert(cluster);
            }
        })?;
        Ok((free, first))
    }

    /// The first byte at which a copy of the table differs from the one in use; nothing where the
    /// copies are not kept equal.
    pub(crate) fn first_difference(&self) -> Result<Option<u64>, Error> {
        let mut difference = None;
        self.each_difference(|_, at, _| {
            difference.get_or_insert(at);
            Ok(())
        })?;
        Ok(difference)
    }

    /// Lets `see` at each part of a copy that differs: where it is in the copy, where the
    /// difference begins, and what the table in use has there.
    pub(crate) fn each_difference(
        &self,
        mut see: impl FnMut(u64, u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.boot.only_table.is_some() {
            return Ok(());
        }
        let (mut first, mut other) = (vec![0; PART], vec![0; PART]);
        for copy in 1..u64::from(self.boot.tables) {
            let shift = copy.saturating_mul(self.boot.table_size);
            let mut done = 0;
            while done < self.boot.table_size {
                let len = usize_of(self.boot.table_size.saturating_sub(done)).min(PART);
                let at = self.boot.table_start.saturating_add(done);
                let copy_at = at.saturating_add(shift);
                let (first, other) = (&mut first[..len], &mut other[..len]);
                self.device.read_at(at, first)?;
                self.device.read_at(copy_at, other)?;
                if let Some(n) = first.iter().zip(&*other).position(|(a, b)| a != b) {
                    let differs_at = copy_at.saturating_add(ondisk::width::u64_of(n));
                    see(copy_at, differs_at, first)?;
                }
                done = done.saturating_add(ondisk::width::u64_of(len));
            }
        }
        Ok(())
    }
}

/// What a value says in a table whose values have the bits of `mask`.
fn entry(value: u32, mask: u32) -> TableEntry {
    // 0x..f8 and up end a chain, 0x..f7 is a bad cluster.
    match value {
        0 => TableEntry::Free,
        _ if value >= mask & !7 => TableEntry::End,
        _ if value == mask & !8 => TableEntry::Bad,
        _ => TableEntry::Next(value),
    }
}

impl BootSector {
    /// The most clusters that a chain can have: none is used twice, and a file has less than
    /// 4 GiB.
    pub(crate) fn longest_chain(&self) -> u32 {
        let largest_file = u32::MAX.div_ceil(self.cluster_size);
        self.clusters.min(largest_file)
    }
}

const PART: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        for mask in [0xfff, 0xffff, 0x0fff_ffff] {
            assert_eq!(entry(0, mask), TableEntry::Free);
            assert_eq!(entry(2, mask), TableEntry::Next(2));
            assert_eq!(entry(mask - 9, mask), TableEntry::Next(mask - 9));
            assert_eq!(entry(mask - 8, mask), TableEntry::Bad);
            assert_eq!(entry(mask - 7, mask), TableEntry::End);
            assert_eq!(entry(mask, mask), TableEntry::End);
        }
    }
}
