//! `replicate` where the source tells what can have changed: layers of an image, dirty bitmaps.

use crate::support::{Ran, program, qemu_img, qemu_io, rehost, temp};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 512 << 10;

/// A store, and a directory for the images of one machine.
struct Lab {
    dir: tempfile::TempDir,
    store: String,
}

/// What one run did.
struct Made {
    /// The snapshot, as an argument.
    snapshot: String,
    report: Value,
    stderr: String,
}

impl Lab {
    fn new() -> Self {
        let dir = temp();
        let store = format!("store:{}", dir.path().join("s").display());
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a qcow2 image with data in the first 16 of 64 MiB, that nobody writes any more.
    fn base(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        qemu_img!["create", "-q", "-f", "qcow2", &path, "64M"];
        qemu_io(&path, "qcow2", &["write -P 1 0 8M", "write -P 2 8M 8M"]);
        path
    }

    fn overlay(&self, name: &str, over: &str, size: Option<&str>) -> PathBuf {
        let path = self.path(name);
        let format = over.rsplit_once('.').unwrap().1;
        let create = ["create", "-q", "-f", "qcow2", "-b", over, "-F", format];
        let mut command = std::process::Command::new("qemu-img");
        command.args(create).arg(&path).args(size);
        crate::support::tool(&mut command);
        path
    }

    /// Takes a snapshot of the machine, and compares it with the whole of the image.
    #[track_caller]
    fn replicate(&self, image: &Path, options: &[&str]) -> Made {
        let made = self.try_replicate(image, options);
        let ran = rehost!["compare", "--strict", image, &made.snapshot];
        ran.ok();
        let copy = self.path("copy.raw");
        rehost!["copy", "--force", image, &copy].ok();
        rehost!["compare", "--strict", &copy, &made.snapshot].ok();
        made
    }

    #[track_caller]
    fn try_replicate(&self, image: &Path, options: &[&str]) -> Made {
        let mut command = program();
        command
            .arg("replicate")
            .arg(image)
            .args(["--to", &self.store]);
        command.args(["--machine", "m", "--json"]).args(options);
        let ran = Ran::of(command.output().unwrap());
        let stderr = ran.stderr.clone();
        let report = ran.json()["outputs"][0].take();
        let snapshot = format!("{}#{}", self.store, report["id"].as_str().unwrap());
        Made {
            snapshot,
            report,
            stderr,
        }
    }
}

impl Made {
    #[track_caller]
    fn read(&self) -> u64 {
        self.report["read"].as_u64().unwrap()
    }

    /// That it read what the topmost layers hold, and no more.
    #[track_caller]
    fn assert_layers(&self, layers: &str, read: u64) {
        let line = format!("{layers} above the last snapshot");
        assert!(self.stderr.contains(&line), "{}", self.stderr);
        assert_eq!(self.read(), read, "{}", self.stderr);
    }

    /// That it read the whole disk, of which so much is data.
    #[track_caller]
    fn assert_all(&self, data: u64) {
        assert!(!self.stderr.contains("above the last"), "{}", self.stderr);
        assert_eq!(self.read(), data, "{}", self.stderr);
    }
}

/// Waits until a write to a file that exists now cannot have the time that it has.
pub(crate) fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(2100));
}

