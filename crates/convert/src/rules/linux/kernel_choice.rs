//! The kernel that starts by itself has to drive the disks and the network of the target.
//!
//! A guest may have several kernels, and its default may be an old one, or one for another
//! hypervisor, while a newer one beside it has the drivers. Then that one becomes the default, in
//! the way in which the guest's own tools would make it so (linux-guests.md, items 13 and 14). Where
//! no kernel will do, a conversion would make an instance that never answers: it stops, and says
//! which instances the guest can still run on.

use super::drivers::{Hardware, drives};
use crate::{Draft, Error, Options, Rule, Severity, Target};
use guest::assignment::Assignments;
use guest::boot::{
    BootEntry, Grub, GrubCfg, GrubEnv, GrubLegacy, MenuEntry, merge_loader_entries, name_of,
    with_default,
};
use guest::{Architecture, Facts, Guest, GuestPath, Kernel, Lineage};

/// Makes a kernel the default that the target can run.
pub(super) const RULE: Rule = Rule {
    id: "kernel-choice",
    summary: "make a kernel the default that drives the target's disks and network",
    applies: |_, _| true,
    run,
};

const SYSCONFIG: &str = "/etc/sysconfig/kernel";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let (guest, facts, options) = (draft.guest(), draft.facts(), draft.options());
    let usable = |kernel: &&Kernel| rank(facts, options, kernel) > 0;
    if facts.kernels.is_empty() {
        let text = "no kernel was found in /boot or below /lib/modules: the disk that holds /boot is \
                    missing, or --root names another volume; give all disks of the machine";
        draft.find(Severity::Problem, text);
        return Ok(());
    }
    let Some(best) = best(guest, facts, options)? else {
        return Err(none_will_do(facts, options));
    };
    if facts.kernels.iter().all(|kernel| usable(&kernel)) {
        return Ok(());
    }
    let choice = Choice {
        kernel: best,
        why: format!(
            "{} drives the target's disks and network; the default did not",
            best.version
        ),
    };
    let starts_well = |entry: Option<usize>| -> Result<bool, Error> {
        let entry = entry.and_then(|at| facts.boot.entries.get(at));
        let kernel = entry.map(|entry| kernel_of(guest, facts, entry));
        Ok(kernel
            .transpose()?
            .flatten()
            .is_some_and(|kernel| usable(&kernel)))
    };
    let mut changed = false;
    for grub in facts.boot.grubs() {
        if let Some(next) = grub.next
            && !starts_well(Some(next))?
        {
            forget_next(draft, grub)?;
        }
        if !starts_well(grub.default)? {
            changed |= choice.in_grub(draft, grub)?;
        }
    }
    if facts.boot.grub.is_none() && !starts_well(facts.boot.default)? {
        changed |= choice.in_legacy_menu(draft)? || choice.in_loader_conf(draft)?;
        // The menu of GRUB Legacy has said by itself why it stays as it is.
        if !changed && facts.boot.legacy.is_none() {
            let text = format!(
                "the kernel that starts by itself has no drivers for the target, {} has; rehost \
                 cannot tell how the boot loader chooses. Make it the default in the source",
                best.version
            );
            draft.find(Severity::Problem, text);
        }
    }
    if changed {
        draft.find(
            Severity::Warning,
            format!(
                "the guest starts kernel {} from now on: its default had no drivers for the target",
                best.version
            ),
        );
        sysconfig(draft, best)?;
    }
    Ok(())
}

/// The kernel that starts by itself, as far as that can be told: the default if it suits the target,
/// else the one that becomes the default.
pub(super) fn starts<'g>(draft: &Draft<'g>) -> Result<Option<&'g Kernel>, Error> {
    let (guest, facts, options) = (draft.guest(), draft.facts(), draft.options());
    let default = facts.boot.default.and_then(|at| facts.boot.entries.get(at));
    let default = default.map(|entry| kernel_of(guest, facts, entry));
    let default = default.transpose()?.flatten();
    if default.is_some_and(|kernel| rank(facts, options, kernel) > 0) {
        return Ok(default);
    }
    Ok(best(guest, facts, options)?.or(default))
}

