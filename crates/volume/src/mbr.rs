//! The MBR and its chain of extended boot records.

use crate::{ChainEnd, Finding, Partition, PartitionKind};
use block::BlockRead;
use ondisk::{Cursor, Short};
use std::collections::BTreeSet;

/// One boot record: the MBR, or an extended boot record.
#[derive(Clone, Debug)]
pub(crate) struct BootRecord {
    /// Disk signature at byte 440; means nothing in an extended record.
    signature: u32,
    entries: [Entry; 4],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    boot_indicator: u8,
    os_type: u8,
    starting_lba: u32,
    size_in_lba: u32,
}

impl BootRecord {
    /// The record in a sector; nothing if it does not end in 55 AA.
    pub(crate) fn parse(sector: &[u8; SECTOR_LEN]) -> Option<Self> {
        Self::fields(sector).ok().flatten()
    }

    fn fields(sector: &[u8; SECTOR_LEN]) -> Result<Option<Self>, Short> {
        let mut cursor = Cursor::new(sector);
        cursor.skip(440)?;
        let signature = cursor.u32_le()?;
        cursor.skip(2)?;
        let entries = [
            Entry::read(&mut cursor)?,
            Entry::read(&mut cursor)?,
            Entry::read(&mut cursor)?,
            Entry::read(&mut cursor)?,
        ];
        let end = cursor.u16_le()?;
        Ok((end == 0xaa55).then_some(Self { signature, entries }))
    }

    /// Whether an entry announces a GPT.
    pub(crate) fn is_protective(&self) -> bool {
        self.entries.iter().any(|e| e.os_type == GPT_PROTECTIVE)
    }

    /// Whether entries stand beside the one that announces the GPT.
    pub(crate) fn is_hybrid(&self) -> bool {
        let other = |e: &Entry| e.os_type != GPT_PROTECTIVE && e.os_type != 0 && e.is_used();
        self.entries.iter().any(other)
    }

    /// Whether Linux would take the entries for partitions: a boot sector of a file system ends
    /// in 55 AA too, but has code where the boot indicators would be.
    pub(crate) fn is_plausible(&self) -> bool {
        self.entries
            .iter()
            .all(|e| matches!(e.boot_indicator, 0 | 0x80))
    }

    /// Whether an entry names a place behind the record itself. `mkfs.fat` writes one that covers
    /// the whole disk, boot sector included.
    pub(crate) fn names_a_partition(&self) -> bool {
        self.entries
            .iter()
            .any(|e| e.is_used() && e.starting_lba != 0)
    }

    /// The disk signature as eight hex digits; nothing if it is zero.
    pub(crate) fn disk_id(&self) -> Option<String> {
        (self.signature != 0).then(|| format!("{:08x}", self.signature))
    }

    /// All partitions, the logical ones after the primary ones, and what is wrong with the chain.
    pub(crate) fn partitions(
        &self,
        disk: &dyn BlockRead,
    ) -> Result<(Vec<Partition>, Vec<Finding>), block::Error> {
        let mut found = Found {
            disk_id: self.disk_id(),
            partitions: Vec::new(),
            findings: Vec::new(),
            visited: BTreeSet::new(),
            next_logical: FIRST_LOGICAL,
        };
        for (number, entry) in (1..).zip(&self.entries) {
            if entry.is_used() {
                found.push(number, u64::from(entry.starting_lba), entry);
            }
        }
        for entry in &self.entries {
            if entry.is_extended() {
                found.walk_extended(disk, entry)?;
            }
        }
        Ok((found.partitions, found.findings))
    }
}

impl Entry {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let boot_indicator = cursor.u8()?;
        cursor.skip(3)?;
        let os_type = cursor.u8()?;
        cursor.skip(3)?;
        Ok(Self {
            boot_indicator,
            os_type,
            starting_lba: cursor.u32_le()?,
            size_in_lba: cursor.u32_le()?,
        })
    }

    fn is_used(&self) -> bool {
        self.size_in_lba != 0
    }

    fn is_extended(&self) -> bool {
        self.is_used() && PartitionKind::Mbr(self.os_type).is_extended()
    }
}

