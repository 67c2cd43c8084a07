//! What inspection saw of the way the guest boots.

use crate::GuestPath;
use serde::{Deserialize, Serialize};

/// How the guest's boot loaders are configured.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Boot {
    /// GRUB 2, where it has a configuration.
    pub grub: Option<Grub>,
    /// Further configurations of GRUB 2: a disk that BIOS and UEFI can boot may have one for each.
    /// Stubs on the EFI system partition that lead to another one are none.
    pub more_grubs: Vec<Grub>,
    /// GRUB Legacy, where it has a menu and GRUB 2 has not.
    pub legacy: Option<LegacyGrub>,
    /// systemd-boot's `loader.conf`.
    pub loader_conf: Option<GuestPath>,
    /// Every command line by which a Linux kernel can be started, in the order in which the files
    /// hold them: GRUB's menus first, then Boot Loader Specification entries as GRUB sorts them.
    pub entries: Vec<BootEntry>,
    /// Index of the entry in `entries` that starts when nobody chooses; none where it depends on
    /// what cannot be told from the files.
    pub default: Option<usize>,
    /// Files whose text becomes the command line of kernels installed later, as
    /// `/etc/kernel/cmdline`.
    pub kernel_cmdline: Vec<GuestPath>,
    /// The EFI system partition, where one is mounted.
    pub esp: Option<Esp>,
    /// Boot loaders that were recognised and are not handled, in words.
    pub others: Vec<String>,
}

impl Boot {
    /// All configurations of GRUB 2.
    pub fn grubs(&self) -> impl Iterator<Item = &Grub> {
        self.grub.iter().chain(&self.more_grubs)
    }
}

/// GRUB 2's files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Grub {
    /// The generated configuration, as `/boot/grub/grub.cfg`.
    pub config: GuestPath,
    /// The environment block beside it, as `/boot/grub/grubenv`.
    pub environment: Option<GuestPath>,
    /// The map of BIOS disks to device names beside it.
    pub device_map: Option<GuestPath>,
    /// What `grub-mkconfig` reads, in the order in which it does: `/etc/default/grub`, then
    /// `/etc/default/grub.d/*.cfg`.
    pub defaults: Vec<GuestPath>,
    /// Whether the configuration takes its entries from `/boot/loader/entries`.
    pub blscfg: bool,
    /// Index of the entry that this configuration starts when nobody chooses.
    pub default: Option<usize>,
    /// Index of the entry that starts at the next boot and never again, where the environment block
    /// asks for one.
    pub next: Option<usize>,
}

/// GRUB Legacy's files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LegacyGrub {
    /// The menu, as `/boot/grub/grub.conf`.
    pub menu: GuestPath,
    /// The map of BIOS disks to device names beside it.
    pub device_map: Option<GuestPath>,
}

/// One way to start a kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BootEntry {
    /// The file that holds it.
    pub file: GuestPath,
    /// Line of the kernel command in the file, from 1.
    pub line: usize,
    /// The title in the menu.
    pub title: String,
    /// The identifier by which it can be chosen.
    pub id: Option<String>,
    /// The kernel as the boot loader names it, from the root of its file system.
    pub kernel: String,
    /// The initial ramdisks likewise.
    pub initrds: Vec<String>,
    /// The kernel's command line.
    pub arguments: String,
}

/// The EFI system partition.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Esp {
    /// Where it is mounted, as `/boot/efi`.
    pub mount: GuestPath,
    /// What firmware starts when it knows no boot entry: the `BOOT*.EFI` in `\EFI\BOOT`.
    pub fallback: Vec<GuestPath>,
    /// The other directories below `\EFI` that hold loaders.
    pub vendors: Vec<EspVendor>,
}

/// A directory of loaders below `\EFI`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EspVendor {
    /// The directory, as `/boot/efi/EFI/debian`.
    pub directory: GuestPath,
    /// The `.efi` files in it.
    pub loaders: Vec<GuestPath>,
}
