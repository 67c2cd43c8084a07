//! The drivers that an instance needs.

use crate::Options;
use guest::Kernel;

/// The hardware of a generation of instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hardware {
    /// NVMe disks, ENA network.
    Nitro,
    /// Paravirtual disks and network.
    Xen,
}

/// The kernel's driver of Xen's disks, and what RHEL 5 calls it in its kernel for whole machines.
const XEN_DISK: [&str; 2] = ["xen_blkfront", "xen_vbd"];
/// That of Xen's network likewise.
const XEN_NETWORK: [&str; 2] = ["xen_netfront", "xen_vnif"];

impl Hardware {
    /// The drivers of its disks; one of them is enough.
    fn disk(self) -> &'static [&'static str] {
        match self {
            Self::Nitro => &["nvme"],
            Self::Xen => &XEN_DISK,
        }
    }

    /// The drivers of its network; one of them is enough.
    fn network(self) -> &'static [&'static str] {
        match self {
            Self::Nitro => &["ena"],
            Self::Xen => &XEN_NETWORK,
        }
    }

    /// The instances that have it, in words.
    pub(crate) fn instances(self) -> &'static str {
        match self {
            Self::Nitro => "Nitro instances",
            Self::Xen => "Xen instances (t2, m4, c4, r4 and others)",
        }
    }

    /// What `--target` calls it.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Nitro => "nitro",
            Self::Xen => "xen",
        }
    }

    /// Why a kernel does not drive it, in words.
    pub(crate) fn lacks(self, kernel: &Kernel) -> String {
        if kernel.paravirtual {
            return "it boots on no instance of today".to_owned();
        }
        let groups = [self.disk(), self.network()].into_iter();
        let lacking = groups.filter(|group| !kernel.may_have_any(group));
        let names: Vec<&str> = lacking.filter_map(|group| group.first().copied()).collect();
        format!("no {}", names.join(", no "))
    }
}

/// Whether a kernel has drivers for disks and network; where that cannot be told, it is taken for
/// granted.
pub(crate) fn drives(kernel: &Kernel, hardware: Hardware) -> bool {
    !kernel.paravirtual
        && kernel.may_have_any(hardware.disk())
        && kernel.may_have_any(hardware.network())
}

/// What the root disk needs before the root file system is there; of drivers that have two names,
/// that which this kernel has.
pub(super) fn boot_drivers(options: &Options, kernel: Option<&Kernel>) -> Vec<&'static str> {
    let mut drivers = Vec::new();
    if options.target.nitro() {
        drivers.push("nvme");
    }
    if options.target.xen() {
        drivers.push(of_kernel(XEN_DISK, kernel));
    }
    if options.initramfs_network {
        drivers.extend(network_drivers(options, kernel));
    }
    drivers
}

/// What the network needs: loaded from the root file system.
pub(super) fn network_drivers(options: &Options, kernel: Option<&Kernel>) -> Vec<&'static str> {
    let mut drivers = Vec::new();
    if options.target.nitro() {
        drivers.push("ena");
    }
    if options.target.xen() {
        drivers.extend([of_kernel(XEN_NETWORK, kernel), "ixgbevf"]);
    }
    drivers
}

/// The name that the kernel knows; the usual one if it knows none.
fn of_kernel(names: [&'static str; 2], kernel: Option<&Kernel>) -> &'static str {
    let own = kernel.and_then(|kernel| kernel.drivers.as_ref());
    let known = |name: &&str| own.is_some_and(|own| own.iter().any(|driver| driver == name));
    names.into_iter().find(known).unwrap_or(names[0])
}
