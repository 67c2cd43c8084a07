//! Where on the device files, directories, tables and free clusters lie.

use crate::boot_sector::FIRST_CLUSTER;
use crate::directory::{DirStart, Entry};
use crate::table::TableEntry;
use crate::volume::Volume;
use crate::{Corrupt, Error};
use fs::{Part, Role, Structure, StructureKind};
use std::ops::Range;

/// Bytes of an entry of a directory.
const SLOT: u64 = 32;

impl Volume<'_> {
    /// Where the entry and the content of a file or directory lie; none for the root.
    pub(crate) fn parts(&self, entry: Option<&Entry>) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        let chain = match entry {
            None => match self.boot.root_cluster {
                Some(first) => self.chain(first, self.boot.longest_chain())?,
                None => {
                    let start = self.boot.root_start;
                    parts.push(content(0, start..start.saturating_add(self.boot.root_size)));
                    Vec::new()
                }
            },
            Some(entry) => {
                parts.push(Part {
                    bytes: entry.at..entry.at.saturating_add(SLOT),
                    role: Role::Record,
                });
                match entry.is_dir {
                    true => match entry.as_dir()? {
                        DirStart::Cluster(first) => self.chain(first, self.boot.longest_chain())?,
                        DirStart::Root => Vec::new(),
                    },
                    false => self.file_chain(entry)?,
                }
            }
        };
        let size = u64::from(self.boot.cluster_size);
        let mut offset = 0_u64;
        for cluster in chain {
            let start = self.boot.cluster_start(cluster);
            let end = start.saturating_add(size);
            match parts.last_mut() {
                Some(Part {
                    bytes,
                    role: Role::Content { .. },
                }) if bytes.end == start => bytes.end = end,
                _ => parts.push(content(offset, start..end)),
            }
            offset = offset.saturating_add(size);
        }
        Ok(parts)
    }

    /// The boot sector with what is reserved behind it, and the tables. The root directory, where
    /// it has a place of its own, is a directory as others.
    pub(crate) fn structures(&self) -> Vec<Structure> {
        let boot = self.boot;
        let tables = boot.table_size.saturating_mul(boot.tables.into());
        let structures = [
            (0..boot.table_start, StructureKind::Header),
            (
                boot.table_start..boot.table_start.saturating_add(tables),
                StructureKind::Allocation,
            ),
        ];
        structures
            .into_iter()
            .map(|(bytes, kind)| Structure { bytes, kind })
            .collect()
    }

    /// Which bytes of a range of the device are in free clusters.
    pub(crate) fn free_bytes(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        let size = u64::from(self.boot.cluster_size);
        let cluster_at = |byte: u64| -> Result<u32, Error> {
            let index = byte.saturating_sub(self.boot.data_start).checked_div(size);
            let index = u32::try_from(index.unwrap_or(0).min(self.boot.clusters.into()));
            let index = index.map_err(|_| Corrupt::BootSector("cluster size"))?;
            Ok(index.saturating_add(FIRST_CLUSTER))
        };
        let last_byte = range.end.saturating_sub(1);
        let mut free: Vec<Range<u64>> = Vec::new();
        if last_byte < self.boot.data_start || range.is_empty() {
            return Ok(free);
        }
        let last = cluster_at(last_byte)?.min(self.boot.last_cluster());
        for cluster in cluster_at(range.start)?..=last {
            if self.table_entry(cluster)? != TableEntry::Free {
                continue;
            }
            let start = self.boot.cluster_start(cluster);
            let bytes = start.max(range.start)..start.saturating_add(size).min(range.end);
            match free.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                _ => free.push(bytes),
            }
        }
        Ok(free)
    }
}

fn content(offset: u64, bytes: Range<u64>) -> Part {
    let unwritten = false;
    let role = Role::Content { offset, unwritten };
    Part { bytes, role }
}
