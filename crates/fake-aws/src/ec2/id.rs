//! The ids of resources: what they look like, and how EC2 says that one is wrong or unknown.

use super::refusal::bad;
use crate::chance::Random;
use crate::error::Refusal;

/// A kind of resource that has ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Instance,
    Volume,
    Snapshot,
    Interface,
    Subnet,
    SecurityGroup,
    Address,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Image,
        Kind::Instance,
        Kind::Volume,
        Kind::Snapshot,
        Kind::Interface,
        Kind::Subnet,
        Kind::SecurityGroup,
        Kind::Address,
    ];

    pub(super) fn prefix(self) -> &'static str {
        match self {
            Kind::Image => "ami-",
            Kind::Instance => "i-",
            Kind::Volume => "vol-",
            Kind::Snapshot => "snap-",
            Kind::Interface => "eni-",
            Kind::Subnet => "subnet-",
            Kind::SecurityGroup => "sg-",
            Kind::Address => "eipalloc-",
        }
    }

    /// The name in tag specifications and DescribeTags.
    pub(super) fn resource_type(self) -> &'static str {
        match self {
            Kind::Image => "image",
            Kind::Instance => "instance",
            Kind::Volume => "volume",
            Kind::Snapshot => "snapshot",
            Kind::Interface => "network-interface",
            Kind::Subnet => "subnet",
            Kind::SecurityGroup => "security-group",
            Kind::Address => "elastic-ip",
        }
    }

    pub(super) fn of(id: &str) -> Option<Kind> {
        Self::ALL
            .into_iter()
            .find(|kind| id.starts_with(kind.prefix()))
    }

    /// The codes of the API's list of errors.
    fn codes(self) -> (&'static str, &'static str) {
        match self {
            Kind::Image => ("InvalidAMIID.Malformed", "InvalidAMIID.NotFound"),
            Kind::Instance => ("InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound"),
            Kind::Volume => ("InvalidVolumeID.Malformed", "InvalidVolume.NotFound"),
            Kind::Snapshot => ("InvalidSnapshotID.Malformed", "InvalidSnapshot.NotFound"),
            Kind::Interface => (
                "InvalidNetworkInterfaceId.Malformed",
                "InvalidNetworkInterfaceID.NotFound",
            ),
            Kind::Subnet => ("InvalidSubnetID.NotFound", "InvalidSubnetID.NotFound"),
            Kind::SecurityGroup => ("InvalidGroupId.Malformed", "InvalidGroup.NotFound"),
            Kind::Address => (
                "InvalidAllocationID.NotFound",
                "InvalidAllocationID.NotFound",
            ),
        }
    }

    /// Refuses what does not look like an id of this kind.
    pub(super) fn well_formed(self, id: &str) -> Result<(), Refusal> {
        let digits = id.strip_prefix(self.prefix()).unwrap_or_default();
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if !digits.is_empty() && id.len() <= 64 && digits.bytes().all(hex) {
            return Ok(());
        }
        let message = format!("Invalid id: \"{id}\" (expecting \"{}...\")", self.prefix());
        Err(bad(self.codes().0, message))
    }

    pub(super) fn not_found(self, id: &str) -> Refusal {
        let message = match self {
            Kind::Image => format!("The image id '[{id}]' does not exist"),
            Kind::SecurityGroup => format!("The security group '{id}' does not exist"),
            Kind::Interface => format!("The networkInterface ID '{id}' does not exist"),
            _ => format!("The {} '{id}' does not exist.", self.resource_type()),
        };
        bad(self.codes().1, message)
    }

    /// An id of seventeen hex digits, as EC2 makes them.
    pub(super) fn make(self, random: &Random) -> String {
        format!("{}0{:016x}", self.prefix(), random.bits())
    }
}
