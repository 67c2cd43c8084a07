//! The packages that are installed.

use crate::{Error, Guest, GuestPath};
use block::BlockRead;
use fs::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The packages that are installed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Packages {
    /// Whose list it is; none where no package manager is known.
    pub manager: Option<PackageManager>,
    /// How many packages are installed; a package of two architectures counts twice.
    pub count: usize,
    /// The version of each, by name: "1:2.3-4", the epoch of rpm's packages where they have one. Of
    /// a package of two architectures or of several versions, as a kernel, one is kept.
    pub list: BTreeMap<String, String>,
    /// The architecture that the package manager itself is of, as "amd64" or "x86_64".
    pub architecture: Option<String>,
}

/// Who keeps the list of packages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PackageManager {
    /// dpkg: the list is read.
    Dpkg,
    /// rpm: its data base is read, whichever of its three formats it has.
    Rpm,
    /// Alpine's apk.
    Apk,
    /// Arch's pacman.
    Pacman,
}

impl Packages {
    /// The version of a package, if it is installed.
    pub fn version(&self, name: &str) -> Option<&str> {
        self.list.get(name).map(String::as_str)
    }

    /// Whether a package is installed.
    pub fn has(&self, name: &str) -> bool {
        self.list.contains_key(name)
    }

    /// Takes what rpm's list holds.
    fn add_rpm_list(&mut self, list: rpmdb::List) {
        for package in list.packages {
            if self.count >= MAX_PACKAGES {
                break;
            }
            self.count += 1;
            if package.name == "rpm" || package.name == "filesystem" {
                let own = package.arch.clone().filter(|arch| arch != "noarch");
                self.architecture = own.or(self.architecture.take());
            }
            let version = package.evr();
            self.list.insert(package.name, version);
        }
    }

    /// Reads the stanzas of a dpkg status file: name, version and state of each package, as
    /// deb822(5) and dpkg-query(1) define them.
    fn add_dpkg_status(&mut self, status: &[u8]) {
        for stanza in Stanzas(status) {
            let Some(name) = stanza.package else {
                continue;
            };
            // A file in status.d has no state: it is there because the package is.
            let installed = stanza.status.is_none_or(|status| {
                status
                    .split(|byte| *byte == b' ')
                    .any(|word| word == b"installed")
            });
            if !installed || self.count >= MAX_PACKAGES {
                continue;
            }
            self.count += 1;
            if name == b"dpkg" || name == b"base-files" {
                let architecture = stanza.architecture.map(lossy);
                self.architecture = architecture.filter(|architecture| architecture != "all");
            }
            let version = stanza.version.map(lossy).unwrap_or_default();
            self.list.insert(lossy(name), version);
        }
    }
}

/// Reads which packages are installed; a list that cannot be read is a finding.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn inspect(guest: &Guest, findings: &mut Vec<String>) -> Result<Packages, Error> {
    let mut packages = Packages::default();
    if let Some(status) = guest.read(&"/var/lib/dpkg/status".into(), STATUS_CAP)? {
        packages.manager = Some(PackageManager::Dpkg);
        packages.add_dpkg_status(&status);
    }
    // Distroless images keep one file for each package.
    let parts = GuestPath::from("/var/lib/dpkg/status.d");
    for entry in guest.list(&parts)?.into_iter().take(MAX_PACKAGES) {
        if entry.kind != Kind::File || entry.name.ends_with(b".md5sums") {
            continue;
        }
        if let Some(status) = guest.read(&parts.join(&entry.name), STATUS_CAP)? {
            packages.manager = Some(PackageManager::Dpkg);
            packages.add_dpkg_status(&status);
        }
    }
    if packages.manager.is_none() {
        rpm(guest, &mut packages, findings)?;
    }
    if packages.manager.is_none() {
        for (path, manager) in [
            ("/lib/apk/db/installed", PackageManager::Apk),
            ("/var/lib/pacman/local", PackageManager::Pacman),
        ] {
            if guest.exists(&path.into())? {
                packages.manager = Some(manager);
                break;
            }
        }
    }
    Ok(packages)
}

