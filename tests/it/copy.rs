//! `rehost copy`: the same disk elsewhere, whole or not at all.

use crate::support::{
    Ran, assert_same, names, peak_memory, phony, program, qemu_img, qemu_io, rehost, temp,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File, OpenOptions, hard_link};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A format that is written: its name, what qemu-img calls it, and further arguments.
pub(crate) type Written = (&'static str, &'static str, &'static [&'static str]);

pub(crate) const WRITTEN: [Written; 11] = [
    ("raw", "raw", &[]),
    ("raw", "raw", &["--preallocate"]),
    ("qcow2", "qcow2", &[]),
    ("qcow2", "qcow2", &["--compress", "zlib"]),
    (
        "qcow2",
        "qcow2",
        &["--compress", "zstd", "--cluster-size", "2M"],
    ),
    (
        "qcow2",
        "qcow2",
        &["--cluster-size", "4096", "--threads", "1", "--sync"],
    ),
    ("vmdk", "vmdk", &[]),
    ("vhd", "vpc", &[]),
    ("vhd", "vpc", &["--subformat", "fixed"]),
    ("vhdx", "vhdx", &[]),
    ("vhdx", "vhdx", &["--block-size", "8M"]),
];

/// Makes a raw disk of data that compresses, data that does not, written zeros, and holes.
pub(crate) fn disk(path: &Path, mib: u64) {
    let file = File::create(path).unwrap();
    file.set_len(mib * MIB + 3 * 512).unwrap();
    let mut random = 1_u64;
    for at in (0..mib).step_by(2) {
        let piece: Vec<u8> = (0..MIB / 8)
            .flat_map(|word| {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let word = match at % 6 {
                    0 => random ^ (random >> 33),
                    2 => word / 64,
                    _ => 0,
                };
                word.to_le_bytes()
            })
            .collect();
        let ragged = at % 5 * 1000;
        file.write_all_at(&piece, at * MIB + ragged).unwrap();
    }
    file.write_all_at(b"the end", mib * MIB + 3 * 512 - 7)
        .unwrap();
}

#[test]
fn a_disk_goes_through_every_format_unchanged() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let raw = at("disk.raw");
    disk(&raw, 12);
    for subformat in ["streamOptimized", "monolithicFlat"] {
        let option = format!("subformat={subformat}");
        let to = at(&format!("{subformat}.vmdk"));
        qemu_img!["convert", "-O", "vmdk", "-o", option, &raw, to];
    }
    qemu_img!["convert", "-O", "qcow2", "-c", &raw, at("packed.qcow2")];
    let sources = [
        "disk.raw",
        "packed.qcow2",
        "streamOptimized.vmdk",
        "monolithicFlat.vmdk",
    ];
    for (number, (name, qemu_name, options)) in WRITTEN.into_iter().enumerate() {
        let source = at(sources[number % sources.len()]);
        let out = at(&format!("{number}.{name}"));
        let mut command = program();
        let ran = Ran::of(
            command
                .arg("copy")
                .args(options)
                .args([&source, &out])
                .output()
                .unwrap(),
        );
        assert_eq!(ran.stderr, "", "{command:?}");
        assert_eq!(ran.ok().trim(), out.to_str().unwrap());
        qemu_img!["compare", "-f", "raw", "-F", qemu_name, &raw, &out];
        if ["qcow2", "vmdk", "vhdx"].contains(&name) {
            qemu_img!["check", "-q", "-f", qemu_name, &out];
        }
        let back = at(&format!("{number}-back.raw"));
        rehost!["copy", &out, &back].ok();
        assert_same(&back, &raw);
        rehost!["compare", "--strict", &raw, &out].ok();
    }
    let all = fs::metadata(at("1.raw")).unwrap();
    assert!(all.blocks() * 512 >= 12 * MIB, "room is reserved");
    let sparse = fs::metadata(at("0.raw")).unwrap();
    assert!(sparse.blocks() * 512 < 6 * MIB, "zeros are holes");
}

