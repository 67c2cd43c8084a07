//! The instance types of EC2, known without asking it.
//!
//! The table in `table.txt` is made by `scripts/instance-types` out of moto's records of
//! DescribeInstanceTypes (Apache-2.0; the head of the file names the version). It is text, for
//! reading what changed; a program that is up to date reads newer answers with [`Table::read`].

mod describe;
mod fitting;
mod table;

pub use describe::Error;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Instance types, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table {
    /// Sorted by name.
    types: Vec<InstanceType>,
}

/// What EC2 says about an instance type, as far as it matters for what boots on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceType {
    /// As `m7i.large`.
    pub name: String,
    /// Virtual CPUs, as they are without CPU options.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// What its processors run.
    pub architectures: Vec<Architecture>,
    /// What is between the instance and the hardware.
    pub hypervisor: Hypervisor,
    /// Whether it has a PC BIOS.
    pub legacy_bios: bool,
    /// Whether it has UEFI.
    pub uefi: bool,
    /// Whether volumes are NVMe disks.
    pub nvme: Support,
    /// Whether the network is an Elastic Network Adapter.
    pub ena: Support,
    /// Whether volumes have bandwidth of their own; required means by default.
    pub ebs_optimized: Support,
    /// The most volumes.
    pub max_volumes: u32,
    /// Whether interfaces and NVMe instance disks take places of volumes.
    pub shares_attachments: bool,
    /// The most network interfaces.
    pub max_interfaces: u32,
    /// IPv4 addresses of each interface.
    pub ipv4_per_interface: u32,
    /// IPv6 addresses of each interface.
    pub ipv6_per_interface: u32,
    /// Disks that live and die with the instance.
    pub instance_disks: u32,
    /// Threads of a core that can be chosen; empty if it is fixed.
    pub threads: Vec<u32>,
    /// Cores that can be chosen; empty if it is fixed.
    pub cores: Vec<u32>,
    /// Whether it has a NitroTPM.
    pub nitro_tpm: bool,
    /// Whether it is of a current generation.
    pub current: bool,
    /// Whether it earns CPU credits.
    pub burstable: bool,
    /// Whether there are dedicated hosts for it.
    pub dedicated_hosts: bool,
}

/// What processors run.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum Architecture {
    /// 32-bit PC.
    #[serde(rename = "i386")]
    I386,
    /// 64-bit PC.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "arm64")]
    Arm64,
    /// A Mac, which boots nothing else.
    #[serde(rename = "mac")]
    Mac,
}

/// What is between an instance and the hardware.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hypervisor {
    /// Nitro: NVMe disks.
    Nitro,
    /// Xen: paravirtual disks.
    Xen,
    /// None; disks as with Nitro.
    Metal,
}

/// How far an instance type has something.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Support {
    /// Always.
    Required,
    /// If the guest can use it.
    Supported,
    /// Never.
    Unsupported,
}

/// The firmware that a guest needs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Boots {
    /// A PC BIOS.
    LegacyBios,
    /// UEFI.
    Uefi,
    /// Either.
    Either,
}

impl Architecture {
    /// The word of EC2's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
            Self::Mac => "mac",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl InstanceType {
    /// Whether it runs programs of an architecture.
    pub fn runs(&self, architecture: Architecture) -> bool {
        self.architectures.contains(&architecture)
    }

    /// Whether it has the firmware.
    pub fn has(&self, boots: Boots) -> bool {
        match boots {
            Boots::LegacyBios => self.legacy_bios,
            Boots::Uefi => self.uefi,
            Boots::Either => self.legacy_bios || self.uefi,
        }
    }

    /// The most volumes beside this many interfaces.
    pub fn volumes_beside(&self, interfaces: u32) -> u32 {
        if self.shares_attachments {
            let taken = interfaces.saturating_add(self.instance_disks);
            self.max_volumes.saturating_sub(taken)
        } else {
            self.max_volumes
        }
    }

    /// The family, as `m7i`.
    pub fn family(&self) -> &str {
        self.name
            .split_once('.')
            .map_or(&*self.name, |(family, _)| family)
    }
}

impl Table {
    /// Makes a table; of two types of one name the last stays.
    pub fn new(types: impl IntoIterator<Item = InstanceType>) -> Self {
        let by_name: std::collections::BTreeMap<_, _> = types
            .into_iter()
            .map(|one| (one.name.clone(), one))
            .collect();
        Self {
            types: by_name.into_values().collect(),
        }
    }

    /// The type of this name.
    pub fn get(&self, name: &str) -> Option<&InstanceType> {
        let at = self
            .types
            .binary_search_by(|one| one.name.as_str().cmp(name));
        at.ok().and_then(|at| self.types.get(at))
    }

    /// The name that was probably meant.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let (family, size) = name.split_once('.')?;
        // The family is right more often than the size, and the other way round.
        let of_family = self.types.iter().filter(|one| one.family() == family);
        let names = |one: &InstanceType| one.name.clone();
        let mut near: Vec<String> = of_family.map(names).collect();
        if near.is_empty() {
            let ends = |one: &&InstanceType| one.name.rsplit('.').next() == Some(size);
            near = self.types.iter().filter(ends).map(names).collect();
        }
        let meant = crate::document::nearest(name, near.iter().map(String::as_str))?;
        self.get(meant).map(|one| one.name.as_str())
    }

    /// All types, by name.
    pub fn iter(&self) -> impl Iterator<Item = &InstanceType> {
        self.types.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }
}