#[test]
fn only_layers_above_the_last_snapshot_are_read() {
    let lab = Lab::new();
    let base = lab.base("base.qcow2");
    settle();
    lab.replicate(&base, &[]).assert_all(16 * MIB);

    let one = lab.overlay("one.qcow2", "base.qcow2", None);
    let writes = ["write -P 3 1M 64k", "write -z 9M 512k", "write -P 4 60M 1"];
    qemu_io(&one, "qcow2", &writes);
    let made = lab.replicate(&one, &[]);
    made.assert_layers("1 layer", 2 * BLOCK);
    assert_eq!(made.report["put_blocks"], 3);

    // Two at once; the last snapshot is of the second file of the chain.
    let two = lab.overlay("two.qcow2", "one.qcow2", None);
    qemu_io(&two, "qcow2", &["write -P 5 2M 512k"]);
    let three = lab.overlay("three.qcow2", "two.qcow2", None);
    qemu_io(
        &three,
        "qcow2",
        &["write -P 6 3M 512k", "write -P 1 2M 64k"],
    );
    let made = lab.replicate(&three, &[]);
    made.assert_layers("2 layers", 2 * BLOCK);
    assert_eq!(made.report["put_blocks"], 2);

    // The very same chain is compared by digests.
    let made = lab.replicate(&three, &[]);
    assert_eq!(made.report["made"], false);
    made.assert_all(16 * MIB);
    // An overlay that changes nothing: the last snapshot stands for it, and goes on from there.
    let four = lab.overlay("four.qcow2", "three.qcow2", None);
    let made = lab.replicate(&four, &[]);
    made.assert_layers("1 layer", 0);
    assert_eq!(made.report["made"], false);
    let five = lab.overlay("five.qcow2", "four.qcow2", None);
    qemu_io(&five, "qcow2", &["write -P 9 0 512k"]);
    lab.replicate(&five, &[]).assert_layers("1 layer", BLOCK);
    // Whoever does not believe it.
    let six = lab.overlay("six.qcow2", "five.qcow2", None);
    let made = lab.replicate(&six, &["--read-all"]);
    assert!(made.read() > 15 * MIB);
    rehost!["snapshots", "fsck", &lab.store].ok();
}

#[test]
fn what_a_full_snapshot_holds_is_what_the_next_list_begins_at() {
    let lab = Lab::new();
    let disk = lab.path("disk.raw");
    qemu_img!["create", "-q", "-f", "raw", &disk, "4M"];
    let write = |command: &str| qemu_io(&disk, "raw", &[command]);
    write("write -P 1 0 4M");
    let first = lab.replicate(&disk, &[]);
    write("write -P 9 1M 512");
    let second = lab.replicate(&disk, &[]);
    // The same disk as at first.
    write("write -P 1 1M 512");
    let full = lab.replicate(&disk, &["--full"]);
    assert_eq!(
        full.report["parent"], second.report["id"],
        "{}",
        full.stderr
    );
    assert_ne!(full.snapshot, first.snapshot);
    assert!(full.stderr.contains("gets a child"), "{}", full.stderr);
    write("write -P 5 3M 512");
    let list = lab.path("list");
    fs::write(&list, "3145728 512\n").unwrap();
    let made = lab.replicate(&disk, &["--changed", list.to_str().unwrap()]);
    assert_eq!(
        (made.read(), &made.report["parent"]),
        (BLOCK, &full.report["id"])
    );
}

#[test]
fn a_base_that_changed_behind_our_back_is_read_in_full() {
    let lab = Lab::new();
    let base = lab.base("base.qcow2");
    settle();
    lab.replicate(&base, &[]);
    let one = lab.overlay("one.qcow2", "base.qcow2", None);
    qemu_io(&one, "qcow2", &["write -P 3 1M 64k"]);
    // Only a byte of the base, in place, and its time is set back.
    let before = fs::metadata(&base).unwrap().modified().unwrap();
    qemu_io(&base, "qcow2", &["write -P 7 4M 512"]);
    let file = File::options().write(true).open(&base).unwrap();
    file.set_modified(before).unwrap();
    drop(file);
    let made = lab.replicate(&one, &[]);
    made.assert_all(16 * MIB);
    assert!(
        made.stderr.contains("no layer is as it was"),
        "{}",
        made.stderr
    );
    assert_eq!(made.report["put_blocks"], 2);
    // From there on the layers tell again.
    let two = lab.overlay("two.qcow2", "one.qcow2", None);
    qemu_io(&two, "qcow2", &["write -P 3 5M 64k"]);
    lab.replicate(&two, &[]).assert_layers("1 layer", BLOCK);
    // A file of the same name and content is another file.
    fs::copy(&one, lab.path("copy")).unwrap();
    fs::rename(lab.path("copy"), &one).unwrap();
    let three = lab.overlay("three.qcow2", "two.qcow2", None);
    lab.replicate(&three, &[]).assert_all(16 * MIB);
}

