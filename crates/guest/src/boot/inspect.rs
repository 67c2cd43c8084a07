//! Reading how the guest boots.

use super::{
    Boot, BootEntry, Grub, GrubCfg, GrubEnv, GrubLegacy, LegacyDefault, LegacyGrub, LoaderEntry,
    MenuEntry, choose, compare_entries, default_pattern, esp, loader_conf, merge_loader_entries,
};
use crate::{Error, Guest, GuestPath};
use fs::Kind;

/// Largest configuration file that is read. A `grub.cfg` of a hundred kernels has 200 KiB.
pub(crate) const CONFIG_CAP: u64 = 1 << 20;

/// Where distributions keep GRUB 2, in the order in which they are looked at; the directories of
/// vendors on the EFI system partition follow.
const GRUB_DIRECTORIES: [&str; 3] = ["/boot/grub", "/boot/grub2", "/boot/efi/EFI/grub"];
/// Where GRUB Legacy's menu is, in the order in which it is looked for.
const LEGACY_MENUS: [&str; 2] = ["/boot/grub/grub.conf", "/boot/grub/menu.lst"];
/// Where entries of the Boot Loader Specification are.
const ENTRY_DIRECTORIES: [&str; 3] = [
    "/boot/loader/entries",
    "/efi/loader/entries",
    "/boot/efi/loader/entries",
];
/// What becomes the command line of kernels that are installed later.
const KERNEL_CMDLINE: [&str; 1] = ["/etc/kernel/cmdline"];
/// Boot loaders that are only recognised.
const OTHER_LOADERS: [(&str, &str); 5] = [
    ("/boot/extlinux/extlinux.conf", "extlinux"),
    ("/boot/extlinux.conf", "extlinux"),
    ("/boot/syslinux/syslinux.cfg", "syslinux"),
    ("/etc/lilo.conf", "LILO"),
    ("/boot/refind_linux.conf", "rEFInd"),
];

/// Reads how the guest boots.
///
/// # Errors
/// What reading the guest meets; a configuration that makes no sense is no error.
pub fn inspect(guest: &Guest) -> Result<Boot, Error> {
    let mut boot = Boot {
        esp: esp::inspect(guest)?,
        ..Boot::default()
    };
    let mut loader = loader_entries(guest, &mut boot)?;
    let mut starts = Vec::new();
    for directory in grub_directories(guest, &boot)? {
        if let Some((grub, start)) = grub(guest, &mut boot, &loader, &directory)? {
            starts.push(start);
            match boot.grub {
                None => boot.grub = Some(grub),
                Some(_) => boot.more_grubs.push(grub),
            }
        }
    }
    if boot.grub.is_none() {
        legacy(guest, &mut boot)?;
    }
    // The loader's entries stand behind all others.
    let first = boot.entries.len();
    let at = |place: Option<Place>| {
        place.map(|place| match place {
            Place::Config(at) => at,
            Place::Loader(at) => first.saturating_add(at),
        })
    };
    let grubs = boot.grub.iter_mut().chain(&mut boot.more_grubs);
    for (grub, start) in grubs.zip(starts) {
        grub.default = at(start.default);
        grub.next = at(start.next);
    }
    if let Some(grub) = &boot.grub {
        boot.default = grub.default;
    } else if boot.legacy.is_none() {
        boot.default = at(systemd_boot_default(guest, &boot, &loader)?.map(Place::Loader));
    }
    expand(guest, &boot, &mut loader)?;
    boot.entries.extend(loader);
    for path in KERNEL_CMDLINE {
        boot.kernel_cmdline.extend(present(guest, path.into())?);
    }
    for (path, name) in OTHER_LOADERS {
        if present(guest, path.into())?.is_some() && !boot.others.iter().any(|known| known == name)
        {
            boot.others.push(name.to_owned());
        }
    }
    Ok(boot)
}

/// The directories that may hold a `grub.cfg`, each once.
fn grub_directories(guest: &Guest, boot: &Boot) -> Result<Vec<GuestPath>, Error> {
    let vendors = boot.esp.iter().flat_map(|esp| &esp.vendors);
    let vendors = vendors.map(|vendor| vendor.directory.clone());
    let usual = GRUB_DIRECTORIES.into_iter().map(GuestPath::from);
    let (mut seen, mut directories) = (Vec::new(), Vec::new());
    for directory in usual.chain(vendors) {
        let real = guest.canonical(&directory.join("grub.cfg"), true)?;
        if !seen.contains(&real) {
            seen.push(real);
            directories.push(directory);
        }
    }
    Ok(directories)
}

