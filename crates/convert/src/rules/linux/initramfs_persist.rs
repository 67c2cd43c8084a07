//! The guest's next kernel update makes a new initramfs: it has to hold the drivers too.
//!
//! initramfs-tools reads names from `/etc/initramfs-tools/modules`, dracut `add_drivers` from
//! `/etc/dracut.conf.d`; `omit_drivers` rules over that. mkinitrd of RHEL 5 takes the modules that
//! `/etc/modprobe.conf` calls `scsi_hostadapter`. Names that a later kernel has built in are passed
//! over by all of them; those that no installed kernel has are left out, for some versions of dracut
//! complain of them.

use super::drivers::boot_drivers;
use super::network;
use crate::{Draft, Error, Rule, Severity};
use guest::GuestPath;
use guest::assignment::Assignments;
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
const DRACUT: &str = "/etc/dracut.conf.d";
const MODPROBE: &str = "/etc/modprobe.conf";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let drivers = drivers(draft);
    if drivers.is_empty() {
        return Ok(());
    }
    if draft.exists(&"/etc/initramfs-tools".into())? {
        let path = GuestPath::from("/etc/initramfs-tools/modules");
        let old = draft.read(&path)?.unwrap_or_default();
        if let Some(new) = with_modules(&old, &drivers) {
            draft.write(&path, new, WHY)?;
        }
    }
    let dracut = draft.exists(&DRACUT.into())?
        || draft.exists(&"/etc/dracut.conf".into())?
        || draft.exists(&"/usr/lib/dracut".into())?;
    if dracut {
        let mut text = format!("{HEADER}add_drivers+=\" {} \"\n", drivers.join(" "));
        if let Some((path, _)) = network::name_in_initramfs(draft)? {
            let _ = writeln!(text, "install_items+=\" {path} \"");
        }
        // The last one: a file behind it that sets `add_drivers` anew would undo it.
        let path = GuestPath::from(DRACUT).join("zz-rehost.conf");
        draft.write(&path, text, WHY)?;
        keep_from_omitting(draft, &drivers)?;
    }
    let path = GuestPath::from(MODPROBE);
    if draft.exists(&"/sbin/mkinitrd".into())?
        && let Some(text) = draft.read_text(&path)?
        && let Some(new) = with_host_adapters(&text, &drivers)
    {
        draft.write(&path, new, WHY)?;
    }
    Ok(())
}

