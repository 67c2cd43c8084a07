//! What becomes of a guest, for each distribution: facts, plan, files, file systems.

use crate::support::{
    BOOT, ESP, Partitions, ROOT, SWAP, assert_same, debugfs, debugfs_cat, phony, rehost, temp, tool,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `fixtures/phony-guest` makes of a name.
struct Expected {
    name: &'static str,
    id: &'static str,
    version: &'static str,
    kernel: &'static str,
    stack: &'static str,
    /// The card's name in the network's configuration.
    interface: Option<&'static str>,
    /// The partitions in their order, by what they hold.
    partitions: &'static [&'static str],
}

impl Expected {
    fn uefi(&self) -> bool {
        self.partitions.contains(&"esp")
    }

    /// The number of the partition that holds a path, and the path there.
    fn place<'p>(&self, path: &'p str) -> (usize, &'p str) {
        let (holder, path) = match path.strip_prefix("/boot/") {
            Some(_) if self.partitions.contains(&"boot") => ("boot", &path["/boot".len()..]),
            _ => ("root", path),
        };
        (self.number(holder), path)
    }

    fn number(&self, holder: &str) -> usize {
        1 + self
            .partitions
            .iter()
            .position(|name| *name == holder)
            .unwrap()
    }
}

macro_rules! guests {
    ($($test:ident: $id:literal $version:literal $kernel:literal $stack:literal $interface:expr,
       $partitions:expr;)*) => {
        $(
            #[test]
            fn $test() {
                conversion(&Expected {
                    name: &stringify!($test).replace('_', "-").leak()[..],
                    id: $id,
                    version: $version,
                    kernel: $kernel,
                    stack: $stack,
                    interface: $interface,
                    partitions: &$partitions,
                });
            }
        )*
    };
}

guests! {
    debian10: "debian" "10" "4.19.0-26-amd64" "ifupdown" Some("ens33"), ["root", "swap"];
    debian11: "debian" "11" "5.10.0-30-amd64" "ifupdown" Some("ens33"), ["root", "swap"];
    debian12: "debian" "12" "6.1.0-27-amd64" "ifupdown" Some("ens33"), ["root", "swap"];
    debian12_uefi: "debian" "12" "6.1.0-27-amd64" "networkd" None, ["esp", "boot", "root", "swap"];
    debian13: "debian" "13" "6.12.48+deb13-amd64" "network-manager" Some("ens192"),
        ["esp", "boot", "root", "swap"];
    ubuntu1804: "ubuntu" "18.04" "4.15.0-213-generic" "netplan" Some("ens160"), ["root", "swap"];
    ubuntu2004: "ubuntu" "20.04" "5.4.0-200-generic" "netplan" Some("ens160"),
        ["boot", "root", "swap"];
    ubuntu2204: "ubuntu" "22.04" "5.15.0-124-generic" "netplan" Some("ens160"),
        ["esp", "boot", "root", "swap"];
    ubuntu2404: "ubuntu" "24.04" "6.8.0-49-generic" "netplan" Some("ens160"),
        ["esp", "root", "swap"];
}

fn conversion(expected: &Expected) {
    let source = phony(&[expected.name]);
    let (bytes, meta) = (fs::read(&source).unwrap(), fs::metadata(&source).unwrap());
    facts_are_right(expected, &source);
    rehost!["plan", &source].ok();
    rehost!["plan", "--check", &source].ended(3);

    let dir = temp();
    let raw = dir.path().join("out.raw");
    rehost!["convert", &source, "-o", &raw].ok();
    rehost!["plan", "--check", &raw].ended(0);
    let again = dir.path().join("again.raw");
    rehost!["convert", &source, "-o", &again].ok();
    assert_same(&raw, &again);
    qcow2_holds_the_same(&source, &raw);

    assert!(fs::read(&source).unwrap() == bytes, "the source changed");
    let now = fs::metadata(&source).unwrap();
    assert_eq!(now.modified().unwrap(), meta.modified().unwrap());

    let guest = Converted {
        expected,
        before: Partitions::of(&source),
        after: Partitions::of(&raw),
        raw,
    };
    guest.file_systems_are_sound();
    guest.disks_are_named_by_uuid();
    guest.boots_as_instances_need();
    guest.initramfs_has_drivers();
    guest.asks_dhcp_under_its_name();
    guest.old_tools_are_off();
    guest.originals_are_kept();
}

