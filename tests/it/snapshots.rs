//! Chains of snapshots in a store: `replicate`, `convert` into them, `snapshots`, `diff`.

use crate::support::{
    Ran, assert_same, names, phony, program, qemu_img, qemu_io, rehost, temp, tool,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 512 << 10;

/// A raw disk with data in the first of `mib` MiB, which compresses.
fn disk(path: &Path, mib: u64) {
    let file = File::create(path).unwrap();
    file.set_len(mib * MIB).unwrap();
    let words = (0..4 * MIB / 8).flat_map(|word: u64| (word / 64 + 1).to_le_bytes());
    file.write_all_at(&words.collect::<Vec<u8>>(), 0).unwrap();
}

fn store(dir: &Path) -> String {
    format!("store:{}", dir.join("s").display())
}

#[track_caller]
fn replicate(source: &Path, store: &str) -> Value {
    rehost!["replicate", source, "--to", store, "--json"].json()["outputs"][0].take()
}

fn list(store: &str) -> Vec<Value> {
    let listed = rehost!["snapshots", "list", "--json", store].json();
    listed.as_array().unwrap().clone()
}

/// Whether a snapshot reads as an image does, by qemu-img.
#[track_caller]
fn assert_reads_as(store: &str, id: &Value, image: &Path, format: &str) {
    let dir = temp();
    let copy = dir.path().join("copy.raw");
    let snapshot = format!("{store}#{}", id.as_str().unwrap());
    rehost!["copy", snapshot, &copy].ok();
    qemu_img!["compare", "-f", "raw", "-F", format, &copy, image];
}

#[test]
fn each_snapshot_of_a_chain_holds_what_changed() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    let image = dir.path().join("web1.qcow2");
    disk(&raw, 16);
    qemu_img!["convert", "-O", "qcow2", &raw, &image];
    let (mut before, mut chain) = (Value::Null, Vec::new());
    for (writes, put, blocks) in [
        (&[][..], 8, 8),
        // Two blocks of data change, and one that was zeros.
        (
            &[
                "write -P 7 1000 512",
                "write -P 8 1M 600k",
                "write -P 9 9M 1k",
            ],
            4,
            9,
        ),
        // A block becomes zeros.
        (&["write -z 512k 512k", "write -P 7 1000 512"], 1, 8),
    ] {
        qemu_io(&image, "qcow2", writes);
        let made = replicate(&image, &store);
        assert_eq!(made["put_blocks"], put, "{made}");
        assert_eq!(made["blocks"], blocks, "{made}");
        assert_eq!(made["parent"], before, "{made}");
        assert_eq!(made["made"], true);
        assert_reads_as(&store, &made["id"], &image, "qcow2");
        before = made["id"].clone();
        chain.push(before.clone());
    }
    // Nothing changed: the last one stands for the disk.
    let ran = rehost!["replicate", &image, "--to", &store];
    assert!(
        ran.stderr.contains("nothing changed since"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.ok().trim(), before);
    let listed = list(&store);
    let ids: Vec<_> = listed.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, chain, "parents come first");
    for line in &listed {
        assert_eq!(
            (&line["machine"], &line["disk"]),
            (&"web1".into(), &"1".into())
        );
        assert_eq!(line["role"], "staging");
    }
    let table = rehost!["snapshots", "list", &store].ok();
    assert_eq!(table.lines().count(), 4);
    assert!(table.contains("16.0 MiB"), "{table}");
    // Under another name, or when it is said, a new chain begins.
    let other = rehost![
        "replicate",
        &image,
        "--to",
        &store,
        "--machine",
        "b",
        "--json"
    ]
    .json();
    assert_eq!(other["outputs"][0]["parent"], Value::Null);
    assert_eq!(other["outputs"][0]["put_blocks"], 8);
    assert_eq!(other["outputs"][0]["new_blocks"], 0);
    let full = rehost!["replicate", &image, "--to", &store, "--full", "--json"].json();
    assert_eq!(full["outputs"][0]["parent"], Value::Null);
    assert_eq!(list(&store).len(), 5);
    let said = rehost!["replicate", &image, "--to", &store, "--machine", ""].failed(1);
    assert!(said.contains("--machine"), "{said}");
    let said = rehost!["replicate", &image, "--to", dir.path()].failed(1);
    assert!(said.contains("store:DIR"), "{said}");
}

