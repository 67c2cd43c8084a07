//! How the instance starts.

use super::is_default;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the instance starts
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Boot {
    /// The firmware
    #[serde(skip_serializing_if = "is_default")]
    pub mode: BootMode,
    /// The name of the disk that is booted from: /dev/sda1 or /dev/xvda
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "/dev/sda1")]
    pub root_device_name: Option<String>,
    /// A NitroTPM of this version
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmVersion>,
    /// The UEFI variables of the first start, in base64, as `aws ec2 get-instance-uefi-data` has them
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64_000))]
    pub uefi_data: Option<String>,
    /// Whether the guest has the driver of the Elastic Network Adapter; true if it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ena_support: Option<bool>,
    /// Enhanced networking of old Xen instances, for which the guest has the driver ixgbevf
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_net_support: Option<SriovNetSupport>,
    /// Instances of the image answer IMDSv2 only
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_support: Option<ImdsSupport>,
}

/// How the instance starts, in EC2's words
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// As the source did
    #[default]
    Auto,
    /// With a PC BIOS
    LegacyBios,
    /// With UEFI
    Uefi,
    /// With UEFI where the instance type has it, else with a PC BIOS
    UefiPreferred,
}

/// The version of a NitroTPM
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TpmVersion {
    #[expect(missing_docs, reason = "the only one")]
    #[serde(rename = "v2.0")]
    V2_0,
}

/// Enhanced networking of old Xen instances
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SriovNetSupport {
    #[expect(missing_docs, reason = "the only one")]
    #[serde(rename = "simple")]
    Simple,
}

/// The version of the instance metadata service that an image wants
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ImdsSupport {
    #[expect(missing_docs, reason = "the only one")]
    #[serde(rename = "v2.0")]
    V2_0,
}

impl Boot {
    /// Whether the image says that its guest can use the Elastic Network Adapter.
    pub fn ena_support(&self) -> bool {
        self.ena_support.unwrap_or(true)
    }
}
