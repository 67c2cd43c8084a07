//! What the superblock of a member says, whatever its version.

use super::{Damage, version0, version1};
use block::BlockRead;
use std::fmt;
use uuid::Uuid;

/// The superblock of a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Superblock {
    /// Its version, by its place.
    pub version: Version,
    /// Identifier of the array, in the order of bytes that `blkid` prints.
    pub array: Uuid,
    /// Name of the array, as `host:name` or `name`; version 0.90 has none.
    pub name: Option<String>,
    /// Number that version 0.90 wants the array to have: `/dev/mdN`.
    pub preferred_minor: Option<u32>,
    /// The level.
    pub level: Level,
    /// Layout, whose meaning depends on the level.
    pub(super) layout: Option<u32>,
    /// Bytes of a chunk; 0 where there are none.
    pub(super) chunk: u64,
    /// Bytes of each member that a level with copies uses.
    pub(super) component_size: u64,
    /// Members that are not spares.
    pub slots: u32,
    /// Where the data of this member lies.
    pub(super) data_offset: u64,
    pub(super) data_size: u64,
    /// What this member is.
    pub role: Role,
    /// How often the superblocks were written: members that are behind are stale.
    pub events: u64,
    /// Whether all members hold the same.
    pub(super) clean: bool,
    /// Whether the member is filled up.
    pub(super) recovered: bool,
    /// Whether Linux reads it only if no other member of a mirror is left.
    pub(super) write_mostly: bool,
    /// Something that keeps the array from being read.
    pub(super) unsupported: Option<&'static str>,
}

/// Versions, which are places as well.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// In the last whole 64 KiB but one, of 4 KiB.
    V0_90,
    /// 8 KiB before the end.
    V1_0,
    /// At the start.
    V1_1,
    /// 4 KiB from the start.
    V1_2,
}

/// What a device is in its array.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Member of this number, from 0.
    Active(u32),
    /// None of the members.
    Spare,
    /// Left out by the kernel.
    Faulty,
}

/// Levels by their number in the superblock.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Level {
    /// Members one after the other.
    Linear,
    /// RAID0, 1, 4, 5, 6 or 10, or a level that is not known.
    Raid(i32),
    /// Paths to one disk.
    Multipath,
}

impl Superblock {
    /// Finds the superblock of a member: at the start, behind it, near the end.
    ///
    /// # Errors
    /// The outer one is what reading the device meets; the inner one says how the superblock is
    /// damaged.
    pub fn read(device: &dyn BlockRead) -> Result<Result<Option<Self>, Damage>, block::Error> {
        for version in [Version::V1_1, Version::V1_2, Version::V1_0] {
            match version1::read(device, version)? {
                Ok(None) => {}
                found => return Ok(found),
            }
        }
        version0::read(device)
    }

    /// The name of the array as `/dev/md/` and mdadm have it, without the host that made it; none
    /// if it has none.
    pub fn short_name(&self) -> Option<&str> {
        let name = self.name.as_deref()?;
        Some(name.rsplit_once(':').map_or(name, |(_, name)| name))
    }
}

impl Level {
    pub(super) fn of(number: u32) -> Self {
        let number = i32::from_ne_bytes(number.to_ne_bytes());
        match number {
            -1 => Self::Linear,
            -4 => Self::Multipath,
            number => Self::Raid(number),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => f.write_str("linear"),
            Self::Multipath => f.write_str("multipath"),
            Self::Raid(number) => write!(f, "RAID{number}"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_90 => "0.90",
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        })
    }
}

/// `MD_SB_MAGIC`.
pub(super) const MAGIC: u32 = 0xa92b_4efc;
pub(super) const SECTOR: u64 = 512;
