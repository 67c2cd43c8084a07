//! What inspection tells about a source, as blueprints are checked against it.

use crate::machine::Opened;
use guest::network::InterfaceKind;
use guest::{Architecture, Facts, GuestPath};
use launch::blueprint::{SourceDisk, SourceFacts, SourceFirmware};
use launch::instances;
use volume::TableKind;

/// The facts of a machine whose guest was inspected.
pub(crate) fn of(opened: &Opened, facts: &Facts) -> SourceFacts {
    let boots = boot_disk(facts);
    let disks = opened.machine.disks().iter().enumerate();
    let interfaces = facts.network.interfaces.iter();
    let addresses = interfaces
        .filter(|interface| interface.kind == InterfaceKind::Ethernet)
        .flat_map(|interface| &interface.addresses)
        .filter_map(|address| address.split('/').next()?.parse().ok());
    SourceFacts {
        architecture: match facts.architecture {
            Architecture::X86_64 => Some(instances::Architecture::X86_64),
            Architecture::X86 => Some(instances::Architecture::I386),
            Architecture::Aarch64 => Some(instances::Architecture::Arm64),
            _ => None,
        },
        firmware: SourceFirmware {
            bios: facts.firmware.has_bios(),
            uefi: facts.firmware.has_uefi(),
        },
        disks: disks
            .map(|(at, disk)| SourceDisk {
                name: disk.name.clone(),
                size: block::BlockRead::size(&*disk.overlay),
                mbr: disk.table.kind == TableKind::Mbr,
                root: at == boots,
            })
            .collect(),
        vcpus: opened.hardware.vcpus,
        memory_mib: opened.hardware.memory_mib,
        addresses: addresses.collect(),
    }
}

/// The disk that firmware starts from: that of the boot loader's files, which need not be the one
/// of the root file system.
fn boot_disk(facts: &Facts) -> usize {
    let efi = facts.firmware.has_uefi().then_some("/boot/efi");
    let places = efi.into_iter().chain(["/boot"]);
    let volumes = places.filter_map(|path| facts.mounted_at(&GuestPath::from(path)));
    let volumes = volumes.chain(facts.volume(&facts.root));
    let mut disks = volumes.filter_map(|volume| volume.disks.first());
    disks.next().copied().unwrap_or(0)
}
