//! What inspection saw, as plain data.

use crate::{
    Boot, CloudInit, Content, GuestPath, Kernel, Network, Os, Packages, Selinux, SourceTool,
    VolumeId,
};
use serde::{Deserialize, Serialize};

/// What inspection saw of a machine and the guest on it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// The operating system.
    pub os: Os,
    /// The name in `/etc/hostname` or where the distribution keeps it.
    pub hostname: Option<String>,
    /// What the guest's programs are compiled for.
    pub architecture: Architecture,
    /// The kinds of firmware that can boot the disks.
    pub firmware: Firmware,
    /// The volume of the root file system.
    pub root: VolumeId,
    /// All volumes of all disks, in the order of the disks.
    pub volumes: Vec<VolumeFact>,
    /// The entries of `/etc/fstab`.
    pub fstab: Vec<FstabFact>,
    /// The kernels that can be booted, highest version first.
    pub kernels: Vec<Kernel>,
    /// How the guest boots.
    pub boot: Boot,
    /// How it configures its network.
    pub network: Network,
    /// cloud-init, where it is installed.
    pub cloud_init: Option<CloudInit>,
    /// SELinux, where it is configured.
    #[serde(default)]
    pub selinux: Option<Selinux>,
    /// Agents of the platform that it lived on.
    pub source_tools: Vec<SourceTool>,
    /// The installed packages.
    pub packages: Packages,
    /// What is odd, in sentences for the user.
    pub findings: Vec<String>,
}

impl Facts {
    /// The volume of this identifier.
    pub fn volume(&self, id: &VolumeId) -> Option<&VolumeFact> {
        self.volumes.iter().find(|volume| volume.id == *id)
    }

    /// The volume mounted at this path.
    pub fn mounted_at(&self, path: &GuestPath) -> Option<&VolumeFact> {
        let mut volumes = self.volumes.iter();
        volumes.find(|volume| volume.mounted_at.as_ref() == Some(path))
    }

    /// What an old name for a device, as `/dev/sda2` or `LABEL=data`, stands for: see
    /// [`DeviceName`](crate::DeviceName).
    pub fn resolve(&self, name: &str) -> Option<VolumeId> {
        crate::DeviceName::parse(name).resolve(&self.volumes)
    }
}

/// One volume: a partition, a whole disk without a partition table, an array, a logical volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct VolumeFact {
    /// Which one.
    pub id: VolumeId,
    /// The disks that it lies on, by their indices from 0, ascending.
    #[serde(default)]
    pub disks: Vec<usize>,
    /// Size in bytes.
    pub size: u64,
    /// The type that the partition table gives it: a GUID, or a byte as `0x83`.
    pub partition_type: Option<String>,
    /// What it holds.
    pub content: Content,
    /// What `UUID=` in fstab compares.
    pub uuid: Option<String>,
    /// What `LABEL=` in fstab compares.
    pub label: Option<String>,
    /// What `PARTUUID=` compares.
    pub partuuid: Option<String>,
    /// What `PARTLABEL=` compares.
    pub partlabel: Option<String>,
    /// The names that kernels may have given it where it lived, as `/dev/sda2`, `/dev/vda2`.
    pub device_names: Vec<String>,
    /// Where the guest mounts it, if it could be mounted.
    pub mounted_at: Option<GuestPath>,
}

/// One entry of `/etc/fstab`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FstabFact {
    /// Line in the file, from 1.
    pub line: usize,
    /// The device, as it stands there.
    pub spec: String,
    /// The mount point; none for swap and what else is mounted nowhere.
    pub mount_point: Option<GuestPath>,
    /// The type of the file system, as `ext4` or `swap`.
    pub file_system: String,
    /// The mount options.
    pub options: Vec<String>,
    /// The volume that the device stands for, where that can be told.
    pub resolved: Option<VolumeId>,
}

impl FstabFact {
    /// Whether one of the options is `name`, or begins with `name=`.
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| {
            let rest = option.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    }
}

/// What programs are compiled for.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Architecture {
    /// 64-bit PC.
    X86_64,
    /// 32-bit PC.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// Anything else, or not known.
    #[default]
    Other,
}

/// The kinds of firmware that can boot the disks.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A boot loader for PC BIOS alone.
    #[default]
    Bios,
    /// An EFI system partition alone.
    Uefi,
    /// Both.
    Both,
}

impl Firmware {
    /// Whether UEFI can boot it.
    pub fn has_uefi(self) -> bool {
        matches!(self, Self::Uefi | Self::Both)
    }

    /// Whether a PC BIOS can boot it.
    pub fn has_bios(self) -> bool {
        matches!(self, Self::Bios | Self::Both)
    }
}
