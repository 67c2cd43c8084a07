//! EBS volumes have one path: multipathd must not take them.
//!
//! With `find_multipaths no` it puts a map over every disk, and mounts of the disk below fail
//! (linux-guests.md, item 47). RHEL 6 has no directory for more configuration: there the lines go
//! behind `/etc/multipath.conf`, in which sections may be repeated. The lists of names and
//! identifiers that multipathd keeps are about the old machine's disks.

use crate::{Draft, Error, Rule, Severity};
use guest::boot::CommandLine;
use guest::{Facts, GuestPath, Lineage};

/// Hides the instance's disks from multipathd.
pub(super) const RULE: Rule = Rule {
    id: "multipath",
    summary: "keep multipathd away from the instance's disks",
    applies: |_, _| true,
    run,
};

const PROGRAMS: [&str; 2] = ["/sbin/multipathd", "/usr/sbin/multipathd"];
/// The file for them, where a directory of more configuration is read.
pub(super) const OWN: &str = "/etc/multipath/conf.d/rehost.conf";
const CONF: &str = "/etc/multipath.conf";
const KEPT: [&str; 2] = ["/etc/multipath/bindings", "/etc/multipath/wwids"];
/// What hides the instance's disks.
pub(super) const TEXT: &str = "\
# Written by rehost: EBS volumes have one path.
blacklist {
    devnode \"^nvme\"
    devnode \"^xvd\"
}
";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let mut there = false;
    for program in PROGRAMS {
        there |= draft.exists(&program.into())?;
    }
    if !there {
        return Ok(());
    }
    for name in named_by_map(draft.facts()) {
        let text = format!(
            "{name} is a map of multipathd, which has no disks with several paths on EC2; name it by \
             UUID in the source"
        );
        draft.find(Severity::Problem, text);
    }
    let why = "multipathd would take the instance's disks";
    let conf = GuestPath::from(CONF);
    if before_directories(draft.facts()) {
        if let Some(mut text) = draft.read_text(&conf)?
            && !text.contains(TEXT)
        {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(TEXT);
            draft.write(&conf, text, why)?;
        }
    } else {
        draft.write(&GuestPath::from(OWN), TEXT, why)?;
    }
    for path in KEPT {
        draft.remove(&path.into(), "it lists the old machine's disks")?;
    }
    Ok(())
}

/// Whether multipathd reads one file alone: that of RHEL 5 and 6.
fn before_directories(facts: &Facts) -> bool {
    let major = facts.os.version.as_deref().unwrap_or_default();
    let major = major.split('.').next().and_then(|major| major.parse().ok());
    facts.os.family.lineage() == Lineage::RedHat && major.is_some_and(|major: u32| major <= 6)
}

/// Names like `/dev/mapper/mpatha2` on which the boot depends.
fn named_by_map(facts: &Facts) -> Vec<String> {
    let entries = facts.boot.entries.iter();
    let roots = entries.flat_map(|entry| {
        let line = CommandLine::parse(&entry.arguments);
        line.values("root").collect::<Vec<_>>()
    });
    let mounts = facts.fstab.iter().map(|entry| entry.spec.clone());
    let mut names: Vec<String> = roots.chain(mounts).collect();
    names.retain(|name| name.starts_with("/dev/mapper/mpath"));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;
    use guest::Family;

    #[test]
    fn only_where_multipathd_is() {
        assert!(
            TestGuest::of(&[("/etc/fstab", "")])
                .run(&[RULE])
                .changed
                .is_empty()
        );
        let after = TestGuest::of(&[
            ("/sbin/multipathd", ""),
            (CONF, "defaults {\n\tfind_multipaths yes\n}\n"),
            (KEPT[1], "/36000c29/\n"),
        ])
        .run(&[RULE]);
        assert_eq!(after.text(OWN), TEXT);
        assert_eq!(after.changed, [OWN, KEPT[1]]);
        assert!(!after.has(KEPT[1]));
    }

    #[test]
    fn rhel_6_has_one_file() {
        let after = TestGuest::of(&[("/sbin/multipathd", ""), (CONF, "defaults {\n}")])
            .with_facts(|facts| {
                facts.os.family = Family::Centos;
                facts.os.version = Some("6.10".to_owned());
            })
            .run(&[RULE]);
        assert_eq!(after.text(CONF), format!("defaults {{\n}}\n{TEXT}"));
        assert_eq!(after.changed, [CONF]);
    }
}
