//! Images of Red Hat's `mkinitrd` up to RHEL 5: all modules lie in `/lib`, and `init`, a script of
//! nash, loads each by its file. There is no `modprobe` and no udev, so the script has to be told.
//!
//! Source: `mkinitrd` 5.1.19 and the scripts that it leaves.

use super::assess::Report;
use super::extend::ExtraFile;
use super::unpack_module;
use crate::contents::Contents;
use crate::error::{Error, UnsupportedKind};
use crate::kmod::{ModuleFile, Modules};
use crate::module_tree::{self, ModuleTree};
use std::collections::{BTreeMap, BTreeSet};

const INIT: &str = "init";
const DIRECTORY: &str = "lib";

/// Which of the wanted drivers the script loads, with all that they need.
pub(super) fn assess(contents: &Contents, modules: &Modules, wanted: &[&str]) -> Report {
    let loaded = loaded(contents);
    let mut report = Report::default();
    for module in wanted {
        let module = module.replace('-', "_");
        let list = if modules.is_builtin(&module) {
            &mut report.built_in
        } else if modules.dependencies(&module).is_none() {
            &mut report.missing
        } else if loaded.contains(&module)
            && modules
                .needs(&module)
                .all(|needed| loaded.contains(&needed))
        {
            &mut report.present
        } else {
            &mut report.absent
        };
        if !list.contains(&module) {
            list.push(module);
        }
    }
    report.to_add = modules.closure(report.absent.iter().map(|module| &**module));
    report.to_add.retain(|module| !loaded.contains(module));
    report
}

/// Puts the modules of the report and the script that loads them among the files.
pub(super) fn add_drivers(
    contents: &Contents,
    tree: &dyn ModuleTree,
    modules: &Modules,
    report: &Report,
    files: &mut BTreeMap<String, ExtraFile>,
) -> Result<(), Error> {
    let mut names = Vec::new();
    for module in &report.to_add {
        // `to_add` names modules of the tree only
        let Some(line) = modules.dependencies(module) else {
            continue;
        };
        let missing = || UnsupportedKind::ModuleFile {
            path: line.path.clone(),
        };
        let mut data = module_tree::read(tree, &line.path)?.ok_or_else(missing)?;
        let file = ModuleFile::parse(&line.path).ok_or_else(missing)?;
        if !file.suffix.is_empty() {
            data = unpack_module(&line.path, &data)?;
        }
        let plain = file.uncompressed;
        let name = plain.rsplit('/').next().unwrap_or(plain);
        let file = ExtraFile { mode: 0o644, data };
        files.insert(format!("{DIRECTORY}/{name}"), file);
        names.push(name.to_owned());
    }
    let script = contents.read(INIT).unwrap_or_default();
    let data = with_modules(script, &names).ok_or(UnsupportedKind::NashScript)?;
    files.insert(INIT.to_owned(), ExtraFile { mode: 0o755, data });
    Ok(())
}

/// The modules that the script loads and that are there, by their names.
fn loaded(contents: &Contents) -> BTreeSet<String> {
    let script = String::from_utf8_lossy(contents.read(INIT).unwrap_or_default());
    let files = script.lines().filter_map(|line| insmod(line));
    let there = files.filter(|path| contents.file(path.trim_start_matches('/')).is_some());
    there
        .filter_map(|path| ModuleFile::parse(path).map(|file| file.module()))
        .collect()
}

/// The file that a line loads.
fn insmod(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    (words.next() == Some("insmod")).then(|| words.next())?
}

