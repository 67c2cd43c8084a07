//! Which generator made an initramfs, and so what loads its modules.

use crate::contents::Contents;
use std::fmt;

/// The generator of an initramfs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Debian's and Ubuntu's: loads the modules named in `conf/modules`.
    InitramfsTools,
    /// With systemd as init: loads the modules named in `etc/modules-load.d`.
    DracutSystemd,
    /// With dracut's own init: runs the shell scripts in its hook directories.
    Dracut {
        /// Where the hook directories are: with a slash at the end, or nothing for the root.
        hooks: String,
    },
    /// Red Hat's up to RHEL 5: its `init`, a script of nash, loads every module by its file.
    Nash,
    /// Arch's, with busybox as init: loads the modules named in `config`.
    Mkinitcpio,
    /// Arch's, with systemd as init.
    MkinitcpioSystemd,
    /// Any other: its modules are loaded by udev or its own means alone.
    Unknown,
}

impl Kind {
    /// Recognises the generator by the files that only it has.
    pub(crate) fn of(contents: &Contents) -> Self {
        let any = |paths: &[&str]| paths.iter().any(|path| contents.exists(path));
        let systemd = any(&[
            "usr/lib/systemd/systemd-modules-load",
            "lib/systemd/systemd-modules-load",
        ]);
        let init = contents.read("init").unwrap_or_default();
        if init.starts_with(b"#!/bin/nash") {
            return Self::Nash;
        }
        if contents.exists("scripts/functions") && contents.exists("init") {
            return Self::InitramfsTools;
        }
        if any(&["usr/lib/dracut", "lib/dracut"]) {
            return if systemd {
                Self::DracutSystemd
            } else {
                // dracut 10x moved them out of /usr, which may be read-only
                let hooks = if contents.exists("var/lib/dracut/hooks") {
                    "var/lib/dracut/hooks/"
                } else {
                    "lib/dracut/hooks/"
                };
                Self::Dracut {
                    hooks: hooks.to_owned(),
                }
            };
        }
        // dracut up to 008, as in RHEL 6, keeps them at the top
        if any(&["lib/dracut-lib.sh", "usr/lib/dracut-lib.sh"]) {
            return Self::Dracut {
                hooks: String::new(),
            };
        }
        if contents.exists("init_functions") {
            return Self::Mkinitcpio;
        }
        if systemd && any(&["buildconfig", "VERSION"]) {
            return Self::MkinitcpioSystemd;
        }
        Self::Unknown
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::DracutSystemd => "dracut with systemd",
            Self::Dracut { .. } => "dracut without systemd",
            Self::Nash => "mkinitrd with nash",
            Self::Mkinitcpio => "mkinitcpio",
            Self::MkinitcpioSystemd => "mkinitcpio with systemd",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Initramfs;
    use crate::cpio::Writer;

    fn kind(directories: &[&str], files: &[&str]) -> Kind {
        let mut writer = Writer::new();
        for path in directories {
            writer.directory(path).unwrap();
        }
        for path in files {
            writer.file(path, 0o755, b"").unwrap();
        }
        let archive = writer.finish();
        Initramfs::read(&archive).unwrap().kind().clone()
    }

    #[test]
    fn each_generator_is_known_by_its_files() {
        assert_eq!(
            kind(&["scripts"], &["init", "scripts/functions"]),
            Kind::InitramfsTools
        );
        let dracut = ["usr", "usr/lib", "usr/lib/dracut", "usr/lib/systemd"];
        assert_eq!(
            kind(&dracut, &["usr/lib/systemd/systemd-modules-load"]),
            Kind::DracutSystemd
        );
        assert_eq!(
            kind(&dracut, &[]),
            Kind::Dracut {
                hooks: "lib/dracut/hooks/".to_owned()
            }
        );
        let new = [
            &dracut[..],
            &["var", "var/lib", "var/lib/dracut", "var/lib/dracut/hooks"],
        ];
        assert_eq!(
            kind(&new.concat(), &[]),
            Kind::Dracut {
                hooks: "var/lib/dracut/hooks/".to_owned()
            }
        );
        assert_eq!(
            kind(&["lib", "pre-udev"], &["init", "lib/dracut-lib.sh"]),
            Kind::Dracut {
                hooks: String::new()
            }
        );
        assert_eq!(kind(&[], &["init", "init_functions"]), Kind::Mkinitcpio);
        assert_eq!(kind(&[], &["init"]), Kind::Unknown);
    }
}
