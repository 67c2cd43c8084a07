//! Putting a guest together as its fstab says.

use crate::content::chain;
use crate::fstab::Fstab;
use crate::{
    Content, DeviceName, Error, FstabFact, Guest, GuestPath, Machine, VolumeFact, VolumeId, mdadm,
};

impl Guest {
    /// Opens the root file system on `root` and everything that its fstab mounts from the disks
    /// of the machine: what is mounted at boot, and `/boot`, `/boot/efi` and `/efi` always.
    ///
    /// What cannot be mounted is a [finding](Self::findings).
    ///
    /// # Errors
    /// If the root file system or its fstab cannot be read.
    pub fn open(machine: &Machine, root: &VolumeId) -> Result<Self, Error> {
        let mut guest = Self::on(root.clone(), machine.open_file_system(root)?);
        let fstab = read_fstab(&guest)?;
        let mut volumes = machine.volume_facts();
        mdadm::add_names(&guest, &mut volumes)?;
        let (mut entries, _) = resolve_fstab(&fstab, &volumes);
        entries.retain(is_mounted);
        // A mount point lies on what is mounted above it. The sort is stable: of two entries for
        // one place the first stays first.
        entries.sort_by_key(|entry| depth(entry.mount_point.as_ref()));
        let mut taken: Vec<GuestPath> = Vec::new();
        for entry in entries {
            let (Some(at), Some(volume)) = (entry.mount_point, entry.resolved) else {
                continue;
            };
            if taken.contains(&at) {
                guest.find(format!(
                    "line {} of /etc/fstab mounts {at} a second time; the first entry was used",
                    entry.line
                ));
                continue;
            }
            taken.push(at.clone());
            if at.is_root() {
                if volume != *root {
                    guest.find(format!(
                        "/etc/fstab mounts {volume} as the root, but it lies on {root}"
                    ));
                }
                continue;
            }
            // Two drivers on one volume would not see each other's changes.
            if guest
                .mounts()
                .iter()
                .any(|mount| mount.volume.as_ref() == Some(&volume))
            {
                guest.find(format!(
                    "{at} is missing from what was inspected: {volume} is mounted elsewhere too"
                ));
                continue;
            }
            let mounted = guest
                .canonical(&at, true)
                .and_then(|at| Ok((at, machine.open_file_system(&volume)?)));
            match mounted {
                Ok((at, file_system)) => guest.mount(at, Some(volume), file_system),
                Err(error) => guest.find(format!(
                    "{at} is missing from what was inspected: {}",
                    chain(&error)
                )),
            }
        }
        Ok(guest)
    }
}

/// Reads the guest's fstab; empty if it has none.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn read_fstab(guest: &Guest) -> Result<Fstab, Error> {
    let content = guest.read(&"/etc/fstab".into(), FSTAB_CAP)?;
    Ok(Fstab::parse(&content.unwrap_or_default()))
}

/// Resolves the devices of all entries and says what is odd about them.
///
/// A name that may mean anything on other hardware is believed only if the volume holds what the
/// entry says.
pub(crate) fn resolve_fstab(
    fstab: &Fstab,
    volumes: &[VolumeFact],
) -> (Vec<FstabFact>, Vec<String>) {
    let mut findings = Vec::new();
    let mut facts = Vec::new();
    for (line, _) in fstab.broken() {
        findings.push(format!("line {line} of /etc/fstab cannot be understood"));
    }
    for entry in fstab.entries() {
        let mut fact = entry.fact();
        let name = DeviceName::parse(&String::from_utf8_lossy(&entry.spec()));
        let volume = name
            .resolve(volumes)
            .and_then(|id| volumes.iter().find(|volume| volume.id == id));
        match volume {
            Some(volume) if fits(&fact.file_system, &volume.content) => {
                fact.resolved = Some(volume.id.clone());
            }
            Some(volume) => {
                findings.push(format!(
                    "line {} of /etc/fstab says that {} is {}, but {} holds {}",
                    fact.line,
                    fact.spec,
                    fact.file_system,
                    volume.id,
                    volume.content.describe()
                ));
                if !name.depends_on_hardware() {
                    fact.resolved = Some(volume.id.clone());
                }
            }
            None => findings.extend(unresolved(&fact, &name)),
        }
        facts.push(fact);
    }
    (facts, findings)
}