fn facts_are_right(expected: &Expected, source: &Path) {
    let facts = rehost!["inspect", "--json", source].json();
    assert_eq!(facts["os"]["id"], expected.id);
    assert_eq!(facts["os"]["version"], expected.version);
    assert_eq!(facts["hostname"], "web1");
    assert_eq!(facts["architecture"], "x86_64");
    assert_eq!(facts["kernels"].as_array().unwrap().len(), 1);
    assert_eq!(facts["kernels"][0]["version"], expected.kernel);
    let stacks = facts["network"]["stacks"].as_array().unwrap();
    assert!(stacks.contains(&expected.stack.into()), "{stacks:?}");
    assert_eq!(
        facts["firmware"],
        if expected.uefi() { "uefi" } else { "bios" }
    );
    assert_eq!(facts["root"]["partition"], expected.number("root"));
    let text = rehost!["inspect", source].ok();
    assert!(text.contains(expected.kernel), "{text}");
}

fn qcow2_holds_the_same(source: &Path, raw: &Path) {
    let dir = temp();
    let images = ["a.qcow2", "b.qcow2"].map(|name| dir.path().join(name));
    for image in &images {
        rehost!["convert", source, "-o", image].ok();
    }
    assert_same(&images[0], &images[1]);
    tool(Command::new("qemu-img").arg("check").arg(&images[0]));
    tool(
        Command::new("qemu-img")
            .arg("compare")
            .args([&images[0], raw]),
    );
    rehost!["plan", "--check", &images[0]].ended(0);
}

/// A guest before and after.
struct Converted<'e> {
    expected: &'e Expected,
    before: Partitions,
    after: Partitions,
    raw: PathBuf,
}

