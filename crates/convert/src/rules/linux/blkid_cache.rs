//! Caches of the old machine's disks.
//!
//! They are made anew (RHBZ 1164853; linux-guests.md, item 44).

use crate::{Draft, Error, Rule};
use fs::Kind;
use guest::GuestPath;

/// Removes them.
pub(super) const RULE: Rule = Rule {
    id: "blkid-cache",
    summary: "remove caches of the old machine's disks",
    applies: |_, _| true,
    run,
};

const CACHES: [&str; 5] = [
    "/etc/blkid/blkid.tab",
    "/etc/blkid/blkid.tab.old",
    "/etc/blkid.tab",
    "/etc/blkid.tab.old",
    "/etc/lvm/cache/.cache",
];

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    for path in CACHES {
        let path = GuestPath::from(path);
        // A link points to memory.
        if draft
            .stat(&path)?
            .is_some_and(|meta| meta.kind == Kind::File)
        {
            draft.remove(&path, "it lists disks of the old machine")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn caches_go_and_links_stay() {
        let guest = TestGuest::of(&[
            ("/etc/blkid.tab", "-> /dev/.blkid.tab"),
            ("/etc/lvm/cache/.cache", "persistent_filter_cache {\n}\n"),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(after.changed, ["/etc/lvm/cache/.cache"]);
    }
}