/// Where an entry is, before the list of all entries is whole.
#[derive(Clone, Copy)]
enum Place {
    Config(usize),
    Loader(usize),
}

/// What a configuration starts.
struct Starts {
    default: Option<Place>,
    next: Option<Place>,
}

/// Reads one configuration and adds its entries that start Linux; none if there is none, or a stub.
fn grub(
    guest: &Guest,
    boot: &mut Boot,
    loader: &[BootEntry],
    directory: &GuestPath,
) -> Result<Option<(Grub, Starts)>, Error> {
    let Some(config) = present(guest, directory.join("grub.cfg"))? else {
        return Ok(None);
    };
    let bytes = guest.read(&config, CONFIG_CAP)?.unwrap_or_default();
    let cfg = GrubCfg::parse(&bytes);
    if cfg.is_stub() {
        return Ok(None);
    }
    let environment = present(guest, directory.join("grubenv"))?;
    let block = match &environment {
        Some(path) => GrubEnv::parse(&guest.read(path, CONFIG_CAP)?.unwrap_or_default()).ok(),
        None => None,
    };
    let variable = |name: &str| {
        let value = block.as_ref().and_then(|block| block.value(name));
        value.filter(|value| !value.is_empty())
    };
    let own = cfg.entries();
    let first = boot.entries.len();
    boot.entries
        .extend(own.iter().filter_map(|entry| boot_entry(&config, entry)));
    let shown: Vec<&BootEntry> = loader.iter().filter(|_| cfg.blscfg()).collect();
    let before = cfg.entries_before_blscfg().unwrap_or(0);
    let menu = merge_loader_entries(own, before, &shown);
    let ours = boot.entries.get(first..).unwrap_or_default();
    let place = |chosen: &MenuEntry| {
        let name = chosen.path.first().filter(|_| chosen.path.len() == 1);
        let in_loader = name.and_then(|name| name.index.checked_sub(before));
        if let Some(at) = in_loader.filter(|at| *at < shown.len()) {
            return Some(Place::Loader(at));
        }
        let line = chosen.kernel.as_ref()?.line;
        let at = ours.iter().position(|entry| entry.line == line)?;
        Some(Place::Config(first.saturating_add(at)))
    };
    let start = |value: Option<&str>| {
        // Without a value, and with one that names nothing, GRUB starts the first entry.
        let found = value.and_then(|value| choose(&menu, value));
        found.or_else(|| choose(&menu, "0")).and_then(place)
    };
    let default = match cfg.default() {
        Some(value) if value.contains('$') => start(variable("saved_entry").as_deref()),
        value => start(value.as_deref()),
    };
    let next = variable("next_entry").and_then(|value| choose(&menu, &value).and_then(place));
    let grub = Grub {
        environment,
        device_map: present(guest, directory.join("device.map"))?,
        defaults: defaults(guest)?,
        blscfg: cfg.blscfg(),
        default: None,
        next: None,
        config,
    };
    Ok(Some((grub, Starts { default, next })))
}

fn boot_entry(config: &GuestPath, entry: &MenuEntry) -> Option<BootEntry> {
    let (kernel, name) = (entry.kernel.as_ref()?, entry.path.last()?);
    Some(BootEntry {
        file: config.clone(),
        line: kernel.line,
        title: name.title.clone(),
        id: name.id.clone(),
        kernel: kernel.kernel.clone(),
        initrds: entry.initrds.clone(),
        arguments: kernel.arguments.clone(),
    })
}

/// GRUB Legacy's menu. The one on the EFI system partition is that of RHEL 6.
fn legacy(guest: &Guest, boot: &mut Boot) -> Result<(), Error> {
    let vendors = boot.esp.iter().flat_map(|esp| &esp.vendors);
    let on_esp = vendors.map(|vendor| vendor.directory.join("grub.conf"));
    let usual = LEGACY_MENUS.into_iter().map(GuestPath::from);
    let menus: Vec<GuestPath> = usual.chain(on_esp).collect();
    for menu in menus {
        if present(guest, menu.clone())?.is_none() {
            continue;
        }
        let bytes = guest.read(&menu, CONFIG_CAP)?.unwrap_or_default();
        let parsed = GrubLegacy::parse(&bytes);
        let directory = menu.parent().unwrap_or_else(GuestPath::root);
        let number = match parsed.default() {
            LegacyDefault::Number(number) => number,
            LegacyDefault::Saved => saved_number(guest, &directory.join("default"))?,
        };
        for (at, entry) in parsed.entries().into_iter().enumerate() {
            let Some(entry) = entry else { continue };
            if at == number {
                boot.default = Some(boot.entries.len());
            }
            boot.entries.push(BootEntry {
                file: menu.clone(),
                line: entry.line,
                title: entry.title,
                id: None,
                kernel: entry.kernel,
                initrds: entry.initrds,
                arguments: entry.arguments,
            });
        }
        boot.legacy = Some(LegacyGrub {
            device_map: present(guest, directory.join("device.map"))?,
            menu,
        });
        return Ok(());
    }
    Ok(())
}

