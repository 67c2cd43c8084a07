//! What is known about the source, which makes the check sharper.

use crate::instances::{Architecture, Table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What a blueprint is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The instance types.
    pub types: &'a Table,
    /// The source, where its disks were looked at.
    pub source: Option<&'a SourceFacts>,
}

impl Default for Context<'static> {
    /// The built-in instance types, and nothing about the source.
    fn default() -> Self {
        Self {
            types: Table::built_in(),
            source: None,
        }
    }
}

/// What inspection found out about the source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceFacts {
    /// What the guest runs on; none if that is nothing that EC2 has.
    pub architecture: Option<Architecture>,
    /// What boots its disks.
    pub firmware: SourceFirmware,
    /// Its disks, in order.
    pub disks: Vec<SourceDisk>,
    /// Its virtual CPUs. The disks do not tell them; a description of the machine may.
    pub vcpus: Option<u32>,
    /// Its memory in MiB, likewise.
    pub memory_mib: Option<u64>,
    /// The fixed IPv4 addresses of its interfaces, in order.
    pub addresses: Vec<Ipv4Addr>,
}

/// How large the source is, as far as somebody tells.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hardware {
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 67108864))]
    pub memory_mib: Option<u64>,
}

impl Hardware {
    /// What this one tells, and what it does not as the other one does.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.or(other.vcpus),
            memory_mib: self.memory_mib.or(other.memory_mib),
        }
    }

    /// Whether nothing is told.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

impl SourceFacts {
    /// How large it is.
    pub fn hardware(&self) -> Hardware {
        Hardware {
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
        }
    }

    /// Says how large it is.
    pub fn set_hardware(&mut self, hardware: Hardware) {
        self.vcpus = hardware.vcpus;
        self.memory_mib = hardware.memory_mib;
    }
}

/// What boots the disks of the source.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceFirmware {
    /// There is a boot loader for a PC BIOS.
    pub bios: bool,
    /// There is an EFI system partition with a loader.
    pub uefi: bool,
}

/// A disk of the source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceDisk {
    /// What people know it by.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its partition table is an MBR, which ends at 2 TiB.
    pub mbr: bool,
    /// Whether the guest boots from it.
    pub root: bool,
}

impl SourceDisk {
    /// The size in GiB, rounded up.
    pub fn size_gib(&self) -> u64 {
        self.size.div_ceil(1 << 30)
    }
}
