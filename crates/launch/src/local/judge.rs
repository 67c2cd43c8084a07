//! What a line of a console says about the machine.

/// What a line says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Sign {
    /// The machine came up.
    Up(String),
    /// It came up, unless it says soon that it did not: systemd calls an emergency shell started
    /// as well.
    Perhaps(String),
    /// It will not come up.
    Down(String),
}

/// Knows which lines decide.
#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    /// What the user waits for; then nothing else means that the machine came up.
    pub(super) marker: Option<String>,
}

/// Where in a line words stand.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Anywhere, all of them in this order.
    Anywhere(&'static [&'static str]),
    /// At its beginning, spaces aside.
    Start(&'static str),
}

use At::{Anywhere, Start};

/// Lines after which waiting is useless, and what they mean. Most are met in the order of a boot:
/// firmware, boot loader, initramfs, kernel, systemd.
const DEAD_ENDS: &[(At, &str)] = &[
    (
        Anywhere(&["No bootable device"]),
        "the firmware found nothing to boot",
    ),
    (
        Anywhere(&["Boot failed: not a bootable disk"]),
        "the firmware found no boot loader in the boot sector",
    ),
    (
        Anywhere(&["BdsDxe: No bootable option or device was found"]),
        "UEFI found nothing to boot: is there \\EFI\\BOOT\\BOOTX64.EFI?",
    ),
    (
        Anywhere(&["UEFI Interactive Shell"]),
        "UEFI found nothing to boot and started its shell",
    ),
    (
        Anywhere(&["EFI Internal Shell"]),
        "UEFI found nothing to boot and started its shell",
    ),
    (Start("grub rescue>"), "GRUB does not find its own files"),
    (
        Start("grub>"),
        "GRUB does not find its configuration, and waits for commands",
    ),
    (
        Anywhere(&["Gave up waiting for root"]),
        "the initramfs does not find the root file system",
    ),
    (
        Anywhere(&["ALERT!", "does not exist"]),
        "the initramfs does not find the root file system",
    ),
    (
        Start("(initramfs)"),
        "the initramfs gave up and started a shell",
    ),
    (
        Anywhere(&["dracut", "Warning: Could not boot"]),
        "the initramfs does not find the root file system",
    ),
    (
        Anywhere(&["/run/initramfs/rdsosreport.txt"]),
        "the initramfs gave up and started a shell",
    ),
    (
        Anywhere(&["Entering emergency mode"]),
        "the initramfs gave up and started a shell",
    ),
    (
        Start("dracut:/#"),
        "the initramfs gave up and started a shell",
    ),
    (Anywhere(&["Kernel panic"]), "the kernel panicked"),
    (
        Anywhere(&["reboot: System halted"]),
        "the target stopped itself",
    ),
    (
        Anywhere(&["You are in emergency mode"]),
        "the target is in emergency mode",
    ),
    (
        Anywhere(&["Welcome to emergency mode"]),
        "the target is in emergency mode",
    ),
    (
        Anywhere(&["Started", "Emergency Shell"]),
        "the target is in emergency mode",
    ),
    (
        Anywhere(&["Reached target", "Emergency Mode"]),
        "the target is in emergency mode",
    ),
    (
        Anywhere(&["You are in rescue mode"]),
        "the target is in rescue mode",
    ),
    (
        Anywhere(&["Reached target", "Rescue Mode"]),
        "the target is in rescue mode",
    ),
    (
        Anywhere(&["Give root password for maintenance"]),
        "the target waits for somebody to repair it",
    ),
    (
        Anywhere(&["Press Enter for maintenance"]),
        "the target waits for somebody to repair it",
    ),
    (
        Anywhere(&["Cannot open access to console, the root account is locked"]),
        "the target waits for somebody to repair it",
    ),
    (
        Anywhere(&["Enter passphrase for"]),
        "the target waits for the passphrase of an encrypted volume",
    ),
    (
        Anywhere(&["Please enter passphrase for disk"]),
        "the target waits for the passphrase of an encrypted volume",
    ),
    (
        Anywhere(&["Please unlock disk"]),
        "the target waits for the passphrase of an encrypted volume",
    ),
];

/// Lines of a machine that came up.
const UP: &[(At, &str)] = &[
    (
        Anywhere(&["Reached target", "multi-user.target"]),
        "systemd reached multi-user.target",
    ),
    (
        Anywhere(&["Reached target", "Multi-User System"]),
        "systemd reached multi-user.target",
    ),
    (
        Anywhere(&["Reached target", "graphical.target"]),
        "systemd reached graphical.target",
    ),
    (
        Anywhere(&["Reached target", "Graphical Interface"]),
        "systemd reached graphical.target",
    ),
];

impl Judge {
    /// What a line says, whole or as far as it has come.
    pub(super) fn sign(&self, line: &str) -> Option<Sign> {
        // A marker may stand in a line that would else be a bad one.
        if let Some(marker) = &self.marker
            && line.contains(marker)
        {
            return Some(Sign::Up(format!("the console shows {marker:?}")));
        }
        if let Some(why) = find(DEAD_ENDS, line) {
            return Some(Sign::Down(format!("{why}: {}", quote(line))));
        }
        if self.marker.is_some() {
            return None;
        }
        if let Some(why) = find(UP, line) {
            return Some(Sign::Up(why.to_owned()));
        }
        if let Some(host) = login_prompt(line) {
            return Some(Sign::Up(format!("{host} asks for a login")));
        }
        line.contains("Startup finished in")
            .then(|| Sign::Perhaps("systemd finished its start".to_owned()))
    }
}

