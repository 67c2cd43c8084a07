//! What a disk says about its partitions.

use crate::{Error, Finding};
use block::{BlockRead, Window};
use uuid::{Uuid, uuid};

/// The partition table of a disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// What kind of table it is.
    pub kind: TableKind,
    /// Bytes of the sectors that the table counts in: 512 or 4096.
    pub sector_size: u32,
    /// GPT: disk GUID in lower case; MBR: disk signature as eight hex digits, if not zero.
    pub disk_id: Option<String>,
    /// In table order; with [`TableKind::None`] the disk itself as number 0.
    pub partitions: Vec<Partition>,
    /// What is wrong with the table.
    pub findings: Vec<Finding>,
    /// Whether the first 440 bytes of the disk hold anything: boot code, with MBR and GPT alike.
    pub boot_code: bool,
}

/// The kinds of table.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TableKind {
    /// GUID partition table behind a protective MBR.
    Gpt,
    /// MBR, with logical partitions where there is an extended one.
    Mbr,
    /// GUID partition table; the MBR names some of its partitions too, and is not listed.
    Hybrid,
    /// No table: the disk itself is one volume.
    None,
}

/// One partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partition {
    /// As Linux counts: the slot from 1, logical partitions from 5; 0 is the disk itself.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Size in bytes.
    pub size: u64,
    /// Type.
    pub kind: PartitionKind,
    /// What `PARTUUID=` compares: GPT the unique GUID in lower case, MBR `ssssssss-nn`.
    pub uuid: Option<String>,
    /// What `PARTLABEL=` compares; absent where it is empty or the table keeps none.
    pub label: Option<String>,
    /// MBR: the active flag; GPT: the attribute "legacy BIOS bootable".
    pub bootable: bool,
    /// Whether it lies inside the disk; else it cannot be opened.
    pub in_bounds: bool,
}

/// What a partition says it is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PartitionKind {
    /// Partition type GUID.
    Gpt(Uuid),
    /// Partition type byte.
    Mbr(u8),
    /// No partition: the disk itself.
    Disk,
}

impl Table {
    /// The partition of this number.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.number == number)
    }
}

impl Partition {
    /// The byte after the last one; at most `u64::MAX`.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// Opens the partition as a device of its own.
    ///
    /// # Errors
    /// [`Error::LeavesDisk`] if it is not inside the disk.
    pub fn open<D: BlockRead>(&self, disk: D) -> Result<Window<D>, Error> {
        let leaves = Error::LeavesDisk {
            number: self.number,
            start: self.start,
            end: self.end(),
            size: disk.size(),
        };
        if !self.in_bounds {
            return Err(leaves);
        }
        Window::new(disk, self.start, self.size).map_err(|_| leaves)
    }
}

impl PartitionKind {
    /// EFI system partition.
    pub fn is_esp(self) -> bool {
        matches!(self, Self::Gpt(EFI_SYSTEM) | Self::Mbr(0xef))
    }

    /// BIOS boot partition: where GRUB keeps its core image on GPT disks.
    pub fn is_bios_boot(self) -> bool {
        matches!(self, Self::Gpt(BIOS_BOOT))
    }

    /// Says that it is Linux swap; only a hint, the content decides.
    pub fn is_linux_swap_hint(self) -> bool {
        matches!(self, Self::Gpt(LINUX_SWAP) | Self::Mbr(0x82))
    }

    /// Says that it is an LVM physical volume.
    pub fn is_lvm(self) -> bool {
        matches!(self, Self::Gpt(LINUX_LVM) | Self::Mbr(0x8e))
    }

    /// Extended MBR partition: holds logical ones and no file system.
    pub fn is_extended(self) -> bool {
        // As `is_extended_partition` in Linux, block/partitions/msdos.c.
        matches!(self, Self::Mbr(0x05 | 0x0f | 0x85))
    }
}

/// UEFI 2.10, table 5.7.
const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// GRUB manual, "BIOS installation".
const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
/// Discoverable Partitions Specification.
const LINUX_SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
/// As sgdisk and libblkid name it.
const LINUX_LVM: Uuid = uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928");