/// The kernel that suits the target best, of those in the menu if one of them does; none if none does.
fn best<'f>(
    guest: &Guest,
    facts: &'f Facts,
    options: &Options,
) -> Result<Option<&'f Kernel>, Error> {
    let mut listed = Vec::new();
    for entry in &facts.boot.entries {
        if !rescues(&entry.title, &entry.arguments) {
            listed.extend(kernel_of(guest, facts, entry)?);
        }
    }
    let of_menu = best_of(listed, facts, options);
    Ok(of_menu.or_else(|| best_of(&facts.kernels, facts, options)))
}

fn best_of<'f>(
    kernels: impl IntoIterator<Item = &'f Kernel>,
    facts: &Facts,
    options: &Options,
) -> Option<&'f Kernel> {
    let suits = |kernel: &&Kernel| rank(facts, options, kernel) > 0;
    kernels.into_iter().filter(suits).max_by(|one, other| {
        let ranks = [one, other].map(|kernel| rank(facts, options, kernel));
        ranks[0].cmp(&ranks[1]).then_with(|| one.compare(other))
    })
}

/// How well a kernel suits the target; 0 if it does not. Where either kind of instance will do, one
/// that runs on both is better, but it has to run on the newer kind.
fn rank(facts: &Facts, options: &Options, kernel: &Kernel) -> u8 {
    let nitro = drives(kernel, Hardware::Nitro);
    let xen = drives(kernel, Hardware::Xen);
    match options.target {
        Target::Nitro => u8::from(nitro),
        Target::Xen => u8::from(xen),
        Target::Both if facts.architecture == Architecture::Aarch64 => u8::from(nitro),
        Target::Both if nitro => 1 + u8::from(xen),
        Target::Both => 0,
    }
}

fn none_will_do(facts: &Facts, options: &Options) -> Error {
    let on_xen = facts
        .kernels
        .iter()
        .any(|kernel| drives(kernel, Hardware::Xen));
    let on_nitro = facts
        .kernels
        .iter()
        .any(|kernel| drives(kernel, Hardware::Nitro));
    let (wanted, instead) = match options.target {
        Target::Xen if on_nitro => (Hardware::Xen, Some(Hardware::Nitro)),
        Target::Xen => (Hardware::Xen, None),
        _ if on_xen => (Hardware::Nitro, Some(Hardware::Xen)),
        _ => (Hardware::Nitro, None),
    };
    let kernels = facts.kernels.iter().map(|kernel| {
        let lacks = wanted.lacks(kernel);
        format!("{} ({lacks})", kernel.version)
    });
    Error::NoKernel {
        wanted: wanted.instances(),
        kernels: kernels.collect::<Vec<_>>().join(", "),
        advice: match instead {
            Some(hardware) => format!(
                "it can run on {}: `--target {}` converts it for them",
                hardware.instances(),
                hardware.argument()
            ),
            None => "install a newer kernel in the source first".to_owned(),
        },
    }
}

/// The kernel that an entry starts. Boot loaders name files from the root of their file system.
fn kernel_of<'f>(
    guest: &Guest,
    facts: &'f Facts,
    entry: &BootEntry,
) -> Result<Option<&'f Kernel>, Error> {
    let name = match entry.kernel.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or(rest, |(_, path)| path),
        None => &entry.kernel,
    };
    let esp = facts.boot.esp.as_ref().map(|esp| esp.mount.clone());
    let places = [Some(GuestPath::root()), Some("/boot".into()), esp];
    for place in places.into_iter().flatten() {
        let path = place.join(name.trim_start_matches('/'));
        let path = guest.canonical(&path, true)?;
        let found = facts.kernels.iter().find(|kernel| kernel.image == path);
        if found.is_some() {
            return Ok(found);
        }
    }
    // Of a file system inside another one, as a subvolume, the path has more in front.
    let file = name.rsplit('/').next().unwrap_or(name).as_bytes();
    let mut kernels = facts.kernels.iter();
    Ok(kernels.find(|kernel| kernel.image.name() == Some(file)))
}

/// The entries of a menu that rescue are no default.
fn rescues(title: &str, arguments: &str) -> bool {
    let title = title.to_lowercase();
    let words = ["recovery", "rescue", "single", "debug"];
    words.iter().any(|word| title.contains(word))
        || arguments.split_whitespace().any(|word| {
            matches!(
                word,
                "single" | "1" | "s" | "S" | "emergency" | "systemd.debug"
            )
        })
}