/// What to say about an entry whose device is not among the volumes.
fn unresolved(fact: &FstabFact, name: &DeviceName) -> Option<String> {
    let why = match name {
        DeviceName::Other(_) => return None,
        DeviceName::Assembled(_) => {
            "is no logical volume or array of the disks given, and encrypted volumes are not opened"
        }
        _ => "is none of the volumes of the disks given",
    };
    // Optical and floppy drives are not moved.
    let drive = ["iso9660", "udf", "udf,iso9660"].contains(&fact.file_system.as_str());
    (!drive).then(|| format!("line {} of /etc/fstab: {} {why}", fact.line, fact.spec))
}

/// Whether a volume can be what an entry's type says.
fn fits(file_system: &str, content: &Content) -> bool {
    let holds = content.type_name();
    match file_system {
        "swap" => matches!(content, Content::Swap { .. }),
        "auto" => content.is_file_system(),
        // One driver for all three, and tables outlive upgrades.
        "ext2" | "ext3" | "ext4" => matches!(holds, Some("ext2" | "ext3" | "ext4")),
        "vfat" | "msdos" => holds == Some("vfat"),
        "ntfs" | "ntfs-3g" | "ntfs3" => holds == Some("ntfs"),
        other => content.is_file_system() && holds.is_some_and(|holds| other.contains(holds)),
    }
}

fn is_mounted(entry: &FstabFact) -> bool {
    let boot = entry
        .mount_point
        .as_ref()
        .is_some_and(|at| BOOT_MOUNTS.iter().any(|boot| at == boot));
    let skipped = entry.has_option("noauto") && !entry.has_option("x-systemd.automount");
    entry.file_system != "swap" && !entry.has_option("bind") && (boot || !skipped)
}

fn depth(path: Option<&GuestPath>) -> usize {
    path.map_or(0, |path| path.components().count())
}

/// What is needed to boot is looked at even where the guest mounts it by hand.
const BOOT_MOUNTS: [&str; 3] = ["/boot", "/boot/efi", "/efi"];
/// A table of a thousand entries has some 100 KiB.
const FSTAB_CAP: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(partition: u32, content: Content) -> VolumeFact {
        VolumeFact {
            id: VolumeId::partition(0, partition),
            uuid: Some(format!("uuid-{partition}")),
            content,
            ..VolumeFact::default()
        }
    }

    fn swap() -> Content {
        Content::Swap {
            uuid: None,
            label: None,
            hibernated: false,
        }
    }

    fn xfs() -> Content {
        Content::Other {
            format: crate::OtherFormat::Xfs,
            uuid: None,
            label: None,
        }
    }

    #[test]
    fn a_name_that_maps_to_something_impossible_is_not_believed() {
        let volumes = [volume(1, xfs()), volume(2, swap())];
        let fstab = Fstab::parse(
            b"/dev/sda1 / xfs defaults 0 0\n\
              /dev/sda2 /home ext4 defaults 0 0\n\
              UUID=uuid-2 /srv xfs defaults 0 0\n\
              /dev/sda2 none swap sw 0 0\n\
              /dev/sdb1 /data auto defaults 0 0\n\
              /dev/mapper/vg-x /var ext4 defaults 0 0\n\
              /dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n\
              tmpfs /tmp tmpfs\n\
              nonsense\n",
        );
        let (facts, findings) = resolve_fstab(&fstab, &volumes);
        let partitions: Vec<_> = facts
            .iter()
            .map(|fact| {
                fact.resolved
                    .as_ref()
                    .map(|id| id.partition_number().unwrap())
            })
            .collect();
        assert_eq!(
            partitions,
            [Some(1), None, Some(2), Some(2), None, None, None, None]
        );
        assert_eq!(
            findings,
            [
                "line 9 of /etc/fstab cannot be understood",
                "line 2 of /etc/fstab says that /dev/sda2 is ext4, but disk 1 partition 2 holds swap space",
                "line 3 of /etc/fstab says that UUID=uuid-2 is xfs, but disk 1 partition 2 holds swap space",
                "line 5 of /etc/fstab: /dev/sdb1 is none of the volumes of the disks given",
                "line 6 of /etc/fstab: /dev/mapper/vg-x is no logical volume or array of the disks given, and encrypted volumes are not opened",
            ]
        );
    }

    #[test]
    fn what_boots_is_mounted_even_if_by_hand() {
        let fstab = Fstab::parse(
            b"a /boot/efi vfat noauto\na /mnt ext4 noauto\na /x ext4 noauto,x-systemd.automount\n\
              a none swap sw\na /y none bind\n",
        );
        let mounted: Vec<_> = fstab
            .entries()
            .map(|entry| is_mounted(&entry.fact()))
            .collect();
        assert_eq!(mounted, [true, false, true, false, false]);
    }
}
