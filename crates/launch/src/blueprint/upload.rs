//! How converted disks are uploaded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How converted disks are uploaded to EBS
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upload {
    /// Requests in a second, all disks together; EBS allows an account 1000
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), example = 200)]
    pub max_requests_per_second: Option<u32>,
    /// Million bits in a second, all disks together
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000), example = 500)]
    pub bandwidth_mbps: Option<u32>,
    /// The most requests at one time
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), example = 64)]
    pub concurrency: Option<u32>,
    /// Minutes without a write after which EBS gives an upload up
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 4320), example = 240)]
    pub timeout_minutes: Option<u16>,
    /// Whether holes are put as zeros where a volume would not have zeros there: in encrypted
    /// snapshots; true if it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_fill: Option<bool>,
}
