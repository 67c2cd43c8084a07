//! What lies where on a disk, partitions and all around them.

use super::Owner;
use crate::{Disk, Machine, Volume};
use block::BlockRead;
use std::ops::Range;
use volume::{Table, TableKind};

/// A stretch of a disk that is one thing.
#[derive(Clone, Debug)]
pub(super) struct Zone<'m> {
    pub(super) bytes: Range<u64>,
    pub(super) holds: Holds<'m>,
}

/// What a zone is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds<'m> {
    Volume(&'m Volume),
    /// Something that belongs to no volume.
    Other(Owner),
}

/// Sectors of a GPT before its first partition: protective MBR, header, and an array of 128
/// entries; its backup has one less (UEFI 2.10, section 5.3.1).
const GPT_SECTORS: u64 = 34;
const MBR: u64 = 512;

/// The zones of a disk, ascending, without gaps, as far as `size`.
pub(super) fn zones<'m>(machine: &'m Machine, disk: &Disk, size: u64) -> Vec<Zone<'m>> {
    let mut parts: Vec<&Volume> = machine.volumes().iter().collect();
    parts.retain(|volume| volume.id.disk() == Some(0) && !is_extended(volume));
    parts.sort_by_key(|volume| start_of(volume));
    let first = parts.first().map_or(size, |volume| start_of(volume));
    let mut zones = Vec::new();
    let mut at = 0;
    let other = |range: Range<u64>, zones: &mut Vec<Zone<'_>>| {
        fill(disk, first, range, zones);
    };
    for volume in parts {
        let start = start_of(volume).clamp(at, size);
        let end = start_of(volume)
            .saturating_add(volume.size)
            .clamp(start, size);
        other(at..start, &mut zones);
        // Of partitions that overlap, the first has the bytes.
        if start < end {
            zones.push(Zone {
                bytes: start..end,
                holds: Holds::Volume(volume),
            });
        }
        at = end;
    }
    other(at..size, &mut zones);
    zones
}

/// The first byte of a volume on its disk.
pub(super) fn start_of(volume: &Volume) -> u64 {
    volume.partition.as_ref().map_or(0, |part| part.start)
}

fn is_extended(volume: &Volume) -> bool {
    let kind = volume.partition.as_ref().map(|partition| partition.kind);
    kind.is_some_and(volume::PartitionKind::is_extended)
}

/// Splits what no partition holds.
fn fill(disk: &Disk, first: u64, range: Range<u64>, zones: &mut Vec<Zone<'_>>) {
    let size = disk.overlay.size();
    let table = tables(&disk.table, first, size);
    let mut at = range.start;
    while at < range.end {
        let inside = table.iter().find(|part| part.contains(&at));
        let (end, owner) = match inside {
            Some(part) => (part.end, Owner::PartitionTable),
            None => {
                let starts = table.iter().map(|part| part.start);
                let next = starts.filter(|start| *start > at).min();
                let end = next.unwrap_or(u64::MAX);
                if at < first && !table.is_empty() {
                    (end.min(first), Owner::BootGap)
                } else {
                    (end, Owner::Unallocated)
                }
            }
        };
        let end = end.min(range.end).max(at.saturating_add(1));
        zones.push(Zone {
            bytes: at..end,
            holds: Holds::Other(owner),
        });
        at = end;
    }
}

/// Where the table lies, as far as partitions leave room for it.
fn tables(table: &Table, first: u64, size: u64) -> Vec<Range<u64>> {
    let mut tables = Vec::new();
    match table.kind {
        TableKind::None => {}
        TableKind::Mbr => tables.push(0..MBR.min(first)),
        TableKind::Gpt | TableKind::Hybrid => {
            let sector = u64::from(table.sector_size);
            let front = sector.saturating_mul(GPT_SECTORS);
            let back = front.saturating_sub(sector);
            tables.push(0..front.min(first));
            tables.push(size.saturating_sub(back)..size);
        }
    }
    // Boot records lie around the logical partitions.
    let extended = table
        .partitions
        .iter()
        .filter(|part| part.kind.is_extended());
    tables.extend(extended.map(|part| part.start..part.end().min(size)));
    tables
}
