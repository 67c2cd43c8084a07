//! GUID partition tables, over the `gpt` crate.
//!
//! That crate reads one copy well but picks it by its header alone, looks for the backup in the
//! last sector only, panics on entries that are not 128 bytes long and allocates what the header
//! says. So each copy is read here by itself, its header is checked before its entries are asked
//! for, and the choice between the copies is ours.

use crate::{Finding, GptDamage, Partition, PartitionKind};
use block::BlockRead;
use gpt::disk::LogicalBlockSize;
use gpt::header::{Header, HeaderError, read_header_from_arbitrary_device};
use gpt::partition::{Partition as Entry, file_read_partitions};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use uuid::Uuid;

/// The copy of a GPT that is used.
#[derive(Debug)]
pub(crate) struct Gpt {
    sectors: LogicalBlockSize,
    disk_guid: Uuid,
    entries: BTreeMap<u32, Entry>,
    findings: Vec<Finding>,
}

/// Neither copy can be used.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) primary: GptDamage,
    pub(crate) backup: GptDamage,
}

impl Gpt {
    /// Reads the GPT of a disk: the primary if any sector size finds a sound one, else the
    /// backup.
    pub(crate) fn read(disk: &dyn BlockRead) -> Result<Result<Self, Unusable>, block::Error> {
        let mut primaries = Vec::new();
        for sectors in SECTOR_SIZES {
            match Copy::read(disk, sectors, PRIMARY_LBA)? {
                Ok(primary) => return Self::of_primary(disk, sectors, primary).map(Ok),
                Err(bad) => primaries.push((sectors, bad)),
            }
        }
        let mut worst = None;
        for (sectors, primary) in primaries {
            let last = last_lba(disk, sectors);
            let mut backup = Copy::read(disk, sectors, last)?;
            // The array was damaged, but the header tells where the backup is.
            if let (Err(_), Some(alternate)) = (&backup, primary.alternate)
                && alternate != last
                && alternate != PRIMARY_LBA
            {
                backup = Copy::read(disk, sectors, alternate)?;
            }
            match backup {
                Ok(backup) => return Ok(Ok(Self::of_backup(sectors, backup, primary, last))),
                Err(backup) => {
                    // What is said of the first sector size that found a header, else of the first.
                    let found = !matches!(primary.damage, GptDamage::NoHeader { .. });
                    if worst.is_none() || found {
                        worst = Some(Unusable {
                            primary: primary.damage,
                            backup: backup.damage,
                        });
                    }
                    if found {
                        break;
                    }
                }
            }
        }
        Ok(Err(worst.unwrap_or(Unusable {
            primary: GptDamage::NoHeader { at: 512 },
            backup: GptDamage::NoHeader { at: disk.size() },
        })))
    }

    fn of_primary(
        disk: &dyn BlockRead,
        sectors: LogicalBlockSize,
        primary: Copy,
    ) -> Result<Self, block::Error> {
        let last = last_lba(disk, sectors);
        let mut findings = Vec::new();
        let (header, at) = (&primary.header, primary.header.backup_lba);
        if header.last_usable > last {
            findings.push(Finding::MadeForLargerDisk {
                last_usable: header.last_usable,
                last,
            });
        } else if at < last {
            findings.push(Finding::BackupNotAtEnd { backup: at, last });
        }
        // A primary that names itself as its backup has none.
        let backup = if at == PRIMARY_LBA {
            Err(GptDamage::Misplaced {
                lba: at,
                my_lba: at,
            }
            .into())
        } else {
            Copy::read(disk, sectors, at)?
        };
        match backup {
            Ok(backup) if !backup.says_the_same(&primary) => findings.push(Finding::BackupDiffers),
            Ok(_) => {}
            Err(backup) => findings.push(Finding::BackupDamaged {
                backup: backup.damage,
            }),
        }
        Ok(Self {
            sectors,
            disk_guid: primary.header.disk_guid,
            entries: primary.entries,
            findings,
        })
    }