#[test]
fn a_commit_and_a_rebase_make_another_chain() {
    let lab = Lab::new();
    let base = lab.base("base.qcow2");
    settle();
    lab.replicate(&base, &[]);
    let one = lab.overlay("one.qcow2", "base.qcow2", None);
    qemu_io(&one, "qcow2", &["write -P 3 1M 64k"]);
    lab.replicate(&one, &[]).assert_layers("1 layer", BLOCK);
    let two = lab.overlay("two.qcow2", "one.qcow2", None);
    qemu_io(&two, "qcow2", &["write -P 4 2M 64k"]);
    // `one` goes into its base, and `two` lies over that.
    qemu_img!["commit", "-q", "-d", &one];
    qemu_img!["rebase", "-u", "-b", "base.qcow2", "-F", "qcow2", &two];
    let made = lab.replicate(&two, &[]);
    made.assert_all(16 * MIB);
    assert_eq!(made.report["put_blocks"], 1);
    // A rebase onto another disk copies what differs into the overlay.
    let other = lab.base("other.qcow2");
    qemu_io(&other, "qcow2", &["write -P 9 3M 64k"]);
    qemu_img!["rebase", "-b", "other.qcow2", "-F", "qcow2", &two];
    let made = lab.replicate(&two, &[]);
    made.assert_all(16 * MIB);
    assert_eq!(made.report["made"], false);
    // Another disk under the same overlay.
    qemu_img!["rebase", "-u", "-b", "base.qcow2", "-F", "qcow2", &two];
    let three = lab.overlay("three.qcow2", "two.qcow2", None);
    lab.replicate(&three, &[]).assert_all(16 * MIB);
}

#[test]
fn layers_of_other_sizes_count_with_what_they_hide_and_add() {
    let lab = Lab::new();
    // Data up to the very end, which is no whole block.
    let base = lab.path("end.qcow2");
    qemu_img!["create", "-q", "-f", "qcow2", &base, "6400512"];
    qemu_io(&base, "qcow2", &["write -P 1 0 6400512"]);
    settle();
    lab.replicate(&base, &[]);
    let larger = lab.overlay("larger.qcow2", "end.qcow2", Some("20M"));
    qemu_io(&larger, "qcow2", &["write -P 3 1M 1", "write -P 3 19M 1"]);
    // The last block of the base is looked at, since the disk goes on there.
    let made = lab.replicate(&larger, &[]);
    made.assert_layers("1 layer", 3 * BLOCK);
    assert_eq!(made.report["put_blocks"], 2);
    // Smaller, and larger again: what is cut off is gone.
    lab.overlay("smaller.qcow2", "larger.qcow2", Some("3000832"));
    let again = lab.overlay("again.qcow2", "smaller.qcow2", Some("30M"));
    qemu_io(&again, "qcow2", &["write -P 4 29M 1"]);
    let made = lab.replicate(&again, &[]);
    assert!(made.stderr.contains("2 layers above"), "{}", made.stderr);
    assert!(made.read() <= 2 * BLOCK);
    let last = lab.overlay("last.qcow2", "again.qcow2", Some("2M"));
    let made = lab.replicate(&last, &[]);
    made.assert_layers("1 layer", 0);
    assert_eq!(made.report["put_blocks"], 0);
    let shown = rehost!["snapshots", "show", "--json", &made.snapshot].json();
    assert_eq!(shown["disk_size"], 2 * MIB);
}

#[test]
fn a_snapshot_that_only_believed_a_list_is_nothing_to_go_on_from() {
    let lab = Lab::new();
    let base = lab.base("base.qcow2");
    settle();
    lab.replicate(&base, &[]);
    qemu_io(&base, "qcow2", &["write -P 7 1M 1", "write -P 7 5M 1"]);
    settle();
    let list = lab.path("list");
    fs::write(&list, "1048576 1\n").unwrap();
    let options = ["--changed", list.to_str().unwrap()];
    assert_eq!(lab.try_replicate(&base, &options).read(), BLOCK);
    // What the list missed is not missed for ever.
    let one = lab.overlay("one.qcow2", "base.qcow2", None);
    let made = lab.replicate(&one, &[]);
    made.assert_all(16 * MIB);
    assert!(made.stderr.contains("does not say"), "{}", made.stderr);
    let two = lab.overlay("two.qcow2", "one.qcow2", None);
    lab.replicate(&two, &[]).assert_layers("1 layer", 0);
}

