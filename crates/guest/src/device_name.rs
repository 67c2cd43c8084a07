//! The names by which a guest calls its volumes.

use crate::{VolumeFact, VolumeId};

/// A name for a device as fstab, crypttab and the kernel command line use it.
///
/// ```
/// use guest::DeviceName;
///
/// assert_eq!(
///     DeviceName::parse("/dev/sdb3"),
///     DeviceName::Kernel { disk: 1, partition: Some(3) }
/// );
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeviceName {
    /// `UUID=` or `/dev/disk/by-uuid/`.
    Uuid(String),
    /// `LABEL=` or `/dev/disk/by-label/`.
    Label(String),
    /// `PARTUUID=` or `/dev/disk/by-partuuid/`.
    PartUuid(String),
    /// `PARTLABEL=` or `/dev/disk/by-partlabel/`.
    PartLabel(String),
    /// `/dev/sdXN` and its like: the order in which the kernel found the disks.
    Kernel {
        /// Index of the disk, from 0.
        disk: usize,
        /// Number of the partition; none for the whole disk.
        partition: Option<u32>,
    },
    /// `/dev/disk/by-id/`, `/dev/disk/by-path/`: a disk by serial number or place in the machine
    /// that it lived in, which the disk itself does not know.
    Hardware {
        /// Number of the partition; none for the whole disk.
        partition: Option<u32>,
    },
    /// A device-mapper or md device: it exists only once another layer was assembled.
    Assembled(String),
    /// No block device: a network path, `tmpfs`, a directory, a device of another kind.
    Other(String),
}

impl DeviceName {
    /// Sorts a name, as it stands after `\NNN` escapes were resolved.
    pub fn parse(name: &str) -> Self {
        if let Some((tag, value)) = name.split_once('=') {
            let value = value.trim_matches('"').to_owned();
            match tag {
                "UUID" => return Self::Uuid(value),
                "LABEL" => return Self::Label(value),
                "PARTUUID" => return Self::PartUuid(value),
                "PARTLABEL" => return Self::PartLabel(value),
                _ => {}
            }
        }
        let other = || Self::Other(name.to_owned());
        let Some(device) = name.strip_prefix("/dev/") else {
            return other();
        };
        if let Some((by, link)) = device
            .strip_prefix("disk/by-")
            .and_then(|rest| rest.split_once('/'))
        {
            return match by {
                "uuid" => Self::Uuid(udev_unescape(link)),
                "label" => Self::Label(udev_unescape(link)),
                "partuuid" => Self::PartUuid(udev_unescape(link)),
                "partlabel" => Self::PartLabel(udev_unescape(link)),
                "id" | "path" if is_assembled(link) => Self::Assembled(name.to_owned()),
                "id" | "path" => Self::Hardware {
                    partition: link
                        .rsplit_once("-part")
                        .and_then(|(_, number)| partition_number(number)),
                },
                _ => other(),
            };
        }
        if is_assembled(device) {
            return Self::Assembled(name.to_owned());
        }
        match kernel_name(device) {
            Some((disk, partition)) => Self::Kernel { disk, partition },
            // `/dev/VG/LV` looks like this and cannot be told apart without the volume groups.
            None => other(),
        }
    }

    /// The volume that the name stands for, where that can be told; of several the first.
    ///
    /// The order of the disks is trusted for names like `/dev/sda1`: the caller gives the disks
    /// in the order in which the machine had them. A name for the hardware is trusted if there is
    /// only one disk.
    pub fn resolve(&self, volumes: &[VolumeFact]) -> Option<VolumeId> {
        let same = |have: &Option<String>, want: &str| {
            !want.is_empty()
                && have
                    .as_ref()
                    .is_some_and(|have| have.eq_ignore_ascii_case(want))
        };
        let exact =
            |have: &Option<String>, want: &str| !want.is_empty() && have.as_deref() == Some(want);
        let fits = |volume: &&VolumeFact| match self {
            Self::Uuid(uuid) => same(&volume.uuid, uuid),
            Self::PartUuid(uuid) => same(&volume.partuuid, uuid),
            Self::Label(label) => exact(&volume.label, label),
            Self::PartLabel(label) => exact(&volume.partlabel, label),
            Self::Kernel { disk, partition } => {
                volume.id
                    == VolumeId::Disk {
                        disk: *disk,
                        partition: *partition,
                    }
            }
            Self::Hardware { partition } => {
                let mut disks = volumes.iter().filter_map(|other| other.id.disk());
                disks.all(|disk| disk == 0)
                    && volume.id
                        == VolumeId::Disk {
                            disk: 0,
                            partition: *partition,
                        }
            }
            Self::Assembled(name) | Self::Other(name) => {
                volume.id.disk().is_none() && volume.device_names.contains(name)
            }
        };
        volumes.iter().find(fits).map(|volume| volume.id.clone())
    }