/// The kernel that becomes the default.
struct Choice<'k> {
    kernel: &'k Kernel,
    why: String,
}

impl Choice<'_> {
    /// Whether an entry starts it, for everyday work.
    fn is_in(&self, draft: &Draft<'_>, entry: &BootEntry) -> Result<bool, Error> {
        let found = kernel_of(draft.guest(), draft.facts(), entry)?;
        let ours = found.is_some_and(|kernel| kernel.version == self.kernel.version);
        Ok(ours && !rescues(&entry.title, &entry.arguments))
    }

    /// Nothing in the menu starts it.
    fn is_nowhere(&self, draft: &mut Draft<'_>, file: &GuestPath) {
        draft.find(
            Severity::Problem,
            format!(
                "{file} starts a kernel that has no drivers for the target, and has no entry for {}, \
                 which has; make that the default in the source",
                self.kernel.version
            ),
        );
    }

    fn in_grub(&self, draft: &mut Draft<'_>, grub: &Grub) -> Result<bool, Error> {
        let bytes = draft.read(&grub.config)?.unwrap_or_default();
        let mut cfg = GrubCfg::parse(&bytes);
        let entries = &draft.facts().boot.entries;
        let loader = entries
            .iter()
            .filter(|entry| grub.blscfg && entry.file.has_suffix(".conf"));
        let loader: Vec<&BootEntry> = loader.collect();
        let before = cfg.entries_before_blscfg().unwrap_or(0);
        let menu = merge_loader_entries(cfg.entries(), before, &loader);
        let mut found: Option<&MenuEntry> = None;
        for entry in &menu {
            let (Some(kernel), Some(name)) = (&entry.kernel, entry.path.last()) else {
                continue;
            };
            let as_boot_entry = BootEntry {
                file: grub.config.clone(),
                line: kernel.line,
                title: name.title.clone(),
                id: name.id.clone(),
                kernel: kernel.kernel.clone(),
                initrds: entry.initrds.clone(),
                arguments: kernel.arguments.clone(),
            };
            if found.is_none() && self.is_in(draft, &as_boot_entry)? {
                found = Some(entry);
            }
        }
        let Some(entry) = found else {
            self.is_nowhere(draft, &grub.config);
            return Ok(false);
        };
        // grubby knows entries of RHEL 7 by their titles; what `blscfg` adds is known by file, and
        // titles of Debian's are in the language of who ran update-grub.
        let red_hat = draft.facts().os.family.lineage() == Lineage::RedHat;
        let value = name_of(&menu, entry, red_hat && !grub.blscfg);
        if cfg.default().is_some_and(|default| default.contains('$')) {
            return self.in_environment(draft, grub, &value);
        }
        if !cfg.set_default(&value) {
            cfg.insert_before("set default=\"0\"\n", |_| false);
            cfg.set_default(&value);
        }
        draft.write(&grub.config, cfg.render(), &*self.why)?;
        self.in_defaults(draft, grub, &value)?;
        Ok(true)
    }

    fn in_environment(
        &self,
        draft: &mut Draft<'_>,
        grub: &Grub,
        value: &str,
    ) -> Result<bool, Error> {
        let beside = || grub.config.parent().map(|dir| dir.join("grubenv"));
        let Some(path) = grub.environment.clone().or_else(beside) else {
            return Ok(false);
        };
        let block = match draft.read(&path)? {
            Some(bytes) => GrubEnv::parse(&bytes),
            None => Ok(GrubEnv::empty()),
        };
        let set = block.and_then(|mut block| {
            block.set("saved_entry", value)?;
            Ok(block)
        });
        match set {
            Ok(block) => {
                draft.write(&path, block.render(), &*self.why)?;
                Ok(true)
            }
            Err(error) => {
                let text = format!(
                    "{path}: {} cannot become the default: {error}",
                    self.kernel.version
                );
                draft.find(Severity::Problem, text);
                Ok(false)
            }
        }
    }

    /// What the next `update-grub` makes the default of.
    fn in_defaults(&self, draft: &mut Draft<'_>, grub: &Grub, value: &str) -> Result<(), Error> {
        let mut files = Vec::new();
        for path in &grub.defaults {
            if let Some(bytes) = draft.read(path)? {
                files.push((path.clone(), Assignments::parse(&bytes)));
            }
        }
        let sets = |(_, file): &(GuestPath, Assignments)| file.value("GRUB_DEFAULT").is_some();
        let last = files.iter().rposition(sets).unwrap_or(0);
        let Some((path, file)) = files.get_mut(last) else {
            return Ok(());
        };
        if file.value("GRUB_DEFAULT").as_deref() == Some("saved") {
            return Ok(());
        }
        file.set("GRUB_DEFAULT", value);
        draft.write(path, file.render(), &*self.why)
    }

    fn in_legacy_menu(&self, draft: &mut Draft<'_>) -> Result<bool, Error> {
        let legacy = draft.facts().boot.legacy.as_ref();
        let Some(path) = legacy.map(|legacy| legacy.menu.clone()) else {
            return Ok(false);
        };
        let mut menu = GrubLegacy::parse(&draft.read(&path)?.unwrap_or_default());
        let mut number = None;
        for (at, entry) in menu.entries().into_iter().enumerate() {
            let Some(entry) = entry else { continue };
            let entry = BootEntry {
                file: path.clone(),
                line: entry.line,
                title: entry.title,
                id: None,
                kernel: entry.kernel,
                initrds: entry.initrds,
                arguments: entry.arguments,
            };
            if number.is_none() && self.is_in(draft, &entry)? {
                number = Some(at);
            }
        }
        let Some(number) = number else {
            self.is_nowhere(draft, &path);
            return Ok(false);
        };
        menu.set_default(number);
        draft.write(&path, menu.render(), &*self.why)?;
        Ok(true)
    }

    fn in_loader_conf(&self, draft: &mut Draft<'_>) -> Result<bool, Error> {
        let boot = &draft.facts().boot;
        if boot.legacy.is_some() {
            return Ok(false);
        }
        let Some(path) = boot.loader_conf.clone() else {
            return Ok(false);
        };
        let mut name = None;
        for entry in &boot.entries {
            if name.is_none() && self.is_in(draft, entry)? {
                name = entry.id.clone();
            }
        }
        let Some(name) = name else {
            return Ok(false);
        };
        let old = draft.read(&path)?.unwrap_or_default();
        draft.write(
            &path,
            with_default(&old, &format!("{name}.conf")),
            &*self.why,
        )?;
        Ok(true)
    }
}

