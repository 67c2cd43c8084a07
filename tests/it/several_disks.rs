//! Machines of several disks, several machines, several guests on a disk.

use crate::support::{Partitions, assert_same, debugfs_cat, names, phony, rehost, temp, tool};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
const DATA: &str = "da7ada7a-0000-4000-8000-000000000001";

/// A disk with an MBR and these contents in its partitions.
fn disk(path: &Path, contents: &[Vec<u8>]) {
    let mut file = File::create(path).unwrap();
    let (mut script, mut at) = ("label: dos\n".to_owned(), MIB);
    for content in contents {
        let size = u64::try_from(content.len()).unwrap();
        script += &format!("start={}, size={}, type=83\n", at / 512, size / 512);
        at += size;
    }
    file.set_len(at + MIB).unwrap();
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    sfdisk
        .args(["-q", "--no-reread", "--no-tell-kernel"])
        .arg(path);
    let mut sfdisk = sfdisk.stdin(Stdio::piped()).spawn().unwrap();
    sfdisk
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(sfdisk.wait().unwrap().success());
    file.seek(SeekFrom::Start(MIB)).unwrap();
    for content in contents {
        file.write_all(content).unwrap();
    }
}

/// An empty ext4 file system.
fn ext4(dir: &Path) -> Vec<u8> {
    let path = dir.join("ext4");
    let mut command = Command::new("mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-U", DATA])
        .arg(&path);
    tool(command.arg("8M"));
    fs::read(path).unwrap()
}

#[test]
fn a_machine_of_two_disks_goes_into_a_directory() {
    let dir = temp();
    let (os, data) = (phony(&["debian12"]), dir.path().join("data.img"));
    disk(&data, &[ext4(dir.path())]);
    let facts = rehost!["inspect", "--json", &os, &data].json();
    let volumes = facts["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume["uuid"] == DATA)
        .unwrap();
    assert_eq!(volume["mounted_at"], "/srv/data");

    let out = dir.path().join("machine");
    let said = rehost!["convert", &os, &data, "-o", &out].ok();
    let expected = ["debian12.raw", "data.raw"].map(|name| out.join(name));
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said, expected.each_ref().map(|path| path.to_str().unwrap()));
    assert_eq!(names(&out), ["data.raw", "debian12.raw"]);
    let fstab = debugfs_cat(&Partitions::of(&expected[0]).file(1), "/etc/fstab");
    let fstab = String::from_utf8(fstab).unwrap();
    let mounted =
        |line: &str| line.starts_with(&format!("UUID={DATA} ")) && line.contains("/srv/data");
    assert!(fstab.lines().any(mounted), "{fstab}");
    rehost!["plan", "--check", &expected[0], &expected[1]].ended(0);
    tool(
        Command::new("e2fsck")
            .arg("-fn")
            .arg(Partitions::of(&expected[1]).file(1)),
    );

    let store = dir.path().join("store");
    let ids = rehost![
        "convert",
        &os,
        &data,
        "-o",
        format!("store:{}", store.display())
    ]
    .ok();
    let names = ids
        .lines()
        .map(|id| format!("store:{}#{id}", store.display()));
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 2);
    rehost!["plan", "--check", &names[0], &names[1]].ended(0);
    let listed = rehost!["ls", &names[0], "/srv/data", "--disk", &names[1]].ok();
    assert!(listed.contains("lost+found"), "{listed}");
}

#[test]
fn each_image_can_be_a_machine() {
    let dir = temp();
    let sources = [phony(&["debian10"]), phony(&["ubuntu1804"])];
    let out = dir.path().join("out");
    let ran = rehost![
        "convert",
        "--each",
        &sources[0],
        &sources[1],
        "-o",
        &out,
        "--json"
    ];
    let reports = ran.json();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    assert_eq!(names(&out), ["debian10.raw", "ubuntu1804.raw"]);
    for name in names(&out) {
        rehost!["plan", "--check", out.join(name)].ended(0);
    }
    // One that fails does not keep the others from being converted.
    let (bad, other) = (dir.path().join("bad.img"), dir.path().join("other"));
    disk(&bad, &[ext4(dir.path())]);
    let said = rehost!["convert", "--each", &bad, &sources[0], "-o", &other].failed(5);
    assert!(said.contains("bad.img"), "{said}");
    assert_eq!(names(&other), ["debian10.raw"]);
    assert_same(&other.join("debian10.raw"), &out.join("debian10.raw"));
}

