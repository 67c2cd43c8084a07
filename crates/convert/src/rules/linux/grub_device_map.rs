//! GRUB's map of BIOS disks names devices of the old machine.
//!
//! Booting does not read it, but `grub-install` at the next upgrade of GRUB does, and fails at
//! devices that are not there (linux-guests.md, item 24). Without it GRUB looks by itself.

use crate::{Draft, Error, Rule};
use guest::DeviceName;
use guest::boot::device_map;

/// Removes a map of devices that are gone.
pub(super) const RULE: Rule = Rule {
    id: "grub-device-map",
    summary: "remove GRUB's map of disks if it names devices of the old machine",
    applies: |facts, _| facts.boot.grub.is_some() || facts.boot.legacy.is_some(),
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let boot = &draft.facts().boot;
    let maps = boot.grubs().filter_map(|grub| grub.device_map.clone());
    let legacy = boot.legacy.iter();
    let maps = maps.chain(legacy.filter_map(|legacy| legacy.device_map.clone()));
    for path in maps.collect::<Vec<_>>() {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        let gone = |(_, device): &(String, String)| DeviceName::parse(device).depends_on_hardware();
        if device_map(&bytes).iter().any(gone) {
            draft.remove(&path, "it names disks of the old machine")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn a_map_of_old_devices_goes() {
        let cfg = ("/boot/grub/grub.cfg", "menuentry 'A' {\n}\n");
        let map = (
            "/boot/grub/device.map",
            "(hd0)\t/dev/disk/by-id/ata-VMware_1\n",
        );
        let after = TestGuest::of(&[cfg, map]).run(&[RULE]);
        assert!(!after.has("/boot/grub/device.map"));
        let after = TestGuest::of(&[cfg, ("/boot/grub/device.map", "# none\n")]).run(&[RULE]);
        assert!(after.changed.is_empty());
    }
}
