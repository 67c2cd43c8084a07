//! The EFI system partition: which loaders are on it.

use super::{Esp, EspVendor};
use crate::{Error, Guest, GuestPath};
use fs::Kind;

/// Where distributions mount the partition, in the order in which they are looked at.
const MOUNT_POINTS: [&str; 3] = ["/boot/efi", "/efi", "/boot"];

/// Finds the partition where it is mounted. A directory `EFI` on another file system is none: an
/// unmounted partition leaves files of the same names behind.
pub(super) fn inspect(guest: &Guest) -> Result<Option<Esp>, Error> {
    for at in MOUNT_POINTS {
        let mount = GuestPath::from(at);
        let mounted = guest.mounts().iter().any(|known| known.at == mount);
        if mounted && let Some(esp) = read(guest, mount)? {
            return Ok(Some(esp));
        }
    }
    Ok(None)
}

fn read(guest: &Guest, mount: GuestPath) -> Result<Option<Esp>, Error> {
    let Some(efi) = directories(guest, &mount)?
        .into_iter()
        .find(|path| named(path, "EFI"))
    else {
        // An empty partition can be filled by nobody; one that is no FAT is no ESP.
        return Ok(None);
    };
    let mut esp = Esp {
        mount,
        fallback: Vec::new(),
        vendors: Vec::new(),
    };
    for directory in directories(guest, &efi)? {
        let mut loaders = Vec::new();
        for entry in guest.list(&directory)? {
            let path = directory.join(&entry.name);
            if entry.kind == Kind::File && has_efi_suffix(&entry.name) {
                loaders.push(path);
            }
        }
        if named(&directory, "BOOT") {
            let prefix = |path: &&GuestPath| {
                path.name()
                    .and_then(|name| name.get(..4))
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"BOOT"))
            };
            esp.fallback = loaders.iter().filter(prefix).cloned().collect();
        } else if !loaders.is_empty() {
            esp.vendors.push(EspVendor { directory, loaders });
        }
    }
    Ok(Some(esp))
}

fn directories(guest: &Guest, dir: &GuestPath) -> Result<Vec<GuestPath>, Error> {
    let entries = guest.list(dir)?;
    let dirs = entries.iter().filter(|entry| entry.kind == Kind::Dir);
    Ok(dirs.map(|entry| dir.join(&entry.name)).collect())
}

/// Whether the path's name is `name`; FAT knows no case.
fn named(path: &GuestPath, name: &str) -> bool {
    path.name()
        .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
}

fn has_efi_suffix(name: &[u8]) -> bool {
    let start = name.len().saturating_sub(4);
    name.get(start..)
        .is_some_and(|suffix| suffix.eq_ignore_ascii_case(b".efi"))
}
