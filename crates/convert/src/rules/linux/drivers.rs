//! The drivers that an instance needs.

use crate::Options;

/// What the root disk needs before the root file system is there.
pub(super) fn boot_drivers(options: &Options) -> Vec<&'static str> {
    let mut drivers = Vec::new();
    if options.target.nitro() {
        drivers.push("nvme");
    }
    if options.target.xen() {
        drivers.push("xen_blkfront");
    }
    if options.initramfs_network {
        drivers.extend(network_drivers(options));
    }
    drivers
}

/// What the network needs: loaded from the root file system.
pub(super) fn network_drivers(options: &Options) -> Vec<&'static str> {
    let mut drivers = Vec::new();
    if options.target.nitro() {
        drivers.push("ena");
    }
    if options.target.xen() {
        drivers.extend(["xen_netfront", "ixgbevf"]);
    }
    drivers
}
