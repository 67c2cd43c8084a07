//! What is asked of EC2, by its name in IAM.

use std::fmt;

/// What is asked of EC2, by its name in IAM.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Action {
    /// Gives an interface an Elastic IP address.
    AssociateAddress,
    /// Tags what exists, or what is made in the same request.
    CreateTags,
    /// Removes an interface.
    DeleteNetworkInterface,
    /// Removes a volume.
    DeleteVolume,
    /// Removes an image; its snapshots stay.
    DeregisterImage,
    /// Looks at Elastic IP addresses.
    DescribeAddresses,
    /// Finds images.
    DescribeImages,
    /// Looks at the checks of running instances.
    DescribeInstanceStatus,
    /// Looks where an instance type is offered.
    DescribeInstanceTypeOfferings,
    /// Finds instances.
    DescribeInstances,
    /// Looks at key pairs.
    DescribeKeyPairs,
    /// Finds interfaces.
    DescribeNetworkInterfaces,
    /// Looks at security groups.
    DescribeSecurityGroups,
    /// Looks at subnets.
    DescribeSubnets,
    /// Finds volumes.
    DescribeVolumes,
    /// Reads what an instance wrote to its console.
    GetConsoleOutput,
    /// Looks whether the account encrypts all new volumes.
    GetEbsEncryptionByDefault,
    /// Lifts the protection of an instance against termination.
    ModifyInstanceAttribute,
    /// Lets an interface carry what is not its own.
    ModifyNetworkInterfaceAttribute,
    /// Makes an image of snapshots.
    RegisterImage,
    /// Makes an instance, its volumes and interfaces.
    RunInstances,
    /// Stops an instance.
    StopInstances,
    /// Removes an instance.
    TerminateInstances,
}

impl Action {
    /// The name in a policy: `ec2:RunInstances`.
    pub fn iam(self) -> &'static str {
        match self {
            Self::AssociateAddress => "ec2:AssociateAddress",
            Self::CreateTags => "ec2:CreateTags",
            Self::DeleteNetworkInterface => "ec2:DeleteNetworkInterface",
            Self::DeleteVolume => "ec2:DeleteVolume",
            Self::DeregisterImage => "ec2:DeregisterImage",
            Self::DescribeAddresses => "ec2:DescribeAddresses",
            Self::DescribeImages => "ec2:DescribeImages",
            Self::DescribeInstanceStatus => "ec2:DescribeInstanceStatus",
            Self::DescribeInstanceTypeOfferings => "ec2:DescribeInstanceTypeOfferings",
            Self::DescribeInstances => "ec2:DescribeInstances",
            Self::DescribeKeyPairs => "ec2:DescribeKeyPairs",
            Self::DescribeNetworkInterfaces => "ec2:DescribeNetworkInterfaces",
            Self::DescribeSecurityGroups => "ec2:DescribeSecurityGroups",
            Self::DescribeSubnets => "ec2:DescribeSubnets",
            Self::DescribeVolumes => "ec2:DescribeVolumes",
            Self::GetConsoleOutput => "ec2:GetConsoleOutput",
            Self::GetEbsEncryptionByDefault => "ec2:GetEbsEncryptionByDefault",
            Self::ModifyInstanceAttribute => "ec2:ModifyInstanceAttribute",
            Self::ModifyNetworkInterfaceAttribute => "ec2:ModifyNetworkInterfaceAttribute",
            Self::RegisterImage => "ec2:RegisterImage",
            Self::RunInstances => "ec2:RunInstances",
            Self::StopInstances => "ec2:StopInstances",
            Self::TerminateInstances => "ec2:TerminateInstances",
        }
    }

    /// Whether it only looks at what there is, which IAM can allow for all resources alone.
    pub(crate) fn is_read_only(self) -> bool {
        let name = self.iam();
        name.starts_with("ec2:Describe") || self == Self::GetEbsEncryptionByDefault
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.iam())
    }
}
