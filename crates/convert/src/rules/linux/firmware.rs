//! Xen instances have a BIOS and nothing else.
//!
//! Of the instances that boot by UEFI all are Nitro's ("Boot modes", EC2 user guide).

use crate::{Draft, Error, Rule, Severity, Target};

/// Says when the target cannot start the guest's boot loader.
pub(super) const RULE: Rule = Rule {
    id: "target-firmware",
    summary: "say when the target's firmware cannot start the boot loader",
    applies: |facts, options| options.target == Target::Xen && !facts.firmware.has_bios(),
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    draft.find(
        Severity::Problem,
        "the guest boots by UEFI alone, and Xen instances have a BIOS: give its disk a BIOS boot \
         loader in the source, or take Nitro instances",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::rules::linux::testing::TestGuest;
    use guest::Firmware;

    #[test]
    fn uefi_alone_is_a_problem_on_xen_alone() {
        for (target, findings) in [(Target::Xen, 1), (Target::Both, 0), (Target::Nitro, 0)] {
            let guest = TestGuest::of(&[("/etc/fstab", "")])
                .with_facts(|facts| facts.firmware = Firmware::Uefi)
                .with_options(Options {
                    target,
                    ..Options::default()
                });
            assert_eq!(guest.run(&[RULE]).findings.len(), findings);
        }
    }
}
