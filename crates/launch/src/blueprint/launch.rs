//! What happens when the target is launched.

use super::is_default;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when the target is launched
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Launch {
    /// Whether the target runs when it is there
    #[serde(skip_serializing_if = "is_default")]
    pub disposition: Disposition,
    /// What cloud-init or another agent gets, as plain text of at most 16 KiB
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Whether the target cannot be terminated by mistake. The next launch removes it all the same
    #[serde(skip_serializing_if = "is_default")]
    pub termination_protection: bool,
    /// The name of a key pair
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), example = &"operations")]
    pub key_name: Option<String>,
    /// What is waited for before the launch counts as done
    #[serde(skip_serializing_if = "is_default")]
    pub wait: Wait,
}

/// Whether the target runs when it is there
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// It runs
    #[default]
    Started,
    /// It was started once, as EC2 makes instances, and is stopped
    Stopped,
}

/// What is waited for
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// The instance runs
    #[default]
    Running,
    /// EC2's checks of instance and system have passed: the guest answers on its network
    StatusOk,
}
