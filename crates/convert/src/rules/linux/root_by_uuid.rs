//! The kernel command line has to name the root file system by what it is.
//!
//! `/dev/sda2` is `/dev/nvme0n1p2` on Nitro instances and `/dev/xvda2` on Xen instances: the
//! initramfs waits for a device that never comes. `GRUB_DISABLE_LINUX_UUID=true` would bring the
//! name back with the next `update-grub` (old SLES and RHEL 5 set it; linux-guests.md, item 27).

use super::command_lines::{self, Edit};
use crate::{Draft, Error, Rule, Severity};
use guest::boot::{CommandLine, GrubEnv};
use guest::{DeviceName, Facts};

/// Names root and resume device by identifier.
pub(super) const RULE: Rule = Rule {
    id: "root-by-uuid",
    summary: "name the root and resume devices on kernel command lines by UUID",
    applies: |_, _| true,
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let facts = draft.facts();
    for problem in unknown_roots(facts) {
        draft.find(Severity::Problem, problem);
    }
    unreadable_blocks(draft)?;
    command_lines::edit(
        draft,
        &Edit {
            why: "the disks have other device names on EC2",
            replace: &|line| replace(line, facts),
            add: &|_, _| Vec::new(),
        },
    )?;
    let mut files = command_lines::read_defaults(draft)?;
    for (_, file) in &mut files {
        if file.value("GRUB_DISABLE_LINUX_UUID").as_deref() == Some("true") {
            file.set("GRUB_DISABLE_LINUX_UUID", "false");
        }
    }
    command_lines::write_defaults(
        draft,
        files,
        "update-grub would name the root file system by device again",
    )
}

/// Gives the devices of a command line their identifiers. A resume device that is on none of the
/// disks goes: waiting for it takes 30 seconds.
pub(super) fn replace(line: &mut CommandLine, facts: &Facts) {
    line.replace("root", |device| uuid(facts, device));
    line.replace("resume", |device| uuid(facts, device));
    // Red Hat's check of the kernel's integrity looks for /boot there.
    line.replace("boot", |device| uuid(facts, device));
    line.remove(|word| {
        word.strip_prefix("resume=")
            .is_some_and(|device| DeviceName::parse(device).depends_on_hardware())
    });
}

fn uuid(facts: &Facts, device: &str) -> Option<String> {
    if !DeviceName::parse(device).depends_on_hardware() {
        return None;
    }
    let volume = facts.volume(&facts.resolve(device)?)?;
    Some(format!("UUID={}", volume.uuid.as_ref()?))
}

/// Says which environment blocks are left alone because they cannot be edited. GRUB is not as strict
/// and may take command lines and the default from them.
fn unreadable_blocks(draft: &mut Draft<'_>) -> Result<(), Error> {
    for grub in draft.facts().boot.grubs() {
        let Some(path) = &grub.environment else {
            continue;
        };
        let bytes = draft.read(path)?.unwrap_or_default();
        if let Err(error) = GrubEnv::parse(&bytes) {
            let text = format!(
                "{path} was left alone with the command lines that it may hold: {error}. Make it anew \
                 in the source (grub2-editenv create)"
            );
            draft.find(Severity::Warning, text);
        }
    }
    Ok(())
}

/// What to say about entries whose root device cannot be told.
fn unknown_roots(facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    for entry in &facts.boot.entries {
        for device in CommandLine::parse(&entry.arguments).values("root") {
            let hardware = DeviceName::parse(&device).depends_on_hardware();
            if hardware && uuid(facts, &device).is_none() {
                problems.push(format!(
                    "{} line {}: root={device} is on none of the disks given; \"{}\" will not boot",
                    entry.file, entry.line, entry.title
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    const CFG: &str = "menuentry 'A' {\n\tlinux\t/boot/vmlinuz-6.1 root=/dev/sda2 ro  quiet resume=/dev/sda1\n}\n\
        menuentry 'B' {\n\tlinux\t/boot/vmlinuz-6.1 root=/dev/sda2 ro single resume=/dev/sdz9\n}\n";

    #[test]
    fn generated_menu_and_its_source_agree() {
        let guest = TestGuest::of(&[
            ("/boot/grub/grub.cfg", CFG),
            (
                "/etc/default/grub",
                "GRUB_CMDLINE_LINUX=\"root=/dev/sda2\"\nGRUB_DISABLE_LINUX_UUID=true\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/boot/grub/grub.cfg"),
            "menuentry 'A' {\n\tlinux\t/boot/vmlinuz-6.1 root=UUID=root-uuid ro  quiet resume=UUID=swap-uuid\n}\n\
             menuentry 'B' {\n\tlinux\t/boot/vmlinuz-6.1 root=UUID=root-uuid ro single\n}\n"
        );
        assert_eq!(
            after.text("/etc/default/grub"),
            "GRUB_CMDLINE_LINUX=\"root=UUID=root-uuid\"\nGRUB_DISABLE_LINUX_UUID=false\n"
        );
        assert!(after.findings.is_empty());
    }

    #[test]
    fn red_hats_places_are_edited_too() {
        let env = format!(
            "# GRUB Environment Block\nkernelopts=root=/dev/sda2 ro\n{}",
            "#".repeat(970)
        );
        let guest = TestGuest::of(&[
            ("/boot/grub2/grub.cfg", "blscfg\n"),
            ("/boot/grub2/grubenv", &env),
            ("/etc/kernel/cmdline", "root=/dev/sda2 ro\n"),
            (
                "/boot/loader/entries/a.conf",
                "title A\nlinux /vmlinuz-5.14\noptions root=/dev/sda2 ro\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert!(
            after
                .text("/boot/grub2/grubenv")
                .contains("\nkernelopts=root=UUID=root-uuid ro\n#")
        );
        assert_eq!(after.text("/boot/grub2/grubenv").len(), env.len());
        assert_eq!(
            after.text("/etc/kernel/cmdline"),
            "root=UUID=root-uuid ro\n"
        );
        assert!(
            after
                .text("/boot/loader/entries/a.conf")
                .ends_with("options root=UUID=root-uuid ro\n")
        );
    }

    #[test]
    fn a_root_that_cannot_be_told_is_a_problem() {
        let guest = TestGuest::of(&[(
            "/boot/grub/grub.cfg",
            "menuentry 'A' {\n linux /vmlinuz root=/dev/sdc1\n}\n",
        )]);
        let after = guest.run(&[RULE]);
        assert!(after.changed.is_empty());
        assert!(
            after.findings[0].contains("/dev/sdc1"),
            "{:?}",
            after.findings
        );
    }

    #[test]
    fn a_block_that_cannot_be_edited_is_named() {
        let env = "# GRUB Environment Block\nkernelopts=root=/dev/sda2 ro\n####\n\n";
        let guest = TestGuest::of(&[
            ("/boot/grub2/grub.cfg", "blscfg\n"),
            ("/boot/grub2/grubenv", env),
        ]);
        let after = guest.run(&[RULE]);
        assert!(after.changed.is_empty());
        assert!(
            after.findings[0].starts_with("/boot/grub2/grubenv was left alone"),
            "{:?}",
            after.findings
        );
    }
}