/// Extents of a VMDK in files of their own, over which deltas are made as ESX does.
#[test]
fn deltas_of_vmdk_are_layers_with_all_their_files() {
    let lab = Lab::new();
    let sectors = 16 * MIB / 512;
    let raw = lab.path("disk-flat.vmdk");
    let file = File::create(&raw).unwrap();
    file.set_len(16 * MIB).unwrap();
    file.write_all_at(&vec![1; 4 << 20], 0).unwrap();
    drop(file);
    let descriptor = |cid: &str, parent: &str, hint: &str, extent: &str| {
        let hint = if hint.is_empty() {
            String::new()
        } else {
            format!("parentFileNameHint=\"{hint}\"\n")
        };
        format!(
            "# Disk DescriptorFile\nversion=1\nCID={cid}\nparentCID={parent}\n\
             createType=\"vmfs\"\n{hint}RW {sectors} {extent}\n"
        )
    };
    let base = lab.path("disk.vmdk");
    let text = descriptor("00000001", "ffffffff", "", "VMFS \"disk-flat.vmdk\"");
    fs::write(&base, text).unwrap();
    settle();
    lab.replicate(&base, &[]).assert_all(4 * MIB);

    let delta = |number: u32, parent: &str, grain: u32, byte: u8| {
        let name = format!("disk-{number:06}.vmdk");
        let extent = format!("disk-{number:06}-delta.vmdk");
        fs::write(lab.path(&extent), cowd(sectors, grain, byte)).unwrap();
        let line = format!("VMFSSPARSE \"{extent}\"");
        let parent_cid = format!("{number:08x}");
        let cid = format!("{:08x}", number + 1);
        let text = descriptor(&cid, &parent_cid, parent, &line);
        fs::write(lab.path(&name), text).unwrap();
        lab.path(&name)
    };
    let first = delta(1, "disk.vmdk", 100, 7);
    let made = lab.replicate(&first, &[]);
    made.assert_layers("1 layer", BLOCK);
    assert_eq!(made.report["put_blocks"], 1);
    let second = delta(2, "disk-000001.vmdk", 20_000, 8);
    lab.replicate(&second, &[]).assert_layers("1 layer", BLOCK);
    // An extent of the base is a file of its layer.
    let file = File::options().write(true).open(&raw).unwrap();
    file.write_all_at(&[9], 2 << 20).unwrap();
    drop(file);
    let third = delta(3, "disk-000002.vmdk", 30_000, 9);
    let made = lab.replicate(&third, &[]);
    made.assert_all(4 * MIB + 2 * BLOCK);
    assert_eq!(made.report["put_blocks"], 2);
}

/// A sparse extent of ESX with one grain of 512 bytes.
fn cowd(sectors: u64, grain: u32, byte: u8) -> Vec<u8> {
    let tables = u32::try_from(sectors.div_ceil(4096)).unwrap();
    let word = |n: u32| n.to_le_bytes();
    let mut header = b"COWD".to_vec();
    let sectors = u32::try_from(sectors).unwrap();
    // Version, flags, sectors, sectors of a grain, where the directory is, its entries, free sector.
    for number in [1, 3, sectors, 1, 4, tables, 100] {
        header.extend(word(number));
    }
    let mut image = header;
    image.resize(200 * 512, 0);
    let (table, data) = (8_u32, 120_u32);
    let at = |sector: u32, index: u32| usize::try_from(sector * 512 + index * 4).unwrap();
    image[at(4, grain / 4096)..][..4].copy_from_slice(&word(table));
    image[at(table, grain % 4096)..][..4].copy_from_slice(&word(data));
    image[at(data, 0)..][..512].fill(byte);
    image
}

