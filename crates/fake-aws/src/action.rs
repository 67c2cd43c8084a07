//! What a request asks for: the action, and the resource that its path names.

use crate::error::Refusal;
use hyper::Method;
use serde::{Deserialize, Serialize};

/// Which of the two services a request is for; they differ in protocol, errors and signing scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ebs,
    Ec2,
}

impl Service {
    /// The service's name in a credential scope.
    pub(crate) fn scope(self) -> &'static str {
        match self {
            Service::Ebs => "ebs",
            Service::Ec2 => "ec2",
        }
    }
}

/// Declares the actions of each service, with their names.
macro_rules! actions {
    (ebs: $($ebs:ident)*; ec2: $($ec2:ident)*;) => {
        /// An action of one of the two services, by its name in the API and in IAM.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Action {
            $(#[doc = concat!("`ebs:", stringify!($ebs), "`")] $ebs,)*
            $(#[doc = concat!("`ec2:", stringify!($ec2), "`")] $ec2,)*
            /// Something that this fake, or the service, does not know.
            Unknown,
        }

        impl Action {
            /// Every action of the EBS direct APIs that is known.
            pub const EBS: &[Action] = &[$(Action::$ebs),*];

            /// Every action of EC2 that is known.
            pub const EC2: &[Action] = &[$(Action::$ec2),*];

            /// The name without the service.
            pub fn name(self) -> &'static str {
                match self {
                    $(Action::$ebs => stringify!($ebs),)*
                    $(Action::$ec2 => stringify!($ec2),)*
                    Action::Unknown => "Unknown",
                }
            }
        }
    };
}

actions! {
    ebs:
        StartSnapshot
        PutSnapshotBlock
        CompleteSnapshot
        ListSnapshotBlocks
        ListChangedBlocks
        GetSnapshotBlock;
    ec2:
        DescribeSnapshots
        DeleteSnapshot
        GetEbsEncryptionByDefault
        CreateTags
        DeleteTags
        DescribeTags
        RegisterImage
        DeregisterImage
        DescribeImages
        RunInstances
        DescribeInstances
        DescribeInstanceStatus
        StartInstances
        StopInstances
        TerminateInstances
        ModifyInstanceAttribute
        GetConsoleOutput
        CreateVolume
        DeleteVolume
        AttachVolume
        DetachVolume
        DescribeVolumes
        CreateNetworkInterface
        DeleteNetworkInterface
        ModifyNetworkInterfaceAttribute
        DescribeNetworkInterfaces
        AllocateAddress
        AssociateAddress
        DisassociateAddress
        ReleaseAddress
        DescribeAddresses
        DescribeInstanceTypes
        DescribeSubnets
        DescribeSecurityGroups
        DescribeAvailabilityZones
        DescribeKeyPairs;
}

impl Action {
    /// The action of EC2 with that name.
    pub(crate) fn of_ec2(name: &str) -> Option<Action> {
        let mut actions = Self::EC2.iter().copied();
        actions.find(|action| action.name() == name)
    }

    /// Whether it changes nothing.
    pub fn only_looks(self) -> bool {
        let name = self.name();
        ["Describe", "Get", "List"]
            .iter()
            .any(|begin| name.starts_with(begin))
    }
}

/// An EBS request by its method and path.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) action: Action,
    /// The snapshot's id as the path has it; not yet checked.
    pub(crate) snapshot: Option<String>,
    /// The block's index as the path has it; not yet checked.
    pub(crate) index: Option<String>,
}

impl Target {
    /// Reads `POST /snapshots`, `PUT /snapshots/{id}/blocks/{index}` and so on.
    pub(crate) fn parse(method: &Method, path: &str) -> Target {
        let parts: Vec<String> = path
            .trim_start_matches('/')
            .split('/')
            .map(percent_decode)
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let target = |action, snapshot: Option<&str>, index: Option<&str>| Target {
            action,
            snapshot: snapshot.map(str::to_owned),
            index: index.map(str::to_owned),
        };
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["snapshots"]) => target(Action::StartSnapshot, None, None),
            ("POST", ["snapshots", "completion", id]) => {
                target(Action::CompleteSnapshot, Some(id), None)
            }
            ("PUT", ["snapshots", id, "blocks", index]) => {
                target(Action::PutSnapshotBlock, Some(id), Some(index))
            }
            ("GET", ["snapshots", id, "blocks", index]) => {
                target(Action::GetSnapshotBlock, Some(id), Some(index))
            }
            ("GET", ["snapshots", id, "blocks"]) => {
                target(Action::ListSnapshotBlocks, Some(id), None)
            }
            ("GET", ["snapshots", id, "changedblocks"]) => {
                target(Action::ListChangedBlocks, Some(id), None)
            }
            _ => target(Action::Unknown, None, None),
        }
    }

    /// The snapshot's id: `snap-` and lower-case hex digits, 64 characters at most.
    pub(crate) fn snapshot_id(&self) -> Result<&str, Refusal> {
        let id = self.snapshot.as_deref().unwrap_or_default();
        snapshot_id(id)
    }

    /// The block's index, not yet compared with the volume.
    pub(crate) fn block_index(&self) -> Result<u32, Refusal> {
        let text = self.index.as_deref().unwrap_or_default();
        // On the wire it is a signed 32-bit number.
        match text
            .parse::<i32>()
            .ok()
            .and_then(|index| u32::try_from(index).ok())
        {
            Some(index) => Ok(index),
            None => Err(Refusal::validation(
                "INVALID_BLOCK",
                format!("BlockIndex {text:?} is not a number from 0"),
            )),
        }
    }
}

/// Checks the form of a snapshot's id.
pub(crate) fn snapshot_id(id: &str) -> Result<&str, Refusal> {
    let digits = id.strip_prefix("snap-").unwrap_or_default();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.is_empty() || id.len() > 64 || !digits.bytes().all(hex) {
        return Err(Refusal::validation(
            "INVALID_SNAPSHOT_ID",
            format!("the snapshot id {id:?} does not match ^snap-[0-9a-f]+$"),
        ));
    }
    Ok(id)
}

/// Undoes %XX; what is not hex stays.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        if let (b'%', [high, low, after @ ..]) = (*first, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push(high * 16 + low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Splits a query or a form into decoded names and values; `+` is a space in a form only.
pub(crate) fn pairs(text: &str, form: bool) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                if form {
                    percent_decode(&text.replace('+', " "))
                } else {
                    percent_decode(text)
                }
            };
            (decode(name), decode(value))
        })
        .collect()
}
