//! The packages that are installed.

use crate::{Error, Guest, GuestPath};
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
    /// The version of each, by name. Of a package of two architectures, one is kept.
    pub list: BTreeMap<String, String>,
    /// The architecture that the package manager itself is of, as "amd64".
    pub architecture: Option<String>,
}

/// Who keeps the list of packages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PackageManager {
    /// dpkg: the list is read.
    Dpkg,
    /// rpm: its data base is seen, and not read.
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

/// Reads which packages are installed.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn inspect(guest: &Guest) -> Result<Packages, Error> {
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
        for (path, manager) in [
            ("/usr/lib/sysimage/rpm", PackageManager::Rpm),
            ("/var/lib/rpm", PackageManager::Rpm),
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
