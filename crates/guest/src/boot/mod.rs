//! Boot loader configuration: GRUB 2, Boot Loader Specification entries, the EFI system partition.
//!
//! The parsers keep every byte that they are not asked to change.

mod command_line;
mod device_map;
mod esp;
mod facts;
mod grub_cfg;
mod grubenv;
mod loader_entry;

pub use command_line::CommandLine;
pub use device_map::device_map;
pub use facts::{Boot, BootEntry, Esp, EspVendor, Grub};
pub use grub_cfg::{GrubCfg, KernelLine, MenuEntry, MenuName, choose};
pub use grubenv::{GrubEnv, GrubEnvError};
pub use loader_entry::LoaderEntry;

use crate::{Error, Guest, GuestPath};
use fs::Kind;

/// Largest configuration file that is read. A `grub.cfg` of a hundred kernels has 200 KiB.
pub(crate) const CONFIG_CAP: u64 = 1 << 20;

/// Where distributions keep GRUB 2, in the order in which they are looked at.
const GRUB_DIRECTORIES: [&str; 3] = ["/boot/grub", "/boot/grub2", "/boot/efi/EFI/grub"];
/// Where entries of the Boot Loader Specification are.
const ENTRY_DIRECTORIES: [&str; 3] = [
    "/boot/loader/entries",
    "/efi/loader/entries",
    "/boot/efi/loader/entries",
];
/// What becomes the command line of kernels that are installed later.
const KERNEL_CMDLINE: [&str; 1] = ["/etc/kernel/cmdline"];
/// Boot loaders that are only recognised.
const OTHER_LOADERS: [(&str, &str); 7] = [
    ("/boot/grub/menu.lst", "GRUB Legacy"),
    ("/boot/grub/grub.conf", "GRUB Legacy"),
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
    let mut default = None;
    if let Some(directory) = grub_directory(guest)? {
        let config = directory.join("grub.cfg");
        let bytes = guest.read(&config, CONFIG_CAP)?.unwrap_or_default();
        let cfg = GrubCfg::parse(&bytes);
        let environment = present(guest, directory.join("grubenv"))?;
        default = match cfg.default() {
            Some(value) if value.contains('$') => saved_entry(guest, environment.as_ref())?,
            value => value,
        };
        default_menu_entry(&mut boot, &config, &cfg, default.as_deref());
        boot.grub = Some(Grub {
            environment,
            device_map: present(guest, directory.join("device.map"))?,
            defaults: defaults(guest)?,
            blscfg: cfg.blscfg(),
            config,
        });
    }
    loader_entries(guest, &mut boot, default.as_deref())?;
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

/// The first directory whose `grub.cfg` is there.
fn grub_directory(guest: &Guest) -> Result<Option<GuestPath>, Error> {
    for directory in GRUB_DIRECTORIES {
        let directory = GuestPath::from(directory);
        if present(guest, directory.join("grub.cfg"))?.is_some() {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// Adds the menu's entries that start Linux, and tells which of them is the default.
fn default_menu_entry(boot: &mut Boot, config: &GuestPath, cfg: &GrubCfg, default: Option<&str>) {
    let menu = cfg.entries();
    let chosen = match default {
        // Without a value GRUB starts the first entry.
        None => choose(&menu, "0"),
        Some(value) => choose(&menu, value),
    };
    for entry in &menu {
        let (Some(kernel), Some(name)) = (&entry.kernel, entry.path.last()) else {
            continue;
        };
        if chosen.is_some_and(|chosen| std::ptr::eq(chosen, entry)) {
            boot.default = Some(boot.entries.len());
        }
        boot.entries.push(BootEntry {
            file: config.clone(),
            line: kernel.line,
            title: name.title.clone(),
            id: name.id.clone(),
            kernel: kernel.kernel.clone(),
            initrds: entry.initrds.clone(),
            arguments: kernel.arguments.clone(),
        });
    }
}

fn loader_entries(guest: &Guest, boot: &mut Boot, default: Option<&str>) -> Result<(), Error> {
    let mut seen = Vec::new();
    for directory in ENTRY_DIRECTORIES {
        let directory = guest.canonical(&directory.into(), true)?;
        if seen.contains(&directory) {
            continue;
        }
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
            let id = name.trim_end_matches(".conf").to_owned();
            if default == Some(&id) {
                boot.default = Some(boot.entries.len());
            }
            let initrds = parsed.values("initrd").flat_map(str::split_whitespace);
            boot.entries.push(BootEntry {
                line: parsed.line_of("linux").unwrap_or(1),
                title: parsed.values("title").next().unwrap_or(&id).to_owned(),
                kernel: kernel.to_owned(),
                initrds: initrds.map(str::to_owned).collect(),
                arguments: parsed.options(),
                id: Some(id),
                file,
            });
        }
        seen.push(directory);
    }
    Ok(())
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

fn saved_entry(guest: &Guest, environment: Option<&GuestPath>) -> Result<Option<String>, Error> {
    let Some(environment) = environment else {
        return Ok(None);
    };
    let bytes = guest.read(environment, CONFIG_CAP)?.unwrap_or_default();
    Ok(GrubEnv::parse(&bytes)
        .ok()
        .and_then(|env| env.value("saved_entry")))
}

/// The path itself, if a regular file is there.
pub(crate) fn present(guest: &Guest, path: GuestPath) -> Result<Option<GuestPath>, Error> {
    let meta = guest.stat_followed(&path)?;
    Ok(meta.filter(|meta| meta.kind == Kind::File).map(|_| path))
}
