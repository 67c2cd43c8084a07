//! Who has licensed the operating system.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who has licensed the operating system
///
/// An image that is registered from snapshots has no billing code: what it boots is licensed by its
/// owner. This says that it is known, and refuses what cannot be had this way.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Licensing {
    /// Whether the license is your own; true if it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byol: Option<bool>,
    /// What is licensed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// The usage operation that is billed; an image from snapshots has RunInstances
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "a usage operation",
        example = &"RunInstances",
        regex(pattern = "^RunInstances(:[0-9a-g]{4})?$")
    )]
    pub usage_operation: Option<String>,
}

/// What is licensed
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OsType {
    /// A Linux that nobody sells
    Linux,
    /// Red Hat Enterprise Linux
    Rhel,
    /// SUSE Linux Enterprise Server
    Suse,
    /// Windows
    Windows,
}

impl Licensing {
    /// Whether the license is the owner's.
    pub fn byol(&self) -> bool {
        self.byol.unwrap_or(true)
    }
}
