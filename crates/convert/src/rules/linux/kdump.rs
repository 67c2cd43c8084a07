//! The images that kdump boots after a crash are for the old machine's disk.
//!
//! They are no part of the guest's own boot and are left alone. kdump's service makes them anew when
//! it finds that drivers or the target of the dump have changed, and fails where it cannot.

use crate::{Draft, Error, Rule, Severity};

/// Reports them.
pub(super) const RULE: Rule = Rule {
    id: "kdump",
    summary: "say which crash dump images are still for the old machine's disks",
    applies: |_, _| true,
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let entries = draft.list(&"/boot".into())?;
    let names = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.name));
    let images: Vec<_> = names
        .filter(|name| name.starts_with("init") && name.contains("kdump"))
        .collect();
    if !images.is_empty() {
        let text = format!(
            "{} in /boot was made for the old machine's disks and left alone: restart kdump once on \
             the target to have it made anew",
            images.join(", ")
        );
        draft.find(Severity::Info, text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn crash_dump_images_are_named_and_stay() {
        let guest = TestGuest::of(&[
            ("/boot/initramfs-5.14.0-70.el9.x86_64kdump.img", ""),
            ("/boot/initramfs-5.14.0-70.el9.x86_64.img", ""),
        ]);
        let after = guest.run(&[RULE]);
        assert!(after.changed.is_empty());
        assert!(after.findings[0].starts_with("initramfs-5.14.0-70.el9.x86_64kdump.img in"));
    }
}