    fn of_backup(sectors: LogicalBlockSize, backup: Copy, primary: BadCopy, last: u64) -> Self {
        let mut findings = vec![Finding::BackupUsed {
            primary: primary.damage,
        }];
        let (last_usable, at) = (backup.header.last_usable, backup.header.current_lba);
        if last_usable > last {
            findings.push(Finding::MadeForLargerDisk { last_usable, last });
        } else if at < last {
            findings.push(Finding::BackupNotAtEnd { backup: at, last });
        }
        Self {
            sectors,
            disk_guid: backup.header.disk_guid,
            entries: backup.entries,
            findings,
        }
    }

    pub(crate) fn sector_size(&self) -> u32 {
        match self.sectors {
            LogicalBlockSize::Lb512 => 512,
            LogicalBlockSize::Lb4096 => 4096,
        }
    }

    pub(crate) fn disk_id(&self) -> String {
        self.disk_guid.hyphenated().to_string()
    }

    /// The partitions in use, and what is wrong with the table.
    pub(crate) fn into_partitions(self) -> (Vec<Partition>, Vec<Finding>) {
        let (sectors, mut findings) = (self.sectors.as_u64(), self.findings);
        let used = self.entries.into_iter().filter(|(_, e)| e.is_used());
        let partitions = used.map(|(number, entry)| {
            let range = byte_range(&entry, sectors);
            if range.is_none() {
                findings.push(Finding::ImpossibleRange {
                    number,
                    first_lba: entry.first_lba,
                    last_lba: entry.last_lba,
                });
            }
            let (start, size) = range.unwrap_or((entry.first_lba.saturating_mul(sectors), 0));
            Partition {
                number,
                start,
                size,
                kind: PartitionKind::Gpt(entry.part_type_guid.guid),
                uuid: Some(entry.part_guid.hyphenated().to_string()),
                label: Some(entry.name).filter(|name| !name.is_empty()),
                bootable: entry.flags & LEGACY_BIOS_BOOTABLE != 0,
                in_bounds: range.is_some(),
            }
        });
        (partitions.collect(), findings)
    }
}

/// First byte and size of an entry; nothing if it ends before it starts or leaves `u64`.
fn byte_range(entry: &Entry, sectors: u64) -> Option<(u64, u64)> {
    let count = entry
        .last_lba
        .checked_sub(entry.first_lba)?
        .checked_add(1)?;
    let (start, size) = (
        entry.first_lba.checked_mul(sectors)?,
        count.checked_mul(sectors)?,
    );
    start.checked_add(size).map(|_| (start, size))
}

/// One sound copy: header and entries.
#[derive(Debug)]
struct Copy {
    header: Header,
    entries: BTreeMap<u32, Entry>,
}

/// Why a copy is not sound.
#[derive(Debug)]
struct BadCopy {
    damage: GptDamage,
    /// Where a sound header says that the other copy is.
    alternate: Option<u64>,
}

impl From<GptDamage> for BadCopy {
    fn from(damage: GptDamage) -> Self {
        Self {
            damage,
            alternate: None,
        }
    }
}

impl Copy {
    /// Reads the copy whose header is in sector `lba`. The outer error is the disk's.
    fn read(
        disk: &dyn BlockRead,
        sectors: LogicalBlockSize,
        lba: u64,
    ) -> Result<Result<Self, BadCopy>, block::Error> {
        let header = match read_header(disk, sectors, lba)? {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage.into())),
        };
        let bad = |damage| BadCopy {
            damage,
            alternate: Some(header.backup_lba),
        };
        if let Err(damage) = check_array(disk, sectors, &header) {
            return Ok(Err(bad(damage)));
        }
        let mut reader = BufReader::new(Reader::new(disk, 0));
        match file_read_partitions(&mut reader, &header, sectors) {
            Ok(entries) => Ok(Ok(Self { header, entries })),
            // Its own complaint is a string; after the checks above only the checksum is left.
            Err(error) => disk_error(error).map(|()| {
                Err(bad(GptDamage::ArrayChecksum {
                    lba: header.part_start,
                }))
            }),
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.header.disk_guid == other.header.disk_guid
            && self.header.num_parts == other.header.num_parts
            && self.header.crc32_parts == other.header.crc32_parts
    }
}