#[test]
fn a_snapshot_shows_which_regions_changed() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    disk(&raw, 64);
    let first = rehost!["replicate", &raw, "--to", &store].ok();
    qemu_io(&raw, "raw", &["write -P 7 10M 1M", "write -P 7 63M 1"]);
    let second = rehost!["replicate", &raw, "--to", &store].ok();
    let name = |id: &str| format!("{store}#{}", id.trim());
    let shown = rehost!["snapshots", "show", name(&first)].ok();
    assert!(
        shown.contains(&format!("|####{}|", " ".repeat(60))),
        "{shown}"
    );
    let shown = rehost!["snapshots", "show", name(&second)].ok();
    let picture = format!("|{}#{}:|", " ".repeat(10), " ".repeat(52));
    assert!(shown.contains(&picture), "{shown}");
    let shown = rehost!["snapshots", "show", "--json", name(&second)].json();
    assert_eq!(shown["put_blocks"], 3);
    assert_eq!(shown["changed"][0]["start"], 10 * MIB);
    assert_eq!(shown["changed"][1]["length"], BLOCK);
    // Without its parent that is not known, but it reads as before.
    rehost!["snapshots", "rm", "--keep-children", name(&first)].ok();
    let shown = rehost!["snapshots", "show", name(&second)].ok();
    assert!(shown.contains("its parent was removed"), "{shown}");
    rehost!["snapshots", "gc", &store].ok();
    rehost!["compare", "--strict", &raw, name(&second)].ok();
}

#[test]
fn a_conversion_of_a_snapshot_is_its_child_and_holds_what_it_wrote() {
    let dir = temp();
    let (store, os) = (store(dir.path()), phony(&["debian12"]));
    let converted = |source: &str, out: &str| {
        let mut command = program();
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        command.args(["convert", "--json", source, "-o", out]);
        let report = Ran::of(command.output().unwrap()).json();
        report[0]["outputs"][0].clone()
    };
    let staged = replicate(&os, &store);
    let id = staged["id"].as_str().unwrap();
    let child = converted(&format!("{store}#{id}"), &store);
    assert_eq!(child["parent"], id);
    let (put, blocks) = (&child["put_blocks"], &child["blocks"]);
    let (put, blocks) = (put.as_u64().unwrap(), blocks.as_u64().unwrap());
    assert!(put > 0 && put * 2 < blocks, "{child}");
    assert_eq!(child["read"], put * BLOCK, "only what was written is read");
    let listed = list(&store);
    let line = listed
        .iter()
        .find(|line| line["id"] == child["id"])
        .unwrap();
    assert_eq!(line["role"], "converted");
    assert_eq!(
        (&line["machine"], &line["disk"]),
        (&"debian12".into(), &"1".into())
    );

    let out = dir.path().join("out.raw");
    converted(os.to_str().unwrap(), out.to_str().unwrap());
    let name = format!("{store}#{}", child["id"].as_str().unwrap());
    let back = dir.path().join("back.raw");
    rehost!["copy", &name, &back].ok();
    assert_same(&back, &out);
    rehost!["plan", "--check", &name].ended(0);
    // The next replication goes on from the staging snapshot, not from the converted one.
    let again = rehost!["replicate", &os, "--to", &store].ok();
    assert_eq!(again.trim(), id);
    // Into another store it goes whole.
    let other = format!("store:{}", dir.path().join("t").display());
    let whole = converted(&format!("{store}#{id}"), &other);
    assert_eq!(whole["parent"], Value::Null);
    assert_eq!(whole["put_blocks"], blocks);
}

#[test]
fn a_list_of_changes_is_believed_and_checked() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    let changed = dir.path().join("changed");
    disk(&raw, 8);
    fs::write(&changed, "0 512\n").unwrap();
    let with_list = |options: &[&str]| {
        let mut command = program();
        command.arg("replicate").arg(&raw).args(["--to", &store]);
        command.arg("--changed").arg(&changed).args(options);
        Ran::of(command.output().unwrap())
    };
    // Without a parent all is read.
    let ran = with_list(&[]);
    assert!(ran.stderr.contains("all of it is read"), "{}", ran.stderr);
    let first = ran.ok();
    rehost![
        "compare",
        "--strict",
        &raw,
        format!("{store}#{}", first.trim())
    ]
    .ok();

    let old = dir.path().join("old.raw");
    fs::copy(&raw, &old).unwrap();
    qemu_io(&raw, "raw", &["write -P 7 0 4k", "write -P 8 5M 4k"]);
    fs::write(&changed, "# only one of the two\n5242880 4096\n").unwrap();
    let made = with_list(&["--json"]).json()["outputs"][0].take();
    assert_eq!(made["put_blocks"], 1);
    assert_eq!(made["read"], BLOCK);
    // What `diff` prints is a list.
    let diff = rehost!["diff", "--json", &old, &raw].ok();
    fs::write(&changed, diff).unwrap();
    let made = with_list(&["--json"]).json()["outputs"][0].take();
    assert_eq!(made["put_blocks"], 1);
    assert_reads_as(&store, &made["id"], &raw, "raw");

    for (text, why) in [
        ("0 512\n\n4096\n", "line 3: expected START LENGTH"),
        ("0 512\n1 18446744073709551615\n", "line 2: "),
        (
            "0 512\n8388608 1\n",
            "line 2: byte 8388608 is not on the disk",
        ),
        ("[{\"start\":0}]", "no list of ranges"),
    ] {
        fs::write(&changed, text).unwrap();
        let said = with_list(&[]).failed(1);
        assert!(said.contains(why), "{said}");
    }
    fs::write(&changed, "0 512\n").unwrap();
    let said = with_list(&["--changed", changed.to_str().unwrap()]).failed(1);
    assert!(said.contains("1 disks and 2 lists"), "{said}");
    with_list(&["--full"]).ended(2);
    with_list(&["--every", "3m"]).ended(2);
}

