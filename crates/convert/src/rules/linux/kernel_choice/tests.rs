use super::*;
use crate::rules::linux::testing::TestGuest;
use guest::Family;

const ID: &str = "b0a2f9f3a1c34c5fb5a1c7b4a5e3d2f1";

/// A kernel with these drivers, in the places of the Red Hat family.
fn kernel(version: &str, drivers: &[&str]) -> Vec<(String, String)> {
    let modules = drivers
        .iter()
        .map(|driver| format!("kernel/drivers/{driver}.ko.xz:\n"));
    vec![
        (format!("/boot/vmlinuz-{version}"), "MZ".to_owned()),
        (format!("/boot/initramfs-{version}.img"), String::new()),
        (
            format!("/lib/modules/{version}/modules.dep"),
            modules.collect(),
        ),
    ]
}

const OLD: [&str; 2] = ["xen-blkfront", "xen-netfront"];
const NEW: [&str; 4] = ["nvme", "ena", "xen-blkfront", "xen-netfront"];

fn guest(kernels: &[(&str, &[&str])], more: &[(&str, String)]) -> TestGuest {
    let mut files: Vec<(String, String)> = kernels
        .iter()
        .flat_map(|(version, drivers)| kernel(version, drivers))
        .collect();
    files.extend(
        more.iter()
            .map(|(path, text)| ((*path).to_owned(), text.clone())),
    );
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    TestGuest::of(&files).with_kernels()
}

fn grubenv(lines: &str) -> String {
    let block = format!("# GRUB Environment Block\n{lines}");
    format!("{block}{}", "#".repeat(1024 - block.len()))
}

/// As RHEL 8 and later have it.
fn bls(version: &str) -> (String, String) {
    let text = format!(
        "title Rocky Linux ({version}) 8.10 (Green Obsidian)\nversion {version}\nlinux /vmlinuz-{version}\n\
         initrd /initramfs-{version}.img $tuned_initrd\noptions $kernelopts $tuned_params\n\
         grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class kernel\n"
    );
    (format!("/boot/loader/entries/{ID}-{version}.conf"), text)
}

const BLS_CFG: &str = "if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\nelse\n\
    \x20  set default=\"${saved_entry}\"\nfi\ninsmod blscfg\nblscfg\n";

#[test]
fn the_saved_entry_becomes_the_kernel_that_has_the_drivers() {
    let (old, new) = ("4.18.0-80.el8.x86_64", "5.4.17-2136.el8uek.x86_64");
    let (old_entry, new_entry) = (bls(old), bls(new));
    let saved = format!(
        "saved_entry={ID}-{old}\nkernelopts=root=/dev/mapper/ol-root ro \nboot_success=0\n"
    );
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[
            ("/boot/grub2/grub.cfg", BLS_CFG.to_owned()),
            ("/boot/grub2/grubenv", grubenv(&saved)),
            (&old_entry.0, old_entry.1.clone()),
            (&new_entry.0, new_entry.1.clone()),
            (
                "/etc/sysconfig/kernel",
                "# UPDATEDEFAULT specifies if kernel-install should make\nUPDATEDEFAULT=yes\n\nDEFAULTKERNEL=kernel-core\n"
                    .to_owned(),
            ),
        ],
    )
    .with_facts(|facts| facts.os.family = Family::Oracle);
    let after = guest.run(&[RULE]);
    let expected = grubenv(&saved.replace(old, new));
    assert_eq!(after.text("/boot/grub2/grubenv"), expected);
    assert!(
        after
            .text("/etc/sysconfig/kernel")
            .ends_with("\nDEFAULTKERNEL=kernel-uek-core\n")
    );
    assert_eq!(after.changed.len(), 2);
    assert!(after.findings[0].contains(new), "{:?}", after.findings);
}

#[test]
fn a_default_that_will_do_stays_even_if_it_is_not_the_newest() {
    let (old, new) = ("5.14.0-70.el9.x86_64", "5.14.0-362.el9.x86_64");
    let (old_entry, new_entry) = (bls(old), bls(new));
    let guest = guest(
        &[(old, &NEW), (new, &NEW), ("3.10.0-1.el7.x86_64", &OLD)],
        &[
            ("/boot/grub2/grub.cfg", BLS_CFG.to_owned()),
            (
                "/boot/grub2/grubenv",
                grubenv(&format!("saved_entry={ID}-{old}\n")),
            ),
            (&old_entry.0, old_entry.1.clone()),
            (&new_entry.0, new_entry.1.clone()),
        ],
    );
    let after = guest.run(&[RULE]);
    assert!(after.changed.is_empty() && after.findings.is_empty());
}