#[test]
fn a_bitmap_says_what_is_read() {
    let lab = Lab::new();
    let image = lab.base("web.qcow2");
    qemu_img!["bitmap", "--add", "-g", "64k", &image, "b0"];
    // Without a snapshot all is read.
    let made = lab.replicate(&image, &["--bitmap", "b0"]);
    made.assert_all(16 * MIB);
    assert!(made.stderr.contains("all of it is read"), "{}", made.stderr);

    let writes = [
        "write -P 7 1000 1000",
        "write -P 8 40M 1M",
        "write -z 10M 64k",
    ];
    qemu_io(&image, "qcow2", &writes);
    let made = lab.replicate(&image, &["--bitmap", "b0"]);
    assert_eq!(made.read(), 4 * BLOCK);
    assert_eq!(made.report["put_blocks"], 4);

    // What the bitmap is cleared of is not read, and not noticed either.
    qemu_img!["bitmap", "--clear", &image, "b0"];
    qemu_io(&image, "qcow2", &["write -P 9 20M 64k"]);
    qemu_img!["bitmap", "--disable", &image, "b0"];
    qemu_io(&image, "qcow2", &["write -P 9 30M 64k"]);
    let made = lab.try_replicate(&image, &["--bitmap", "b0"]);
    assert!(made.stderr.contains("is disabled"), "{}", made.stderr);
    assert_eq!(made.read(), BLOCK);
    rehost!["compare", &image, &made.snapshot].ended(3);
    // It is made good by the next run without.
    lab.replicate(&image, &[]);

    let mut both = program();
    let raw = lab.path("data.raw");
    fs::write(&raw, [3; 4096]).unwrap();
    both.arg("replicate").arg(&image).arg(&raw);
    both.args(["--to", &lab.store, "--machine", "two", "--bitmap", "b0"]);
    let ran = Ran::of(both.output().unwrap());
    assert!(
        ran.stderr.contains("data.raw has no bitmap"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.ok().lines().count(), 2);
    let run = |bitmap: &str, more: &[&str]| {
        let mut command = program();
        command
            .arg("replicate")
            .arg(&image)
            .args(["--to", &lab.store]);
        command.args(["--bitmap", bitmap]).args(more);
        Ran::of(command.output().unwrap())
    };
    let said = run("b1", &[]).failed(1);
    assert!(said.contains("no disk has a bitmap"), "{said}");
    run("b0", &["--full"]).ended(2);
    run("b0", &["--every", "3m"]).ended(2);
    run("b0", &["--read-all"]).ended(2);
    // Another program that knows no bitmaps clears the bit that says that they are right.
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0], 95).unwrap();
    let said = run("b0", &[]).failed(1);
    assert!(said.contains("may miss changes"), "{said}");
}

#[test]
fn info_lists_bitmaps_as_qemu_does() {
    let lab = Lab::new();
    let image = lab.base("web.qcow2");
    qemu_img!["bitmap", "--add", "-g", "64k", &image, "on"];
    qemu_img!["bitmap", "--add", "--disable", "-g", "1M", &image, "off"];
    qemu_io(
        &image,
        "qcow2",
        &["write -P 7 1000 1000", "write -P 8 40M 1M"],
    );
    qemu_img!["bitmap", "--merge", "on", &image, "off"];
    let info = rehost!["info", "--json", &image].json();
    let bitmap = |name: &str, granularity: u64, enabled: bool, dirty: u64| {
        serde_json::json!({
            "name": name, "granularity": granularity, "enabled": enabled, "in_use": false,
            "dirty": dirty,
        })
    };
    let expected = serde_json::json!([
        bitmap("on", 64 << 10, true, MIB + (64 << 10)),
        bitmap("off", MIB, false, 2 * MIB),
    ]);
    assert_eq!(info[0]["layers"][0]["bitmaps"], expected);
    let text = rehost!["info", &image].ok();
    let line = "bitmap \"off\", a bit for 1.0 MiB, 2.0 MiB dirty, disabled";
    assert!(text.contains(line), "{text}");
    // Of an overlay they are those of its own file.
    let overlay = lab.overlay("over.qcow2", "web.qcow2", None);
    let info = rehost!["info", "--json", &overlay].json();
    assert_eq!(info[0]["layers"][0]["bitmaps"], serde_json::json!([]));
    assert_eq!(info[0]["layers"][1]["bitmaps"], expected);
}