/// Reads and checks the header in sector `lba`.
fn read_header(
    disk: &dyn BlockRead,
    sectors: LogicalBlockSize,
    lba: u64,
) -> Result<Result<Header, GptDamage>, block::Error> {
    let at = lba.saturating_mul(sectors.as_u64());
    // The crate reads a header in sector 1 only, so the disk is shown to it from one before.
    let base = at.saturating_sub(sectors.as_u64());
    let header = match read_header_from_arbitrary_device(&mut Reader::new(disk, base), sectors) {
        Ok(header) => header,
        Err(HeaderError::InvalidCRC32Checksum) => {
            let mut size = [0; 4];
            disk.read_at(at.saturating_add(12), &mut size)?;
            return Ok(Err(match u32::from_le_bytes(size) {
                92 => GptDamage::HeaderChecksum { at },
                size => GptDamage::HeaderSize(size),
            }));
        }
        Err(HeaderError::Io(error)) => {
            return disk_error(error).map(|()| Err(GptDamage::NoHeader { at }));
        }
        Err(_) => return Ok(Err(GptDamage::NoHeader { at })),
    };
    if header.current_lba == lba {
        Ok(Ok(header))
    } else {
        Ok(Err(GptDamage::Misplaced {
            lba,
            my_lba: header.current_lba,
        }))
    }
}

/// Checks what the crate would trust.
fn check_array(
    disk: &dyn BlockRead,
    sectors: LogicalBlockSize,
    header: &Header,
) -> Result<(), GptDamage> {
    if header.header_size_le != 92 {
        return Err(GptDamage::HeaderSize(header.header_size_le));
    }
    if header.part_size != ENTRY_SIZE {
        return Err(GptDamage::EntrySize(header.part_size));
    }
    if header.num_parts > MAX_ENTRIES {
        return Err(GptDamage::TooManyEntries(header.num_parts));
    }
    let size = u64::from(header.num_parts).saturating_mul(u64::from(ENTRY_SIZE));
    let end = header
        .part_start
        .checked_mul(sectors.as_u64())
        .and_then(|start| start.checked_add(size));
    match end {
        Some(end) if end <= disk.size() => Ok(()),
        _ => Err(GptDamage::ArrayLeavesDisk {
            lba: header.part_start,
        }),
    }
}

fn last_lba(disk: &dyn BlockRead, sectors: LogicalBlockSize) -> u64 {
    disk.size()
        .checked_div(sectors.as_u64())
        .unwrap_or_default()
        .saturating_sub(1)
}

/// Tells an error of the disk, which ends the reading, from the end of the disk or a complaint of
/// the crate, which do not.
fn disk_error(error: io::Error) -> Result<(), block::Error> {
    error.downcast::<block::Error>().map_or(Ok(()), Err)
}

/// The disk from byte `base` on, as the crate wants to read it.
#[derive(Debug)]
struct Reader<'a> {
    disk: &'a dyn BlockRead,
    base: u64,
    position: u64,
}

impl<'a> Reader<'a> {
    fn new(disk: &'a dyn BlockRead, base: u64) -> Self {
        Self {
            disk,
            base,
            position: 0,
        }
    }

    fn size(&self) -> u64 {
        self.disk.size().saturating_sub(self.base)
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.size().saturating_sub(self.position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        // At the end, or sought past it, there is nothing to ask the disk for.
        if len == 0 {
            return Ok(0);
        }
        let at = self.base.saturating_add(self.position);
        let buf = buf.get_mut(..len).unwrap_or_default();
        self.disk.read_at(at, buf).map_err(io::Error::other)?;
        self.position = self.position.saturating_add(ondisk::width::u64_of(len));
        Ok(len)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Linux and UEFI know disks of both; a table counts in the sectors of the disk it was made on.
const SECTOR_SIZES: [LogicalBlockSize; 2] = [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096];
const PRIMARY_LBA: u64 = 1;
/// UEFI allows larger ones; no tool writes them and the crate reads no others.
const ENTRY_SIZE: u32 = 128;
/// Linux numbers 255 partitions on a disk, sgdisk makes tables of 4096 at most worth their room.
const MAX_ENTRIES: u32 = 4096;
/// UEFI 2.10, table 5.8, bit 2.
const LEGACY_BIOS_BOOTABLE: u64 = 1 << 2;