impl Converted<'_> {
    /// A file of the converted guest, which our reader and debugfs have to agree about.
    #[track_caller]
    fn read(&self, path: &str) -> Vec<u8> {
        let ours = rehost!["cat", &self.raw, path];
        assert_eq!(ours.status, Some(0), "{}", ours.stderr);
        let (number, place) = self.expected.place(path);
        let theirs = debugfs_cat(&self.after.file(number), place);
        assert!(
            ours.stdout == theirs,
            "{path} differs between rehost and debugfs"
        );
        theirs
    }

    #[track_caller]
    fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).unwrap()
    }

    fn file_systems_are_sound(&self) {
        for (index, holder) in self.expected.partitions.iter().enumerate() {
            let file = self.after.file(index + 1);
            match *holder {
                "swap" => assert_same(&file, &self.before.file(index + 1)),
                "esp" => drop(tool(Command::new("fsck.vfat").arg("-n").arg(file))),
                _ => drop(tool(Command::new("e2fsck").arg("-fn").arg(file))),
            }
        }
    }

    fn disks_are_named_by_uuid(&self) {
        let fstab = self.text("/etc/fstab");
        let mut mounts = vec![(ROOT, "/"), (SWAP, "none")];
        if self.expected.partitions.contains(&"boot") {
            mounts.push((BOOT, "/boot"));
        }
        if self.expected.uefi() {
            mounts.push((ESP, "/boot/efi"));
        }
        for (uuid, at) in mounts {
            let found = fstab.lines().any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                fields.starts_with(&[&format!("UUID={uuid}"), at])
            });
            assert!(found, "{at} is not mounted by {uuid}:\n{fstab}");
        }
        assert!(!fstab.contains("/dev/sda"), "{fstab}");
        for gone in ["/dev/sdb1", "/dev/sr0"] {
            let line = fstab.lines().find(|line| line.starts_with(gone)).unwrap();
            assert!(line.contains("nofail"), "{line}");
        }
        assert!(fstab.contains("\n#.host:/shares "), "{fstab}");
    }

    fn boots_as_instances_need(&self) {
        let config = self.text("/boot/grub/grub.cfg");
        let is_linux = |line: &&str| line.trim_start().starts_with("linux");
        let lines: Vec<_> = config.lines().filter(is_linux).collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert!(line.contains(&format!(" root=UUID={ROOT} ")), "{line}");
            assert!(line.contains(" console=ttyS0,115200n8"), "{line}");
            assert!(line.contains(" nvme_core.io_timeout="), "{line}");
            assert!(!line.contains("/dev/sda"), "{line}");
        }
        let defaults = self.text("/etc/default/grub");
        assert!(defaults.contains("console=ttyS0"), "{defaults}");
        assert!(defaults.contains("nvme_core.io_timeout="), "{defaults}");
        assert!(!defaults.contains("/dev/sda"), "{defaults}");
        if self.expected.uefi() {
            let file = self.after.file(self.expected.number("esp"));
            let from = format!("::/EFI/{}/shimx64.efi", self.expected.id);
            let read = |path: &str| tool(Command::new("mtype").arg("-i").arg(&file).arg(path));
            let loader = read("::/EFI/BOOT/BOOTX64.EFI");
            assert!(loader.len() > 1000 && loader == read(&from));
            let ours = rehost!["cat", &self.raw, "/boot/efi/EFI/BOOT/BOOTX64.EFI"];
            assert!(ours.stdout == loader);
        }
    }

    fn initramfs_has_drivers(&self) {
        let path = format!("/boot/initrd.img-{}", self.expected.kernel);
        let (number, place) = self.expected.place(&path);
        let before = debugfs_cat(&self.before.file(number), place);
        let after = self.read(&path);
        // Nothing can follow lz4's legacy format, which has no end: it is packed anew.
        let [before, after] = if before.starts_with(&[0x02, 0x21, 0x4c, 0x18]) {
            [filter("lz4", &before), filter("gzip", &after)]
        } else {
            [before, after]
        };
        let appended = after
            .strip_prefix(&before[..])
            .expect("the stock initramfs is kept");
        let listing = cpio_names(appended);
        for module in [
            "nvme.ko",
            "nvme-core.ko",
            "t10-pi.ko",
            "crc-t10dif.ko",
            "xen-blkfront.ko",
        ] {
            let found = listing.iter().any(|name| {
                let name = name.rsplit('/').next().unwrap_or_default();
                name.strip_suffix(".xz")
                    .or(name.strip_suffix(".zst"))
                    .unwrap_or(name)
                    == module
            });
            assert!(found, "{module} is not in {listing:?}");
        }
        let facts = rehost!["plan", "--json", &self.raw].json();
        assert_eq!(facts["changes"], Value::Array(Vec::new()));
    }

    fn asks_dhcp_under_its_name(&self) {
        let facts = rehost!["inspect", "--json", &self.raw].json();
        let interfaces = facts["network"]["interfaces"].as_array().unwrap().clone();
        let cards: Vec<_> = interfaces
            .iter()
            .filter(|i| i["kind"] == "ethernet")
            .collect();
        assert!(!cards.is_empty(), "{interfaces:?}");
        for card in cards {
            assert_eq!(card["ipv4"], "dhcp", "{card}");
            assert_eq!(card["addresses"], Value::Array(Vec::new()), "{card}");
            assert_eq!(card["mac"], Value::Null, "{card}");
            if let Some(name) = self.expected.interface {
                assert_eq!(card["name"], name);
            }
            let text = self.text(card["file"].as_str().unwrap());
            assert!(!text.contains("192.168.10."), "{text}");
        }
        let Some(name) = self.expected.interface else {
            return;
        };
        let links = rehost!["ls", "--json", &self.raw, "/etc/systemd/network"].json();
        let holds_name = links.as_array().unwrap().iter().any(|link| {
            let file = link["name"].as_str().unwrap();
            let text = self.text(&format!("/etc/systemd/network/{file}"));
            file.ends_with(".link") && text.contains(&format!("Name={name}"))
        });
        assert!(
            holds_name,
            "nothing gives the card the name {name}: {links}"
        );
    }

    fn old_tools_are_off(&self) {
        let path = "/etc/systemd/system/open-vm-tools.service";
        let lines = rehost!["ls", "--json", &self.raw, "/etc/systemd/system"].json();
        let mut lines = lines.as_array().unwrap().iter();
        let unit = lines.find(|line| line["name"] == "open-vm-tools.service");
        assert_eq!(unit.unwrap()["target"], "/dev/null");
        let root = self.after.file(self.expected.number("root"));
        let stat = String::from_utf8(debugfs(&root, &format!("stat {path}"))).unwrap();
        assert!(stat.contains("Fast link dest: \"/dev/null\""), "{stat}");
        let wants = "/etc/systemd/system/multi-user.target.wants/open-vm-tools.service";
        rehost!["cat", &self.raw, wants].failed(1);
    }

    fn originals_are_kept(&self) {
        let receipt: Value =
            serde_json::from_slice(&self.read("/var/lib/rehost/receipt.json")).unwrap();
        assert_eq!(receipt["tool"], "rehost");
        let changes = receipt["changes"].as_array().unwrap();
        let mut paths = BTreeSet::new();
        for change in changes {
            assert!(
                !change["because"].as_array().unwrap().is_empty(),
                "{change}"
            );
            let path = change["path"].as_str().unwrap();
            let was_file = change["before"]["kind"] == "file";
            let original = change["original"].as_str().unwrap_or_default();
            if original.ends_with("bytes of the file") {
                assert!(path.starts_with("/boot/initrd"), "{change}");
            } else if was_file {
                let (number, place) = self.expected.place(path);
                let before = debugfs_cat(&self.before.file(number), place);
                let kept = self.read(&format!("/var/lib/rehost/original{path}"));
                assert!(before == kept && !kept.is_empty(), "{path}");
            }
            paths.insert(path);
        }
        let initramfs = format!("/boot/initrd.img-{}", self.expected.kernel);
        for path in [
            "/etc/fstab",
            "/etc/default/grub",
            "/boot/grub/grub.cfg",
            &initramfs,
        ] {
            assert!(paths.contains(path), "{path} is not in {paths:?}");
        }
        let receipt = rehost!["ls", "--json", &self.raw, "/var/lib/rehost/receipt.json"].json();
        assert_eq!(receipt[0]["mode"], "-rw-------");
    }
}