#[test]
fn of_two_guests_on_a_disk_one_is_chosen() {
    let dir = temp();
    let guests = ["debian12", "ubuntu1804"].map(|name| {
        let partitions = Partitions::of(&phony(&[name]));
        fs::read(partitions.file(1)).unwrap()
    });
    let both = dir.path().join("both.raw");
    disk(&both, &guests);
    let said = rehost!["inspect", &both].failed(5);
    assert!(said.contains("several operating systems"), "{said}");
    assert!(said.contains("--root 1:1  Debian GNU/Linux 12"), "{said}");
    assert!(said.contains("--root 1:2  Ubuntu 18.04"), "{said}");
    for (root, id) in [("1:1", "debian"), ("1:2", "ubuntu"), ("sda2", "ubuntu")] {
        let facts = rehost!["inspect", "--json", "--root", root, &both].json();
        assert_eq!(facts["os"]["id"], id);
    }
    let said = rehost!["inspect", "--root", "sda7", &both].failed(1);
    assert!(
        said.contains("no volume is sda7") && said.contains("1:2"),
        "{said}"
    );
}

#[test]
fn a_disk_without_a_guest_is_copied_only_if_that_is_allowed() {
    let dir = temp();
    let (source, out) = (dir.path().join("data.raw"), dir.path().join("out.raw"));
    disk(&source, &[ext4(dir.path())]);
    let said = rehost!["convert", &source, "-o", &out].failed(5);
    assert!(
        said.contains("no operating system") && said.contains(DATA),
        "{said}"
    );
    assert!(!out.exists());
    let ran = rehost!["convert", "--allow-unconverted", &source, "-o", &out];
    assert!(ran.stderr.contains("not converted"), "{}", ran.stderr);
    ran.ok();
    assert_same(&source, &out);
}

#[test]
fn no_source_of_any_machine_is_an_output() {
    let dir = temp();
    let [a, b] = ["a", "b"].map(|name| {
        let path = dir.path().join(name).join("web1.raw");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::copy(phony(&["debian12"]), &path).unwrap();
        path
    });
    let source = phony(&["debian12"]);
    let said = rehost![
        "convert",
        "--each",
        "--force",
        &a,
        &b,
        "-o",
        b.parent().unwrap()
    ]
    .failed(1);
    assert!(said.contains("is a source"), "{said}");
    assert_same(&b, &source);
    let out = dir.path().join("out");
    let said = rehost!["convert", "--each", &a, &b, "-o", &out].failed(1);
    assert!(
        said.contains("two disks would both be written to"),
        "{said}"
    );
    assert!(names(&out).is_empty());
}

#[test]
fn an_extent_of_a_source_is_a_source() {
    let dir = temp();
    let path = dir.path().join("d.vmdk");
    let mut qemu = Command::new("qemu-img");
    qemu.args(["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat"]);
    tool(qemu.arg(phony(&["debian12"])).arg(&path));
    let extent = dir.path().join("d-flat.vmdk");
    let before = dir.path().join("before");
    fs::copy(&extent, &before).unwrap();
    let said = rehost![
        "convert",
        "--force",
        "--to-format",
        "raw",
        &path,
        "-o",
        &extent
    ]
    .failed(1);
    assert!(said.contains("is a source"), "{said}");
    assert_same(&extent, &before);
}

#[test]
fn a_file_system_that_no_rule_changes_stays_as_it_is() {
    let dir = temp();
    // A file that was open and deleted when the disk was taken: the next mount frees it.
    let orphan = {
        ext4(dir.path());
        let path = dir.path().join("ext4");
        let content = dir.path().join("content");
        fs::write(&content, [7; 50_000]).unwrap();
        let write = format!("write {} orphan", content.display());
        for request in [
            write.as_str(),
            "set_inode_field orphan links_count 0",
            "unlink orphan",
            "set_super_value last_orphan 12",
        ] {
            tool(
                Command::new("debugfs")
                    .args(["-w", "-R", request])
                    .arg(&path),
            );
        }
        fs::read(path).unwrap()
    };
    let data = dir.path().join("data.img");
    disk(&data, &[orphan]);
    let out = dir.path().join("out");
    rehost!["convert", phony(&["debian12"]), &data, "-o", &out].ok();
    assert_same(&out.join("data.raw"), &data);
}

#[test]
fn an_unconverted_disk_is_copied_as_it_is_even_with_a_dirty_journal() {
    let dir = temp();
    ext4(dir.path());
    let path = dir.path().join("ext4");
    let request = "feature needs_recovery";
    tool(
        Command::new("debugfs")
            .args(["-w", "-R", request])
            .arg(&path),
    );
    let data = dir.path().join("data.img");
    disk(&data, &[fs::read(&path).unwrap()]);
    let out = dir.path().join("out.raw");
    rehost!["convert", "--allow-unconverted", &data, "-o", &out].ok();
    assert_same(&out, &data);
}
