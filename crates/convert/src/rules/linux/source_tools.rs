//! Agents of the old platform look for a hypervisor that is not there.
//!
//! They are switched off, never uninstalled: removing packages needs the guest's own tools and
//! fails on dependencies (linux-guests.md, item 49). A mask keeps other units and devices from
//! starting them too. Overrides of upstart's jobs are read since its version 1.3; Red Hat's family has
//! 0.6, where a job is off that is not there.

use crate::{Draft, Error, Rule, Severity};
use guest::source_tools::{ToolKind, UnitState};
use guest::{GuestPath, Lineage};

/// Masks units and unlinks init scripts.
pub(super) const RULE: Rule = Rule {
    id: "source-tools",
    summary: "switch off the agents of the old platform",
    applies: |facts, _| !facts.source_tools.is_empty(),
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let tools = &draft.facts().source_tools;
    for tool in tools {
        let why = format!("{} serves a hypervisor that is not there", name(tool.kind));
        let units = tool
            .units
            .iter()
            .filter(|unit| unit.state != UnitState::Masked);
        for link in units.clone().flat_map(|unit| &unit.links) {
            draft.remove(link, &why)?;
        }
        for unit in units {
            let mask = GuestPath::from("/etc/systemd/system").join(&unit.name);
            draft.symlink(&mask, b"/dev/null", &why)?;
        }
        for script in tool.scripts.iter().filter(|script| script.enabled) {
            for link in &script.links {
                draft.remove(link, &why)?;
            }
            let job = script.path.to_string();
            let overrides = draft.facts().os.family.lineage() != Lineage::RedHat;
            if let Some(job) = job.strip_suffix(".conf") {
                if !overrides {
                    draft.remove(&script.path, &why)?;
                    continue;
                }
                let path = GuestPath::new(format!("{job}.override"));
                draft.write(&path, "manual\n", &why)?;
            }
        }
        if tool.starts() {
            let text = format!("{} is switched off; remove it at leisure", name(tool.kind));
            draft.find(Severity::Info, text);
        }
    }
    Ok(())
}

fn name(kind: ToolKind) -> &'static str {
    match kind {
        ToolKind::OpenVmTools => "open-vm-tools",
        ToolKind::VmwareTools => "VMware Tools",
        ToolKind::VirtualBoxAdditions => "VirtualBox Guest Additions",
        ToolKind::QemuGuestAgent => "qemu-guest-agent",
        ToolKind::SpiceAgent => "the SPICE agent",
        ToolKind::HyperVDaemons => "Hyper-V's daemons",
        ToolKind::AzureAgent => "the Azure agent",
        ToolKind::XenGuestUtilities => "the Xen guest utilities",
        ToolKind::GoogleAgents => "Google's guest environment",
        ToolKind::ParallelsTools => "Parallels Tools",
        _ => "an agent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn units_are_masked_and_scripts_unlinked() {
        let unit = "-> /lib/systemd/system/open-vm-tools.service";
        let guest = TestGuest::of(&[
            ("/lib/systemd/system/open-vm-tools.service", "[Unit]\n"),
            ("/etc/systemd/system/vmtoolsd.service", unit),
            (
                "/etc/systemd/system/multi-user.target.wants/open-vm-tools.service",
                unit,
            ),
            ("/etc/init.d/open-vm-tools", "#!/bin/sh\n"),
            ("/etc/rc2.d/S01open-vm-tools", "-> ../init.d/open-vm-tools"),
            ("/etc/init/vmware-tools.conf", "start on x\n"),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/etc/systemd/system/open-vm-tools.service"),
            "-> /dev/null"
        );
        assert_eq!(
            after.text("/etc/systemd/system/vmtoolsd.service"),
            "-> /dev/null"
        );
        assert!(!after.has("/etc/systemd/system/multi-user.target.wants/open-vm-tools.service"));
        assert!(!after.has("/etc/rc2.d/S01open-vm-tools"));
        assert!(after.has("/etc/init.d/open-vm-tools"));
        assert!(after.has("/lib/systemd/system/open-vm-tools.service"));
        assert_eq!(after.text("/etc/init/vmware-tools.override"), "manual\n");
    }

    #[test]
    fn jobs_of_rhel_6_go() {
        let guest = TestGuest::of(&[
            ("/etc/init/vmware-tools.conf", "start on x\n"),
            ("/etc/init.d/vmware-tools", "#!/bin/sh\n"),
            (
                "/etc/rc.d/rc3.d/S03vmware-tools",
                "-> ../../init.d/vmware-tools",
            ),
        ])
        .with_facts(|facts| facts.os.family = guest::Family::Centos);
        let after = guest.run(&[RULE]);
        assert!(!after.has("/etc/init/vmware-tools.conf"));
        assert!(!after.has("/etc/init/vmware-tools.override"));
        assert!(!after.has("/etc/rc.d/rc3.d/S03vmware-tools"));
        assert!(after.has("/etc/init.d/vmware-tools"));
    }
}