#[test]
fn an_entry_that_was_to_start_once_is_forgotten() {
    let (old, new) = ("4.18.0-80.el8.x86_64", "4.18.0-553.el8.x86_64");
    let (old_entry, new_entry) = (bls(old), bls(new));
    let env = format!("saved_entry={ID}-{new}\nnext_entry={ID}-{old}\n");
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[
            ("/boot/grub2/grub.cfg", BLS_CFG.to_owned()),
            ("/boot/grub2/grubenv", grubenv(&env)),
            (&old_entry.0, old_entry.1.clone()),
            (&new_entry.0, new_entry.1.clone()),
        ],
    );
    let after = guest.run(&[RULE]);
    let expected = grubenv(&format!("saved_entry={ID}-{new}\nnext_entry=\n"));
    assert_eq!(after.text("/boot/grub2/grubenv"), expected);
}

#[test]
fn titles_name_entries_of_rhel_7() {
    let (old, new) = ("3.10.0-327.el7.x86_64", "3.10.0-1160.el7.x86_64");
    let title = |version: &str| format!("Red Hat Enterprise Linux Server ({version}) 7.9 (Maipo)");
    let entry = |version: &str, more: &str| {
        format!(
            "menuentry '{}{more}' --class red --unrestricted $menuentry_id_option 'gnulinux-same' {{\n\
             \tlinux16 /vmlinuz-{version} root=/dev/mapper/rhel-root ro{}\n\tinitrd16 /initramfs-{version}.img\n}}\n",
            title(version),
            if more.is_empty() {
                ""
            } else {
                " systemd.log_level=debug systemd.debug"
            }
        )
    };
    let cfg = format!(
        "set default=\"${{saved_entry}}\"\n{}{}{}",
        entry(old, ""),
        entry(new, " with debugging"),
        entry(new, "")
    );
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[
            ("/boot/grub2/grub.cfg", cfg),
            (
                "/boot/grub2/grubenv",
                grubenv(&format!("saved_entry={}\n", title(old))),
            ),
        ],
    )
    .with_facts(|facts| facts.os.family = Family::Rhel);
    let after = guest.run(&[RULE]);
    let expected = grubenv(&format!("saved_entry={}\n", title(new)));
    assert_eq!(after.text("/boot/grub2/grubenv"), expected);
}

#[test]
fn debians_default_is_set_in_the_menu_and_in_its_source() {
    let (old, new) = ("4.9.0-19-amd64", "4.19.0-27-amd64");
    let cfg = "if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\nelse\n   set default=\"0\"\nfi\n\
        menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {\n\tlinux /boot/vmlinuz-4.9.0-19-amd64 root=UUID=1 ro\n}\n\
        submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {\n\
        \tmenuentry 'Debian GNU/Linux, with Linux 4.19.0-27-amd64 (recovery mode)' --class debian $menuentry_id_option 'gnulinux-4.19.0-27-amd64-recovery-1' {\n\t\tlinux /boot/vmlinuz-4.19.0-27-amd64 root=UUID=1 ro single\n\t}\n\
        \tmenuentry 'Debian GNU/Linux, with Linux 4.19.0-27-amd64' --class debian $menuentry_id_option 'gnulinux-4.19.0-27-amd64-advanced-1' {\n\t\tlinux /boot/vmlinuz-4.19.0-27-amd64 root=UUID=1 ro\n\t}\n}\n";
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[
            ("/boot/grub/grub.cfg", cfg.to_owned()),
            (
                "/etc/default/grub",
                "GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\n".to_owned(),
            ),
        ],
    )
    .with_facts(|facts| facts.os.family = Family::Debian);
    let after = guest.run(&[RULE]);
    let value = "gnulinux-advanced-1>gnulinux-4.19.0-27-amd64-advanced-1";
    let expected = cfg.replace("set default=\"0\"", &format!("set default=\"{value}\""));
    assert_eq!(after.text("/boot/grub/grub.cfg"), expected);
    assert_eq!(
        after.text("/etc/default/grub"),
        format!("GRUB_DEFAULT=\"{value}\"\nGRUB_TIMEOUT=5\n")
    );
}

#[test]
fn grub_legacy_counts_entries() {
    let (old, new) = ("2.6.32-71.el6.x86_64", "2.6.32-754.el6.x86_64");
    let menu = "# grub.conf generated by anaconda\ndefault=1\ntimeout=5\n\
        title Windows\n\trootnoverify (hd0,1)\n\tchainloader +1\n\
        title CentOS (2.6.32-71.el6.x86_64)\n\troot (hd0,0)\n\tkernel /vmlinuz-2.6.32-71.el6.x86_64 ro\n\tinitrd /initramfs-2.6.32-71.el6.x86_64.img\n\
        title CentOS (2.6.32-754.el6.x86_64)\n\troot (hd0,0)\n\tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro\n\tinitrd /initramfs-2.6.32-754.el6.x86_64.img\n";
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[("/boot/grub/grub.conf", menu.to_owned())],
    );
    let after = guest.run(&[RULE]);
    assert_eq!(
        after.text("/boot/grub/grub.conf"),
        menu.replace("default=1", "default=2")
    );
}