/// What `cpio` lists in an archive that padding may precede.
fn cpio_names(archive: &[u8]) -> Vec<String> {
    let start = archive.iter().position(|byte| *byte != 0).unwrap();
    let text = piped(
        Command::new("cpio").args(["-t", "--quiet"]),
        &archive[start..],
    );
    let text = String::from_utf8(text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What a decompressor makes of `packed`.
fn filter(program: &str, packed: &[u8]) -> Vec<u8> {
    piped(Command::new(program).arg("-dc"), packed)
}

fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program may end before it has read all, as cpio does behind the trailer.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

#[test]
fn the_format_of_the_source_changes_nothing() {
    let dir = temp();
    let raw = dir.path().join("raw");
    rehost!["convert", phony(&["debian12"]), "-o", &raw].ok();
    for format in ["qcow2", "vmdk", "stream-vmdk"] {
        let out = dir.path().join(format);
        let source = phony(&["debian12", "--format", format]);
        rehost!["convert", source, "-o", &out].ok();
        // phony-guest makes each image anew: inodes' change times are those of the day.
        let (one, other) = (Partitions::of(&raw), Partitions::of(&out));
        for path in [
            "/etc/fstab",
            "/boot/grub/grub.cfg",
            "/var/lib/rehost/receipt.json",
        ] {
            let [one, other] = [&one, &other].map(|all| debugfs_cat(&all.file(1), path));
            assert!(one == other, "{path} of {format}");
        }
    }
    for format in ["qcow2", "vmdk"] {
        let source = dir.path().join(format!("same.{format}"));
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-O", format]);
        tool(command.arg(phony(&["debian12"])).arg(&source));
        let out = dir.path().join(format!("same-{format}"));
        rehost!["convert", source, "-o", &out].ok();
        assert_same(&raw, &out);
    }
}

#[test]
fn what_is_named_by_uuid_stays_so() {
    let dir = temp();
    let source = phony(&["ubuntu2204", "--names", "uuid", "--filler", "200"]);
    let out = dir.path().join("out.raw");
    rehost!["convert", &source, "-o", &out].ok();
    let plan = rehost!["plan", "--json", &source].json();
    let changes = plan["changes"].as_array().unwrap();
    let mut rules = changes
        .iter()
        .flat_map(|change| change["because"].as_array().unwrap());
    assert!(rules.all(|because| because["rule"] != "fstab-by-uuid"));
    rehost!["plan", "--check", &out].ended(0);
    let partitions = Partitions::of(&out);
    tool(Command::new("e2fsck").arg("-fn").arg(partitions.file(3)));
    let filler = debugfs_cat(&partitions.file(3), "/srv/filler/00199");
    assert_eq!(filler, "filler 199\n".repeat(300).into_bytes());
}