#[test]
fn a_copy_goes_into_a_store_and_back() {
    let dir = temp();
    let raw = dir.path().join("disk.raw");
    disk(&raw, 6);
    let store = format!("store:{}", dir.path().join("s").display());
    let id = rehost!["copy", &raw, &store].ok();
    let snapshot = format!("{store}#{}", id.trim());
    let report = rehost!["copy", "--json", "--threads", "2", &raw, &store].json();
    assert_eq!(report["output"]["kind"], "snapshot");
    assert_eq!(report["output"]["id"], id.trim());
    assert_eq!(report["output"]["new_blocks"], 0);
    let back = dir.path().join("back.raw");
    rehost!["copy", &snapshot, &back].ok();
    assert_same(&back, &raw);
    for arguments in [["--to-format", "raw"], ["--cluster-size", "64K"]] {
        let said = rehost!["copy", arguments[0], arguments[1], &raw, &store].failed(1);
        assert!(said.contains("stores"), "{said}");
    }
    for option in ["--salvage", "--snapshot=1", "--disk=1"] {
        let out = dir.path().join("x.raw");
        let said = rehost!["copy", option, &snapshot, &out].failed(1);
        assert!(said.contains("about images, not about stores"), "{said}");
    }
}

#[test]
fn the_report_says_what_was_read_and_written() {
    let dir = temp();
    let base = dir.path().join("base.raw");
    disk(&base, 2);
    let top = dir.path().join("top.qcow2");
    qemu_img![
        "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw", &top, "8M"
    ];
    qemu_io(&top, "qcow2", &["write -P 9 4M 128k"]);
    let out = dir.path().join("out.qcow2");
    let report = rehost!["copy", "--json", &top, &out].json();
    let path = |path: &Path| Value::from(path.to_str().unwrap());
    assert_eq!(report["source"]["name"], path(&top));
    assert_eq!(
        report["source"]["formats"],
        Value::from(vec!["qcow2", "raw"])
    );
    assert_eq!(report["source"]["virtual_size"], 8 * MIB);
    assert_eq!(report["output"]["kind"], "file");
    assert_eq!(report["output"]["path"], path(&out));
    assert_eq!(report["output"]["format"], "qcow2");
    assert_eq!(report["output"]["virtual_size"], 8 * MIB);
    // A MiB of data, the cluster with the end of the base, and what was written over it.
    assert_eq!(report["output"]["data"], MIB + (64 << 10) + (128 << 10));
    assert_eq!(report["lost"], Value::Array(Vec::new()));
}

#[test]
fn a_file_that_is_read_is_never_written() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let base = at("base.raw");
    disk(&base, 2);
    let flat = at("flat.vmdk");
    qemu_img![
        "convert",
        "-O",
        "vmdk",
        "-o",
        "subformat=monolithicFlat",
        &base,
        &flat
    ];
    qemu_img![
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "base.raw",
        at("top.qcow2")
    ];
    symlink(&base, at("soft.raw")).unwrap();
    hard_link(&base, at("hard.raw")).unwrap();
    let before = fs::read(&base).unwrap();
    let all = names(dir.path());
    for (source, out) in [
        ("base.raw", "base.raw"),
        ("base.raw", "soft.raw"),
        ("soft.raw", "base.raw"),
        ("base.raw", "hard.raw"),
        ("top.qcow2", "top.qcow2"),
        ("top.qcow2", "base.raw"),
        ("top.qcow2", "hard.raw"),
        ("flat.vmdk", "flat-flat.vmdk"),
    ] {
        let ran = rehost!["copy", "--force", "--to-format", "raw", at(source), at(out)];
        let said = ran.failed(1);
        assert!(said.contains("is a source and is never written"), "{said}");
    }
    assert!(fs::read(&base).unwrap() == before);
    assert_eq!(names(dir.path()), all);
}

