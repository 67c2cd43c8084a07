//! `/etc/fstab` has to name file systems by what they are, and must not stop the boot for what
//! stayed behind.
//!
//! EBS volumes are NVMe namespaces in an order that may change with every boot, or `/dev/xvd*` on
//! Xen instances: no name by hardware holds. A mount that fails without `nofail` ends in systemd's
//! emergency mode, which has no network.

use crate::{Draft, Error, Rule, Severity};
use fs::FsKind;
use guest::fstab::Fstab;
use guest::{Content, DeviceName, Facts, GuestPath};

/// Names by hardware become names by identifier.
pub(super) const BY_UUID: Rule = Rule {
    id: "fstab-by-uuid",
    summary: "name file systems and swap in /etc/fstab by UUID instead of by device",
    applies: |facts, _| !facts.fstab.is_empty(),
    run: by_uuid,
};

/// What is not there any more must not stop the boot.
pub(super) const NOFAIL: Rule = Rule {
    id: "fstab-nofail",
    summary: "keep mounts in /etc/fstab that stayed behind from stopping the boot",
    applies: |facts, _| !facts.fstab.is_empty(),
    run: nofail,
};

/// Folders that the old hypervisor shared with the guest: there is nobody to share them now.
const SHARED_FOLDERS: &[&str] = &[
    "vmhgfs",
    "fuse.vmhgfs-fuse",
    "vboxsf",
    "prl_fs",
    "9p",
    "virtiofs",
];
/// File systems on servers, which may not be reachable from the new network.
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smbfs",
    "smb3",
    "sshfs",
    "fuse.sshfs",
    "glusterfs",
    "ceph",
];
/// Drives that no instance has.
const REMOVABLE: &[&str] = &[
    "/dev/fd",
    "/dev/cdrom",
    "/dev/dvd",
    "/dev/sr",
    "/dev/scd",
    "/dev/floppy",
];

fn path() -> GuestPath {
    GuestPath::from("/etc/fstab")
}

fn read(draft: &Draft<'_>) -> Result<Option<Fstab>, Error> {
    Ok(draft.read(&path())?.map(|content| Fstab::parse(&content)))
}

fn by_uuid(draft: &mut Draft<'_>) -> Result<(), Error> {
    let Some(mut fstab) = read(draft)? else {
        return Ok(());
    };
    let facts = draft.facts();
    let (mut names, mut mismatches) = (Vec::new(), Vec::new());
    for entry in fstab.entries_mut() {
        let spec = String::from_utf8_lossy(&entry.spec()).into_owned();
        let name = DeviceName::parse(&spec);
        let Some(volume) = facts.resolve(&spec).and_then(|id| facts.volume(&id)) else {
            continue;
        };
        // A volume that cannot be looked into still has a name in the partition table.
        let uuid = volume.uuid.as_ref().map(|uuid| format!("UUID={uuid}"));
        let partuuid = volume
            .partuuid
            .as_ref()
            .map(|uuid| format!("PARTUUID={uuid}"));
        let (true, Some(lasting)) = (name.depends_on_hardware(), uuid.or(partuuid)) else {
            continue;
        };
        if !fits(&volume.content, &entry.vfstype()) {
            mismatches.push(format!(
                "/etc/fstab line {}: {spec} should be {}, but {} holds something else; the disks \
                 may be given in another order than the machine had them",
                entry.line(),
                entry.vfstype(),
                volume.id
            ));
            continue;
        }
        entry.set_spec(&lasting);
        names.push(spec);
    }
    for mismatch in mismatches {
        draft.find(Severity::Problem, mismatch);
    }
    if names.is_empty() {
        return Ok(());
    }
    let why = format!("{} will have other names on EC2", names.join(", "));
    draft.write(&path(), fstab.render(), why)
}

/// Whether a volume can be what an entry says it is; what is not known may be anything.
fn fits(content: &Content, vfstype: &str) -> bool {
    match content {
        Content::Swap { .. } => matches!(vfstype, "swap" | "none"),
        Content::FileSystem(info) => match vfstype {
            "auto" => true,
            "ext2" | "ext3" | "ext4" => {
                matches!(info.kind, FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4)
            }
            "xfs" => info.kind == FsKind::Xfs,
            "vfat" | "msdos" => info.kind == FsKind::Vfat,
            _ => false,
        },
        _ => vfstype != "swap",
    }
}

