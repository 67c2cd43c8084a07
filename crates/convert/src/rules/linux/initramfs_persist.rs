//! The guest's next kernel update makes a new initramfs: it has to hold the drivers too.
//!
//! initramfs-tools reads names from `/etc/initramfs-tools/modules`, dracut `add_drivers` from
//! `/etc/dracut.conf.d`. Names that a later kernel has built in, or does not have, are passed over
//! by both.

use super::drivers::boot_drivers;
use crate::{Draft, Error, Rule};
use guest::GuestPath;
use std::fmt::Write as _;

/// Tells the generators of initramfs images.
pub(super) const RULE: Rule = Rule {
    id: "initramfs-persist",
    summary: "keep the drivers in the initramfs through the guest's own kernel updates",
    applies: |facts, _| !facts.kernels.is_empty(),
    run,
};

const WHY: &str = "the guest's next kernel update has to keep the drivers that the root disk needs";
const HEADER: &str = "# Added by rehost: disks of EC2 instances\n";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let drivers = boot_drivers(draft.options(), None);
    if draft.exists(&"/etc/initramfs-tools".into())? {
        let path = GuestPath::from("/etc/initramfs-tools/modules");
        let old = draft.read(&path)?.unwrap_or_default();
        if let Some(new) = with_modules(&old, &drivers) {
            draft.write(&path, new, WHY)?;
        }
    }
    let dracut = draft.exists(&"/etc/dracut.conf.d".into())?
        || draft.exists(&"/etc/dracut.conf".into())?
        || draft.exists(&"/usr/lib/dracut".into())?;
    if dracut {
        let text = format!("{HEADER}add_drivers+=\" {} \"\n", drivers.join(" "));
        draft.write(&"/etc/dracut.conf.d/rehost.conf".into(), text, WHY)?;
    }
    Ok(())
}

/// The list with the missing names behind it; `None` if it has them all.
fn with_modules(old: &[u8], drivers: &[&str]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(old);
    let listed = |driver: &str| {
        text.lines().any(|line| {
            let name = line.split_whitespace().next().unwrap_or_default();
            name.replace('-', "_") == driver
        })
    };
    let missing: Vec<_> = drivers.iter().filter(|driver| !listed(driver)).collect();
    if missing.is_empty() {
        return None;
    }
    let mut added = String::new();
    if !old.is_empty() && !old.ends_with(b"\n") {
        added.push('\n');
    }
    if !text.contains(HEADER) {
        added.push_str(HEADER);
    }
    for driver in missing {
        let _ = writeln!(added, "{driver}");
    }
    Some([old, added.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_names_are_added_and_only_once() {
        let old = b"# List of modules\nxen-blkfront\nloop max_loop=8";
        let new = with_modules(old, &["nvme", "xen_blkfront"]).unwrap();
        let want = "# List of modules\nxen-blkfront\nloop max_loop=8\n\
                    # Added by rehost: disks of EC2 instances\nnvme\n";
        assert_eq!(String::from_utf8(new.clone()).unwrap(), want);
        assert_eq!(with_modules(&new, &["nvme", "xen_blkfront"]), None);
        assert!(with_modules(b"", &["nvme"]).is_some());
    }
}
