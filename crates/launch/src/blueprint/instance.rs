//! The hardware of the target.

use super::is_default;
use crate::instances::Architecture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The hardware of the target
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Instance {
    /// The instance type, `copy-origin`, or the least that it must have
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(example = "m7i.large")]
    pub choice: Option<TypeChoice>,
    /// Who else is on the hardware
    #[serde(skip_serializing_if = "is_default")]
    pub tenancy: Tenancy,
    /// The dedicated host; needs tenancy host
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "the id of a dedicated host",
        example = "h-0123456789abcdef0",
        regex(pattern = "^h-[0-9a-f]{8,17}$")
    )]
    pub host_id: Option<String>,
    /// Where the instance is in respect to others
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_group: Option<PlacementGroup>,
    /// Bandwidth to volumes of its own, where the type does not have it anyway
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebs_optimized: Option<bool>,
    /// Cores and threads, where software is licensed by them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_options: Option<CpuOptions>,
    /// What a burstable instance (t2, t3…) does when its CPU credits are spent
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit_specification: Option<CpuCredits>,
}

/// Which instance type
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TypeChoice {
    /// The smallest that has what the source machine had
    CopyOrigin(CopyOrigin),
    /// This one
    Named(String),
    /// The smallest that has so much
    Fitting(Fitting),
}

/// The smallest type that has what the source machine had
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CopyOrigin {
    #[expect(missing_docs, reason = "the only one")]
    #[default]
    #[serde(rename = "copy-origin")]
    CopyOrigin,
}

/// The least that the instance type must have
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fitting {
    /// Virtual CPUs
    #[schemars(range(min = 1, max = 4096), example = 2)]
    pub min_vcpu: u32,
    /// Memory in MiB
    #[serde(rename = "minMemMiB")]
    #[schemars(range(min = 1, max = 1_073_741_824), example = 8192)]
    pub min_mem_mib: u64,
    /// The processors; without it those that the guest is for
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Architecture>,
}

/// Who else is on the hardware
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tenancy {
    /// Instances of other accounts
    #[default]
    Default,
    /// Instances of this account alone
    Dedicated,
    /// What is put on a host that the account rents
    Host,
}

/// Where an instance is in respect to others
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlacementGroup {
    /// The name of the group
    #[schemars(length(min = 1, max = 255), example = &"web")]
    pub name: String,
    /// The partition, in a group that has them
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub partition: Option<u8>,
}

/// Cores and threads of an instance
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuOptions {
    /// CPU cores
    #[schemars(range(min = 1), example = 1)]
    pub core_count: u32,
    /// Threads of each core
    #[schemars(range(min = 1, max = 2), example = 1)]
    pub threads_per_core: u32,
}

/// What a burstable instance does when its CPU credits are spent
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuCredits {
    /// It slows down
    Standard,
    /// It goes on, and costs more
    Unlimited,
}