#[test]
fn both_configurations_of_a_disk_for_two_kinds_of_firmware_are_changed() {
    let (old, new) = ("4.18.0-80.el8.x86_64", "4.18.0-553.el8.x86_64");
    let (old_entry, new_entry) = (bls(old), bls(new));
    let saved = grubenv(&format!("saved_entry={ID}-{old}\n"));
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[
            ("/boot/grub2/grub.cfg", BLS_CFG.to_owned()),
            (
                "/boot/grub2/grubenv",
                "-> ../efi/EFI/rocky/grubenv".to_owned(),
            ),
            ("/boot/efi/EFI/rocky/grub.cfg", BLS_CFG.to_owned()),
            ("/boot/efi/EFI/rocky/grubenv", saved),
            ("/boot/efi/EFI/rocky/shimx64.efi", String::new()),
            (&old_entry.0, old_entry.1.clone()),
            (&new_entry.0, new_entry.1.clone()),
        ],
    )
    .with_mount("/boot/efi");
    let after = guest.run(&[RULE]);
    assert_eq!(after.changed, ["/boot/efi/EFI/rocky/grubenv"]);
    assert_eq!(
        after.text("/boot/efi/EFI/rocky/grubenv"),
        grubenv(&format!("saved_entry={ID}-{new}\n"))
    );
}

#[test]
fn a_stub_on_the_esp_is_no_configuration() {
    let version = "5.14.0-362.el9.x86_64";
    let entry = bls(version);
    let stub = "search --no-floppy --root-dev-only --fs-uuid --set=dev 1-2\nset prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n";
    let guest = guest(
        &[(version, &NEW), ("5.14.0-1.el9.x86_64", &OLD)],
        &[
            ("/boot/grub2/grub.cfg", BLS_CFG.to_owned()),
            ("/boot/efi/EFI/redhat/grub.cfg", stub.to_owned()),
            ("/boot/efi/EFI/redhat/grubx64.efi", String::new()),
            (&entry.0, entry.1.clone()),
        ],
    )
    .with_mount("/boot/efi");
    assert!(guest.run(&[RULE]).changed.is_empty());
}

#[test]
fn systemd_boot_gets_another_default() {
    let (old, new) = ("6.1.0-18-amd64", "6.1.0-9-amd64");
    let entry = |version: &str| {
        let text =
            format!("title Debian\nversion {version}\nlinux /{ID}/{version}/vmlinuz-{version}\n");
        (format!("/efi/loader/entries/{ID}-{version}.conf"), text)
    };
    let (old_entry, new_entry) = (entry(old), entry(new));
    let guest = guest(
        &[(old, &OLD), (new, &NEW)],
        &[
            ("/efi/loader/loader.conf", "timeout 3\n".to_owned()),
            (&old_entry.0, old_entry.1.clone()),
            (&new_entry.0, new_entry.1.clone()),
        ],
    );
    let after = guest.run(&[RULE]);
    assert_eq!(
        after.text("/efi/loader/loader.conf"),
        format!("timeout 3\ndefault {ID}-{new}.conf\n")
    );
}

#[test]
fn where_no_kernel_will_do_the_conversion_stops() {
    let version = "2.6.32-71.el6.x86_64";
    let told = |target: Target, drivers: &[&str]| {
        let options = Options {
            target,
            ..Options::default()
        };
        let guest = guest(&[(version, drivers)], &[]).with_options(options);
        guest.fails(&RULE)
    };
    let error = told(Target::Both, &OLD);
    assert!(
        error.contains("2.6.32-71.el6.x86_64 (no nvme, no ena)"),
        "{error}"
    );
    assert!(error.contains("`--target xen`"), "{error}");
    let error = told(Target::Nitro, &["nvme"]);
    assert!(
        error.contains("(no ena); install a newer kernel"),
        "{error}"
    );
    let error = told(Target::Xen, &["nvme", "ena"]);
    assert!(error.contains("`--target nitro`"), "{error}");
}

#[test]
fn what_cannot_be_told_is_taken_for_granted() {
    let guest = TestGuest::of(&[("/boot/vmlinuz-6.1.0", "")]).with_kernels();
    let after = guest.run(&[RULE]);
    assert!(after.changed.is_empty() && after.findings.is_empty());
}

#[test]
fn rhel_5_runs_on_xen_by_its_own_names_and_never_by_its_kernel_for_xens_guests() {
    let menu = "default=0\ntitle X\n\tkernel /xen.gz-2.6.18-398.el5\n\tmodule /vmlinuz-2.6.18-398.el5xen ro root=LABEL=/\n\
        title B\n\tkernel /vmlinuz-2.6.18-398.el5 ro root=LABEL=/\n";
    let guest = guest(
        &[
            (
                "2.6.18-398.el5xen",
                &["xenblk", "xennet", "xen-blkfront", "xen-netfront"],
            ),
            ("2.6.18-398.el5", &["xen-vbd", "xen-vnif"]),
        ],
        &[("/boot/grub/grub.conf", menu.to_owned())],
    )
    .with_options(Options {
        target: Target::Xen,
        ..Options::default()
    });
    let after = guest.run(&[RULE]);
    assert!(
        after
            .text("/boot/grub/grub.conf")
            .starts_with("default=1\n")
    );
}
