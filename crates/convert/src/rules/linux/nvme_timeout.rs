//! EBS answers late at times; a disk whose I/O timed out is gone.
//!
//! Amazon asks for the longest timeout that the kernel takes ("I/O operation timeout", EC2 user
//! guide). The parameter is `nvme_core.io_timeout`, before Linux 4.6 `nvme.io_timeout`; before Linux
//! 4.15 it is a byte, and the first drivers have none. A value that does not fit keeps the module from
//! loading, and before Linux 3.11 so does a parameter that it does not know. Red Hat's and Amazon's
//! kernels have newer drivers than their versions say, so the modules themselves are asked.

use super::command_lines::{self, Edit};
use super::modules::Modules;
use crate::{Draft, Error, Rule};
use guest::boot::CommandLine;
use guest::{Guest, Kernel};
use initramfs::{Parameter, parameter_type};

/// Sets the longest NVMe timeout.
pub(super) const RULE: Rule = Rule {
    id: "nvme-timeout",
    summary: "set the longest NVMe I/O timeout on kernel command lines",
    applies: |_, options| options.target.nitro(),
    run,
};

/// Linux's major and minor number.
type Version = (u32, u32);

/// The first kernel whose timeout is a parameter of `nvme_core`.
const CORE: Version = (4, 6);
/// The first kernel whose timeout is a whole number of 32 bits.
const WORD: Version = (4, 15);
const PARAMETER: &str = "io_timeout";
const MODULES: [&str; 2] = ["nvme_core", "nvme"];

/// A parameter and the highest value that it takes.
type Timeout = (&'static str, u64);

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let guest = draft.guest();
    let mut installed = Vec::new();
    for kernel in &draft.facts().kernels {
        installed.push((kernel.image.name(), timeout_of(guest, kernel)?));
    }
    command_lines::edit(
        draft,
        &Edit {
            why: "EBS volumes may answer later than the kernel waits for disks",
            replace: &|_| {},
            add: &|line, kernel| {
                let file = kernel.and_then(|kernel| kernel.rsplit('/').next());
                let named = |(name, _): &&(Option<&[u8]>, _)| *name == file.map(str::as_bytes);
                let known = installed.iter().find(named).filter(|_| file.is_some());
                let guessed = || kernel.and_then(version_of_file).map(by_version);
                let timeouts: Vec<Timeout> = match (known, guessed()) {
                    (Some((_, timeout)), _) => timeout.iter().copied().collect(),
                    (None, Some(guessed)) => vec![guessed],
                    // One of today is meant where none is known.
                    (None, None) if installed.is_empty() => vec![by_version(WORD)],
                    (None, None) => installed.iter().filter_map(|(_, own)| *own).collect(),
                };
                missing(line, &timeouts)
            },
        },
    )
}

/// The parameter of a kernel; none if it has no driver for NVMe, or one without a timeout.
fn timeout_of(guest: &Guest, kernel: &Kernel) -> Result<Option<Timeout>, Error> {
    let guessed = version(&kernel.version).map(by_version);
    if !kernel.may_have_any(&["nvme"]) {
        return Ok(None);
    }
    let Some(tree) = Modules::of(guest, kernel) else {
        return Ok(guessed);
    };
    let mut unknown = Vec::new();
    for (module, name) in MODULES.into_iter().zip(NAMES) {
        // A module that cannot be read is the concern of the initramfs; the version says enough.
        let Ok(parameter) = parameter_type(&tree, module, PARAMETER) else {
            return Ok(guessed);
        };
        let kind = match parameter {
            Parameter::Taken(kind) => kind,
            Parameter::Unknown => {
                unknown.push(name);
                continue;
            }
            Parameter::Untold => continue,
        };
        let highest = match kind.as_str() {
            "uint" | "ulong" | "ullong" => u64::from(u32::MAX),
            "ushort" => u64::from(u16::MAX),
            _ => u64::from(u8::MAX),
        };
        return Ok(Some((name, highest)));
    }
    Ok(guessed.filter(|(name, _)| !unknown.contains(name)))
}

/// The parameters of the modules.
const NAMES: [&str; 2] = ["nvme_core.io_timeout", "nvme.io_timeout"];

/// What Linux itself has had.
fn by_version(version: Version) -> Timeout {
    let name = if version >= CORE {
        "nvme_core.io_timeout"
    } else {
        "nvme.io_timeout"
    };
    let value = if version >= WORD {
        u64::from(u32::MAX)
    } else {
        u64::from(u8::MAX)
    };
    (name, value)
}

/// The words that a line for kernels with these parameters lacks.
fn missing(line: &CommandLine, timeouts: &[Timeout]) -> Vec<String> {
    // A value too high for one of them keeps its module from loading.
    let value = timeouts.iter().map(|(_, value)| value).min();
    let mut words = Vec::new();
    for name in NAMES {
        let needed = timeouts.iter().any(|(own, _)| *own == name);
        if let Some(value) = value.filter(|_| needed)
            && line.values(name).next().is_none()
        {
            words.push(format!("{name}={value}"));
        }
    }
    words
}