/// An entry that was to start once, at the next boot, would be the first thing that the target does.
fn forget_next(draft: &mut Draft<'_>, grub: &Grub) -> Result<(), Error> {
    let Some(path) = &grub.environment else {
        return Ok(());
    };
    let bytes = draft.read(path)?.unwrap_or_default();
    let Ok(mut block) = GrubEnv::parse(&bytes) else {
        return Ok(());
    };
    // An empty value never needs more room than the one before it.
    if block.set("next_entry", "").is_ok() {
        let why = "the entry that was to start once has no drivers for the target";
        draft.write(path, block.render(), why)?;
    }
    Ok(())
}

/// Red Hat's and Oracle's kernel packages make themselves the default when they are of the kind that
/// this file names; the next update would bring the other kind back (RHBZ 1176801).
fn sysconfig(draft: &mut Draft<'_>, kernel: &Kernel) -> Result<(), Error> {
    let path = GuestPath::from(SYSCONFIG);
    let Some(bytes) = draft.read(&path)? else {
        return Ok(());
    };
    let mut file = Assignments::parse(&bytes);
    let Some(old) = file.value("DEFAULTKERNEL") else {
        return Ok(());
    };
    let uek = kernel.version.contains("uek");
    if old.contains("uek") == uek {
        return Ok(());
    }
    let names = match uek {
        true => ["kernel-uek-core", "kernel-uek"],
        false => ["kernel-core", "kernel"],
    };
    let packages = &draft.facts().packages;
    let installed = names.into_iter().find(|name| packages.has(name));
    let like_before = if old.ends_with("-core") {
        names[0]
    } else {
        names[1]
    };
    file.set("DEFAULTKERNEL", installed.unwrap_or(like_before));
    let why = "a kernel update would make a kernel of the other kind the default again";
    draft.write(&path, file.render(), why)
}

#[cfg(test)]
mod tests;
