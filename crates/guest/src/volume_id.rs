//! Which volume of a machine.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A volume of a machine: a partition or a whole disk, a logical volume, a RAID array or a
/// partition of one.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub enum VolumeId {
    /// A partition of a disk, or a whole disk without a partition table.
    Disk {
        /// Index of the disk, from 0.
        disk: usize,
        /// Number of the partition as Linux counts, from 1; none for the whole disk.
        partition: Option<u32>,
    },
    /// A software RAID array, or a partition of it.
    Array {
        /// Its name: `md0` if it has a number, else `md/` and its name.
        array: String,
        /// Number of the partition, from 1; none for the whole array.
        partition: Option<u32>,
    },
    /// A logical volume of LVM2.
    Logical {
        /// Name of the volume group.
        volume_group: String,
        /// Name of the logical volume.
        logical_volume: String,
    },
}

impl VolumeId {
    /// A partition of a disk; disks count from 0, partitions from 1.
    pub fn partition(disk: usize, partition: u32) -> Self {
        Self::Disk {
            disk,
            partition: Some(partition),
        }
    }

    /// A whole disk; disks count from 0.
    pub fn whole_disk(disk: usize) -> Self {
        Self::Disk {
            disk,
            partition: None,
        }
    }

    /// The disk that the volume is a part of, without another layer between; disks count from 0.
    pub fn disk(&self) -> Option<usize> {
        match self {
            Self::Disk { disk, .. } => Some(*disk),
            _ => None,
        }
    }

    /// Number of the partition, if it is one.
    pub fn partition_number(&self) -> Option<u32> {
        match self {
            Self::Disk { partition, .. } | Self::Array { partition, .. } => *partition,
            Self::Logical { .. } => None,
        }
    }
}

/// The whole of the first disk.
impl Default for VolumeId {
    fn default() -> Self {
        Self::whole_disk(0)
    }
}

/// People count disks from 1: index 0 is written "disk 1".
impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { disk, .. } => write!(f, "disk {}", disk.saturating_add(1))?,
            Self::Array { array, .. } => f.write_str(array)?,
            Self::Logical {
                volume_group,
                logical_volume,
            } => write!(f, "{volume_group}/{logical_volume}")?,
        }
        match self.partition_number() {
            Some(partition) => write!(f, " partition {partition}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_count_from_one() {
        assert_eq!(VolumeId::partition(0, 2).to_string(), "disk 1 partition 2");
        assert_eq!(VolumeId::default().to_string(), "disk 1");
    }

    #[test]
    fn every_kind_survives_json_and_the_old_form_is_read() {
        let array = |partition| VolumeId::Array {
            array: "md/boot".to_owned(),
            partition,
        };
        let logical = VolumeId::Logical {
            volume_group: "vg0".to_owned(),
            logical_volume: "root".to_owned(),
        };
        for (id, text, shown) in [
            (
                VolumeId::partition(1, 3),
                r#"{"disk":1,"partition":3}"#,
                "disk 2 partition 3",
            ),
            (
                VolumeId::whole_disk(1),
                r#"{"disk":1,"partition":null}"#,
                "disk 2",
            ),
            (
                array(None),
                r#"{"array":"md/boot","partition":null}"#,
                "md/boot",
            ),
            (
                array(Some(1)),
                r#"{"array":"md/boot","partition":1}"#,
                "md/boot partition 1",
            ),
            (
                logical,
                r#"{"volume_group":"vg0","logical_volume":"root"}"#,
                "vg0/root",
            ),
        ] {
            assert_eq!(serde_json::to_string(&id).unwrap(), text);
            assert_eq!(serde_json::from_str::<VolumeId>(text).unwrap(), id);
            assert_eq!(id.to_string(), shown);
        }
    }
}