/// The drivers that some installed kernel has, by the name that it knows.
fn drivers(draft: &Draft<'_>) -> Vec<&'static str> {
    let mut drivers: Vec<&'static str> = Vec::new();
    for kernel in &draft.facts().kernels {
        for driver in boot_drivers(draft.options(), Some(kernel)) {
            if kernel.may_have_any(&[driver]) && !drivers.contains(&driver) {
                drivers.push(driver);
            }
        }
    }
    drivers
}

/// Takes the drivers out of what dracut is told to leave out.
fn keep_from_omitting(draft: &mut Draft<'_>, drivers: &[&str]) -> Result<(), Error> {
    let mut paths = vec![GuestPath::from("/etc/dracut.conf")];
    let directory = GuestPath::from(DRACUT);
    for entry in draft.list(&directory)? {
        let path = directory.join(&entry.name);
        if path.has_suffix(".conf") {
            paths.push(path);
        }
    }
    for path in paths {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        let mut file = Assignments::parse(&bytes);
        let mut omitted = Vec::new();
        for assignment in file.iter_mut() {
            if assignment.name() != "omit_drivers" {
                continue;
            }
            let Some(old) = assignment.written().map(str::to_owned) else {
                continue;
            };
            let ours = |word: &&str| drivers.contains(&word.replace('-', "_").as_str());
            let words = old.split_ascii_whitespace();
            let (gone, kept): (Vec<&str>, Vec<&str>) = words.partition(|word| ours(word));
            if !gone.is_empty() {
                assignment.write(&format!(" {} ", kept.join(" ")));
                omitted.extend(gone.into_iter().map(str::to_owned));
            }
        }
        if !omitted.is_empty() {
            let why = "dracut would leave out drivers that the root disk needs";
            draft.write(&path, file.render(), why)?;
            let text = format!(
                "{path} told dracut to leave out {}, which the root disk needs on EC2",
                omitted.join(", ")
            );
            draft.find(Severity::Warning, text);
        }
    }
    Ok(())
}

/// RHEL 5's modprobe.conf with an alias for each driver; `None` if it has them all.
fn with_host_adapters(text: &str, drivers: &[&str]) -> Option<String> {
    let aliases = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let alias = words.next() == Some("alias");
        let name = words.next()?.strip_prefix("scsi_hostadapter")?;
        alias.then(|| {
            (
                name.to_owned(),
                words.next().unwrap_or_default().replace('-', "_"),
            )
        })
    });
    let aliases: Vec<(String, String)> = aliases.collect();
    let known = |driver: &&&str| !aliases.iter().any(|(_, module)| module == *driver);
    let missing: Vec<&&str> = drivers.iter().filter(known).collect();
    if missing.is_empty() {
        return None;
    }
    let mut new = text.to_owned();
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    let numbers = aliases
        .iter()
        .map(|(number, _)| number.parse().unwrap_or(0_u32));
    let mut next = numbers.max().map_or(0, |last| last.saturating_add(1));
    for driver in missing {
        let number = match next {
            0 => String::new(),
            number => number.to_string(),
        };
        let _ = writeln!(
            new,
            "alias scsi_hostadapter{number} {}",
            driver.replace('_', "-")
        );
        next = next.saturating_add(1);
    }
    Some(new)
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
    use crate::rules::linux::testing::TestGuest;

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
    fn guest(files: &[(&str, &str)]) -> TestGuest {
        let version = "5.14.0-70.el9.x86_64";
        let mut all = vec![
            (format!("/boot/vmlinuz-{version}"), String::new()),
            (
                format!("/lib/modules/{version}/modules.dep"),
                "kernel/nvme.ko.xz:\nkernel/xen-blkfront.ko.xz:\n".to_owned(),
            ),
        ];
        all.extend(
            files
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned())),
        );
        let all: Vec<(&str, &str)> = all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        TestGuest::of(&all).with_kernels()
    }

    #[test]
    fn dracut_is_told_and_does_not_leave_them_out() {
        let after = guest(&[
            (
                "/usr/lib/dracut/dracut.conf.d/01-dist.conf",
                "hostonly=\"yes\"\n",
            ),
            (
                "/etc/dracut.conf.d/local.conf",
                "omit_drivers+=\" nvme floppy \"\n",
            ),
        ])
        .run(&[RULE]);
        assert_eq!(
            after.text("/etc/dracut.conf.d/zz-rehost.conf"),
            format!("{HEADER}add_drivers+=\" nvme xen_blkfront \"\n")
        );
        assert_eq!(
            after.text("/etc/dracut.conf.d/local.conf"),
            "omit_drivers+=\" floppy \"\n"
        );
        assert!(after.findings[0].contains("leave out nvme"));
    }

    #[test]
    fn rhel_5_has_host_adapters() {
        let conf =
            "alias eth0 e1000\nalias scsi_hostadapter ata_piix\nalias scsi_hostadapter1 mptspi\n";
        let new = with_host_adapters(conf, &["xen_vbd"]).unwrap();
        assert_eq!(new, format!("{conf}alias scsi_hostadapter2 xen-vbd\n"));
        assert_eq!(with_host_adapters(&new, &["xen_vbd"]), None);
        let first = with_host_adapters("", &["xen_vbd"]).unwrap();
        assert_eq!(first, "alias scsi_hostadapter xen-vbd\n");
    }
}