/// Reads rpm's list, if there is one. The `__db.00?` beside it are Berkeley DB's locks of programs
/// that ended long ago.
fn rpm(guest: &Guest, packages: &mut Packages, findings: &mut Vec<String>) -> Result<(), Error> {
    for directory in ["/usr/lib/sysimage/rpm", "/var/lib/rpm"] {
        let directory = GuestPath::from(directory);
        if guest.exists(&directory)? {
            packages.manager = Some(PackageManager::Rpm);
        }
        for name in ["rpmdb.sqlite", "Packages.db", "Packages"] {
            let path = directory.join(name);
            let Some(file) = guest.device(&path)?.filter(|file| file.size() > 0) else {
                continue;
            };
            let journal = directory.join("rpmdb.sqlite-journal");
            if guest.device(&journal)?.is_some_and(|file| file.size() > 0) {
                findings.push(format!(
                    "{path} was being written when the disks were taken: packages may be missing"
                ));
            }
            let log = guest.device(&directory.join("rpmdb.sqlite-wal"))?;
            let log: Option<&dyn BlockRead> = match &log {
                Some(log) if log.size() > 0 => Some(log),
                _ => None,
            };
            match rpmdb::read(&file, log) {
                Ok(list) => {
                    if let Some(first) = list.damaged.first() {
                        findings.push(format!("{path}: a package cannot be read: {first}"));
                    }
                    packages.add_rpm_list(list);
                }
                Err(error) => findings.push(format!("{path}: {}", chain(&error))),
            }
            return Ok(());
        }
    }
    Ok(())
}

/// An error with what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The fields of one stanza that matter here.
#[derive(Default)]
struct Stanza<'s> {
    package: Option<&'s [u8]>,
    status: Option<&'s [u8]>,
    version: Option<&'s [u8]>,
    architecture: Option<&'s [u8]>,
}

/// Walks the stanzas of a control file.
struct Stanzas<'s>(&'s [u8]);

impl<'s> Iterator for Stanzas<'s> {
    type Item = Stanza<'s>;

