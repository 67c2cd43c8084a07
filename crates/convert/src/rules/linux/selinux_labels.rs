//! New files without the label that the guest's SELinux policy wants cannot be read by its
//! services.
//!
//! The labels are computed while the plan is made (`labels.rs`). Only where the policy cannot be
//! read the guest has to label everything anew: that takes minutes and a restart (linux-guests.md,
//! item 52).

use crate::labels::RULE_ID;
use crate::{Draft, Error, Rule, Severity};
use guest::SelinuxMode;

/// Asks the guest to label itself where its policy cannot be read.
pub(super) const RULE: Rule = Rule {
    id: RULE_ID,
    summary: "give new files the labels of the guest's own SELinux policy",
    applies: |facts, _| {
        let selinux = facts.selinux.as_ref();
        selinux.is_some_and(|selinux| selinux.mode != SelinuxMode::Disabled)
    },
    run,
};

/// Distributions label everything and restart where this file is.
const ALL_ANEW: &str = "/.autorelabel";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let Some(reason) = draft.missing_label()? else {
        return Ok(());
    };
    draft.write(
        &ALL_ANEW.into(),
        "",
        "new files have no SELinux labels until the guest labels itself",
    )?;
    draft.find(
        Severity::Warning,
        format!(
            "SELinux labels of new files are not known ({reason}): the guest labels all its files \
             at its first start, which takes minutes and restarts it"
        ),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    const CONFIG: (&str, &str) = (
        "/etc/selinux/config",
        "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    );
    const CONTEXTS: &str = "/etc/selinux/targeted/contexts/files/file_contexts";

    /// Stands for the rules that make files.
    const NEW: Rule = Rule {
        id: "new",
        summary: "",
        applies: |_, _| true,
        run: |draft| {
            draft.write(&"/etc/new/file.conf".into(), "x", "")?;
            draft.symlink(&"/etc/link".into(), b"x", "")?;
            draft.write(&"/etc/old".into(), "new", "")
        },
    };

    #[test]
    fn new_nodes_get_the_labels_of_the_policy() {
        let guest = TestGuest::of(&[
            CONFIG,
            (
                CONTEXTS,
                "/etc(/.*)? a:etc\n/etc/.*\\.conf -- a:conf\n/etc/link -l a:link\n",
            ),
            ("/etc/old", "old"),
        ]);
        let after = guest.run(&[NEW, RULE]);
        assert_eq!(after.labels["/etc/new"], "a:etc");
        assert_eq!(after.labels["/etc/new/file.conf"], "a:conf");
        assert_eq!(after.labels["/etc/link"], "a:link");
        assert!(
            !after.labels.contains_key("/etc/old"),
            "it keeps what it has: none"
        );
        assert!(!after.has(ALL_ANEW) && after.findings.is_empty());
    }

    #[test]
    fn without_a_policy_that_can_be_read_the_guest_labels_itself() {
        for guest in [
            TestGuest::of(&[CONFIG]),
            TestGuest::of(&[CONFIG, (CONTEXTS, "/etc(?!x).* a:etc\n")]),
        ] {
            let after = guest.run(&[NEW, RULE]);
            assert!(after.has(ALL_ANEW));
            assert!(
                after.findings[0].contains("takes minutes"),
                "{:?}",
                after.findings
            );
            assert!(
                guest.run(&[RULE]).changed.is_empty(),
                "nothing else changes"
            );
        }
    }

    #[test]
    fn where_it_is_off_nothing_is_labelled() {
        let guest = TestGuest::of(&[("/etc/selinux/config", "SELINUX=disabled\n")]);
        let after = guest.run(&[NEW, RULE]);
        assert!(after.labels.is_empty() && !after.has(ALL_ANEW));
    }
}
