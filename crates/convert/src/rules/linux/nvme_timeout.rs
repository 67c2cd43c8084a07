//! EBS answers late at times; a disk whose I/O timed out is gone.
//!
//! Amazon asks for the longest timeout that the kernel takes ("I/O operation timeout", EC2 user
//! guide): the parameter is `nvme_core.io_timeout`, before Linux 4.6 `nvme.io_timeout`; before
//! Linux 4.15 it is a byte. A value that does not fit keeps the module from loading.

use super::command_lines::{self, Edit};
use crate::{Draft, Error, Rule};
use guest::boot::CommandLine;

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

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let kernels = draft.facts().kernels.iter();
    let installed: Vec<Version> = kernels
        .filter_map(|kernel| version(&kernel.version))
        .collect();
    command_lines::edit(
        draft,
        &Edit {
            why: "EBS volumes may answer later than the kernel waits for disks",
            replace: &|_| {},
            add: &|line, kernel| {
                let own = kernel.and_then(version_of_file);
                let versions = own.map_or_else(|| installed.clone(), |own| vec![own]);
                missing(line, &versions)
            },
        },
    )
}

/// The words that a line for all these kernels lacks.
fn missing(line: &CommandLine, versions: &[Version]) -> Vec<String> {
    let value = if versions.iter().any(|version| *version < WORD) {
        "255"
    } else {
        "4294967295"
    };
    let core = versions.is_empty() || versions.iter().any(|version| *version >= CORE);
    let old = versions.iter().any(|version| *version < CORE);
    let names = [(core, "nvme_core.io_timeout"), (old, "nvme.io_timeout")];
    names
        .iter()
        .filter(|(needed, name)| *needed && line.values(name).next().is_none())
        .map(|(_, name)| format!("{name}={value}"))
        .collect()
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
            ("", &[], &["nvme_core.io_timeout=4294967295"]),
            ("", &[(4, 9)], &["nvme_core.io_timeout=255"]),
            ("", &[(3, 10)], &["nvme.io_timeout=255"]),
            (
                "",
                &[(5, 4), (4, 4)],
                &["nvme_core.io_timeout=255", "nvme.io_timeout=255"],
            ),
            ("nvme_core.io_timeout=30", &[(6, 1)], &[]),
        ] {
            assert_eq!(missing(&CommandLine::parse(line), versions), words);
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
}
