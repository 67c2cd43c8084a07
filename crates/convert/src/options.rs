//! What the user asked for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The hardware that the guest must boot on.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Nitro instances: NVMe disks, ENA network.
    Nitro,
    /// Xen instances: paravirtual disks and network.
    Xen,
    /// Either of them.
    #[default]
    Both,
}

impl Target {
    /// Whether the guest must boot on Nitro instances.
    pub fn nitro(self) -> bool {
        matches!(self, Self::Nitro | Self::Both)
    }

    /// Whether the guest must boot on Xen instances.
    pub fn xen(self) -> bool {
        matches!(self, Self::Xen | Self::Both)
    }
}

/// What becomes of the guest's network configuration.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Every configured Ethernet interface asks DHCP, under its own name.
    #[default]
    Dhcp,
    /// Addresses stay; only what ties names to the old hardware goes.
    Preserve,
    /// Nothing is touched.
    Leave,
}

/// What the user asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The hardware that the guest must boot on.
    pub target: Target,
    /// What becomes of the network configuration.
    pub network: NetworkMode,
    /// Ids of rules that are left out.
    pub skip: BTreeSet<String>,
    /// Whether network drivers go into the initramfs too. They are not needed for the root disk,
    /// and loaded there they take their interface name from the initramfs's copy of the rules.
    pub initramfs_network: bool,
}
