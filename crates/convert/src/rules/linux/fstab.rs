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
    // Logical volumes and arrays are put together from what is on the disks.
    let elsewhere = matches!(
        DeviceName::parse(spec),
        DeviceName::Assembled(_) | DeviceName::Other(_)
    );
    if is_root || elsewhere || facts.resolve(spec).is_some() {
        return None;
    }
    Some(Treatment::AddOptions(
        &["nofail"],
        "it is on none of the disks given",
    ))
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
