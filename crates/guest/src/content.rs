//! What a volume holds.

mod probe;

use fs::FsInfo;
use serde::{Deserialize, Serialize};

pub(crate) use probe::{chain, probe};

/// What a volume holds, by its first and last bytes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Content {
    /// A file system that a driver exists for.
    FileSystem(FsInfo),
    /// Swap space.
    Swap {
        /// Identifier.
        uuid: Option<String>,
        /// Label.
        label: Option<String>,
        /// Whether it holds the memory of a machine that hibernated.
        hibernated: bool,
    },
    /// An encrypted volume, LUKS version 1 or 2.
    Luks {
        /// Version of the header.
        version: u16,
        /// Identifier.
        uuid: Option<String>,
        /// Label.
        label: Option<String>,
    },
    /// An LVM2 physical volume.
    LvmPhysical {
        /// Identifier in LVM's own spelling.
        uuid: Option<String>,
    },
    /// A member of a Linux software RAID.
    MdMember {
        /// Version of the superblock: "0.90", "1.0", "1.1" or "1.2".
        metadata: String,
        /// Identifier of the array.
        uuid: Option<String>,
        /// Name of the array.
        label: Option<String>,
    },
    /// The logical partitions that are listed apart.
    Extended,
    /// A format that is known by name only.
    Other {
        /// Which one.
        format: OtherFormat,
        /// Identifier, where it is cheap to read.
        uuid: Option<String>,
        /// Label, where it is cheap to read.
        label: Option<String>,
    },
    /// Nothing that is known.
    #[default]
    Unknown,
    /// What it holds cannot be told, and why.
    Unreadable(String),
}

/// Formats that are recognised and not opened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OtherFormat {
    /// XFS with features that its driver does not open.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// NTFS.
    Ntfs,
    /// exFAT.
    Exfat,
    /// F2FS.
    F2fs,
    /// JFS.
    Jfs,
    /// ReiserFS.
    Reiserfs,
    /// SquashFS.
    Squashfs,
    /// ISO 9660.
    Iso9660,
    /// A volume encrypted by Windows.
    BitLocker,
    /// A cached or caching device.
    Bcache,
    /// A member of a RAID of firmware, as SNIA's DDF defines it.
    DdfRaid,
    /// A member of a RAID of Intel's firmware.
    IntelRaid,
}

impl OtherFormat {
    /// The name that libblkid and fstab use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Ntfs => "ntfs",
            Self::Exfat => "exfat",
            Self::F2fs => "f2fs",
            Self::Jfs => "jfs",
            Self::Reiserfs => "reiserfs",
            Self::Squashfs => "squashfs",
            Self::Iso9660 => "iso9660",
            Self::BitLocker => "BitLocker",
            Self::Bcache => "bcache",
            Self::DdfRaid => "ddf_raid_member",
            Self::IntelRaid => "isw_raid_member",
        }
    }
}

impl Content {
    /// What `UUID=` in fstab compares.
    pub fn uuid(&self) -> Option<&str> {
        match self {
            Self::FileSystem(info) => info.uuid.as_deref(),
            Self::Swap { uuid, .. }
            | Self::Luks { uuid, .. }
            | Self::LvmPhysical { uuid }
            | Self::MdMember { uuid, .. }
            | Self::Other { uuid, .. } => uuid.as_deref(),
            Self::Extended | Self::Unknown | Self::Unreadable(_) => None,
        }
    }

    /// What `LABEL=` in fstab compares.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::FileSystem(info) => info.label.as_deref(),
            Self::Swap { label, .. }
            | Self::Luks { label, .. }
            | Self::MdMember { label, .. }
            | Self::Other { label, .. } => label.as_deref(),
            _ => None,
        }
    }

    /// The name that libblkid gives the type; none where it gives none.
    pub fn type_name(&self) -> Option<&'static str> {
        match self {
            Self::FileSystem(info) => Some(info.kind.name()),
            Self::Swap {
                hibernated: true, ..
            } => Some("swsuspend"),
            Self::Swap { .. } => Some("swap"),
            Self::Luks { .. } => Some("crypto_LUKS"),
            Self::LvmPhysical { .. } => Some("LVM2_member"),
            Self::MdMember { .. } => Some("linux_raid_member"),
            Self::Other { format, .. } => Some(format.name()),
            Self::Extended | Self::Unknown | Self::Unreadable(_) => None,
        }
    }

    /// Whether the guest could mount it without another layer between.
    pub fn is_file_system(&self) -> bool {
        match self {
            Self::FileSystem(_) => true,
            Self::Other { format, .. } => !matches!(
                format,
                OtherFormat::BitLocker
                    | OtherFormat::Bcache
                    | OtherFormat::DdfRaid
                    | OtherFormat::IntelRaid
            ),
            _ => false,
        }
    }

    /// What it is, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Extended => "logical partitions".to_owned(),
            Self::Unknown => "nothing known".to_owned(),
            Self::Unreadable(reason) => format!("something unreadable ({reason})"),
            Self::Luks { .. } => "an encrypted volume (LUKS)".to_owned(),
            Self::LvmPhysical { .. } => "an LVM physical volume".to_owned(),
            Self::MdMember { .. } => "a member of a software RAID".to_owned(),
            Self::Swap { .. } => "swap space".to_owned(),
            Self::FileSystem(_) | Self::Other { .. } => {
                self.type_name().unwrap_or_default().to_owned()
            }
        }
    }
}