#[test]
fn what_exists_is_replaced_only_by_force() {
    let dir = temp();
    let (source, out) = (dir.path().join("disk.raw"), dir.path().join("out.raw"));
    disk(&source, 2);
    fs::write(&out, "precious").unwrap();
    let said = rehost!["copy", &source, &out].failed(1);
    assert!(
        said.contains("out.raw exists; --force replaces it"),
        "{said}"
    );
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    rehost!["copy", "--force", &source, &out].ok();
    assert_same(&source, &out);
    let said = rehost!["copy", "--force", &source, dir.path()].failed(1);
    assert!(said.contains("is a directory; name the file"), "{said}");
    assert_eq!(names(dir.path()), ["disk.raw", "out.raw"]);
}

#[test]
fn the_status_and_the_words_say_what_went_wrong() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let raw = at("disk.raw");
    disk(&raw, 1);
    fs::write(at("foreign.img"), b"EVF\x09\x0d\x0a\xff\0".repeat(512)).unwrap();
    fs::write(at("cut.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    for (arguments, status, words) in [
        (&["disk.raw"][..], 2, "DEST"),
        (&["--to-format", "vdi", "disk.raw", "x"], 2, "vdi"),
        (&["--cluster-size", "much", "disk.raw", "x"], 2, "64K"),
        (&["--threads", "0", "disk.raw", "x"], 2, "threads"),
        (&["nothing.raw", "x.raw"], 1, "No such file"),
        (&["disk.raw", "x.example"], 1, "--to-format"),
        (&["disk.raw", "nowhere/x.raw"], 1, "nowhere"),
        (
            &["--compress", "zstd", "disk.raw", "x.raw"],
            1,
            "qcow2 file",
        ),
        (&["--preallocate", "disk.raw", "x.qcow2"], 1, "raw file"),
        (
            &["--subformat", "fixed", "disk.raw", "x.qcow2"],
            1,
            "vhd file",
        ),
        (
            &["--cluster-size", "1000", "disk.raw", "x.qcow2"],
            1,
            "power of two",
        ),
        (&["--disk", "2", "disk.raw", "x.raw"], 1, "is one disk"),
        (&["--snapshot", "a", "disk.raw", "x.raw"], 1, "snapshot"),
        (&["store:nowhere", "x.raw"], 1, "store:DIR#SNAPSHOT"),
        (&["foreign.img", "x.raw"], 4, "EnCase"),
        (&["cut.qcow2", "x.raw"], 4, "damaged"),
        (&["--format", "qcow2", "disk.raw", "x.raw"], 4, "disk.raw"),
    ] {
        let mut command = program();
        command.current_dir(dir.path()).arg("copy").args(arguments);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.status, Some(status), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty());
    }
    assert_eq!(names(dir.path()), ["cut.qcow2", "disk.raw", "foreign.img"]);
}

/// Where the L2 entry of the cluster at a guest offset of a qcow2 image with clusters of 64 KiB is.
fn l2_entry(image: &File, guest: u64) -> u64 {
    let word = |at| {
        let mut word = [0; 8];
        image.read_exact_at(&mut word, at).unwrap();
        u64::from_be_bytes(word) & 0x00ff_ffff_ffff_fe00
    };
    let cluster = guest >> 16;
    word(word(40) + cluster / 8192 * 8) + cluster % 8192 * 8
}