    /// Whether the name may not hold on other hardware: anything but a name by content.
    pub fn depends_on_hardware(&self) -> bool {
        matches!(self, Self::Kernel { .. } | Self::Hardware { .. })
    }
}

/// The names that Linux may have given a volume where it lived, by the drivers that a virtual
/// machine's disk may have had.
pub(crate) fn kernel_names(disk: usize, partition: Option<u32>) -> Vec<String> {
    let letters = disk_letters(disk);
    let number = partition.map(|n| n.to_string()).unwrap_or_default();
    let mut names: Vec<String> = ["sd", "vd", "xvd", "hd"]
        .iter()
        .map(|driver| format!("/dev/{driver}{letters}{number}"))
        .collect();
    let part = partition.map(|n| format!("p{n}")).unwrap_or_default();
    names.push(format!("/dev/nvme{disk}n1{part}"));
    names
}

/// The names of a logical volume: device-mapper's own, LVM2's link to it, and udev's.
pub(crate) fn logical_names(
    group: &str,
    name: &str,
    group_id: volume::lvm::Uuid,
    id: volume::lvm::Uuid,
) -> Vec<String> {
    // `dm_build_dm_name`: hyphens are doubled, so that one alone stands between.
    let [escaped_group, escaped] = [group, name].map(|name| name.replace('-', "--"));
    let mapped = format!("{escaped_group}-{escaped}");
    vec![
        format!("/dev/mapper/{mapped}"),
        format!("/dev/{group}/{name}"),
        format!("/dev/disk/by-id/dm-name-{mapped}"),
        format!(
            "/dev/disk/by-id/dm-uuid-LVM-{}{}",
            group_id.plain(),
            id.plain()
        ),
    ]
}

/// The names of an array, or of a partition of it; `name` is the one of its identifier.
pub(crate) fn array_names(
    name: &str,
    array: &volume::md::Array,
    partition: Option<u32>,
) -> Vec<String> {
    let part = |name: &str, always: bool| {
        // udev puts a letter between two numbers.
        let digit = name.ends_with(|last: char| last.is_ascii_digit());
        match partition {
            Some(number) if digit || always => format!("{name}p{number}"),
            Some(number) => format!("{name}{number}"),
            None => name.to_owned(),
        }
    };
    let mut names = vec![part(&format!("/dev/{name}"), false)];
    if !name.starts_with("md/") {
        let number = name.trim_start_matches("md");
        names.push(part(&format!("/dev/md/{number}"), true));
    }
    let part = partition.map(|n| format!("-part{n}")).unwrap_or_default();
    if let Some(name) = &array.name {
        names.push(format!("/dev/disk/by-id/md-name-{name}{part}"));
    }
    let id = array.id.simple().to_string();
    let groups: Vec<&str> = (0..4).filter_map(|at| id.get(at * 8..at * 8 + 8)).collect();
    names.push(format!(
        "/dev/disk/by-id/md-uuid-{}{part}",
        groups.join(":")
    ));
    names
}

/// `sd_format_disk_name` of Linux, drivers/scsi/sd.c: a, b, … z, aa, ab, …
fn disk_letters(index: usize) -> String {
    let mut letters = Vec::new();
    let mut left = index;
    loop {
        // The remainder is below 26.
        letters.push(b'a' + u8::try_from(left % 26).unwrap_or_default());
        match (left / 26).checked_sub(1) {
            Some(next) => left = next,
            None => break,
        }
    }
    letters.iter().rev().copied().map(char::from).collect()
}

fn kernel_name(device: &str) -> Option<(usize, Option<u32>)> {
    if let Some(rest) = device.strip_prefix("nvme") {
        let (disk, rest) = rest.split_once('n')?;
        let (name_space, partition) = split_partition(rest);
        // Virtual machines have one name space on each controller.
        return (name_space == "1").then_some((disk.parse().ok()?, partition?));
    }
    if let Some(rest) = device.strip_prefix("mmcblk") {
        let (disk, partition) = split_partition(rest);
        return Some((disk.parse().ok()?, partition?));
    }
    if let Some(rest) = device.strip_prefix("cciss/c") {
        let (_, rest) = rest.split_once('d')?;
        let (disk, partition) = split_partition(rest);
        return Some((disk.parse().ok()?, partition?));
    }
    let rest = ["sd", "vd", "xvd", "hd"]
        .iter()
        .find_map(|driver| device.strip_prefix(driver))?;
    let digits = rest.find(|c: char| !c.is_ascii_lowercase());
    let (letters, number) = rest.split_at(digits.unwrap_or(rest.len()));
    // Linux itself ends far below three letters' worth of disks.
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let disk = letters.bytes().fold(0, |index, letter| {
        index * 26 + usize::from(letter - b'a') + 1
    });
    let partition = match number {
        "" => None,
        number => Some(partition_number(number)?),
    };
    Some((disk - 1, partition))
}

