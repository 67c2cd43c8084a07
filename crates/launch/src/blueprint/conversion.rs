//! What the conversion does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the conversion does
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conversion {
    /// The hardware that the guest must boot on; both if it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What becomes of the network configuration; dhcp if it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkMode>,
    /// Rules that are left out; `rehost rules` lists them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub skip: Vec<String>,
    /// Whether network drivers go into the initramfs too
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initramfs_network: Option<bool>,
}

/// The hardware that the guest must boot on
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Nitro instances: NVMe disks, ENA network
    Nitro,
    /// Xen instances: paravirtual disks and network
    Xen,
    /// Either of them
    Both,
}

/// What becomes of the guest's network configuration
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Every configured Ethernet interface asks DHCP, under its own name
    Dhcp,
    /// Addresses stay; only what ties names to the old hardware goes
    Preserve,
    /// Nothing is touched
    Leave,
}

impl Conversion {
    /// Fills in what the command line left open.
    pub fn complete(&self, options: &mut convert::Options, target: bool, network: bool) {
        if let (false, Some(wanted)) = (target, self.target) {
            options.target = match wanted {
                Target::Nitro => convert::Target::Nitro,
                Target::Xen => convert::Target::Xen,
                Target::Both => convert::Target::Both,
            };
        }
        if let (false, Some(wanted)) = (network, self.network) {
            options.network = match wanted {
                NetworkMode::Dhcp => convert::NetworkMode::Dhcp,
                NetworkMode::Preserve => convert::NetworkMode::Preserve,
                NetworkMode::Leave => convert::NetworkMode::Leave,
            };
        }
        options.skip.extend(self.skip.iter().cloned());
        options.initramfs_network |= self.initramfs_network.unwrap_or_default();
    }
}
