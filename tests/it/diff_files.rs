//! `rehost diff --files`: whose the bytes are in which two disks differ.

use crate::support::{Ran, phony, program, rehost, temp, tool};
use rustix::process::geteuid;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
const SECTOR: usize = 512;

/// What `diff --files --json` says, after checks that hold for all disks.
#[track_caller]
fn diff(old: impl AsRef<str>, new: impl AsRef<str>) -> Value {
    let report = rehost!["diff", "--files", "--json", old.as_ref(), new.as_ref()].json();
    let number = |value: &Value| value.as_u64().unwrap();
    let total = number(&report["bytes"]);
    let array = |name: &str| report[name].as_array().unwrap().clone();
    let ranges: u64 = array("ranges")
        .iter()
        .map(|range| number(&range["length"]))
        .sum();
    assert_eq!(ranges, total);
    // In the new state everything belongs to one thing.
    let files = array("files");
    let counted = files
        .iter()
        .filter(|file| file["state"] != "removed" && file["links"] == 1);
    let links: BTreeMap<u64, u64> = files
        .iter()
        .filter(|file| file["state"] != "removed" && file["links"] != 1)
        .map(|file| (number(&file["bytes"]), number(&file["bytes"])))
        .collect();
    let files: u64 = counted.map(|file| number(&file["bytes"])).sum();
    let other: u64 = array("other")
        .iter()
        .map(|other| number(&other["bytes"]))
        .sum();
    assert_eq!(
        files + links.values().sum::<u64>() + other,
        total,
        "{report:#}"
    );
    report
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// State and path of every file, and an error of each finding.
#[track_caller]
fn files(report: &Value) -> Vec<(String, String)> {
    assert_eq!(report["findings"], json!([]));
    listed(report)
}

fn listed(report: &Value) -> Vec<(String, String)> {
    let files = report["files"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    files
        .map(|file| (word(&file["state"]), word(&file["path"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = expected
        .iter()
        .map(|(state, path)| ((*state).to_owned(), (*path).to_owned()));
    owned.collect()
}

/// Bytes of what has no path, by partition and name.
fn others(report: &Value) -> BTreeMap<(Option<u64>, String), u64> {
    let others = report["other"].as_array().unwrap().iter();
    let key = |other: &Value| {
        (
            other["partition"].as_u64(),
            other["what"].as_str().unwrap().to_owned(),
        )
    };
    others
        .map(|other| (key(other), other["bytes"].as_u64().unwrap()))
        .collect()
}

/// A copy that can be written.
fn copy(image: &Path, to: &Path) {
    tool(Command::new("cp").arg("--sparse=always").arg(image).arg(to));
    fs::set_permissions(to, Permissions::from_mode(0o644)).unwrap();
}

/// Lets debugfs change a file system.
#[track_caller]
fn debugfs(image: &str, requests: &[&str]) {
    let mut command = Command::new("debugfs");
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command.args(["-w", "-f", "-", image]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for request in requests {
        writeln!(stdin, "{request}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // The first line is its version.
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// The first block of a file, in bytes, on a file system of 1 KiB blocks or as said.
fn place(image: &Path, path: &str, block_size: u64, nth: usize) -> u64 {
    let said = tool(
        Command::new("debugfs")
            .args(["-R", &format!("blocks {path}")])
            .arg(image),
    );
    let said = String::from_utf8(said).unwrap();
    let mut blocks = said
        .split_ascii_whitespace()
        .map(|word| word.parse::<u64>().unwrap());
    blocks.nth(nth).unwrap() * block_size
}

fn write_at(image: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(image).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// Sectors in which two files differ, in bytes.
fn differing(left: &Path, right: &Path) -> u64 {
    let [left, right] = [left, right].map(|path| fs::read(path).unwrap());
    assert_eq!(left.len(), right.len());
    let sectors = left.chunks(SECTOR).zip(right.chunks(SECTOR));
    u64::try_from(sectors.filter(|(a, b)| a != b).count() * SECTOR).unwrap()
}

fn filled(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state >> 16).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn each_kind_of_change_is_told_on_each_kind_of_file_system() {
    for (options, block) in [
        (&["-t", "ext4", "-b", "4096"][..], 4096),
        (&["-t", "ext4", "-b", "1024", "-O", "inline_data"], 1024),
        (&["-t", "ext2", "-b", "1024"], 1024),
    ] {
        let dir = temp();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/olddir")).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(tree.join(name), bytes).unwrap();
        put("a/keep", &filled(1, 100_000));
        put("a/changed", &filled(2, 40_000));
        put("a/inplace", &filled(3, 400_000));
        put("a/moved", &filled(4, 30_000));
        put("a/gone", &filled(5, 20_000));
        put("a/overwritten", &filled(6, 20_000));
        put("a/two", &filled(7, 9_000));
        put("a/becomes-dir", b"x");
        put("small", b"thirty bytes or so, and small");
        put("same-small", b"this stays");
        fs::hard_link(tree.join("a/two"), tree.join("two")).unwrap();
        std::os::unix::fs::symlink("a/keep", tree.join("link")).unwrap();
        let (old, new) = (dir.path().join("old.img"), dir.path().join("new.img"));
        let mut mke2fs = Command::new("mke2fs");
        mke2fs
            .args(["-q", "-F", "-N", "256"])
            .args(options)
            .arg("-d")
            .arg(&tree);
        tool(mke2fs.arg(&old).arg("16M"));
        copy(&old, &new);

        // One sector in place, beyond what the map of ext2 holds in the inode.
        write_at(&new, place(&new, "a/inplace", block, 40) + 512, b"?");
        write_at(&new, place(&new, "two", block, 0), b"?");
        let outside = dir.path().join("outside");
        let out = |name: &str, bytes: &[u8]| {
            fs::create_dir_all(&outside).unwrap();
            let path = outside.join(name);
            fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (changed, moved) = (
            out("changed", &filled(8, 40_000)),
            out("moved", &filled(4, 30_000)),
        );
        let (added, small) = (
            out("new", &filled(9, 50_000)),
            out("small", b"thirty bytes or so, and other"),
        );
        // Its blocks are those that were free before; of what was removed first, others take them.
        debugfs(
            text(&new),
            &[
                "cd /a",
                &format!("write {moved} tmp"),
                "rm moved",
                "ln tmp moved",
                "unlink tmp",
                "rm gone",
                "rm changed",
                &format!("write {changed} changed"),
                "rm becomes-dir",
                "mkdir becomes-dir",
                "rmdir olddir",
                "ln keep kept-too",
                "sif keep links_count 2",
                "cd /a/becomes-dir",
                &format!("write {added} new"),
                "cd /",
                "rm small",
                &format!("write {small} small"),
                "rm link",
                "symlink link a/gone",
                "mknod pipe p",
            ],
        );
        // What held a file before, and is now free, is overwritten.
        let hole = place(&old, "a/overwritten", block, 0);
        debugfs(text(&new), &["rm a/overwritten"]);
        write_at(&new, hole, &[7; 700]);

        let report = diff(text(&old), text(&new));
        assert_eq!(report["bytes"], differing(&old, &new));
        let expected = pairs(&[
            ("removed", "/a/becomes-dir"),
            ("added", "/a/becomes-dir"),
            ("added", "/a/becomes-dir/new"),
            ("changed", "/a/changed"),
            ("removed", "/a/gone"),
            ("changed", "/a/inplace"),
            ("added", "/a/kept-too"),
            ("moved", "/a/moved"),
            ("removed", "/a/olddir"),
            ("removed", "/a/overwritten"),
            ("changed", "/a/two"),
            ("changed", "/link"),
            ("added", "/pipe"),
            ("changed", "/small"),
        ]);
        assert_eq!(files(&report), expected, "{options:?}");
        let file = |path: &str| {
            let files = report["files"].as_array().unwrap();
            files
                .iter()
                .rfind(|file| file["path"] == path)
                .unwrap()
                .clone()
        };
        assert_eq!(file("/a/inplace")["bytes"], 512);
        let two = file("/a/two");
        assert_eq!((&two["bytes"], &two["links"]), (&512.into(), &2.into()));
        assert_eq!(file("/a/kept-too")["bytes"], 0);
        assert_eq!(file("/a/becomes-dir")["kind"], "dir");
        assert_eq!(file("/link")["kind"], "symlink");
        assert_eq!(file("/link")["mounted"], false);
        assert_eq!(file("/link")["partition"], Value::Null);
        assert_eq!(file("/a/overwritten")["bytes"], 1024);
        let new_bytes = file("/a/becomes-dir/new")["bytes"].as_u64().unwrap();
        assert!(
            (50_000 - 512..50_000 + block).contains(&new_bytes),
            "{new_bytes}"
        );
        let others = others(&report);
        let bytes = |what: &str| others.get(&(None, what.to_owned())).copied().unwrap_or(0);
        assert_eq!(bytes("free"), 1024, "{others:?}");
        assert!(bytes("inodes") >= 512 && bytes("allocation") >= 512 && bytes("header") >= 512);
        assert_eq!(bytes("unnamed"), 0, "{others:?}");

        // And back.
        let back = diff(text(&new), text(&old));
        let swapped: BTreeSet<_> = expected
            .into_iter()
            .map(|(state, path)| match state.as_str() {
                "added" => ("removed".to_owned(), path),
                "removed" => ("added".to_owned(), path),
                _ => (state, path),
            })
            .collect();
        let found: BTreeSet<_> = files(&back).into_iter().collect();
        // Where it lay before, it still does, unless something took the place.
        let but_moved = |mut all: BTreeSet<(String, String)>| {
            all.retain(|(_, path)| path != "/a/moved");
            all
        };
        assert_eq!(but_moved(found), but_moved(swapped), "{options:?}");
        // Nothing, where nothing differs.
        let none = diff(text(&new), text(&new));
        assert_eq!((&none["files"], &none["other"]), (&json!([]), &json!([])));
    }
}

#[test]
fn paths_are_those_of_the_guest_and_all_else_has_a_name() {
    let dir = temp();
    let (old, new) = (phony(&["ubuntu2204"]), dir.path().join("new.img"));
    copy(&old, &new);
    let listing = tool(Command::new("sfdisk").arg("-J").arg(&old));
    let listing: Value = serde_json::from_slice(&listing).unwrap();
    let start = |number: usize| {
        let partition = &listing["partitiontable"]["partitions"][number - 1];
        partition["start"].as_u64().unwrap() * 512
    };
    let outside = dir.path().join("outside");
    fs::write(&outside, filled(1, 5000)).unwrap();
    let esp = format!("{}@@{}", new.display(), start(1));
    let mtools = |program: &str, arguments: &[&str]| {
        tool(Command::new(program).args(["-i", &esp]).args(arguments));
    };
    mtools("mcopy", &[text(&outside), "::/EFI/ubuntu/New loader.efi"]);
    mtools("mdel", &["::/EFI/ubuntu/fbx64.efi"]);
    mtools("mcopy", &["-o", text(&outside), "::/EFI/ubuntu/mmx64.efi"]);
    mtools("mmd", &["::/EFI/BOOT"]);
    let boot = format!("{}?offset={}", new.display(), start(2));
    debugfs(&boot, &[&format!("write {} vmlinuz-new", text(&outside))]);
    let root = format!("{}?offset={}", new.display(), start(3));
    debugfs(
        &root,
        &[
            "rm etc/hostname",
            "mkdir etc/new",
            "cd etc/new",
            &format!("write {} x", text(&outside)),
        ],
    );
    let size = fs::metadata(&new).unwrap().len();
    // Swap behind its header, the gap, the table, and what no partition has.
    write_at(&new, start(4) + 8192, b"?");
    write_at(&new, 64 << 10, b"GRUB");
    write_at(&new, size - 33 * 512 + 200, b"?");
    write_at(&new, size - MIB + 4096, b"?");

    let report = diff(text(&old), text(&new));
    let expected = pairs(&[
        ("added", "/boot/efi/EFI/BOOT"),
        ("added", "/boot/efi/EFI/ubuntu/New loader.efi"),
        ("removed", "/boot/efi/EFI/ubuntu/fbx64.efi"),
        ("changed", "/boot/efi/EFI/ubuntu/mmx64.efi"),
        ("added", "/boot/vmlinuz-new"),
        ("removed", "/etc/hostname"),
        ("added", "/etc/new"),
        ("added", "/etc/new/x"),
    ]);
    assert_eq!(files(&report), expected);
    for file in report["files"].as_array().unwrap() {
        assert_eq!(file["mounted"], true);
    }
    assert_eq!(report["files"][1]["partition"], 1);
    assert_eq!(report["files"][7]["partition"], 3);
    let others = others(&report);
    let bytes = |partition: Option<u64>, what: &str| {
        others
            .get(&(partition, what.to_owned()))
            .copied()
            .unwrap_or(0)
    };
    for (partition, what) in [
        (Some(4), "swap"),
        (None, "boot-gap"),
        (None, "partition-table"),
        (None, "unallocated"),
    ] {
        assert_eq!(bytes(partition, what), 512, "{what}: {others:?}");
    }
    assert!(
        bytes(Some(1), "allocation") >= 1024,
        "both FATs: {others:?}"
    );
    assert!(bytes(Some(1), "directories") >= 512);

    let ran = rehost!["diff", "--files", &old, &new];
    assert!(ran.stderr.contains("8 files, "), "{}", ran.stderr);
    let shown = ran.ok();
    let line = |path: &str| {
        shown
            .lines()
            .find(|line| line.ends_with(path))
            .unwrap()
            .to_owned()
    };
    let words: Vec<_> = line("/etc/new/x")
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(words[..1], ["added"]);
    assert_eq!(words[3..], ["3", "/etc/new/x"], "{shown}");
    assert!(line("/boot/efi/EFI/BOOT/").starts_with("added"));
    assert!(line(" swap").contains("512.0 B"), "{shown}");
    assert!(!shown.contains("start"), "{shown}");
}

#[test]
fn what_a_conversion_touched_is_what_its_plan_says() {
    for guest in ["debian12", "ubuntu2204"] {
        let dir = temp();
        let store = format!("store:{}", dir.path().join("s").display());
        let os = phony(&[guest]);
        let staged = rehost!["replicate", &os, "--to", &store].ok();
        let staged = format!("{store}#{}", staged.trim());
        let convert = |out: &str| {
            let mut command = program();
            command.env("SOURCE_DATE_EPOCH", "1700000000");
            command.args(["convert", "--json", &staged, "-o", out]);
            Ran::of(command.output().unwrap()).json()[0].clone()
        };
        let made = convert(&store);
        let child = format!("{store}#{}", made["outputs"][0]["id"].as_str().unwrap());
        let planned = rehost!["plan", "--json", &staged].json();
        let planned: BTreeSet<String> = planned["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["path"].as_str().unwrap().to_owned())
            .collect();
        assert!(planned.len() > 10, "{planned:?}");
        let report = diff(&staged, &child);
        let found: BTreeSet<String> = files(&report).into_iter().map(|(_, path)| path).collect();
        assert_eq!(found, planned, "{guest}");
        // And so for images.
        let image = dir.path().join("converted.qcow2");
        convert(text(&image));
        let by_image = diff(text(&os), text(&image));
        assert_eq!(files(&by_image), files(&report));
        assert_eq!(by_image["other"], report["other"]);
    }
}

#[test]
fn a_guest_that_cannot_be_understood_still_has_ranges() {
    let dir = temp();
    let (old, new) = (phony(&["debian12"]), dir.path().join("new.img"));
    copy(&old, &new);
    // The superblock of the new state is damaged, and so is something else.
    write_at(&new, MIB + 1024 + 0x78, b"another label");
    write_at(&new, 40 * MIB, &[0x55; 5000]);
    let report = diff(text(&old), text(&new));
    assert_eq!(report["bytes"], differing(&old, &new));
    let said = report["findings"][0].as_str().unwrap();
    assert!(
        others(&report)
            .keys()
            .any(|(partition, _)| *partition == Some(1)),
        "{report:#}"
    );
    assert!(report["ranges"].as_array().unwrap().len() >= 2);
    assert!(
        said.contains("guest") || said.contains("partition 1"),
        "{said}"
    );

    // The same the other way around: what is there now can be told, not how it was.
    let report = diff(text(&new), text(&old));
    assert!(
        listed(&report)
            .iter()
            .all(|(state, _)| state == "added" || state == "touched")
    );

    // A damaged directory hides what is below it, not the rest.
    let broken = dir.path().join("broken.img");
    copy(&old, &broken);
    let root = format!("{}?offset={MIB}", broken.display());
    debugfs(&root, &["rm etc/hostname"]);
    let etc = tool(Command::new("debugfs").args([
        "-R",
        "blocks etc/ssh",
        &format!("{}?offset={MIB}", old.display()),
    ]));
    let block: u64 = String::from_utf8(etc).unwrap().trim().parse().unwrap();
    let mut log_block_size = [0; 1];
    let file = File::open(&old).unwrap();
    file.read_exact_at(&mut log_block_size, MIB + 1024 + 0x18)
        .unwrap();
    let block_size = 1024 << log_block_size[0];
    write_at(&broken, MIB + block * block_size + 40, &[0xff; 16]);
    let report = diff(text(&old), text(&broken));
    assert_eq!(listed(&report), pairs(&[("removed", "/etc/hostname")]));
    let said = report["findings"][0].as_str().unwrap();
    assert!(said.contains("/etc/ssh cannot be compared"), "{said}");

    // No file system at all, and one that is known by its name.
    let (raw, luks) = (dir.path().join("raw"), dir.path().join("luks"));
    fs::write(&raw, filled(1, 1 << 20)).unwrap();
    let mut header = filled(1, 1 << 20);
    header[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    fs::write(&luks, &header).unwrap();
    let report = diff(text(&raw), text(&luks));
    assert_eq!(
        others(&report),
        BTreeMap::from([((None, "encrypted".to_owned()), 512)])
    );
    assert_eq!(report["ranges"], json!([{"start": 0, "length": 512}]));
    let shown = rehost!["diff", "--files", &raw, &luks].ok();
    assert!(
        shown.contains("encrypted volume") && shown.contains("start"),
        "{shown}"
    );
}

#[test]
fn directories_in_a_circle_end() {
    let dir = temp();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::write(tree.join("a/b/file"), filled(1, 5000)).unwrap();
    let (old, new) = (dir.path().join("old.img"), dir.path().join("new.img"));
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-d"]).arg(&tree);
    tool(mke2fs.arg(&old).arg("8M"));
    copy(&old, &new);
    debugfs(text(&new), &["ln a a/b/c/again"]);
    for (left, right) in [(&old, &new), (&new, &old), (&new, &new)] {
        let report = diff(text(left), text(right));
        assert!(listed(&report).len() <= 1, "{report:#}");
    }
    let report = diff(text(&old), text(&new));
    let said = report["findings"][0].as_str().unwrap();
    assert!(said.contains("/a/b/c/again cannot be compared"), "{said}");
}

/// A mounted file system, until it is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn what_is_only_in_the_journal_counts() {
    let dir = temp();
    let (image, old, new) = (
        dir.path().join("fs"),
        dir.path().join("old"),
        dir.path().join("new"),
    );
    let mut mke2fs = Command::new("mke2fs");
    tool(
        mke2fs
            .args(["-q", "-F", "-t", "ext4"])
            .arg(&image)
            .arg("32M"),
    );
    let point = dir.path().join("mnt");
    fs::create_dir(&point).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-o", "loop"]).arg(&image).arg(&point);
    if !geteuid().is_root() || !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this host lets nobody mount here");
        return;
    }
    let mounted = Mounted(point.clone());
    let sync = || tool(Command::new("sync").arg("-f").arg(&point));
    fs::write(point.join("stays"), filled(1, 50_000)).unwrap();
    fs::write(point.join("goes"), filled(2, 50_000)).unwrap();
    sync();
    copy(&image, &old);
    fs::write(point.join("comes"), filled(3, 50_000)).unwrap();
    fs::remove_file(point.join("goes")).unwrap();
    fs::rename(point.join("stays"), point.join("renamed")).unwrap();
    sync();
    copy(&image, &new);
    drop(mounted);
    let report = diff(text(&old), text(&new));
    let expected = pairs(&[
        ("added", "/comes"),
        ("removed", "/goes"),
        ("added", "/renamed"),
        ("removed", "/stays"),
    ]);
    assert_eq!(files(&report), expected);
    assert!(others(&report)[&(None, "journal".to_owned())] > 0);
}

#[test]
fn a_directory_that_changes_in_the_journal_alone_is_read_as_the_guest_would() {
    let dir = temp();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("before"), filled(1, 5000)).unwrap();
    let [old, new, changed] = ["old", "new", "changed"].map(|name| dir.path().join(name));
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-b", "1024", "-d"])
        .arg(&tree);
    tool(mke2fs.arg(&old).arg("16M"));
    copy(&old, &new);
    copy(&old, &changed);
    debugfs(text(&changed), &["ln before after", "unlink before"]);
    // Nothing but a block of the root directory differs, and that goes into the journal.
    let at = place(&changed, "/", 1024, 0);
    let mut block = vec![0; 1024];
    let file = File::open(&changed).unwrap();
    file.read_exact_at(&mut block, at).unwrap();
    let content = dir.path().join("block");
    fs::write(&content, &block).unwrap();
    let write = format!("jw -b {} {}", at / 1024, content.display());
    debugfs(text(&new), &["jo", &write, "jc"]);
    let report = diff(text(&old), text(&new));
    assert_eq!(
        files(&report),
        pairs(&[("added", "/after"), ("removed", "/before")])
    );
    let others: Vec<_> = others(&report).into_keys().map(|(_, what)| what).collect();
    assert_eq!(others, ["header", "journal"]);
}

#[test]
fn damage_anywhere_is_told_and_never_a_panic() {
    let dir = temp();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    for n in 0..40 {
        fs::write(tree.join(format!("a/b/file {n}")), filled(n, 3000)).unwrap();
    }
    let [ext4, fat] = ["ext4", "fat"].map(|name| dir.path().join(name));
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "^metadata_csum",
        "-N",
        "64",
        "-d",
    ]);
    tool(mke2fs.arg(&tree).arg(&ext4).arg("4M"));
    tool(Command::new("truncate").args(["-s", "4M"]).arg(&fat));
    tool(Command::new("mkfs.fat").arg(&fat));
    tool(Command::new("mcopy").args(["-s", "-i", text(&fat), text(&tree.join("a")), "::/"]));
    let damaged = dir.path().join("damaged");
    let mut told = 0;
    for (image, span) in [(&ext4, 200 << 10), (&fat, 40 << 10)] {
        for seed in 0..40 {
            copy(image, &damaged);
            for place in 0..6 {
                let random = filled(seed * 8 + place + 1000, 32);
                let at = u64::from_le_bytes(*random.first_chunk().unwrap()) % span;
                write_at(&damaged, at, &random[8..]);
            }
            for (left, right) in [(image, &damaged), (&damaged, image), (&damaged, &damaged)] {
                let ran = rehost!["diff", "--files", "--json", left, right];
                assert!(matches!(ran.status, Some(0 | 4)), "{seed}: {ran:?}");
                assert!(!ran.stderr.contains("panicked"), "{seed}: {}", ran.stderr);
                told += usize::from(ran.stderr.contains("note:"));
            }
        }
    }
    assert!(told > 10, "{told}");
}