fn find(table: &[(At, &'static str)], line: &str) -> Option<&'static str> {
    let mut rows = table.iter();
    rows.find_map(|(at, meaning)| at.is_in(line).then_some(*meaning))
}

impl At {
    fn is_in(self, line: &str) -> bool {
        match self {
            Self::Start(words) => line.trim_start().starts_with(words),
            Self::Anywhere(words) => {
                let mut rest = line;
                words.iter().all(|word| match rest.split_once(word) {
                    Some((_, after)) => {
                        rest = after;
                        true
                    }
                    None => false,
                })
            }
        }
    }
}

/// The host in a prompt as `web1 login:`. Messages of the kernel may follow it in the same line.
fn login_prompt(line: &str) -> Option<&str> {
    let (host, _) = line.trim_start().split_once(" login:")?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_()".contains(&byte);
    let fits = (1..=255).contains(&host.len()) && host.bytes().all(is_host);
    // What login itself says after a login.
    (fits && host != "Last").then_some(host)
}

/// A line in a reason.
fn quote(line: &str) -> String {
    const MAX: usize = 160;
    let line = line.trim();
    match line.char_indices().nth(MAX) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(line: &str) -> Option<Sign> {
        Judge::default().sign(line)
    }

    #[test]
    fn a_machine_that_came_up_is_known() {
        for line in [
            "debian login:",
            "ip-10-0-0-12 login: ",
            "(none) login:",
            "web1.example.org login: [   31.337042] random: crng init done",
            "smoke login: root (automatic login)",
            "[  OK  ] Reached target multi-user.target - Multi-User System.",
            "[  OK  ] Reached target Multi-User System.",
            "[  OK  ] Reached target graphical.target - Graphical Interface.",
            "[   20.4] systemd[1]: Reached target Graphical Interface.",
        ] {
            assert!(matches!(sign(line), Some(Sign::Up(_))), "{line}");
        }
        let finished =
            "systemd[1]: Startup finished in 3.402s (kernel) + 9.912s (userspace) = 13.3s.";
        assert!(matches!(sign(finished), Some(Sign::Perhaps(_))));
    }

    #[test]
    fn a_machine_that_will_not_come_up_is_known() {
        for line in [
            "Booting from Hard Disk...No bootable device.",
            "Boot failed: not a bootable disk",
            "BdsDxe: No bootable option or device was found.",
            "UEFI Interactive Shell v2.2",
            "grub rescue> ",
            "grub>",
            "Gave up waiting for root file system device.  Common problems:",
            "ALERT!  UUID=5f1c3d2e-0000-4000-8000-000000000001 does not exist.  Dropping to a shell!",
            "ALERT!  /dev/sda1 does not exist.  Dropping to a shell!",
            "(initramfs) ",
            "[  190.2] dracut-initqueue[303]: Warning: Could not boot.",
            "Generating \"/run/initramfs/rdsosreport.txt\"",
            "Entering emergency mode. Exit the shell to continue.",
            "dracut:/# ",
            "[    2.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "[    2.9] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---",
            "[   61.0] reboot: System halted",
            "You are in emergency mode. After logging in, type \"journalctl -xb\" to view",
            "Welcome to emergency mode! After logging in, type \"journalctl -xb\" to view",
            "[  OK  ] Started emergency.service - Emergency Shell.",
            "[  OK  ] Reached target emergency.target - Emergency Mode.",
            "[  OK  ] Reached target Rescue Mode.",
            "Give root password for maintenance",
            "Press Enter for maintenance",
            "Cannot open access to console, the root account is locked.",
            "Please unlock disk sda3_crypt: ",
        ] {
            assert!(matches!(sign(line), Some(Sign::Down(_))), "{line}");
        }
    }

    #[test]
    fn what_decides_nothing_is_no_sign() {
        for line in [
            "",
            "Last login: Thu Nov 26 18:44:24 UTC 2026 on ttyS0",
            "GNU GRUB  version 2.06-13+deb12u1",
            "error: no such partition.",
            "BdsDxe: failed to load Boot0001 \"UEFI QEMU NVMe Ctrl\": Not Found",
            "[  OK  ] Reached target Initrd Default Target.",
            "[  OK  ] Reached target basic.target - Basic System.",
            "Begin: Waiting for root file system ... done.",
            "see the login: field",
            "[    1.2] systemd[1]: Expecting device dev-nvme0n1p1.device",
            "[FAILED] Failed to start raise network interfaces.",
        ] {
            assert_eq!(sign(line), None, "{line}");
        }
    }

    #[test]
    fn with_a_marker_nothing_else_is_a_success() {
        let judge = Judge {
            marker: Some("app is ready".to_owned()),
        };
        assert_eq!(judge.sign("web1 login:"), None);
        let said = judge.sign("[  OK  ] Started app is ready").unwrap();
        assert!(matches!(said, Sign::Up(why) if why.contains("app is ready")));
        assert!(matches!(
            judge.sign("Kernel panic - x"),
            Some(Sign::Down(_))
        ));
    }

    #[test]
    fn reasons_are_short() {
        let line = format!("Kernel panic {}", "ä".repeat(10_000));
        let Some(Sign::Down(why)) = sign(&line) else {
            panic!("no sign");
        };
        assert!(why.len() < 500, "{why}");
    }
}