#[test]
fn salvage_lists_what_was_lost_and_keeps_the_rest() {
    let dir = temp();
    let (raw, image) = (dir.path().join("disk.raw"), dir.path().join("d.qcow2"));
    disk(&raw, 12);
    qemu_img!["convert", "-O", "qcow2", &raw, &image];
    let file = OpenOptions::new().read(true).write(true).open(&image);
    let file = file.unwrap();
    let mut expected = fs::read(&raw).unwrap();
    // Two neighbours whose places are beyond the end, and one that is not on a cluster's boundary.
    let (first, alone) = (2 * MIB + (1 << 16), 8 * MIB);
    for (guest, entry) in [
        (first, 1_u64 << 63 | 1 << 40),
        (first + (1 << 16), 1 << 63 | 1 << 41),
        (alone, 1 << 63 | 0x1_0200),
    ] {
        let at = l2_entry(&file, guest);
        file.write_all_at(&entry.to_be_bytes(), at).unwrap();
        let start = usize::try_from(guest).unwrap();
        expected[start..start + (1 << 16)].fill(0);
    }
    let out = dir.path().join("out.raw");
    let said = rehost!["copy", &image, &out].failed(4);
    assert!(said.contains("d.qcow2 is damaged"), "{said}");
    assert_eq!(names(dir.path()), ["d.qcow2", "disk.raw"]);

    let ran = rehost!["copy", "--salvage", &image, &out];
    for words in [
        "d.qcow2 is damaged: 192.0 KiB in 2 ranges",
        &format!("bytes {first} to {}: ", first + (2 << 16) - 1),
        &format!("bytes {alone} to {}: ", alone + (1 << 16) - 1),
        "beyond the end",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert_eq!(ran.ended(4).trim(), out.to_str().unwrap());
    assert!(fs::read(&out).unwrap() == expected);

    let ran = rehost!["copy", "--salvage", "--force", "--json", &image, &out];
    let report: Value = serde_json::from_str(&ran.ended(4)).unwrap();
    let lost = report["lost"].as_array().unwrap();
    assert_eq!(lost.len(), 2);
    assert_eq!(
        (&lost[0]["start"], &lost[0]["length"]),
        (&first.into(), &(2 << 16).into())
    );
    assert_eq!(
        (&lost[1]["start"], &lost[1]["length"]),
        (&alone.into(), &(1 << 16).into())
    );
    assert!(!lost[0]["reason"].as_str().unwrap().is_empty());
    // What is sound is no less so for being salvaged.
    let ran = rehost!["copy", "--salvage", "--force", &raw, &out];
    assert_eq!(ran.stderr, "");
    ran.ok();
    assert_same(&out, &raw);
}

const ROUNDS: u32 = 20;

/// Starts a copy and lets it run for `part` of `whole`.
fn started(source: &Path, out: &Path, options: &[&str], whole: Duration, part: u32) -> Child {
    let mut command = program();
    command.arg("copy").args(options).args([source, out]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(whole * part / ROUNDS);
    child
}

/// A source that is not copied in an instant, its copy, and how long that took.
fn reference(dir: &Path, name: &str, options: &[&str]) -> (PathBuf, PathBuf, Duration) {
    let (source, whole) = (dir.join("source.raw"), dir.join(format!("whole-{name}")));
    disk(&source, 24);
    let from = Instant::now();
    let mut child = started(&source, &whole, options, Duration::ZERO, 0);
    assert!(child.wait().unwrap().success());
    (source, whole, from.elapsed())
}

#[test]
fn a_killed_copy_leaves_the_whole_or_nothing_at_all() {
    let work = temp();
    for (name, options) in [
        ("out.raw", &["--sync"][..]),
        ("out.qcow2", &["--compress", "zlib"]),
    ] {
        let (source, whole, time) = reference(work.path(), name, options);
        let mut killed = 0;
        for round in 0..ROUNDS {
            let dir = temp();
            let out = dir.path().join(name);
            let mut child = started(&source, &out, options, time, round);
            // It may have ended already.
            let _ = child.kill();
            killed += u32::from(child.wait().unwrap().code().is_none());
            if out.exists() {
                assert_same(&out, &whole);
                assert_eq!(names(dir.path()), [name]);
            } else {
                assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
            }
        }
        assert!(
            // Other work on the machine may have made the first one slow, and these quick.
            killed > ROUNDS / 10,
            "{killed} of {ROUNDS} rounds were killed"
        );
    }
}

#[test]
fn a_killed_copy_over_a_file_leaves_the_old_one_or_the_new_one() {
    let work = temp();
    let (source, whole, time) = reference(work.path(), "out.qcow2", &[]);
    for round in 0..ROUNDS {
        let dir = temp();
        let out = dir.path().join("out.qcow2");
        fs::write(&out, "old").unwrap();
        let mut child = started(&source, &out, &["--force"], time, round);
        let _ = child.kill();
        child.wait().unwrap();
        if fs::read(&out).unwrap() != b"old" {
            assert_same(&out, &whole);
        }
    }
}

#[test]
fn an_interrupted_copy_says_so_and_leaves_nothing() {
    let work = temp();
    let options = &["--compress", "zlib"][..];
    let (source, whole, time) = reference(work.path(), "out.qcow2", options);
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let dir = temp();
        let out = dir.path().join("out.qcow2");
        let child = started(&source, &out, options, time, round);
        let pid = Pid::from_child(&child);
        // It may have ended already.
        let _ = kill_process(pid, Signal::INT);
        let ran = Ran::of(child.wait_with_output().unwrap());
        match ran.status {
            Some(130) => {
                interrupted += 1;
                assert!(ran.stderr.contains("interrupted; nothing was published"));
                assert!(names(dir.path()).is_empty());
            }
            Some(0) => assert_same(&out, &whole),
            // The signal came before the program could listen for it.
            None => assert!(names(dir.path()).is_empty()),
            other => panic!("{other:?}: {}", ran.stderr),
        }
    }
    assert!(interrupted > 0);
}

#[test]
fn huge_sparse_disks_take_moments_and_little_memory() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    qemu_img!["create", "-q", "-f", "qcow2", at("huge.qcow2"), "16T"];
    let writes = [
        "write -P 1 0 1M",
        "write -P 2 9T 1M",
        "write -P 3 16777215M 1M",
    ];
    qemu_io(&at("huge.qcow2"), "qcow2", &writes);
    let raw = File::create(at("huge.raw")).unwrap();
    raw.set_len(2 << 40).unwrap();
    for at in [0, 1 << 40, (2 << 40) - MIB] {
        raw.write_all_at(&vec![7; 1 << 20], at).unwrap();
    }
    for (source, out) in [("huge.qcow2", "a.qcow2"), ("huge.raw", "b.qcow2")] {
        let from = Instant::now();
        let [source, out] = [source, out].map(at);
        let kib = peak_memory(program().arg("copy").args([&source, &out]));
        assert!(kib < 200 << 10, "{source:?} took {kib} KiB");
        assert!(from.elapsed() < Duration::from_secs(20));
        assert!(fs::metadata(&out).unwrap().len() < 16 * MIB);
        qemu_img!["check", "-q", "-f", "qcow2", &out];
        let kib = peak_memory(program().arg("compare").args([&source, &out]));
        assert!(kib < 200 << 10, "comparing took {kib} KiB");
    }
    let read = [
        "read -P 1 0 1M",
        "read -P 0 1M 64M",
        "read -P 2 9T 1M",
        "read -P 3 16777215M 1M",
    ];
    qemu_io(&at("a.qcow2"), "qcow2", &read);
    let read = [
        "read -P 7 1T 1M",
        "read -P 7 2097151M 1M",
        "read -P 0 7G 64M",
    ];
    qemu_io(&at("b.qcow2"), "qcow2", &read);
}

#[test]
fn a_copy_of_a_machines_disk_is_that_machine() {
    let dir = temp();
    let out = dir.path().join("web1.qcow2");
    rehost!["copy", phony(&["debian12", "--format", "vmdk"]), &out].ok();
    assert_eq!(
        rehost!["inspect", "--json", &out].json()["os"]["id"],
        "debian"
    );
}
