//! What to check by hand: derived from what was found and from what the conversion did.

use crate::{Machine, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Something to check by hand.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// What to look at, and how it must be.
    pub text: String,
    /// The conversion rule, or the part of rehost, because of which.
    pub rule: String,
    /// Whether it is better done before users are let in.
    pub urgent: bool,
}

/// What a rule leaves for people to look at, once it changed something.
const OF_RULES: &[(&str, &str)] = &[
    (
        "network-dhcp",
        "The network cards ask DHCP now. If other machines, firewalls or licences know this machine by \
         its old address, give that address in the blueprint, or tell them the new one.",
    ),
    (
        "network-mac",
        "Hardware addresses were removed from the network configuration. Look for licences that are \
         bound to one: `ip link` shows the new ones.",
    ),
    (
        "persistent-net-rules",
        "Network cards may have other names now. Look for names in firewall rules, sysctl settings and \
         scripts: `grep -rE 'eth[0-9]|ens[0-9]' /etc`.",
    ),
    (
        "resolv-conf",
        "The old site's name servers are gone. Check that internal names still resolve, or point the \
         VPC's resolver at the old servers.",
    ),
    (
        "fstab-by-uuid",
        "Compare `findmnt` and `swapon --show` with /etc/fstab: every file system must be mounted.",
    ),
    (
        "fstab-nofail",
        "Mounts that stayed behind do not stop the boot any more. Check that no service quietly writes \
         into an empty mount point.",
    ),
    (
        "crypttab-by-uuid",
        "Check that every encrypted volume opens at boot; nobody can type a passphrase at an instance's \
         screen.",
    ),
    (
        "initramfs-persist",
        "Install a kernel update, or run the guest's own initramfs tool once, and reboot: the drivers \
         must stay in the new initramfs.",
    ),
    (
        "uefi-fallback",
        "After an update of the boot loader's package, check that the copy in EFI/BOOT was renewed.",
    ),
    (
        "cloud-init",
        "Check that host keys, users and the host name are the old ones: cloud-init is set to keep them.",
    ),
    (
        "source-tools",
        "The old platform's agents are switched off, not removed. Remove their packages when the machine \
         does not go back, and install the SSM and CloudWatch agents if you use them.",
    ),
    (
        "multipath",
        "multipathd leaves the instance's disks alone. If the machine had multipath storage of its own, \
         look at `multipath -ll`.",
    ),
    (
        "modprobe-cleanup",
        "Lines in /etc/modprobe.d were commented out. Check that none of them was there for another \
         reason.",
    ),
    (
        "serial-console",
        "Look at the instance's console output: kernel messages and a login prompt must be there.",
    ),
];

/// What to check by hand about a machine, the urgent first.
pub(crate) fn of(machine: &Machine) -> Vec<Check> {
    let mut checks: Vec<_> = machine
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Info)
        .map(|finding| Check {
            text: finding.text.clone(),
            rule: finding.rule.clone(),
            urgent: finding.severity == Severity::Problem,
        })
        .collect();
    checks.sort_by_key(|check| !check.urgent);
    let rules: BTreeSet<&str> = machine
        .changes
        .iter()
        .flat_map(|change| &change.because)
        .map(|because| because.rule.as_str())
        .collect();
    let left = OF_RULES.iter().filter(|(rule, _)| rules.contains(rule));
    checks.extend(left.map(|(rule, text)| Check {
        text: (*text).to_owned(),
        rule: (*rule).to_owned(),
        urgent: false,
    }));
    if !machine.changes.is_empty() {
        checks.push(Check {
            text:
                "Launch a test, log in, and compare `systemctl --failed` and the listening ports \
                   (`ss -tlnp`) with those of the source."
                    .to_owned(),
            rule: "convert".to_owned(),
            urgent: false,
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_rule_with_a_check_exists() {
        for (rule, _) in OF_RULES {
            assert!(
                convert::RULES.iter().any(|it| it.id == *rule),
                "there is no rule {rule}"
            );
        }
    }

    #[test]
    fn problems_come_first_and_each_rule_once() {
        let mut machine = testing::report().machines.remove(0);
        machine.derive_checks();
        let rules: Vec<_> = machine.checks.iter().map(|it| it.rule.as_str()).collect();
        assert!(machine.checks[0].urgent);
        assert!(machine.checks.iter().skip(1).any(|it| !it.urgent));
        let fstab = rules.iter().filter(|rule| **rule == "fstab-by-uuid");
        assert_eq!(fstab.count(), 1, "{rules:?}");
        assert_eq!(rules.last(), Some(&"convert"));
        assert!(of(&Machine::new("idle")).is_empty());
    }
}