/// `grub-set-default` writes the number into the first line.
fn saved_number(guest: &Guest, path: &GuestPath) -> Result<usize, Error> {
    let bytes = guest.read(path, CONFIG_CAP)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let number = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    Ok(number.unwrap_or(0))
}

/// The entries of the Boot Loader Specification as GRUB sorts them, newest first.
fn loader_entries(guest: &Guest, boot: &mut Boot) -> Result<Vec<BootEntry>, Error> {
    let (mut seen, mut entries) = (Vec::new(), Vec::new());
    for directory in ENTRY_DIRECTORIES {
        let directory = guest.canonical(&directory.into(), true)?;
        if seen.contains(&directory) {
            continue;
        }
        if let Some(loader) = directory.parent()
            && boot.loader_conf.is_none()
        {
            boot.loader_conf = present(guest, loader.join("loader.conf"))?;
        }
        let mut here = Vec::new();
        for entry in guest.list(&directory)? {
            let file = directory.join(&entry.name);
            if entry.kind != Kind::File || !file.has_suffix(".conf") {
                continue;
            }
            let bytes = guest.read(&file, CONFIG_CAP)?.unwrap_or_default();
            let parsed = LoaderEntry::parse(&bytes);
            let Some(kernel) = parsed.values("linux").next() else {
                continue;
            };
            let name = String::from_utf8_lossy(&entry.name);
            let id = name.strip_suffix(".conf").unwrap_or(&name).to_owned();
            let initrds = parsed.values("initrd").flat_map(str::split_whitespace);
            here.push(BootEntry {
                line: parsed.line_of("linux").unwrap_or(1),
                title: parsed.values("title").next().unwrap_or(&id).to_owned(),
                kernel: kernel.to_owned(),
                initrds: initrds.map(str::to_owned).collect(),
                arguments: parsed.options(),
                id: Some(id),
                file,
            });
        }
        let id = |entry: &BootEntry| entry.id.clone().unwrap_or_default();
        here.sort_by(|a, b| compare_entries(&id(b), &id(a)));
        entries.append(&mut here);
        seen.push(directory);
    }
    Ok(entries)
}

/// Puts what GRUB's variables say into the command lines that take it from there.
fn expand(guest: &Guest, boot: &Boot, loader: &mut [BootEntry]) -> Result<(), Error> {
    let Some(grub) = boot.grubs().find(|grub| grub.blscfg) else {
        return Ok(());
    };
    let cfg = GrubCfg::parse(&guest.read(&grub.config, CONFIG_CAP)?.unwrap_or_default());
    let block = match &grub.environment {
        Some(path) => GrubEnv::parse(&guest.read(path, CONFIG_CAP)?.unwrap_or_default()).ok(),
        None => None,
    };
    let variable = |name: &str| {
        let saved = block.as_ref().and_then(|block| block.value(name));
        saved.or_else(|| cfg.kernel_options(name))
    };
    for entry in loader {
        let bytes = guest.read(&entry.file, CONFIG_CAP)?.unwrap_or_default();
        entry.arguments = LoaderEntry::parse(&bytes).expanded_options(variable);
    }
    Ok(())
}