/// What has to happen to an entry.
#[derive(Debug, Eq, PartialEq)]
enum Treatment {
    CommentOut(&'static str),
    AddOptions(&'static [&'static str], &'static str),
}

fn treatment(
    facts: &Facts,
    spec: &str,
    vfstype: &str,
    mount_point: Option<&GuestPath>,
) -> Option<Treatment> {
    if SHARED_FOLDERS.contains(&vfstype) {
        return Some(Treatment::CommentOut("the old hypervisor shared it"));
    }
    if NETWORK.contains(&vfstype) {
        let options = &["nofail", "_netdev"];
        return Some(Treatment::AddOptions(
            options,
            "the server may not be reachable",
        ));
    }
    if REMOVABLE.iter().any(|prefix| spec.starts_with(prefix)) {
        return Some(Treatment::AddOptions(
            &["noauto", "nofail"],
            "instances have no such drive",
        ));
    }
    let is_root = mount_point.is_some_and(GuestPath::is_root);
    let name = DeviceName::parse(spec);
    let is_elsewhere = match &name {
        DeviceName::Other(name) => !may_be_logical(name),
        // It may be inside of an encrypted volume, which nobody looked into.
        DeviceName::Assembled(_) => facts
            .volumes
            .iter()
            .any(|volume| matches!(volume.content, Content::Luks { .. })),
        _ => false,
    };
    let volume = facts.resolve(spec).and_then(|id| facts.volume(&id));
    let reason = match volume.map(|volume| &volume.content) {
        Some(Content::Unreadable(_)) => "it cannot be read from the disks given",
        None if !is_elsewhere => "it is on none of the disks given",
        _ => return None,
    };
    (!is_root).then_some(Treatment::AddOptions(&["nofail"], reason))
}

/// Whether `/dev/GROUP/VOLUME` may be meant.
fn may_be_logical(name: &str) -> bool {
    let rest = name.strip_prefix("/dev/").unwrap_or_default();
    matches!(rest.split_once('/'), Some((group, volume))
        if !volume.is_empty() && !volume.contains('/') && !matches!(group, "disk" | "shm" | "pts"))
}

fn nofail(draft: &mut Draft<'_>) -> Result<(), Error> {
    let Some(mut fstab) = read(draft)? else {
        return Ok(());
    };
    let (mut reasons, mut findings, mut comment_out) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fstab.entries_mut() {
        let spec = String::from_utf8_lossy(&entry.spec()).into_owned();
        let mount_point = entry.mount_point();
        let found = treatment(draft.facts(), &spec, &entry.vfstype(), mount_point.as_ref());
        match found {
            None => {}
            Some(Treatment::CommentOut(reason)) => {
                comment_out.push(entry.line());
                findings.push(format!(
                    "/etc/fstab does not mount {spec} any more: {reason}"
                ));
                reasons.push(format!("{spec}: {reason}"));
            }
            Some(Treatment::AddOptions(options, reason)) => {
                if options.iter().all(|option| entry.has_option(option)) {
                    continue;
                }
                for option in options {
                    entry.add_option(option);
                }
                findings.push(format!("/etc/fstab does not wait for {spec}: {reason}"));
                reasons.push(format!("{spec}: {reason}"));
            }
        }
    }
    for line in comment_out {
        fstab.comment_out(line);
    }
    if reasons.is_empty() {
        return Ok(());
    }
    for finding in findings {
        draft.find(Severity::Warning, finding);
    }
    draft.write(&path(), fstab.render(), reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs::FsInfo;
    use guest::VolumeFact;

    #[test]
    fn each_driver_has_its_word_in_fstab() {
        let holds = |kind| {
            Content::FileSystem(FsInfo {
                kind,
                uuid: None,
                label: None,
                features: Vec::new(),
                recovered: false,
                last_write: None,
            })
        };
        for (kind, word) in [
            (FsKind::Ext4, "ext3"),
            (FsKind::Xfs, "xfs"),
            (FsKind::Vfat, "vfat"),
        ] {
            assert!(fits(&holds(kind), word) && fits(&holds(kind), "auto"));
            assert!(!fits(&holds(kind), "swap"));
        }
        assert!(!fits(&holds(FsKind::Xfs), "ext4"));
    }

    #[test]
    fn volumes_that_stayed_behind_do_not_stop_the_boot() {
        let at = |path: &str| Some(GuestPath::from(path));
        let mut facts = Facts::default();
        let treat =
            |facts: &Facts, spec| treatment(facts, spec, "xfs", at("/data").as_ref()).is_some();
        for spec in ["/dev/sdb1", "/dev/mapper/datavg-lv1", "/dev/datavg/lv1"] {
            assert!(treat(&facts, spec), "{spec}");
        }
        assert!(!treat(&facts, "tmpfs") && !treat(&facts, "/srv/image"));
        let root = at("/");
        assert_eq!(treatment(&facts, "/dev/sdb1", "xfs", root.as_ref()), None);
        facts.volumes.push(VolumeFact {
            content: Content::Luks {
                version: 2,
                uuid: None,
                label: None,
            },
            ..VolumeFact::default()
        });
        assert!(!treat(&facts, "/dev/mapper/datavg-lv1"));
    }
}
