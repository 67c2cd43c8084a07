//! What is asked of AWS, by its name in IAM.

use std::fmt;

/// What is asked of AWS, by its name in IAM.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Begins a snapshot.
    StartSnapshot,
    /// Stores a block of a pending snapshot.
    PutSnapshotBlock,
    /// Seals a snapshot.
    CompleteSnapshot,
    /// Lists the blocks of a snapshot.
    ListSnapshotBlocks,
    /// Lists the blocks in which two snapshots differ.
    ListChangedBlocks,
    /// Reads a block.
    GetSnapshotBlock,
    /// Finds snapshots, and says in which state they are.
    DescribeSnapshots,
    /// Removes a snapshot.
    DeleteSnapshot,
    /// Tags a snapshot as it is begun.
    CreateTags,
}

impl Action {
    /// The name in a policy: `ebs:PutSnapshotBlock`.
    pub fn iam(self) -> &'static str {
        match self {
            Self::StartSnapshot => "ebs:StartSnapshot",
            Self::PutSnapshotBlock => "ebs:PutSnapshotBlock",
            Self::CompleteSnapshot => "ebs:CompleteSnapshot",
            Self::ListSnapshotBlocks => "ebs:ListSnapshotBlocks",
            Self::ListChangedBlocks => "ebs:ListChangedBlocks",
            Self::GetSnapshotBlock => "ebs:GetSnapshotBlock",
            Self::DescribeSnapshots => "ec2:DescribeSnapshots",
            Self::DeleteSnapshot => "ec2:DeleteSnapshot",
            Self::CreateTags => "ec2:CreateTags",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.iam())
    }
}