/// What systemd-boot starts: the first entry that `default` fits, else the first of all.
fn systemd_boot_default(
    guest: &Guest,
    boot: &Boot,
    loader: &[BootEntry],
) -> Result<Option<usize>, Error> {
    let mut order = Vec::new();
    for (at, entry) in loader.iter().enumerate() {
        let bytes = guest.read(&entry.file, CONFIG_CAP)?.unwrap_or_default();
        let parsed = LoaderEntry::parse(&bytes);
        let value = |key| parsed.values(key).next().unwrap_or_default().to_owned();
        let name = entry.id.clone().unwrap_or_default();
        order.push((
            at,
            [
                value("sort-key"),
                value("machine-id"),
                value("version"),
                name,
            ],
        ));
    }
    order.sort_by(|(_, a), (_, b)| {
        let (a, b) = (a.each_ref(), b.each_ref());
        loader_conf::compare(&a.map(String::as_str), &b.map(String::as_str))
    });
    let mut pattern = None;
    if let Some(path) = &boot.loader_conf {
        pattern = default_pattern(&guest.read(path, CONFIG_CAP)?.unwrap_or_default());
    }
    let fits = |(_, keys): &&(usize, [String; 4])| {
        let [.., name] = keys;
        pattern.as_ref().is_some_and(|pattern| {
            let file = format!("{name}.conf");
            loader_conf::fits(pattern, &file) || loader_conf::fits(pattern, name)
        })
    };
    let chosen = order.iter().find(fits).or_else(|| order.first());
    Ok(chosen.map(|(at, _)| *at))
}

/// What `grub-mkconfig` sources, in its order.
fn defaults(guest: &Guest) -> Result<Vec<GuestPath>, Error> {
    let mut files = Vec::new();
    files.extend(present(guest, "/etc/default/grub".into())?);
    let directory = GuestPath::from("/etc/default/grub.d");
    for entry in guest.list(&directory)? {
        let file = directory.join(&entry.name);
        if file.has_suffix(".cfg") && !entry.name.starts_with(b".") {
            files.extend(present(guest, file)?);
        }
    }
    Ok(files)
}