/// The script with commands that load these files, behind those that load others; disks that they
/// find get their device nodes before the root device is looked for. Nothing if no place is known.
fn with_modules(script: &[u8], names: &[String]) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = script.split_inclusive(|byte| *byte == b'\n').collect();
    let command = |line: &&[u8]| {
        let text = String::from_utf8_lossy(line);
        text.split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let commands: Vec<String> = lines.iter().map(command).collect();
    let root = |command: &String| {
        let roots = [
            "mkrootdev",
            "resume",
            "lvm",
            "dmraid",
            "raidautorun",
            "mount",
        ];
        roots.contains(&command.as_str())
    };
    let modules = commands.iter().rposition(|command| command == "insmod");
    let nodes = commands.iter().position(|command| command == "mkblkdevs");
    let at = match (modules, nodes) {
        (Some(last), _) => last.saturating_add(1),
        (None, Some(first)) => first,
        // The first mounts are those of /proc and /sys.
        (None, None) => commands
            .iter()
            .rposition(|command| command == "mkrootdev")?,
    };
    let (before, after) = lines.split_at_checked(at)?;
    let rest = commands.get(at..)?;
    let next_root = rest.iter().position(root).unwrap_or(rest.len());
    let makes_nodes = rest
        .iter()
        .take(next_root)
        .any(|command| command == "mkblkdevs");
    let mut new = before.concat();
    if new.last().is_some_and(|byte| *byte != b'\n') {
        new.push(b'\n');
    }
    for name in names {
        let lines = format!("echo \"Loading {name} module\"\ninsmod /{DIRECTORY}/{name}\n");
        new.extend_from_slice(lines.as_bytes());
    }
    if !makes_nodes {
        new.extend_from_slice(b"mkblkdevs\n");
    }
    new.extend_from_slice(&after.concat());
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::Writer;
    use crate::kmod::FakeTree;
    use crate::{Initramfs, Kind, Request};

    /// As `mkinitrd` of RHEL 5 writes it, device nodes left out.
    const SCRIPT: &str = "#!/bin/nash\n\nmount -t proc /proc /proc\nsetquiet\necho Mounting proc filesystem\n\
        echo Mounting sysfs filesystem\nmount -t sysfs /sys /sys\necho Creating /dev\nmount -o mode=0755 -t tmpfs /dev /dev\n\
        echo Setting up hotplug.\nhotplug\necho Creating block device nodes.\nmkblkdevs\n\
        echo \"Loading scsi_mod.ko module\"\ninsmod /lib/scsi_mod.ko \necho \"Loading mptspi.ko module\"\ninsmod /lib/mptspi.ko \n\
        echo Waiting for driver initialization.\nstabilized --hash --interval 1000 /proc/scsi/scsi\nmkblkdevs\n\
        echo Scanning and configuring dmraid supported devices\nresume LABEL=SWAP-sda2\necho Creating root device.\n\
        mkrootdev -t ext3 -o defaults,ro /dev/VolGroup00/LogVol00\necho Mounting root filesystem.\nmount /sysroot\n\
        echo Setting up other filesystems.\nsetuproot\necho Switching to new root and running init.\nswitchroot\n";

    fn edited(script: &str) -> Option<String> {
        let names = ["xen-platform-pci.ko".to_owned(), "xen-vbd.ko".to_owned()];
        with_modules(script.as_bytes(), &names).map(|new| String::from_utf8(new).unwrap())
    }

    const ADDED: &str = "echo \"Loading xen-platform-pci.ko module\"\ninsmod /lib/xen-platform-pci.ko\n\
        echo \"Loading xen-vbd.ko module\"\ninsmod /lib/xen-vbd.ko\n";

    #[test]
    fn modules_are_loaded_behind_the_others() {
        let expected = SCRIPT.replace(
            "echo Waiting for driver",
            &format!("{ADDED}echo Waiting for driver"),
        );
        assert_eq!(edited(SCRIPT).unwrap(), expected);
    }

    #[test]
    fn an_image_gets_the_modules_and_the_script_once() {
        let tree = FakeTree(
            [
                (
                    "modules.dep",
                    "/lib/modules/6.1.0/kernel/xen-vbd.ko: /lib/modules/6.1.0/kernel/xen-platform-pci.ko\n\
                     /lib/modules/6.1.0/kernel/xen-platform-pci.ko:\n",
                ),
                ("kernel/xen-vbd.ko", "vbd"),
                ("kernel/xen-platform-pci.ko", "pci"),
            ]
            .into_iter()
            .collect(),
        );
        let mut writer = Writer::new();
        for directory in ["bin", "lib"] {
            writer.directory(directory).unwrap();
        }
        writer.file("init", 0o755, SCRIPT.as_bytes()).unwrap();
        writer.file("lib/scsi_mod.ko", 0o644, b"scsi").unwrap();
        let original = writer.finish();
        let initramfs = Initramfs::read(&original).unwrap();
        assert_eq!(*initramfs.kind(), Kind::Nash);
        let request = Request {
            wanted: &["xen_vbd", "nvme"],
            ..Request::default()
        };
        let extension = initramfs.extend(&tree, &request).unwrap().unwrap();
        assert_eq!(extension.report.to_add, ["xen_platform_pci", "xen_vbd"]);
        assert_eq!(extension.report.missing, ["nvme"]);
        let extended = extension.apply(&original);
        let again = Initramfs::read(&extended).unwrap();
        assert!(again.contents().exists("lib/xen-vbd.ko"));
        let script = again.contents().read("init").unwrap();
        assert_eq!(
            script,
            with_modules(
                SCRIPT.as_bytes(),
                &["xen-platform-pci.ko".into(), "xen-vbd.ko".into()]
            )
            .unwrap()
        );
        assert_eq!(
            again.assess(&tree, &["xen_vbd"]).unwrap().present,
            ["xen_vbd"]
        );
        assert!(again.extend(&tree, &request).unwrap().is_none());
    }

    #[test]
    fn nodes_are_made_where_the_script_makes_none_afterwards() {
        let script = "#!/bin/nash\nmkblkdevs\ninsmod /lib/ext3.ko\nresume /dev/sda2\nmkrootdev -t ext3 /dev/sda1\n";
        let expected = script.replace("resume", &format!("{ADDED}mkblkdevs\nresume"));
        assert_eq!(edited(script).unwrap(), expected);
        let script = "#!/bin/nash\nmount -t proc /proc /proc\nmkblkdevs\nmkrootdev /dev/sda1";
        let expected = script.replace("mkblkdevs", &format!("{ADDED}mkblkdevs"));
        assert_eq!(edited(script).unwrap(), expected);
        assert_eq!(edited("#!/bin/nash\n"), None);
    }
}
