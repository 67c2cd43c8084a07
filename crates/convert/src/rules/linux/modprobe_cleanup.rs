//! Lines of modprobe's configuration that keep the new drivers away or load the old ones, and words of
//! kernel command lines that do so.
//!
//! A blacklist of nvme or ena leaves the instance without disk or network; aliases name drivers of
//! hardware that is gone (linux-guests.md, item 46).

use super::command_lines::{self, Edit};
use crate::{Draft, Error, Rule, Severity};
use guest::GuestPath;
use guest::boot::CommandLine;

/// Comments them out.
pub(super) const RULE: Rule = Rule {
    id: "modprobe-cleanup",
    summary: "comment out modprobe lines that forbid EC2's drivers or name the old ones",
    applies: |_, _| true,
    run,
};

/// Drivers that EC2's hardware needs, with `_`.
const NEEDED: [&str; 7] = [
    "nvme",
    "nvme_core",
    "ena",
    "ixgbevf",
    "xen_blkfront",
    "xen_netfront",
    "t10_pi",
];
/// Drivers of hardware that hypervisors emulate, with `_`; names that end in `*` are prefixes.
const OLD: [&str; 14] = [
    "vmxnet*",
    "e1000",
    "e1000e",
    "pcnet32",
    "mptspi",
    "mptsas",
    "mptscsih",
    "mptbase",
    "vmw_pvscsi",
    "hv_*",
    "virtio_*",
    "ata_piix",
    "xennet",
    "xenblk",
];
const FILES: [&str; 3] = [
    "/etc/modprobe.conf",
    "/etc/modules.conf",
    "/etc/conf.modules",
];
const MARK: &str = "# rehost: ";
/// Words that forbid modules: dracut's, those of its older versions, and kmod's.
const BLACKLISTS: [&str; 3] = ["rd.driver.blacklist", "rdblacklist", "modprobe.blacklist"];

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let mut files: Vec<GuestPath> = FILES.iter().map(|path| GuestPath::from(*path)).collect();
    let directory = GuestPath::from("/etc/modprobe.d");
    for entry in draft.list(&directory)? {
        files.push(directory.join(&entry.name));
    }
    for path in files {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let (new, forbids) = cleaned(&text);
        if new == text {
            continue;
        }
        draft.write(
            &path,
            new,
            "it keeps EC2's drivers away or names drivers of the old hardware",
        )?;
        if forbids {
            draft.find(
                Severity::Warning,
                format!(
                    "{path} forbade a driver that EC2 needs; copies of it in initramfs images hold \
                     until these are made anew"
                ),
            );
        }
    }
    command_lines::edit(
        draft,
        &Edit {
            why: "it forbids drivers that EC2 needs",
            replace: &allow,
            add: &|_, _| Vec::new(),
        },
    )
}

/// Takes the drivers out of a command line's lists of forbidden ones.
fn allow(line: &mut CommandLine) {
    for key in BLACKLISTS {
        line.replace(key, |value| {
            let modules = value.split(',');
            let kept: Vec<&str> = modules
                .filter(|module| !is_one_of(module, &NEEDED))
                .collect();
            Some(kept.join(","))
        });
        line.remove(|word| {
            let value = word.strip_prefix(key);
            value.is_some_and(|rest| rest == "=")
        });
    }
}

/// The text without harmful lines, and whether any of them forbade a driver.
fn cleaned(text: &str) -> (String, bool) {
    let mut new = String::with_capacity(text.len());
    let mut forbids = false;
    for line in text.split_inclusive('\n') {
        let words: Vec<&str> = line.split_whitespace().collect();
        let forbidden = match words.as_slice() {
            ["blacklist", module] => is_one_of(module, &NEEDED),
            ["install", module, command, ..] => {
                is_one_of(module, &NEEDED)
                    && (command.ends_with("/true") || command.ends_with("/false"))
            }
            _ => false,
        };
        let stale = match words.as_slice() {
            ["alias", name, module] => {
                (is_card(name) || name.starts_with("scsi_hostadapter")) && is_one_of(module, &OLD)
            }
            _ => false,
        };
        if forbidden || stale {
            new.push_str(MARK);
        }
        forbids |= forbidden;
        new.push_str(line);
    }
    (new, forbids)
}

/// Whether an alias is that of a network card, as `eth0`.
fn is_card(name: &str) -> bool {
    let number = name.strip_prefix("eth");
    number.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_one_of(module: &str, list: &[&str]) -> bool {
    let module = module.replace('-', "_");
    list.iter().any(|name| match name.strip_suffix('*') {
        Some(prefix) => module.starts_with(prefix),
        None => module == *name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn command_lines_forbid_nothing_that_is_needed() {
        let guest = TestGuest::of(&[(
            "/etc/kernel/cmdline",
            "ro rd.driver.blacklist=nvme,nouveau modprobe.blacklist=nvme rdblacklist=ena quiet\n",
        )]);
        assert_eq!(
            guest.run(&[RULE]).text("/etc/kernel/cmdline"),
            "ro rd.driver.blacklist=nouveau quiet\n"
        );
    }

    #[test]
    fn harmful_lines_are_commented_out() {
        let guest = TestGuest::of(&[
            (
                "/etc/modprobe.d/local.conf",
                "blacklist nvme\nblacklist pcspkr\ninstall ena /bin/false\ninstall usb-storage /bin/true\n",
            ),
            (
                "/etc/modprobe.conf",
                "alias eth0 vmxnet3\nalias scsi_hostadapter mptspi\nalias bond0 bonding\nalias eth1 bnx2\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/etc/modprobe.d/local.conf"),
            "# rehost: blacklist nvme\nblacklist pcspkr\n# rehost: install ena /bin/false\ninstall usb-storage /bin/true\n"
        );
        assert_eq!(
            after.text("/etc/modprobe.conf"),
            "# rehost: alias eth0 vmxnet3\n# rehost: alias scsi_hostadapter mptspi\nalias bond0 bonding\nalias eth1 bnx2\n"
        );
        assert_eq!(after.findings.len(), 1);
    }
}