/// The path itself, if a regular file is there.
pub(crate) fn present(guest: &Guest, path: GuestPath) -> Result<Option<GuestPath>, Error> {
    let meta = guest.stat_followed(&path)?;
    Ok(meta.filter(|meta| meta.kind == Kind::File).map(|_| path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// As `10_linux` and `00_header` of RHEL 8 leave it, shortened.
    const RHEL_8: &str = "if [ -f ${config_directory}/grubenv ]; then\n  load_env -f ${config_directory}/grubenv\n\
        elif [ -s $prefix/grubenv ]; then\n  load_env\nfi\nif [ \"${next_entry}\" ] ; then\n\
        \x20  set default=\"${next_entry}\"\n   set next_entry=\n   save_env next_entry\n   set boot_once=true\n\
        else\n   set default=\"${saved_entry}\"\nfi\nif [ -z \"${kernelopts}\" ]; then\n\
        \x20 set kernelopts=\"root=/dev/mapper/rhel-root ro rd.lvm.lv=rhel/root rhgb quiet \"\nfi\n\
        insmod blscfg\nblscfg\nmenuentry 'UEFI Firmware Settings' {\n  fwsetup\n}\n";
    const ID: &str = "b0a2f9f3a1c34c5fb5a1c7b4a5e3d2f1";

    fn grubenv(lines: &str) -> String {
        let block = format!("# GRUB Environment Block\n{lines}");
        format!("{block}{}", "#".repeat(1024 - block.len()))
    }

    fn entry(version: &str) -> String {
        format!(
            "title Red Hat Enterprise Linux ({version}) 8.10 (Ootpa)\nversion {version}\n\
             linux /vmlinuz-{version}\ninitrd /initramfs-{version}.img $tuned_initrd\n\
             options $kernelopts $tuned_params\nid rhel-2024-{version}\ngrub_users $grub_users\n\
             grub_arg --unrestricted\ngrub_class kernel\n"
        )
    }

    fn boots(files: &[(String, String)]) -> Boot {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        inspect(&testing::guest(&files)).unwrap()
    }

    fn rhel_8(environment: &str) -> Boot {
        let versions = ["0-rescue", "4.18.0-80.el8.x86_64", "4.18.0-553.el8.x86_64"];
        let mut files: Vec<(String, String)> = versions
            .iter()
            .map(|version| {
                let path = format!("/boot/loader/entries/{ID}-{version}.conf");
                (path, entry(version))
            })
            .collect();
        files.push(("/boot/grub2/grub.cfg".into(), RHEL_8.into()));
        files.push(("/boot/grub2/grubenv".into(), grubenv(environment)));
        boots(&files)
    }

    fn default_kernel(boot: &Boot) -> &str {
        &boot.entries[boot.default.unwrap()].kernel
    }

    #[test]
    fn the_default_of_rhel_8_is_the_saved_entry() {
        let saved = format!("saved_entry={ID}-4.18.0-80.el8.x86_64\nboot_success=0\n");
        let boot = rhel_8(&saved);
        assert_eq!(default_kernel(&boot), "/vmlinuz-4.18.0-80.el8.x86_64");
        assert_eq!(
            boot.entries[0].arguments,
            "root=/dev/mapper/rhel-root ro rd.lvm.lv=rhel/root rhgb quiet"
        );
        let kernels: Vec<&str> = boot.entries.iter().map(|entry| &*entry.kernel).collect();
        assert_eq!(
            kernels,
            [
                "/vmlinuz-4.18.0-553.el8.x86_64",
                "/vmlinuz-4.18.0-80.el8.x86_64",
                "/vmlinuz-0-rescue"
            ]
        );
        for (environment, expected) in [
            ("", "553"),
            ("saved_entry=1\n", "80"),
            ("saved_entry=gone\n", "553"),
            (
                "saved_entry=Red Hat Enterprise Linux (4.18.0-80.el8.x86_64) 8.10 (Ootpa)\n",
                "80",
            ),
        ] {
            let boot = rhel_8(environment);
            let wanted = format!("/vmlinuz-4.18.0-{expected}.el8.x86_64");
            assert_eq!(default_kernel(&boot), wanted, "{environment}");
        }
        let next = format!("saved_entry=0\nnext_entry={ID}-4.18.0-80.el8.x86_64\n");
        assert_eq!(rhel_8(&next).grub.unwrap().next, Some(1));
    }

    #[test]
    fn the_default_of_rhel_7_is_a_title() {
        let title = "Red Hat Enterprise Linux Server (3.10.0-327.el7.x86_64) 7.2 (Maipo)";
        let cfg = format!(
            "set default=\"${{saved_entry}}\"\n\
             menuentry 'Red Hat Enterprise Linux Server (3.10.0-1160.el7.x86_64) 7.9 (Maipo)' --class red --unrestricted $menuentry_id_option 'gnulinux-x' {{\n\
             \tlinux16 /vmlinuz-3.10.0-1160.el7.x86_64 root=/dev/mapper/rhel-root ro\n\tinitrd16 /initramfs-3.10.0-1160.el7.x86_64.img\n}}\n\
             menuentry '{title}' --class red --unrestricted $menuentry_id_option 'gnulinux-x' {{\n\
             \tlinux16 /vmlinuz-3.10.0-327.el7.x86_64 root=/dev/mapper/rhel-root ro\n}}\n"
        );
        let boot = boots(&[
            ("/boot/grub2/grub.cfg".into(), cfg),
            (
                "/boot/grub2/grubenv".into(),
                grubenv(&format!("saved_entry={title}\n")),
            ),
        ]);
        assert_eq!(default_kernel(&boot), "/vmlinuz-3.10.0-327.el7.x86_64");
    }

    #[test]
    fn the_default_of_rhel_6_is_a_number() {
        let menu = |default: &str| {
            format!(
                "default={default}\ntitle A\n\tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro\n\
                 title B\n\tkernel /vmlinuz-2.6.32-71.el6.x86_64 ro\n"
            )
        };
        for (default, expected) in [("0", "754"), ("1", "71"), ("saved", "71")] {
            let boot = boots(&[
                ("/boot/grub/grub.conf".into(), menu(default)),
                ("/boot/grub/menu.lst".into(), "-> ./grub.conf".into()),
                ("/boot/grub/default".into(), "1\n#\n#\n".into()),
            ]);
            let wanted = format!("/vmlinuz-2.6.32-{expected}.el6.x86_64");
            assert_eq!(default_kernel(&boot), wanted, "{default}");
            assert_eq!(boot.legacy.unwrap().menu, "/boot/grub/grub.conf");
            assert_eq!(boot.entries.len(), 2);
        }
    }

    #[test]
    fn without_grub_systemd_boots_configuration_counts() {
        let files = |conf: &str| {
            vec![
                ("/efi/loader/loader.conf".to_owned(), conf.to_owned()),
                (
                    "/efi/loader/entries/a-6.1.conf".to_owned(),
                    "linux /a61\n".to_owned(),
                ),
                (
                    "/efi/loader/entries/a-6.10.conf".to_owned(),
                    "linux /a610\n".to_owned(),
                ),
            ]
        };
        assert_eq!(default_kernel(&boots(&files("default a-6.1.*\n"))), "/a61");
        assert_eq!(default_kernel(&boots(&files("timeout 5\n"))), "/a610");
    }
}
