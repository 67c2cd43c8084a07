//! What is known about a snapshot in EBS without reading it.

use serde::Serialize;

/// What is known about a snapshot in EBS without reading it. What its tags do not say is empty.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) machine: String,
    pub(crate) disk: String,
    pub(crate) role: String,
    pub(crate) id: String,
    /// The snapshot of which it inherits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// What the snapshots of all disks of the machine have in common that were made in one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<String>,
    /// When it was begun, in seconds since 1970.
    pub(crate) created: u64,
    /// Bytes of the disk, or of the volume where that is not known.
    pub(crate) virtual_size: u64,
    /// As EC2 calls it: `pending`, `completed`, `error`.
    pub(crate) state: String,
    pub(crate) encrypted: bool,
    pub(crate) description: String,
    /// What the service says about the state; often nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Whether rehost made it.
    pub(crate) ours: bool,
}