/// The version in the name of a kernel's file, as `/boot/vmlinuz-6.1.0-18-amd64`.
fn version_of_file(path: &str) -> Option<Version> {
    let name = path.rsplit('/').next()?;
    let digit = name.find(|c: char| c.is_ascii_digit())?;
    version(&name[digit..])
}

fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn the_parameter_fits_the_kernel() {
        for (line, versions, words) in [
            ("", &[(6, 1)][..], &["nvme_core.io_timeout=4294967295"][..]),
            ("", &[], &[]),
            ("", &[(4, 9)], &["nvme_core.io_timeout=255"]),
            ("", &[(3, 10)], &["nvme.io_timeout=255"]),
            (
                "",
                &[(5, 4), (4, 4)],
                &["nvme_core.io_timeout=255", "nvme.io_timeout=255"],
            ),
            ("nvme_core.io_timeout=30", &[(6, 1)], &[]),
        ] {
            let timeouts: Vec<Timeout> = versions.iter().map(|v| by_version(*v)).collect();
            assert_eq!(missing(&CommandLine::parse(line), &timeouts), words);
        }
        assert_eq!(
            version_of_file("/boot/vmlinuz-4.19.0-21-amd64"),
            Some((4, 19))
        );
        assert_eq!(version_of_file("/vmlinuz"), None);
    }

    #[test]
    fn every_entry_gets_its_own() {
        let guest = TestGuest::of(&[
            (
                "/boot/grub/grub.cfg",
                "menuentry 'A' {\n linux /vmlinuz-6.1 ro\n}\nmenuentry 'B' {\n linux16 /vmlinuz-3.10 ro\n}\n",
            ),
            ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\n"),
        ]);
        let after = guest.run(&[RULE]);
        let cfg = after.text("/boot/grub/grub.cfg");
        assert!(
            cfg.contains("6.1 ro nvme_core.io_timeout=4294967295\n"),
            "{cfg}"
        );
        assert!(cfg.contains("3.10 ro nvme.io_timeout=255\n"), "{cfg}");
        assert_eq!(
            after.text("/etc/default/grub"),
            "GRUB_CMDLINE_LINUX=\"nvme_core.io_timeout=4294967295\"\n"
        );
    }
    #[test]
    fn modules_know_better_than_versions() {
        let (rhel_7, old) = ("3.10.0-1160.el7.x86_64", "2.6.32-754.el6.x86_64");
        let tree = format!("/lib/modules/{rhel_7}");
        let guest = TestGuest::of(&[
            (
                "/boot/grub2/grub.cfg",
                "menuentry 'A' {\n linux16 /vmlinuz-3.10.0-1160.el7.x86_64 ro\n}\n\
                 menuentry 'B' {\n linux16 /vmlinuz-2.6.32-754.el6.x86_64 ro\n}\n",
            ),
            (&format!("/boot/vmlinuz-{rhel_7}"), ""),
            (
                &format!("{tree}/modules.dep"),
                "kernel/nvme-core.ko:\nkernel/nvme.ko: kernel/nvme-core.ko\n",
            ),
            (
                &format!("{tree}/kernel/nvme-core.ko"),
                "\x7fELF\0parmtype=io_timeout:uint\0",
            ),
            (&format!("/boot/vmlinuz-{old}"), ""),
            (
                &format!("/lib/modules/{old}/modules.dep"),
                "kernel/ahci.ko:\n",
            ),
            ("/etc/kernel/cmdline", "ro\n"),
        ])
        .with_kernels();
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/boot/grub2/grub.cfg"),
            "menuentry 'A' {\n linux16 /vmlinuz-3.10.0-1160.el7.x86_64 ro nvme_core.io_timeout=4294967295\n}\n\
             menuentry 'B' {\n linux16 /vmlinuz-2.6.32-754.el6.x86_64 ro\n}\n"
        );
        assert_eq!(
            after.text("/etc/kernel/cmdline"),
            "ro nvme_core.io_timeout=4294967295\n"
        );
    }

    #[test]
    fn a_driver_without_the_parameter_is_given_none() {
        let version = "2.6.32-431.el6.x86_64";
        let tree = format!("/lib/modules/{version}");
        let guest = TestGuest::of(&[
            (
                "/boot/grub/grub.conf",
                "title A\n\tkernel /vmlinuz-2.6.32-431.el6.x86_64 ro\n",
            ),
            (&format!("/boot/vmlinuz-{version}"), ""),
            (
                &format!("{tree}/modules.dep"),
                "kernel/drivers/block/nvme.ko:\n",
            ),
            (
                &format!("{tree}/kernel/drivers/block/nvme.ko"),
                "\x7fELF\0parmtype=nvme_major:int\0vermagic=2.6.32-431.el6.x86_64 SMP mod_unload \0",
            ),
        ])
        .with_kernels();
        assert!(guest.run(&[RULE]).changed.is_empty());
    }
}
