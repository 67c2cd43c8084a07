//! Firmware that knows no boot entry starts `\EFI\BOOT\BOOTX64.EFI`.
//!
//! An instance's UEFI variables are empty at its first start: the entry that the old firmware kept
//! for the distribution's loader is not on the disks (linux-guests.md, item 26). Where the fallback
//! is missing, the distribution's own loader is copied there, shim with GRUB beside it. Shim's
//! `fbx64.efi` is not: it would write boot entries and reset the machine.

use crate::{Draft, Error, Rule, Severity};
use fs::Kind;
use guest::boot::{Esp, EspVendor};
use guest::{Architecture, Facts, GuestPath, Lineage};

/// Copies the distribution's loader to the fallback path.
pub(super) const RULE: Rule = Rule {
    id: "uefi-fallback",
    summary: "copy the UEFI boot loader to where firmware without boot entries looks",
    applies: |facts, _| facts.firmware.has_uefi(),
    run,
};

const WHY: &str = "EC2's firmware knows no boot entry of the old machine";
/// Largest `grub.cfg` beside a loader that only points to the real one.
const STUB_MAX: u64 = 4096;

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let facts = draft.facts();
    let Some(suffix) = suffix(facts.architecture) else {
        return Ok(());
    };
    let Some(esp) = &facts.boot.esp else {
        draft.find(
            Severity::Problem,
            "the EFI system partition is not mounted by /etc/fstab or cannot be read: whether \
             firmware finds a boot loader at \\EFI\\BOOT is not known",
        );
        return Ok(());
    };
    let fallback = format!("BOOT{suffix}.EFI");
    if esp.fallback.iter().any(|path| is_named(path, &fallback)) {
        return Ok(());
    }
    let Some((vendor, loader)) = choose(facts, esp, suffix) else {
        draft.find(
            Severity::Problem,
            format!(
                "there is no UEFI boot loader on {} to copy to \\EFI\\BOOT",
                esp.mount
            ),
        );
        return Ok(());
    };
    let efi = vendor
        .directory
        .parent()
        .unwrap_or_else(|| esp.mount.join("EFI"));
    let boot = boot_directory(draft, &efi)?;
    draft.copy(&loader, &boot.join(&fallback), WHY)?;
    if is_named(&loader, &format!("shim{suffix}.efi")) {
        for beside in [format!("grub{suffix}.efi"), format!("mm{suffix}.efi")] {
            let beside = beside.to_lowercase();
            if let Some(found) = vendor.loaders.iter().find(|path| is_named(path, &beside)) {
                draft.copy(found, &boot.join(&beside), WHY)?;
            }
        }
    }
    // Debian's GRUB knows the directory of its configuration; others look beside the loader.
    let stub = vendor.directory.join("grub.cfg");
    let small = draft.stat(&stub)?.is_some_and(|meta| meta.size <= STUB_MAX);
    if small && facts.os.family.lineage() != Lineage::Debian {
        // As the other rules leave it, not as it was.
        if let Some(text) = draft.read(&stub)? {
            draft.write(&boot.join("grub.cfg"), text, WHY)?;
        }
    }
    Ok(())
}

/// How file names of loaders for this architecture end.
fn suffix(architecture: Architecture) -> Option<&'static str> {
    match architecture {
        Architecture::X86_64 => Some("X64"),
        Architecture::Aarch64 => Some("AA64"),
        Architecture::X86 => Some("IA32"),
        _ => None,
    }
}

/// The loader to copy: shim, else GRUB, else systemd-boot; the distribution's own directory
/// before others.
fn choose<'e>(facts: &Facts, esp: &'e Esp, suffix: &str) -> Option<(&'e EspVendor, GuestPath)> {
    let own = |vendor: &&EspVendor| {
        let name = vendor.directory.name().unwrap_or_default();
        !name.eq_ignore_ascii_case(facts.os.id.as_bytes())
    };
    let mut vendors: Vec<&EspVendor> = esp.vendors.iter().collect();
    vendors.sort_by_key(own);
    for vendor in &vendors {
        for name in ["shim", "grub", "systemd-boot"] {
            let name = format!("{name}{suffix}.efi");
            if let Some(found) = vendor.loaders.iter().find(|path| is_named(path, &name)) {
                return Some((vendor, found.clone()));
            }
        }
    }
    None
}

/// `BOOT` as it is spelled there; FAT knows no case.
fn boot_directory(draft: &Draft<'_>, efi: &GuestPath) -> Result<GuestPath, Error> {
    let entries = draft.list(efi)?;
    let found = entries
        .iter()
        .find(|entry| entry.kind == Kind::Dir && entry.name.eq_ignore_ascii_case(b"BOOT"));
    Ok(efi.join(found.map_or(&b"BOOT"[..], |entry| &entry.name)))
}

fn is_named(path: &GuestPath, name: &str) -> bool {
    path.name()
        .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;
    use guest::{Family, Firmware};

    fn uefi(files: &[(&str, &str)]) -> TestGuest {
        TestGuest::of(files)
            .with_mount("/boot/efi")
            .with_facts(|facts| {
                facts.firmware = Firmware::Uefi;
                facts.architecture = Architecture::X86_64;
                facts.os.id = "debian".into();
                facts.os.family = Family::Debian;
            })
    }

    #[test]
    fn shim_is_copied_with_grub_and_without_its_fallback() {
        let guest = uefi(&[
            ("/boot/efi/EFI/debian/shimx64.efi", "shim"),
            ("/boot/efi/EFI/debian/grubx64.efi", "grub"),
            ("/boot/efi/EFI/debian/mmx64.efi", "mm"),
            ("/boot/efi/EFI/debian/fbx64.efi", "fb"),
            ("/boot/efi/EFI/debian/grub.cfg", "configfile x"),
            ("/boot/efi/EFI/aaa/shimx64.efi", "other"),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(after.text("/boot/efi/EFI/BOOT/BOOTX64.EFI"), "shim");
        assert_eq!(after.text("/boot/efi/EFI/BOOT/grubx64.efi"), "grub");
        assert_eq!(after.text("/boot/efi/EFI/BOOT/mmx64.efi"), "mm");
        assert_eq!(after.changed.len(), 3);
    }

    #[test]
    fn without_shim_grub_is_copied_alone() {
        let guest = uefi(&[("/boot/efi/EFI/debian/grubx64.efi", "grub")]);
        let after = guest.run(&[RULE]);
        assert_eq!(after.text("/boot/efi/EFI/BOOT/BOOTX64.EFI"), "grub");
        let guest = uefi(&[("/boot/efi/EFI/systemd/systemd-bootx64.efi", "sd")]);
        let after = guest.run(&[RULE]);
        assert_eq!(after.text("/boot/efi/EFI/BOOT/BOOTX64.EFI"), "sd");
    }

    #[test]
    fn a_fallback_that_is_there_stays() {
        let guest = uefi(&[
            ("/boot/efi/EFI/Boot/bootx64.efi", "x"),
            ("/boot/efi/EFI/debian/shimx64.efi", "shim"),
        ]);
        assert!(guest.run(&[RULE]).changed.is_empty());
    }

    #[test]
    fn a_partition_that_is_not_mounted_is_reported() {
        let guest = TestGuest::of(&[("/boot/efi/EFI/debian/grubx64.efi", "grub")]);
        let guest = guest.with_facts(|facts| {
            facts.firmware = Firmware::Uefi;
            facts.architecture = Architecture::X86_64;
        });
        assert_eq!(guest.run(&[RULE]).findings.len(), 1);
    }
}