#[test]
fn no_disk_of_a_set_stays_alone() {
    let dir = temp();
    let (store, good) = (store(dir.path()), dir.path().join("good.raw"));
    let bad = dir.path().join("bad.qcow2");
    disk(&good, 8);
    qemu_img!["convert", "-c", "-O", "qcow2", &good, &bad];
    let whole = dir.path().join("whole.qcow2");
    fs::copy(&bad, &whole).unwrap();
    let both = |second: &Path| rehost!["replicate", &good, second, "--to", &store];
    let first = both(&whole).ok();
    assert_eq!(first.lines().count(), 2);

    // The image opens, and what it holds cannot be read.
    let size = fs::metadata(&bad).unwrap().len();
    let file = File::options().write(true).open(&bad).unwrap();
    file.write_all_at(&[0xff; 2048], size - 4096).unwrap();
    qemu_io(&good, "raw", &["write -P 7 0 4k"]);
    both(&bad).failed(4);
    assert_eq!(list(&store).len(), 2);
    // One that did not change was made before, and stays.
    qemu_io(&good, "raw", &["write -P 1 0 1"]);
    let second = both(&whole).ok();
    assert_eq!(second.lines().nth(1), first.lines().nth(1));
    both(&bad).failed(4);
    assert_eq!(list(&store).len(), 3);
    // Nor does one of a machine that is converted.
    let os = phony(&["debian12"]);
    let said = rehost!["convert", &os, &bad, "-o", &store].failed(4);
    assert!(said.contains("cannot store"), "{said}");
    assert_eq!(list(&store).len(), 3);
    rehost!["convert", &os, &whole, "-o", &store].ok();
    assert_eq!(list(&store).len(), 5);
    rehost!["snapshots", "fsck", &store].ok();
}

#[test]
fn a_flipped_bit_is_found_and_what_it_hurts_is_told() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    disk(&raw, 8);
    let id = rehost!["replicate", &raw, "--to", &store].ok();
    let said = rehost!["snapshots", "fsck", &store].ok();
    assert!(said.contains("all is well"), "{said}");
    let blocks = dir.path().join("s/blocks");
    let sub = blocks.join(&names(&blocks)[0]);
    let file = sub.join(&names(&sub)[0]);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    let said = rehost!["snapshots", "fsck", &store].ended(4);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(
        said.contains(&format!("{} lost 1 blocks", id.trim())),
        "{said}"
    );
    let said = rehost!["snapshots", "fsck", "--json", &store].ended(4);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["sound"], false);
    assert_eq!(report["hurt"][0]["id"], id.trim());
}

#[test]
fn a_chain_is_removed_from_its_end_and_its_blocks_with_it() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    disk(&raw, 8);
    let mut snapshots = Vec::new();
    for value in 1..4 {
        qemu_io(&raw, "raw", &[&format!("write -P {value} 0 4k")]);
        let id = rehost!["replicate", &raw, "--to", &store].ok();
        snapshots.push(format!("{store}#{}", id.trim()));
    }
    let said = rehost!["snapshots", "rm", &snapshots[0]].failed(1);
    assert!(said.contains("--keep-children"), "{said}");
    let said = rehost!["snapshots", "rm", &snapshots[2], &snapshots[0]].failed(1);
    assert!(said.contains("nothing was removed"), "{said}");
    assert_eq!(list(&store).len(), 3);
    // In any order.
    rehost!["snapshots", "rm", &snapshots[1], &snapshots[2]].ok();
    assert_eq!(list(&store).len(), 1);
    let collected = rehost!["snapshots", "gc", "--json", &store].json();
    assert_eq!(collected["removed_blocks"], 2);
    assert_eq!(collected["kept_blocks"], 8);
    rehost!["snapshots", "fsck", &store].ok();
    rehost!["snapshots", "rm", &snapshots[2]].failed(1);
    let said = rehost!["snapshots", "rm", &store].failed(1);
    assert!(said.contains("store:DIR#SNAPSHOT"), "{said}");
}

