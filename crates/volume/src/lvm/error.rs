//! Why a volume group or a logical volume cannot be used.

use super::Uuid;
use super::group::BadMetadata;
use thiserror::Error;

/// How a label or a copy of the metadata is damaged. Positions are bytes of the device.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Damage {
    /// The checksum of a label is wrong.
    #[error("checksum of the label at byte {at} is wrong")]
    LabelChecksum {
        /// Where the label is.
        at: u64,
    },
    /// A label has fields that cannot be.
    #[error("the label at byte {at} has impossible fields")]
    LabelFields {
        /// Where the label is.
        at: u64,
    },
    /// A metadata area is not on the device.
    #[error("the metadata area at byte {at} of {size} bytes does not fit a device of {device}")]
    AreaLeavesDevice {
        /// Where the area starts.
        at: u64,
        /// Its size in bytes.
        size: u64,
        /// Size of the device in bytes.
        device: u64,
    },
    /// A metadata area does not start as all do.
    #[error("no metadata area at byte {at}")]
    AreaMagic {
        /// Where the area starts.
        at: u64,
    },
    /// The checksum of the header of a metadata area is wrong.
    #[error("checksum of the metadata area at byte {at} is wrong")]
    AreaChecksum {
        /// Where the area starts.
        at: u64,
    },
    /// The header of a metadata area has fields that cannot be.
    #[error("the metadata area at byte {at} has impossible fields")]
    AreaFields {
        /// Where the area starts.
        at: u64,
    },
    /// The text does not lie in its area.
    #[error("{len} bytes of text at {offset} do not fit the metadata area of {size} at byte {at}")]
    TextLeavesArea {
        /// Where the area starts.
        at: u64,
        /// Where the text starts in it.
        offset: u64,
        /// Bytes of text.
        len: u64,
        /// Bytes of the area.
        size: u64,
    },
    /// More text than any volume group has.
    #[error("{len} bytes of text in the metadata area at byte {at}, at most 8 MiB are read")]
    TextTooLong {
        /// Where the area starts.
        at: u64,
        /// Bytes of text.
        len: u64,
    },
    /// More text than all volume groups of a machine have was read before.
    #[error("the metadata area at byte {at} is one too many")]
    TooMuchText {
        /// Where the area starts.
        at: u64,
    },
    /// The checksum of the text is wrong.
    #[error("checksum of the metadata text at byte {at} is wrong")]
    TextChecksum {
        /// Where the text starts.
        at: u64,
    },
    /// The text is whole, but cannot be used.
    #[error("metadata {0}")]
    Text(#[from] BadMetadata),
}

/// What is odd about a volume group that can be used all the same.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// A copy of the metadata, or a label, is damaged.
    #[error("{device}: {damage}")]
    Damaged {
        /// The device, as the caller calls it.
        device: String,
        /// What is wrong.
        damage: Damage,
    },
    /// A copy of the metadata is older than another.
    #[error("{device} has older metadata of volume group {group}: {seqno} instead of {newest}")]
    Older {
        /// The device.
        device: String,
        /// Name of the volume group.
        group: String,
        /// Its number.
        seqno: u64,
        /// The newest one.
        newest: u64,
    },
    /// A physical volume was not found.
    #[error(
        "volume group {group} lacks the physical volume {uuid}{}: its disk was not given",
        hint(device.as_deref())
    )]
    Missing {
        /// Name of the volume group.
        group: String,
        /// The physical volume.
        uuid: Uuid,
        /// The device that it was last seen on.
        device: Option<String>,
    },
    /// The group is marked as moved away from its machine.
    #[error("volume group {group} was exported (vgexport): its machine does not use it")]
    Exported {
        /// Name of the volume group.
        group: String,
    },
    /// Several machines use the group.
    #[error(
        "volume group {group} is shared by several machines (lock type {lock}): it is activated \
         only while its lock manager runs; if one machine is left, change it before (vgchange \
         --lock-type none)"
    )]
    Shared {
        /// Name of the volume group.
        group: String,
        /// `lock_type` of the metadata.
        lock: String,
    },
    /// One machine alone may use the group.
    #[error(
        "volume group {group} belongs to the machine with the system ID {system:?}: another one, \
         also by the name it gets later, does not use it (lvmsystemid(7))"
    )]
    Owned {
        /// Name of the volume group.
        group: String,
        /// The system ID.
        system: String,
    },
    /// A volume that has snapshots, whose content depends on it.
    #[error(
        "{volume} has the snapshot {snapshot}, which shows changes of {volume} as its own: what a \
         conversion changes will be wrong in the snapshot; remove it (lvremove)"
    )]
    HasSnapshot {
        /// The volume.
        volume: String,
        /// The snapshot.
        snapshot: String,
    },
    /// A leg of a mirror is not read.
    #[error("leg {leg} of {volume} is not read: {why}")]
    LegNotRead {
        /// Name of the volume.
        volume: String,
        /// Name of the leg.
        leg: String,
        /// Why.
        why: &'static str,
    },
}

