//! Which volume of which disk.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A volume of a machine: a partition, or a whole disk without a partition table.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct VolumeId {
    /// Index of the disk, from 0.
    pub disk: usize,
    /// Number of the partition as Linux counts, from 1; none for the whole disk.
    pub partition: Option<u32>,
}

/// People count disks from 1: index 0 is written "disk 1".
impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {}", self.disk.saturating_add(1))?;
        match self.partition {
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
        let mut id = VolumeId {
            disk: 0,
            partition: Some(2),
        };
        assert_eq!(id.to_string(), "disk 1 partition 2");
        id.partition = None;
        assert_eq!(id.to_string(), "disk 1");
    }
}
