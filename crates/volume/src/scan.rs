//! Telling which kind of table a disk has.

use crate::gpt::Gpt;
use crate::mbr::{BootRecord, SECTOR_LEN};
use crate::{Corrupt, Error, Finding, Partition, PartitionKind, Table, TableKind, Unsupported};
use block::BlockRead;
use ondisk::{Cursor, Short};

/// Reads the partition table of a disk.
///
/// What the MBR says decides, as in Linux and in firmware: an entry of type 0xee announces a GPT,
/// which is then used even if other entries stand beside it; without one a GPT is not looked at.
///
/// # Errors
/// [`Corrupt`] if the MBR announces a GPT and both its copies are damaged; [`Unsupported`] for
/// maps of other machines; what reading the disk meets.
pub fn scan(disk: &dyn BlockRead) -> Result<Table, Error> {
    let mut sector = [0; SECTOR_LEN];
    let read = disk.size().min(ondisk::width::u64_of(SECTOR_LEN));
    let start = sector
        .get_mut(..ondisk::width::usize_of(read))
        .unwrap_or_default();
    disk.read_at(0, start)?;
    let record = BootRecord::parse(&sector);
    let mut table = match &record {
        Some(record) if record.is_protective() => gpt(disk, record)?,
        Some(record) if is_mbr(record, &sector) => mbr(disk, record)?,
        _ => none(disk, &sector)?,
    };
    table.boot_code =
        table.kind != TableKind::None && sector.iter().take(BOOT_CODE).any(|byte| *byte != 0);
    mark_strays(&mut table, disk.size());
    report_overlaps(&mut table);
    Ok(table)
}

fn gpt(disk: &dyn BlockRead, record: &BootRecord) -> Result<Table, Error> {
    let gpt = Gpt::read(disk)?.map_err(|both| Corrupt::NoUsableGpt {
        primary: both.primary,
        backup: both.backup,
    })?;
    let (sector_size, disk_id) = (gpt.sector_size(), Some(gpt.disk_id()));
    let (partitions, findings) = gpt.into_partitions();
    Ok(Table {
        kind: if record.is_hybrid() {
            TableKind::Hybrid
        } else {
            TableKind::Gpt
        },
        sector_size,
        disk_id,
        partitions,
        findings,
        boot_code: false,
    })
}

fn mbr(disk: &dyn BlockRead, record: &BootRecord) -> Result<Table, Error> {
    let (partitions, mut findings) = record.partitions(disk)?;
    findings.extend(unannounced_gpt(disk)?);
    Ok(Table {
        kind: TableKind::Mbr,
        sector_size: 512,
        disk_id: record.disk_id(),
        partitions,
        findings,
        boot_code: false,
    })
}

fn none(disk: &dyn BlockRead, sector: &[u8; SECTOR_LEN]) -> Result<Table, Error> {
    refuse_other_maps(disk, sector)?;
    let whole = Partition {
        number: 0,
        start: 0,
        size: disk.size(),
        kind: PartitionKind::Disk,
        uuid: None,
        label: None,
        bootable: false,
        in_bounds: true,
    };
    Ok(Table {
        kind: TableKind::None,
        sector_size: 512,
        disk_id: None,
        partitions: vec![whole],
        findings: unannounced_gpt(disk)?.into_iter().collect(),
        boot_code: false,
    })
}

/// Whether the first sector is an MBR and not the boot sector of a file system.
fn is_mbr(record: &BootRecord, sector: &[u8; SECTOR_LEN]) -> bool {
    record.is_plausible() && (record.names_a_partition() || !is_volume_boot_sector(sector))
}

/// Whether the sector starts as those of FAT, exFAT and NTFS do.
fn is_volume_boot_sector(sector: &[u8; SECTOR_LEN]) -> bool {
    let [jump, _, _, oem @ ..] = sector;
    let oem = oem.first_chunk::<8>();
    if oem == Some(b"NTFS    ") || oem == Some(b"EXFAT   ") {
        return true;
    }
    matches!(jump, 0xeb | 0xe9) && has_fat_parameters(sector).unwrap_or(false)
}

/// Whether a FAT parameter block could be there.
fn has_fat_parameters(sector: &[u8; SECTOR_LEN]) -> Result<bool, Short> {
    let mut bpb = Cursor::new(sector);
    bpb.skip(11)?;
    let (bytes_per_sector, sectors_per_cluster) = (bpb.u16_le()?, bpb.u8()?);
    let (reserved_sectors, fats) = (bpb.u16_le()?, bpb.u8()?);
    Ok(matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096)
        && sectors_per_cluster.is_power_of_two()
        && reserved_sectors != 0
        && matches!(fats, 1 | 2))
}

/// A sound primary GPT that no MBR entry announces.
fn unannounced_gpt(disk: &dyn BlockRead) -> Result<Option<Finding>, Error> {
    Ok(Gpt::read(disk)?.ok().map(|_| Finding::GptNotAnnounced))
}

/// Linux reads these too; machines that have them do not come to EC2.
fn refuse_other_maps(disk: &dyn BlockRead, sector: &[u8; SECTOR_LEN]) -> Result<(), Error> {
    // block/partitions/{mac,sgi,sun}.h
    let mut second = [0; 2];
    if disk.size() >= 514 {
        disk.read_at(512, &mut second)?;
    }
    if sector.starts_with(b"ER") && &second == b"PM" {
        return Err(Unsupported::AppleMap.into());
    }
    if sector.starts_with(&[0x0b, 0xe5, 0xa9, 0x41]) {
        return Err(Unsupported::SgiLabel.into());
    }
    if sector.get(508..510) == Some(&[0xda, 0xbe]) {
        return Err(Unsupported::SunLabel.into());
    }
    Ok(())
}

/// Marks the partitions that are not inside the disk.
fn mark_strays(table: &mut Table, size: u64) {
    for partition in &mut table.partitions {
        if partition.in_bounds && partition.end() > size {
            partition.in_bounds = false;
            table.findings.push(Finding::LeavesDisk {
                number: partition.number,
                end: partition.end(),
                size,
            });
        }
    }
}

/// Reports each partition that starts before one that starts earlier has ended.
fn report_overlaps(table: &mut Table) {
    let mut by_start: Vec<&Partition> = table
        .partitions
        .iter()
        .filter(|p| p.size != 0 && !p.kind.is_extended())
        .collect();
    by_start.sort_by_key(|p| (p.start, p.number));
    let mut reaching_furthest: Option<&Partition> = None;
    for partition in by_start {
        if let Some(before) = reaching_furthest {
            if before.end() > partition.start {
                table.findings.push(Finding::Overlap {
                    first: before.number,
                    second: partition.number,
                });
            }
            if before.end() >= partition.end() {
                continue;
            }
        }
        reaching_furthest = Some(partition);
    }
}

/// Code ends where the disk signature begins.
const BOOT_CODE: usize = 440;