    fn next(&mut self) -> Option<Stanza<'s>> {
        let mut stanza = Stanza::default();
        let mut any = false;
        while !self.0.is_empty() {
            let end = self.0.iter().position(|byte| *byte == b'\n');
            let (line, rest) = match end {
                Some(end) => (&self.0[..end], &self.0[end + 1..]),
                None => (self.0, &[][..]),
            };
            self.0 = rest;
            if line.trim_ascii().is_empty() {
                if any {
                    break;
                }
                continue;
            }
            any = true;
            // Most lines are of no interest; their first byte tells.
            let field = match line[0] {
                b'P' => line
                    .strip_prefix(b"Package:")
                    .map(|value| (&mut stanza.package, value)),
                b'S' => line
                    .strip_prefix(b"Status:")
                    .map(|value| (&mut stanza.status, value)),
                b'V' => line
                    .strip_prefix(b"Version:")
                    .map(|value| (&mut stanza.version, value)),
                b'A' => line
                    .strip_prefix(b"Architecture:")
                    .map(|value| (&mut stanza.architecture, value)),
                _ => None,
            };
            if let Some((field, value)) = field {
                *field = Some(value.trim_ascii());
            }
        }
        any.then_some(stanza)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A status file of a full desktop has about 6 MiB.
const STATUS_CAP: u64 = 64 << 20;
/// A full desktop has about 5000 packages.
const MAX_PACKAGES: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};

    /// A guest with rpm's list in this place.
    fn with_list(path: &str, list: &[u8]) -> Guest {
        let mut system = MemoryFs::new("5e1f", None);
        let path = GuestPath::from(path);
        let parts: Vec<&[u8]> = path.components().collect();
        let (name, directories) = parts.split_last().unwrap();
        let mut directory = system.root();
        for part in directories {
            let new = NewNode::root(0o755);
            directory = system.make_dir(directory, part, new).unwrap();
        }
        let node = system
            .create(directory, name, NewNode::root(0o644))
            .unwrap();
        system.replace(node, list).unwrap();
        Guest::of(Box::new(system))
    }

    /// An ndb list with one header, of which the checksum is right.
    fn ndb(tags: &[(u32, &str)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, text) in tags {
            let offset = u32::try_from(data.len()).unwrap();
            index.extend([*tag, 6, offset, 1].map(u32::to_be_bytes).concat());
            data.extend([text.as_bytes(), b"\0"].concat());
        }
        let counts = [tags.len(), data.len()].map(|n| u32::try_from(n).unwrap());
        let header = [counts.map(u32::to_be_bytes).concat(), index, data].concat();
        let len = u32::try_from(header.len()).unwrap().to_le_bytes();
        let one = 1_u32.to_le_bytes();
        let mut blob = [&b"BlbS"[..], &one, &[0; 4], &len, &header].concat();
        blob.resize((blob.len() + 12).next_multiple_of(16) - 12, 0);
        let (mut low, mut high) = (1_u32, 0);
        for byte in &blob {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        blob.extend([&((high << 16) | low).to_le_bytes()[..], &len, b"BlbE"].concat());
        let mut list = [&b"RpmP"[..], &[0; 8], &one, &[0; 16]].concat();
        let blocks = u32::try_from(blob.len() / 16).unwrap().to_le_bytes();
        list.extend([&b"Slot"[..], &one, &256_u32.to_le_bytes(), &blocks].concat());
        while list.len() < 4096 {
            list.extend(b"Slot\0\0\0\0\0\0\0\0\0\0\0\0");
        }
        [list, blob].concat()
    }

    #[test]
    fn rpm_lists_are_read_in_both_places() {
        let list = ndb(&[(1000, "rpm"), (1001, "4.14"), (1002, "1"), (1022, "x86_64")]);
        for directory in ["/usr/lib/sysimage/rpm", "/var/lib/rpm"] {
            let guest = with_list(&format!("{directory}/Packages.db"), &list);
            let mut findings = Vec::new();
            let packages = inspect(&guest, &mut findings).unwrap();
            assert_eq!(packages.manager, Some(PackageManager::Rpm));
            assert_eq!(packages.version("rpm"), Some("4.14-1"));
            assert_eq!(packages.architecture.as_deref(), Some("x86_64"));
            assert_eq!((packages.count, findings.len()), (1, 0));
        }
    }

    #[test]
    fn a_damaged_list_is_a_finding() {
        let guest = with_list("/var/lib/rpm/Packages", b"no list at all, but long enough");
        let mut findings = Vec::new();
        let packages = inspect(&guest, &mut findings).unwrap();
        assert_eq!(packages.manager, Some(PackageManager::Rpm));
        assert!(
            findings[0].starts_with("/var/lib/rpm/Packages: the list of"),
            "{findings:?}"
        );
        assert!(findings[0].contains("none of Berkeley DB"), "{findings:?}");
    }

    #[test]
    fn only_what_is_installed_counts() {
        let mut packages = Packages::default();
        packages.add_dpkg_status(
            b"Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\n\
              Version: 1.21.22\nDescription: x\n Package: not\n\n\n\
              Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
              Package: libc6\nStatus: hold ok installed\nVersion: 2.36-9\n\n\
              Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
              Package: half\nStatus: install reinstreq half-installed\nVersion: 2",
        );
        assert_eq!(packages.count, 3);
        assert_eq!(packages.version("dpkg"), Some("1.21.22"));
        assert_eq!(packages.version("libc6"), Some("2.36-9"));
        assert_eq!(packages.list.len(), 2);
        assert!(!packages.has("half"));
        assert_eq!(packages.architecture.as_deref(), Some("amd64"));
    }
}