#[test]
fn differences_are_the_same_by_indexes_and_by_content() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("old.raw"));
    let image = dir.path().join("new.qcow2");
    disk(&raw, 8);
    qemu_img!["convert", "-O", "qcow2", &raw, &image];
    qemu_img!["resize", "-q", "-f", "qcow2", &image, "16777728"];
    let writes = [
        "write -P 7 500k 100k",
        "write -z 2M 512k",
        "write -P 9 6M 1",
        "write -P 9 16777216 512",
    ];
    qemu_io(&image, "qcow2", &writes);
    let old = rehost!["replicate", &raw, "--to", &store].ok();
    let new = rehost!["replicate", &image, "--to", &store].ok();
    let name = |id: &str| format!("{store}#{}", id.trim());
    let expected = serde_json::json!([
        {"start": 0, "length": 2 * BLOCK},
        {"start": 2 * MIB, "length": BLOCK},
        {"start": 6 * MIB, "length": BLOCK},
        {"start": 16 * MIB, "length": 512},
    ]);
    let (raw, image) = (raw.to_str().unwrap(), image.to_str().unwrap());
    for left in [raw, &name(&old)] {
        for right in [image, &name(&new)] {
            let found = rehost!["diff", "--json", left, right].json();
            assert_eq!(found, expected, "{left} {right}");
            assert_eq!(rehost!["diff", "--json", right, left].json(), expected);
        }
    }
    let ran = rehost!["diff", raw, image];
    assert!(
        ran.stderr.contains("4 ranges, 2.0 MiB differ"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.ok().lines().count(), 5);
    assert_eq!(
        rehost!["diff", "--json", raw, raw].json(),
        Value::Array(Vec::new())
    );
}

#[test]
fn rounds_go_on_until_they_are_interrupted() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    disk(&raw, 8);
    let mut command = program();
    command.arg("replicate").arg(&raw);
    command.args(["--to", &store, "--every", "1s"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    qemu_io(&raw, "raw", &["write -P 7 0 4k"]);
    // The next round may have begun before the write.
    let other = lines
        .by_ref()
        .map(Result::unwrap)
        .take(10)
        .find(|id| *id != first);
    let other = other.unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(
        ran.stderr.contains("the snapshots that were printed stay"),
        "{}",
        ran.stderr
    );
    ran.ended(130);
    let ids: Vec<Value> = list(&store).iter().map(|line| line["id"].clone()).collect();
    assert!(ids.contains(&first.into()) && ids.contains(&other.into()));
    let said = rehost!["replicate", "-", "--to", &store, "--every", "1s"].failed(1);
    assert!(said.contains("stdin"), "{said}");
    rehost!["replicate", &raw, "--to", &store, "--every", "0s"].ended(2);
}

/// A file system that is mounted for writing, until it is dropped.
struct Mounted {
    point: PathBuf,
    device: String,
}

impl Mounted {
    /// Needs root, loop devices, and the right to mount.
    fn new(image: &Path, point: &Path) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        fs::create_dir(point).unwrap();
        let mut losetup = Command::new("losetup");
        losetup.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
        let device = losetup.args(["-f", "--show"]).arg(image).output().ok()?;
        let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
        if device.is_empty() {
            return None;
        }
        let mounted = Self {
            point: point.to_owned(),
            device,
        };
        let mount = Command::new("mount")
            .arg(&mounted.device)
            .arg(point)
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then_some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.point).output();
        let mut losetup = Command::new("losetup");
        losetup.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
        let _ = losetup.arg("-d").arg(&self.device).output();
    }
}

#[test]
fn a_disk_that_is_mounted_for_writing_is_refused() {
    let dir = temp();
    let (store, image) = (store(dir.path()), dir.path().join("fs.img"));
    tool(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(&image)
            .arg("16M"),
    );
    let Some(mounted) = Mounted::new(&image, &dir.path().join("mnt")) else {
        eprintln!("skipped: this host lets nobody mount here");
        return;
    };
    // The device, and the file below it.
    for source in [Path::new(&mounted.device), &image] {
        let said = rehost!["replicate", source, "--to", &store].failed(1);
        assert!(said.contains("mounted for writing at"), "{said}");
        assert!(said.contains("lvcreate --snapshot"), "{said}");
        rehost!["replicate", "--allow-mounted", source, "--to", &store].ok();
    }
    let remount = ["-o", "remount,ro"];
    tool(Command::new("mount").args(remount).arg(&mounted.point));
    rehost!["replicate", &mounted.device, "--to", &store].ok();
}
