//! Which firmware can boot the disks.

use crate::{Disk, Error, Firmware, Machine, VolumeId};
use block::BlockRead;
use volume::TableKind;

/// Judges by the partitions for boot loaders and by the code in the first sectors.
///
/// # Errors
/// [`Error::Disk`] if a first sector cannot be read.
pub(crate) fn inspect(machine: &Machine) -> Result<Option<Firmware>, Error> {
    let (mut uefi, mut bios) = (false, false);
    for disk in machine.disks() {
        let mut partitions = disk.table.partitions.iter();
        uefi |= partitions.any(|partition| partition.kind.is_esp());
        bios |= has_bios_loader(disk)?;
    }
    Ok(match (uefi, bios) {
        (true, true) => Some(Firmware::Both),
        (true, false) => Some(Firmware::Uefi),
        (false, true) => Some(Firmware::Bios),
        (false, false) => None,
    })
}

/// The number of the disk, from 0, that firmware has to start from: the one with the root file system
/// if it has a boot loader, else the first that has one.
///
/// # Errors
/// [`Error::Disk`] if a first sector cannot be read; [`Error::NoSuchVolume`].
pub fn boot_disk(machine: &Machine, root: &VolumeId) -> Result<usize, Error> {
    let starts = |disk: &Disk| -> Result<bool, Error> {
        let mut partitions = disk.table.partitions.iter();
        Ok(partitions.any(|partition| partition.kind.is_esp()) || has_bios_loader(disk)?)
    };
    let disks = machine.disks();
    let below = &machine.volume(root)?.disks;
    for number in below {
        if let Some(disk) = disks.get(*number)
            && starts(disk)?
        {
            return Ok(*number);
        }
    }
    for (number, disk) in disks.iter().enumerate() {
        if starts(disk)? {
            return Ok(number);
        }
    }
    Ok(below.first().copied().unwrap_or(0))
}

/// Whether a PC BIOS finds something to start. Tools for partitions put code of their own into
/// the first sector that starts the active partition, so code alone says nothing.
fn has_bios_loader(disk: &Disk) -> Result<bool, Error> {
    if !disk.table.boot_code {
        return Ok(false);
    }
    let partitions = &disk.table.partitions;
    let active = disk.table.kind == TableKind::Mbr && partitions.iter().any(|p| p.bootable);
    if active || partitions.iter().any(|p| p.kind.is_bios_boot()) {
        return Ok(true);
    }
    let mut code = [0; BOOT_CODE];
    disk.overlay
        .read_at(0, &mut code)
        .map_err(|error| Error::Disk {
            name: disk.name.clone(),
            source: Box::new(error),
        })?;
    let says = |word: &[u8]| code.windows(word.len()).any(|window| window == word);
    Ok(LOADERS.iter().any(|word| says(word)))
}

/// Words in the first sectors of GRUB (grub-core/boot/i386/pc/boot.S), LILO, and SYSLINUX's
/// gptmbr.bin.
const LOADERS: [&[u8]; 3] = [b"GRUB ", b"LILO", b"Missing OS"];
/// Bytes of code before the disk signature.
const BOOT_CODE: usize = 440;
