//! The operating system on the disks, in the few words that a report needs.

use guest::network::{Interface, InterfaceKind};
use guest::{Architecture, Content, Facts, Firmware};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The operating system on the disks.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guest {
    /// Its own name.
    pub os: String,
    /// The host name in its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `x86_64`, `x86`, `aarch64`, `other`.
    pub architecture: String,
    /// The firmware that can boot the disks: `bios`, `uefi`, `both`.
    pub firmware: String,
    /// The kernels that can be booted, highest version first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<Kernel>,
    /// All volumes of all disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// The network cards that are configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Agents of the platform that it lived on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_tools: Vec<String>,
}

/// A kernel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kernel {
    /// Its version.
    pub version: String,
    /// The initial ramdisk that boots with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<String>,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// Which one: `disk 1 partition 2`.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// What it holds: `ext4`, `swap`, `LUKS2`, …
    pub content: String,
    /// Where the guest mounts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted_at: Option<String>,
}

impl From<&Facts> for Guest {
    fn from(facts: &Facts) -> Self {
        let kernels = facts.kernels.iter().map(|kernel| Kernel {
            version: kernel.version.clone(),
            initramfs: kernel.initramfs.as_ref().map(ToString::to_string),
        });
        let volumes = facts.volumes.iter().map(|volume| Volume {
            name: volume.id.to_string(),
            size: volume.size,
            content: content(&volume.content),
            mounted_at: volume.mounted_at.as_ref().map(ToString::to_string),
        });
        let interfaces = facts.network.interfaces.iter();
        let interfaces = interfaces.filter(|it| it.kind != InterfaceKind::Loopback);
        let tools = facts.source_tools.iter();
        let tools = tools.map(|tool| format!("{:?}", tool.kind));
        Self {
            os: facts.os.pretty_name.clone(),
            hostname: facts.hostname.clone(),
            architecture: match facts.architecture {
                Architecture::X86_64 => "x86_64",
                Architecture::X86 => "x86",
                Architecture::Aarch64 => "aarch64",
                _ => "other",
            }
            .to_owned(),
            firmware: match facts.firmware {
                Firmware::Bios => "bios",
                Firmware::Uefi => "uefi",
                Firmware::Both => "both",
            }
            .to_owned(),
            kernels: kernels.collect(),
            volumes: volumes.collect(),
            interfaces: interfaces.map(interface).collect(),
            source_tools: tools.collect(),
        }
    }
}

/// A network card in a line: its name, how it is configured, its addresses.
fn interface(interface: &Interface) -> String {
    let mut text = interface.name.clone();
    let text = text.get_or_insert_with(|| "any".to_owned());
    for method in [interface.ipv4, interface.ipv6].into_iter().flatten() {
        let _ = write!(text, " {}", format!("{method:?}").to_lowercase());
    }
    for address in &interface.addresses {
        let _ = write!(text, " {address}");
    }
    let _ = write!(text, " ({})", interface.file);
    std::mem::take(text)
}

fn content(content: &Content) -> String {
    match content {
        Content::FileSystem(info) => info.kind.name().to_owned(),
        Content::Swap {
            hibernated: true, ..
        } => "swap of a hibernated machine".to_owned(),
        Content::Swap { .. } => "swap".to_owned(),
        Content::Luks { version, .. } => format!("LUKS{version}"),
        Content::LvmPhysical { .. } => "LVM2 physical volume".to_owned(),
        Content::MdMember { metadata, .. } => format!("RAID member {metadata}"),
        Content::Extended => "extended partition".to_owned(),
        Content::Other { format, .. } => format!("{format:?} (not supported yet)").to_lowercase(),
        Content::Unreadable(why) => format!("unreadable: {why}"),
        _ => "unknown".to_owned(),
    }
}