fn hint(device: Option<&str>) -> String {
    device.map_or_else(String::new, |device| format!(" (last seen as {device})"))
}

/// Why a volume group or a logical volume cannot be read.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A physical volume that is needed is not there.
    #[error(
        "needs the physical volume {uuid}{}, which is on none of the disks given",
        hint(device.as_deref())
    )]
    MissingPhysical {
        /// The physical volume.
        uuid: Uuid,
        /// The device that it was last seen on.
        device: Option<String>,
    },
    /// A physical volume that LVM2 gave up.
    #[error(
        "needs the physical volume {uuid}{}, which is marked as missing: what it holds is old",
        hint(device.as_deref())
    )]
    MarkedMissing {
        /// The physical volume.
        uuid: Uuid,
        /// The device that it was last seen on.
        device: Option<String>,
    },
    /// Two devices say that they are one physical volume.
    #[error("{first} and {second} both say that they are the physical volume {uuid}")]
    DuplicatePhysical {
        /// The physical volume.
        uuid: Uuid,
        /// One device.
        first: String,
        /// The other.
        second: String,
    },
    /// More metadata than any machine has.
    #[error(
        "there are more than {read_cap} MiB of metadata of volume groups, or more than \
         {parsed_cap} MiB that differ: no volume group is looked at"
    )]
    TooMuchMetadata {
        /// What is read at most, in MiB.
        read_cap: u64,
        /// What is kept at most, in MiB.
        parsed_cap: u64,
    },
    /// Two copies of one age disagree.
    #[error("{first} and {second} have different metadata of volume group {group}, both {seqno}")]
    Disagreement {
        /// Name of the volume group.
        group: String,
        /// One device.
        first: String,
        /// The other.
        second: String,
        /// Number of both.
        seqno: u64,
    },
    /// Two volume groups have one name.
    #[error(
        "two volume groups are called {name}: {first} and {second}; leave out the disk that is not \
         of this machine, or rename one in the source (vgrename UUID NEWNAME)"
    )]
    DuplicateGroup {
        /// The name.
        name: String,
        /// Identifier of one.
        first: Uuid,
        /// Identifier of the other.
        second: Uuid,
    },
    /// A type of segment that is not read.
    #[error("is of type {0}, which is not supported")]
    Type(String),
    /// It is a snapshot of another volume.
    #[error("is a snapshot of {origin}, and snapshots are not read: use {origin}")]
    Snapshot {
        /// What it is a snapshot of.
        origin: String,
    },
    /// Its content is about to be that of a snapshot.
    #[error(
        "takes the content of its snapshot {snapshot} as soon as it is activated (lvconvert \
         --merge), so that changes would be lost: start the source once more, wait until the \
         snapshot is gone (lvs -a), and take its disks then"
    )]
    Merging {
        /// The snapshot.
        snapshot: String,
    },
    /// The metadata contradicts itself.
    #[error("the metadata is wrong: {0}")]
    Wrong(String),
    /// The device below cannot be read.
    #[error("cannot be put together: {0}")]
    Device(String),
}

impl Error {
    /// Whether it is a leg's place that is empty: its disk is gone, or LVM2 put nothing there since
    /// (`replace_lv_with_error_segment`). Any other leg is one that the guest will read.
    pub(super) fn is_a_gap(&self) -> bool {
        match self {
            Self::MissingPhysical { .. } | Self::MarkedMissing { .. } => true,
            Self::Type(kind) => kind == "error",
            _ => false,
        }
    }
}