/// Splits "1p2" into "1" and 2; the partition is none-inside where a number was to be and is not.
fn split_partition(rest: &str) -> (&str, Option<Option<u32>>) {
    match rest.split_once('p') {
        Some((disk, number)) => (disk, partition_number(number).map(Some)),
        None => (rest, Some(None)),
    }
}

fn partition_number(number: &str) -> Option<u32> {
    number.parse().ok().filter(|number| *number > 0)
}

fn is_assembled(device: &str) -> bool {
    let md = device.strip_prefix("md");
    device.starts_with("mapper/")
        || device.starts_with("dm-")
        || device.starts_with("md-")
        || md.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '/'))
}

/// Resolves `\xNN`, which udev writes for what cannot stand in a file name.
fn udev_unescape(name: &str) -> String {
    crate::path::unescape(name).map_or_else(
        || name.to_owned(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_what_they_name() {
        let kernel = |disk, partition| DeviceName::Kernel { disk, partition };
        let assembled = |name: &str| DeviceName::Assembled(name.to_owned());
        for (name, sorted) in [
            ("UUID=\"a-b\"", DeviceName::Uuid("a-b".into())),
            ("LABEL=my data", DeviceName::Label("my data".into())),
            (
                "/dev/disk/by-label/my\\x20data",
                DeviceName::Label("my data".into()),
            ),
            (
                "/dev/disk/by-partuuid/0001-02",
                DeviceName::PartUuid("0001-02".into()),
            ),
            ("/dev/sda", kernel(0, None)),
            ("/dev/vdb12", kernel(1, Some(12))),
            ("/dev/xvdaa1", kernel(26, Some(1))),
            ("/dev/nvme3n1p2", kernel(3, Some(2))),
            ("/dev/nvme0n1", kernel(0, None)),
            ("/dev/cciss/c0d1p3", kernel(1, Some(3))),
            (
                "/dev/disk/by-id/scsi-36000c29-part2",
                DeviceName::Hardware { partition: Some(2) },
            ),
            (
                "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0",
                DeviceName::Hardware { partition: None },
            ),
            (
                "/dev/disk/by-id/dm-uuid-LVM-xyz",
                assembled("/dev/disk/by-id/dm-uuid-LVM-xyz"),
            ),
            ("/dev/mapper/vg-root", assembled("/dev/mapper/vg-root")),
            ("/dev/md0", assembled("/dev/md0")),
        ] {
            assert_eq!(DeviceName::parse(name), sorted, "{name}");
        }
        for name in [
            "tmpfs",
            "host:/export",
            "/dev/cdrom",
            "/dev/sda0",
            "/dev/sd",
            "/dev/sda1x",
            "/dev/nvme0n1p",
            "/dev/vg/root",
            "//server/share=UUID",
        ] {
            assert_eq!(
                DeviceName::parse(name),
                DeviceName::Other(name.into()),
                "{name}"
            );
        }
    }

    #[test]
    fn letters_are_the_kernel_s() {
        for (index, letters) in [(0, "a"), (25, "z"), (26, "aa"), (701, "zz"), (702, "aaa")] {
            assert_eq!(disk_letters(index), letters);
            assert_eq!(
                kernel_name(&format!("sd{letters}")),
                Some((index, None)),
                "{letters}"
            );
        }
    }

    #[test]
    fn names_lead_to_volumes() {
        let volume = |disk, partition, uuid: &str| VolumeFact {
            id: VolumeId::Disk { disk, partition },
            uuid: Some(uuid.to_owned()),
            label: Some("Data".to_owned()),
            partlabel: Some(String::new()),
            ..VolumeFact::default()
        };
        let one = [volume(0, Some(1), "ab12-cd34"), volume(0, Some(2), "b")];
        let resolve = |name: &str, volumes: &[VolumeFact]| {
            DeviceName::parse(name)
                .resolve(volumes)
                .map(|id| (id.disk().unwrap(), id.partition_number()))
        };
        assert_eq!(resolve("UUID=AB12-CD34", &one), Some((0, Some(1))));
        assert_eq!(resolve("LABEL=Data", &one), Some((0, Some(1))));
        assert_eq!(resolve("LABEL=data", &one), None);
        assert_eq!(resolve("PARTLABEL=", &one), None);
        assert_eq!(resolve("/dev/hda2", &one), Some((0, Some(2))));
        assert_eq!(resolve("/dev/sdb2", &one), None);
        let by_id = "/dev/disk/by-id/ata-x-part2";
        assert_eq!(resolve(by_id, &one), Some((0, Some(2))));
        let two = [one[0].clone(), volume(1, Some(2), "b")];
        assert_eq!(resolve(by_id, &two), None);
        assert_eq!(resolve("/dev/sdb2", &two), Some((1, Some(2))));
    }

    #[test]
    fn a_volume_has_the_names_that_are_resolved_to_it() {
        for name in kernel_names(27, Some(3)) {
            let DeviceName::Kernel { disk, partition } = DeviceName::parse(&name) else {
                panic!("{name}");
            };
            assert_eq!((disk, partition), (27, Some(3)));
        }
    }
}
