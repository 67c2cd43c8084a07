//! What the target of a machine is to be: its blueprint.
//!
//! A [`Blueprint`] is a YAML or JSON document of its own, read by [`document::load`]; its
//! JSON Schema is what editors complete it by. [`check`](Blueprint::check) applies every rule that
//! can be told without asking EC2, to all fields at once. What is left out has a default, which
//! the methods of the types say.
//!
//! ```
//! use launch::blueprint::{Blueprint, Context, VolumeType};
//! use launch::document;
//!
//! let text = "\
//! metadata: {machine: web1}
//! region: eu-west-1
//! instance: {type: m7i.large}
//! disks:
//! - {source: web1.vmdk, sizeGiB: 20}
//! - {source: data.vmdk, type: io2, iops: 5000}
//! ";
//! let document = document::read::<Blueprint>(text).unwrap();
//! assert_eq!(Blueprint::check(&document, &Context::default()), []);
//! let blueprint = document.value();
//! assert_eq!(blueprint.disks[0].volume_type(), VolumeType::Gp3);
//! assert_eq!(blueprint.device_names(), ["/dev/sda1", "/dev/sdf"]);
//! ```
//!
//! [`document::load`]: crate::document::load

mod access;
mod boot;
mod check;
mod cidr;
mod conversion;
mod disk;
mod draft;
pub mod import;
mod instance;
mod launch;
mod licensing;
mod network;
mod resolve;
mod source;
mod upload;
mod zone;

pub use access::{HttpTokens, Iam, MetadataOptions};
pub use boot::{Boot, BootMode, ImdsSupport, SriovNetSupport, TpmVersion};
pub use check::{OWN_TAGS, RULES, check_together};
pub use conversion::{Conversion, NetworkMode, Target};
pub use disk::{Disk, Role, VolumeType};
pub use draft::Draft;
pub use instance::{
    CopyOrigin, CpuCredits, CpuOptions, Fitting, Instance, PlacementGroup, Tenancy, TypeChoice,
};
pub use launch::{Disposition, Launch, Wait};
pub use licensing::{Licensing, OsType};
pub use network::{Interface, Network, PrivateIpAction, PublicIp};
pub use resolve::{Unresolved, boots_of};
pub use source::{Context, Hardware, SourceDisk, SourceFacts, SourceFirmware};
pub use upload::Upload;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the target of a machine is to be: its instance, disks, network and what the conversion does
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Blueprint of rehost")]
pub struct Blueprint {
    /// The version of this format: rehost/v1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<ApiVersion>,
    /// Blueprint, if it is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Which machine this is about
    pub metadata: Metadata,
    /// The region of the target; without it that of the command line or the environment
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "a region",
        example = "eu-west-1",
        regex(pattern = r"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$")
    )]
    pub region: Option<String>,
    /// The zone of the target, in the region; without it the subnet's, or EC2 chooses
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "an availability zone",
        example = "eu-west-1a",
        regex(pattern = r"^[a-z]{2,4}(-[a-z0-9]+)+-[0-9]{1,2}[a-z]$")
    )]
    pub availability_zone: Option<String>,
    /// The hardware
    #[serde(default, skip_serializing_if = "is_default")]
    pub instance: Instance,
    /// How the instance starts
    #[serde(default, skip_serializing_if = "is_default")]
    pub boot: Boot,
    /// The disks, in the order of the source
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 78))]
    pub disks: Vec<Disk>,
    /// The network interfaces
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// What the target may do in AWS
    #[serde(default, skip_serializing_if = "is_default")]
    pub iam: Iam,
    /// The instance metadata service
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata_options: MetadataOptions,
    /// Tags of the instance, its volumes and its interfaces
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Who has licensed the operating system
    #[serde(default, skip_serializing_if = "is_default")]
    pub licensing: Licensing,
    /// What happens when the target is launched
    #[serde(default, skip_serializing_if = "is_default")]
    pub launch: Launch,
    /// What the conversion does
    #[serde(default, skip_serializing_if = "is_default")]
    pub conversion: Conversion,
    /// How converted disks are uploaded
    #[serde(default, skip_serializing_if = "is_default")]
    pub upload: Upload,
}

/// The version of the format of blueprints and project files
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ApiVersion {
    #[expect(missing_docs, reason = "the only one")]
    #[default]
    #[serde(rename = "rehost/v1")]
    V1,
}

/// The kind of this document
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Kind {
    #[expect(missing_docs, reason = "the only one")]
    #[default]
    Blueprint,
}

/// Which machine a blueprint is about
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The migration that the machine belongs to
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'",
        example = "datacentre-exit",
        regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
    )]
    pub project: Option<String>,
    /// The machine's name: letters, digits, '.', '_' and '-', at most 64
    #[schemars(
        title = "1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'",
        example = &"web1",
        regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
    )]
    pub machine: String,
    /// Words to find the machine by; the target gets them as tags `label:NAME`
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Blueprint {
    /// Writes it as YAML, without what has its default.
    ///
    /// # Errors
    ///
    /// If a text cannot be written, which no text that was read is.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
