//! EBS volumes have one path: multipathd must not take them.
//!
//! With `find_multipaths no` it puts a map over every disk, and mounts of the disk below fail
//! (linux-guests.md, item 47).

use crate::{Draft, Error, Rule};
use guest::GuestPath;

/// Hides the instance's disks from multipathd.
pub(super) const RULE: Rule = Rule {
    id: "multipath",
    summary: "keep multipathd away from the instance's disks",
    applies: |_, _| true,
    run,
};

const PROGRAMS: [&str; 2] = ["/sbin/multipathd", "/usr/sbin/multipathd"];
const OWN: &str = "/etc/multipath/conf.d/rehost.conf";
const TEXT: &str = "\
# Written by rehost: EBS volumes have one path.
blacklist {
    devnode \"^nvme\"
    devnode \"^xvd\"
}
";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    for program in PROGRAMS {
        if draft.exists(&program.into())? {
            let why = "multipathd would take the instance's disks";
            return draft.write(&GuestPath::from(OWN), TEXT, why);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn only_where_multipathd_is() {
        assert!(
            TestGuest::of(&[("/etc/fstab", "")])
                .run(&[RULE])
                .changed
                .is_empty()
        );
        let after = TestGuest::of(&[("/sbin/multipathd", "")]).run(&[RULE]);
        assert_eq!(after.text(OWN), TEXT);
    }
}
