//! A guest's module tree made from nothing: tiny ELF modules, indexed by the real depmod.

mod elf;

use initramfs::ModuleTree;
use initramfs::cpio::Writer;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub(crate) const RELEASE: &str = "6.1.0-test";

/// `usr/lib/modules/RELEASE` in a directory of its own.
pub(crate) struct Guest {
    directory: TempDir,
    release: &'static str,
}

/// Name of the file, what it exports, what it uses, and its modinfo strings.
type Module = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// In the order of `modules.order`, which is not that of the alphabet.
const MODULES: [Module; 8] = [
    ("crc-common", &["crc_table"], &[], &[]),
    ("crc-fast", &[], &["crc_table"], &["alias=crc-alg"]),
    ("crc", &["crc"], &["crc_table"], &["softdep=pre: crc-alg"]),
    ("xen-blkfront", &[], &[], &["alias=xen:vbd"]),
    ("nvme-core", &["nvme_init"], &["crc"], &[]),
    (
        "nvme",
        &[],
        &["nvme_init"],
        &[
            "alias=pci:v*d*sv*sd*bc01sc08i02*",
            "alias=pci:v0000106Bd00002003sv*sd*bc*sc*i*",
            "alias=pci:v0000106Bd00002001sv*sd*bc*sc*i*",
            "alias=pci:v0000106Bd00002003sv*sd*bc*sc*i*",
        ],
    ),
    (
        "sd_mod",
        &[],
        &[],
        &["alias=scsi:t-0x00*", "alias=block-major-[0-9]-*"],
    ),
    ("ahci", &[], &[], &["alias=pci:v*d*sv*sd*bc01sc06i01*"]),
];

impl Guest {
    /// Nothing if depmod, modprobe or cpio is not there.
    pub(crate) fn new() -> Option<Self> {
        for name in ["depmod", "modprobe", "cpio"] {
            if tool(name).is_none() {
                println!("skipped: no {name}");
                return None;
            }
        }
        let guest = Self {
            directory: tempfile::tempdir().unwrap(),
            release: RELEASE,
        };
        let names: Vec<_> = MODULES.iter().map(|(name, ..)| *name).collect();
        fill(guest.directory.path(), &names);
        Some(guest)
    }

    /// The same modules under another release's name.
    pub(crate) fn with_release(&self, release: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names: Vec<_> = MODULES.iter().map(|(name, ..)| *name).collect();
        fill(directory.path(), &names);
        let modules = directory.path().join("usr/lib/modules");
        fs::rename(modules.join(RELEASE), modules.join(release)).unwrap();
        Self { directory, release }
    }

    /// Compresses every module and indexes the tree again; false if the program is not there.
    pub(crate) fn compress_modules(&mut self, program: &str, suffix: &str) -> bool {
        self.directory = tempfile::tempdir().unwrap();
        let names: Vec<_> = MODULES.iter().map(|(name, ..)| *name).collect();
        fill(self.directory.path(), &names);
        for name in names {
            let path = self.modules().join(format!("kernel/{name}.ko"));
            let Some(packed) = pipe(program, &["-c"], &fs::read(&path).unwrap()) else {
                return false;
            };
            fs::write(path.with_extension(format!("ko.{suffix}")), packed).unwrap();
            fs::remove_file(path).unwrap();
        }
        // depmod may be built without this compression: the index names the files all the same
        let dep = self.modules().join("modules.dep");
        let text = fs::read_to_string(&dep).unwrap();
        fs::write(dep, text.replace(".ko", &format!(".ko.{suffix}"))).unwrap();
        true
    }

    /// A plain archive with some of the modules, indexed by depmod, behind a link `lib`.
    pub(crate) fn initramfs(&self, modules: &[&str], build: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let names: Vec<_> = MODULES
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| modules.contains(&&*name.replace('-', "_")))
            .collect();
        fill(directory.path(), &names);
        let mut writer = Writer::new();
        for path in ["usr", "usr/lib", "etc"] {
            writer.directory(path).unwrap();
        }
        writer.symlink("lib", "usr/lib").unwrap();
        writer.file("usr/lib/libkmod.so.2", 0o755, b"").unwrap();
        build(&mut writer);
        if !names.is_empty() {
            let root = format!("usr/lib/modules/{RELEASE}");
            for path in ["usr/lib/modules", &root, &format!("{root}/kernel")] {
                writer.directory(path).unwrap();
            }
            let mut paths: Vec<PathBuf> = ["", "kernel"]
                .into_iter()
                .flat_map(|path| fs::read_dir(directory.path().join(&root).join(path)).unwrap())
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file())
                .collect();
            paths.sort();
            for path in paths {
                let name = path.strip_prefix(directory.path()).unwrap();
                let data = fs::read(&path).unwrap();
                writer.file(name.to_str().unwrap(), 0o644, &data).unwrap();
            }
        }
        writer.finish()
    }

    fn modules(&self) -> PathBuf {
        self.directory
            .path()
            .join("usr/lib/modules")
            .join(self.release)
    }
}

impl ModuleTree for Guest {
    fn release(&self) -> &str {
        self.release
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        match fs::read(self.modules().join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes modules and what the kernel's build says of them, and indexes them.
fn fill(root: &Path, names: &[&str]) {
    let modules = root.join("usr/lib/modules").join(RELEASE);
    fs::create_dir_all(modules.join("kernel")).unwrap();
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    for (name, exports, uses, modinfo) in MODULES {
        if names.contains(&name) {
            let module = elf::module(name, exports, uses, modinfo);
            fs::write(modules.join(format!("kernel/{name}.ko")), module).unwrap();
        }
    }
    let order: String = MODULES
        .iter()
        .map(|(name, ..)| format!("kernel/{name}.ko\n"))
        .collect();
    fs::write(modules.join("modules.order"), order).unwrap();
    fs::write(
        modules.join("modules.builtin"),
        "kernel/drivers/virtio/virtio_pci.ko\n",
    )
    .unwrap();
    fs::write(modules.join("modules.builtin.modinfo"), b"").unwrap();
    depmod(root);
}

pub(crate) fn depmod(root: &Path) {
    let status = Command::new(tool("depmod").unwrap())
        .arg("-b")
        .arg(root)
        .arg(RELEASE)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Where the appended segment starts: its marker names it.
pub(crate) fn second_segment(extended: &[u8]) -> usize {
    let initramfs = initramfs::Initramfs::read(extended).unwrap();
    let last = initramfs.segments().last().unwrap();
    assert!(last.ours);
    usize::try_from(last.offset).unwrap()
}

/// Unpacks archives over each other by GNU cpio.
pub(crate) fn unpack(archives: &[&[u8]]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for archive in archives {
        let mut cpio = Command::new(tool("cpio").unwrap())
            .current_dir(directory.path())
            .args(["-i", "-d", "-u", "--quiet", "--no-absolute-filenames"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // cpio may end before it has read the padding
        let _ = cpio.stdin.take().unwrap().write_all(archive);
        assert!(cpio.wait().unwrap().success());
    }
    directory
}

/// Packs a directory by GNU cpio.
pub(crate) fn pack(directory: &Path) -> Vec<u8> {
    let output = Command::new("sh")
        .current_dir(directory)
        .args(["-c", "find . | LC_ALL=C sort | cpio -o --quiet -H newc"])
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Pipes bytes through a program; nothing if there is no such program.
pub(crate) fn pipe(program: &str, arguments: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
    let Some(program) = tool(program) else {
        println!("skipped: no {program}");
        return None;
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

/// A program's path: those for administrators may be in no user's PATH.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
