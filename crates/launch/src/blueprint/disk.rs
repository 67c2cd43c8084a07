//! The disks of the target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A disk of the target
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Disk {
    /// The image, by a path from the blueprint's directory, or a snapshot as on the command line;
    /// without it, the disk of the machine at this place of the list
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), example = "web1.vmdk")]
    pub source: Option<String>,
    /// Whether it is booted from; if no disk says it, the first is
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The name that EC2 gives it; without it /dev/sda1 for the root, /dev/sdf and on for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "/dev/sdf")]
    pub device_name: Option<String>,
    /// The volume type; gp3 if it is not said
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<VolumeType>,
    /// The size in GiB, at least that of the source; without it the size of the source
    #[serde(rename = "sizeGiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536), example = 20)]
    pub size_gib: Option<u32>,
    /// Input and output operations in a second, for gp3, io1 and io2
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 3000)]
    pub iops: Option<u32>,
    /// MiB in a second, for gp3
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 125)]
    pub throughput: Option<u32>,
    /// Whether it is encrypted; without it as its snapshot is, or the account says
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// The key that it is encrypted with: an id, an alias, or an ARN
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), example = "alias/disks")]
    pub kms_key_id: Option<String>,
    /// Whether it goes away with the instance; true if it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
    /// MiB in a second at which it is filled from its snapshot, for a price; without it, blocks are
    /// fetched when they are read first
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 300), example = 300)]
    pub volume_initialization_rate: Option<u32>,
    /// Tags of this volume besides those of the machine
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What a disk is for
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is booted from
    Root,
    /// Anything else
    Data,
}

/// A volume type of EBS
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeType {
    /// General purpose: 3000 IOPS and 125 MiB/s, more for a price
    #[default]
    Gp3,
    /// General purpose of old: 3 IOPS for each GiB
    Gp2,
    /// Provisioned IOPS of old
    Io1,
    /// Provisioned IOPS
    Io2,
    /// Hard disks for streams; cannot be booted from
    St1,
    /// Cold hard disks; cannot be booted from
    Sc1,
    /// Magnetic, of the beginnings
    Standard,
}

impl Disk {
    /// The volume type.
    pub fn volume_type(&self) -> VolumeType {
        self.volume_type.unwrap_or_default()
    }

    /// Whether it goes away with the instance.
    pub fn delete_on_termination(&self) -> bool {
        self.delete_on_termination.unwrap_or(true)
    }
}

impl VolumeType {
    /// The word of EC2's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gp3 => "gp3",
            Self::Gp2 => "gp2",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }
}