/// What the walk has found so far.
struct Found {
    disk_id: Option<String>,
    partitions: Vec<Partition>,
    findings: Vec<Finding>,
    /// Boot records read, in sectors: no record is read twice, so the walk ends.
    visited: BTreeSet<u64>,
    next_logical: u32,
}

impl Found {
    fn push(&mut self, number: u32, lba: u64, entry: &Entry) {
        self.partitions.push(Partition {
            number,
            start: lba.saturating_mul(SECTOR_SIZE),
            size: u64::from(entry.size_in_lba).saturating_mul(SECTOR_SIZE),
            kind: PartitionKind::Mbr(entry.os_type),
            // As Linux makes it, in `msdos_partition`: both numbers in hex.
            uuid: self
                .disk_id
                .as_ref()
                .map(|disk| format!("{disk}-{number:02x}")),
            label: None,
            bootable: entry.boot_indicator == 0x80,
            in_bounds: true,
        });
    }

    /// Walks the chain that starts in an extended partition, as `parse_extended` in Linux does:
    /// data entries count from their own record, links from the first record.
    fn walk_extended(
        &mut self,
        disk: &dyn BlockRead,
        extended: &Entry,
    ) -> Result<(), block::Error> {
        let first = u64::from(extended.starting_lba);
        let whole = u64::from(extended.size_in_lba);
        let (mut lba, mut room) = (first, whole);
        loop {
            let record = match self.visit(disk, lba)? {
                Ok(record) => record,
                Err(end) => {
                    self.findings.push(Finding::LogicalChain { lba, end });
                    return Ok(());
                }
            };
            for (slot, entry) in record.entries.iter().enumerate() {
                if !entry.is_used() || entry.is_extended() {
                    continue;
                }
                let (offset, size) = (u64::from(entry.starting_lba), u64::from(entry.size_in_lba));
                let start = lba.saturating_add(offset);
                // Linux asks this of the third and fourth entry, which some tools leave as garbage.
                let in_room = offset.saturating_add(size) <= room
                    && start >= first
                    && start.saturating_add(size) <= first.saturating_add(whole);
                if slot >= 2 && !in_room {
                    continue;
                }
                if self.next_logical > LAST_NUMBER {
                    let end = ChainEnd::TooLong;
                    self.findings.push(Finding::LogicalChain { lba, end });
                    return Ok(());
                }
                self.push(self.next_logical, start, entry);
                self.next_logical = self.next_logical.saturating_add(1);
            }
            let Some(link) = record.entries.iter().find(|e| e.is_extended()) else {
                return Ok(());
            };
            lba = first.saturating_add(u64::from(link.starting_lba));
            room = u64::from(link.size_in_lba);
        }
    }

    /// Reads the boot record in a sector that was not read before.
    fn visit(
        &mut self,
        disk: &dyn BlockRead,
        lba: u64,
    ) -> Result<Result<BootRecord, ChainEnd>, block::Error> {
        if !self.visited.insert(lba) {
            return Ok(Err(ChainEnd::Loop));
        }
        if self.visited.len() > MAX_RECORDS {
            return Ok(Err(ChainEnd::TooLong));
        }
        let mut sector = [0; SECTOR_LEN];
        let at = lba.saturating_mul(SECTOR_SIZE);
        if at.saturating_add(SECTOR_SIZE) > disk.size() {
            return Ok(Err(ChainEnd::LeavesDisk));
        }
        disk.read_at(at, &mut sector)?;
        Ok(BootRecord::parse(&sector).ok_or(ChainEnd::NoSignature))
    }
}

/// An MBR does not say how large its sectors are; Linux takes the disk's, and EC2's have these.
pub(crate) const SECTOR_SIZE: u64 = 512;
pub(crate) const SECTOR_LEN: usize = 512;
/// UEFI 2.10, section 5.2.3.
const GPT_PROTECTIVE: u8 = 0xee;
const FIRST_LOGICAL: u32 = 5;
/// `DISK_MAX_PARTS` of Linux, less the disk itself.
const LAST_NUMBER: u32 = 255;
/// Records without a partition count too, so that a long chain of them ends.
const MAX_RECORDS: usize = 512;
