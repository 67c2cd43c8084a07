//! Rules for Linux guests.

mod blkid_cache;
mod cloud_init;
mod command_lines;
mod crypttab;
mod drivers;
mod firmware;
mod fstab;
mod getty_serial;
mod grub_device_map;
mod initramfs;
mod initramfs_files;
mod initramfs_persist;
mod kdump;
mod kernel_choice;
mod lvm;
mod mdadm;
mod modprobe_cleanup;
mod modules;
mod multipath;
mod network;
mod nvme_timeout;
mod resume;
mod root_by_uuid;
mod selinux_labels;
mod serial_console;
mod source_repositories;
mod source_tools;
#[cfg(test)]
mod testing;
mod uefi_fallback;

use crate::Rule;

/// In the order in which they run.
pub(crate) const RULES: &[Rule] = &[
    kernel_choice::RULE,
    initramfs::RULE,
    initramfs_persist::RULE,
    resume::RULE,
    fstab::BY_UUID,
    fstab::NOFAIL,
    crypttab::RULE,
    root_by_uuid::RULE,
    serial_console::RULE,
    nvme_timeout::RULE,
    grub_device_map::RULE,
    network::DHCP,
    network::MAC,
    network::NAME,
    network::BINDINGS,
    network::RESOLV_CONF,
    network::NO_AUTO_DEFAULT,
    uefi_fallback::RULE,
    firmware::RULE,
    cloud_init::RULE,
    source_tools::RULE,
    source_repositories::RULE,
    blkid_cache::RULE,
    lvm::RULE,
    mdadm::RULE,
    multipath::RULE,
    kdump::RULE,
    modprobe_cleanup::RULE,
    getty_serial::RULE,
    // Last: it looks at what the others make.
    selinux_labels::RULE,
];
