//! `rehost info`, `map` and `compare`, held against qemu-img and cmp.

use crate::support::{Ran, names, peak_memory, program, qemu_img, qemu_io, rehost, temp, tool};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A chain of three layers, each larger than the one below; the image, then its parents.
fn chain(dir: &Path) -> [PathBuf; 3] {
    let [top, middle, base] = ["top.qcow2", "middle.qcow2", "base.raw"].map(|n| dir.join(n));
    File::create(&base).unwrap().set_len(3 * MIB).unwrap();
    qemu_io(&base, "raw", &["write -P 1 64k 64k", "write -P 1 1M 1M"]);
    qemu_img![
        "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw", &middle, "8M"
    ];
    let writes = ["write -P 2 1M 64k", "write -z 2M 64k", "write -P 3 5M 192k"];
    qemu_io(&middle, "qcow2", &writes);
    qemu_img![
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "middle.qcow2",
        &top,
        "10M"
    ];
    let writes = [
        "write -P 4 9M 64k",
        "write -c -P 4 6M 64k",
        "write -z 5M 64k",
        "write -P 5 64k 64k",
    ];
    qemu_io(&top, "qcow2", &writes);
    [top, middle, base]
}

/// What a run of a map says, as (start, end, facts); neighbours with the same facts are one.
fn facts(map: &Value) -> Vec<(u64, u64, Vec<Value>)> {
    let mut merged: Vec<(u64, u64, Vec<Value>)> = Vec::new();
    for run in map.as_array().unwrap() {
        let (start, length) = (
            run["start"].as_u64().unwrap(),
            run["length"].as_u64().unwrap(),
        );
        let present = run["present"] == true;
        // qemu-img says how deep it looked, too, where it found nothing.
        let depth = if present {
            run["depth"].clone()
        } else {
            Value::Null
        };
        let keys = ["present", "zero", "data", "compressed"];
        let mut facts: Vec<_> = keys.iter().map(|key| run[*key].clone()).collect();
        facts.push(depth);
        // Where data lies is the same however it is cut into runs.
        if run["data"] == true && run["compressed"] == false {
            let offset = run["offset"].as_u64().unwrap();
            facts.push(offset.wrapping_sub(start).into());
        }
        match merged.last_mut() {
            Some(last) if last.1 == start && last.2 == facts => last.1 = start + length,
            _ => merged.push((start, start + length, facts)),
        }
    }
    merged
}

#[test]
fn a_map_says_what_qemu_img_says() {
    let dir = temp();
    let [top, middle, base] = chain(dir.path());
    let odd = dir.path().join("odd.raw");
    File::create(&odd).unwrap().set_len(MIB + 1024).unwrap();
    qemu_io(&odd, "raw", &["write -P 1 512k 8k", "write -P 1 1M 1k"]);
    let small = dir.path().join("small.qcow2");
    qemu_img![
        "convert",
        "-O",
        "qcow2",
        "-o",
        "cluster_size=4k",
        &top,
        &small
    ];
    let packed = dir.path().join("packed.qcow2");
    qemu_img!["convert", "-c", "-O", "qcow2", &top, &packed];
    let empty = dir.path().join("empty.qcow2");
    qemu_img!["create", "-q", "-f", "qcow2", &empty, "1G"];
    for image in [top, middle, base, odd, small, packed, empty] {
        let format = if image.extension().unwrap() == "raw" {
            "raw"
        } else {
            "qcow2"
        };
        let said = qemu_img!["map", "--output=json", "-f", format, &image];
        let expected: Value = serde_json::from_slice(&said).unwrap();
        let mut found = rehost!["map", "--json", &image].json();
        if expected[0].get("compressed").is_none() {
            // QEMU before version 8.2 does not say it.
            for run in found.as_array_mut().unwrap() {
                run.as_object_mut().unwrap().remove("compressed");
            }
        }
        assert_eq!(facts(&found), facts(&expected), "{image:?}");
    }
}

#[test]
fn a_map_reads_as_a_table() {
    let dir = temp();
    let [top, ..] = chain(dir.path());
    let text = rehost!["map", &top].ok();
    let lines: Vec<Vec<_>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["start", "length", "what", "depth", "offset", "file"]
    );
    let base = dir.path().join("base.raw");
    let base = base.to_str().unwrap();
    assert!(
        lines.contains(&vec!["2097152", "65536", "zero", "1", "-", "-"]),
        "{text}"
    );
    assert!(
        lines.contains(&vec!["1114112", "983040", "data", "2", "1114112", base]),
        "{text}"
    );
    assert!(text.contains(" compressed "), "{text}");
    assert!(text.contains(" hole "), "{text}");
}

/// A qcow2 image whose 64 L2 tables are one and the same: in each, clusters with and without the
/// zero flag take turns.
fn many_runs(path: &Path) -> u64 {
    const TABLES: u64 = 64;
    let size = TABLES * 8192 * 65536;
    qemu_img!["create", "-q", "-f", "qcow2", path, size.to_string()];
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 40).unwrap();
    let (l1, l2) = (u64::from_be_bytes(word), 1 << 20);
    for table in 0..TABLES {
        file.write_all_at(&u64::to_be_bytes(l2), l1 + table * 8)
            .unwrap();
    }
    let entries: Vec<u8> = (0..8192_u64)
        .flat_map(|entry| (entry % 2).to_be_bytes())
        .collect();
    file.write_all_at(&entries, l2).unwrap();
    TABLES * 8192
}

#[test]
fn a_map_of_many_runs_takes_no_memory() {
    let dir = temp();
    let image = dir.path().join("many.qcow2");
    let runs = many_runs(&image);
    let kib = peak_memory(program().args(["map", "--json"]).arg(&image));
    assert!(kib < 48 << 10, "{kib} KiB for {runs} runs");
    let info = rehost!["info", "--json", &image].json();
    assert_eq!(info[0]["extents"]["count"], runs);
    assert_eq!(
        info[0]["extents"]["zero"],
        info[0]["extents"]["unallocated"]
    );
    // A reader that has seen enough is no failure.
    let mut child = program()
        .arg("map")
        .arg(&image)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn info_counts_what_a_disk_consists_of() {
    let dir = temp();
    let [top, middle, base] = chain(dir.path());
    let infos = rehost!["info", "--json", &top, &base].json();
    assert_eq!(infos.as_array().unwrap().len(), 2);
    let info = &infos[0];
    assert_eq!(info["format"], "qcow2");
    assert_eq!(info["virtual_size"], 10 * MIB);
    let map = rehost!["map", "--json", &top].json();
    let map = map.as_array().unwrap();
    let bytes = |which: &dyn Fn(&Value) -> bool| -> u64 {
        let runs = map.iter().filter(|run| which(run));
        runs.map(|run| run["length"].as_u64().unwrap()).sum()
    };
    let extents = &info["extents"];
    assert_eq!(extents["count"], map.len());
    assert_eq!(extents["data"], bytes(&|run| run["data"] == true));
    assert_eq!(
        extents["compressed"],
        bytes(&|run| run["compressed"] == true)
    );
    assert_eq!(
        extents["unallocated"],
        bytes(&|run| run["present"] == false)
    );
    let zero = |run: &Value| run["zero"] == true && run["present"] == true;
    assert_eq!(extents["zero"], bytes(&zero));
    assert!(extents["compressed"] == 1 << 16 && extents["data"].as_u64().unwrap() > MIB);

    let layers = info["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for (layer, (path, format, size)) in layers.iter().zip([
        (&top, "qcow2", 10 * MIB),
        (&middle, "qcow2", 8 * MIB),
        (&base, "raw", 3 * MIB),
    ]) {
        let meta = fs::metadata(path).unwrap();
        assert_eq!(layer["path"], path.to_str().unwrap());
        assert_eq!(
            (&layer["format"], &layer["virtual_size"]),
            (&format.into(), &size.into())
        );
        assert_eq!(layer["file_size"], meta.len());
        assert_eq!(layer["allocated_size"], meta.blocks() * 512);
        assert!(layer["details"].is_array());
    }
    assert_eq!(info["files"].as_array().unwrap().len(), 3);
    assert_eq!(infos[1]["layers"].as_array().unwrap().len(), 1);
    let text = rehost!["info", &top, &base].ok();
    assert!(
        text.contains("virtual size   10.0 MiB (10485760 bytes)"),
        "{text}"
    );
    assert!(text.contains("layer 2"), "{text}");

    let store = format!("store:{}", dir.path().join("s").display());
    let id = rehost!["copy", &top, &store].ok();
    let snapshot = format!("{store}#{}", id.trim());
    let infos = rehost!["info", "--json", &snapshot].json();
    assert_eq!(
        (&infos[0]["format"], &infos[0]["virtual_size"]),
        (&"store".into(), &(10 * MIB).into())
    );
    assert!(infos[0]["extents"]["data"].as_u64().unwrap() >= MIB);
    let runs = rehost!["map", "--json", &snapshot].json();
    let last = runs.as_array().unwrap().last().unwrap();
    let end = last["start"].as_u64().unwrap() + last["length"].as_u64().unwrap();
    assert_eq!(end, 10 * MIB);
}

#[test]
fn snapshots_inside_an_image_are_listed_and_read() {
    let dir = temp();
    let image = dir.path().join("d.qcow2");
    qemu_img!["create", "-q", "-f", "qcow2", &image, "2M"];
    let copies = ["1", "2", "now"].map(|name| dir.path().join(name).with_extension("raw"));
    for (at, copy) in copies.iter().enumerate() {
        qemu_io(
            &image,
            "qcow2",
            &[&format!("write -P {} 0 {}k", at + 1, 64 * (at + 1))],
        );
        qemu_img!["convert", "-O", "raw", &image, copy];
        if at < 2 {
            // A name that would paint the terminal.
            qemu_img!["snapshot", "-c", format!("\x1b[31m{at}"), &image];
        }
    }
    let info = rehost!["info", "--json", &image].json();
    let snapshots = info[0]["layers"][0]["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(
        (&snapshots[1]["id"], &snapshots[1]["name"]),
        (&"2".into(), &"\x1b[31m1".into())
    );
    assert_eq!(snapshots[0]["virtual_size"], 2 * MIB);
    let text = rehost!["info", &image].ok();
    assert!(
        text.contains("snapshot 2 ") && !text.contains('\x1b'),
        "{text}"
    );
    let out = dir.path().join("out.raw");
    rehost!["copy", "--force", &image, &out].ok();
    rehost!["compare", "--strict", &copies[2], &out].ok();
    for id in ["1", "2"] {
        rehost!["copy", "--force", "--snapshot", id, &image, &out].ok();
        let copy = dir.path().join(id).with_extension("raw");
        assert!(
            fs::read(&out).unwrap() == fs::read(copy).unwrap(),
            "snapshot {id}"
        );
    }
    rehost![
        "compare",
        "--snapshot-a",
        "1",
        "--snapshot-b",
        "2",
        &image,
        &image
    ]
    .ended(3);
    let said = rehost!["copy", "--snapshot", "3", &image, dir.path().join("x.raw")].failed(1);
    assert!(said.contains("3"), "{said}");
}

#[test]
fn info_of_a_huge_sparse_disk_is_quick() {
    let dir = temp();
    let image = dir.path().join("huge.qcow2");
    qemu_img!["create", "-q", "-f", "qcow2", &image, "16T"];
    qemu_io(
        &image,
        "qcow2",
        &["write -P 1 0 1M", "write -P 2 16777215M 1M"],
    );
    let from = Instant::now();
    let info = rehost!["info", "--json", &image].json();
    assert!(from.elapsed() < Duration::from_secs(2));
    assert_eq!(info[0]["virtual_size"], 1_u64 << 44);
    assert_eq!(info[0]["extents"]["data"], 2 * MIB);
}

#[test]
fn info_of_a_damaged_image_says_what_can_be_said() {
    let dir = temp();
    let image = dir.path().join("d.qcow2");
    qemu_img!["create", "-q", "-f", "qcow2", &image, "4G"];
    qemu_io(&image, "qcow2", &["write -P 1 0 1M", "write -P 1 3G 1M"]);
    // The image ends before its last L2 table.
    let file = File::options().write(true).open(&image).unwrap();
    file.set_len(fs::metadata(&image).unwrap().len() - 20 * (64 << 10))
        .unwrap();
    let ran = rehost!["info", "--json", &image];
    assert!(ran.stderr.contains("d.qcow2 is damaged"), "{}", ran.stderr);
    let info: Value = serde_json::from_str(&ran.ended(4)).unwrap();
    assert_eq!(info[0]["virtual_size"], 4_u64 << 30);
    assert_eq!(info[0]["extents"], Value::Null);
    let damage = info[0]["damage"].as_str().unwrap();
    assert!(damage.contains("d.qcow2 is damaged"), "{damage}");
    let said = rehost!["map", &image].failed(4);
    assert!(said.contains("d.qcow2 is damaged"), "{said}");
}

#[test]
fn compare_finds_the_byte_that_cmp_finds() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let [top, ..] = chain(dir.path());
    let raw = at("a.raw");
    rehost!["copy", &top, &raw].ok();
    assert_eq!(rehost!["compare", &top, &raw].ok(), "the disks are equal\n");
    let content = fs::read(&raw).unwrap();
    // In data, in a hole, at the very beginning and the very end.
    for offset in [0, 65536 + 17, 3 * MIB + 5, 6 * MIB - 1, 10 * MIB - 1] {
        let other = at("b.raw");
        rehost!["copy", "--force", &raw, &other].ok();
        let index = usize::try_from(offset).unwrap();
        let changed = content[index] ^ 0x5a;
        let file = File::options().write(true).open(&other).unwrap();
        file.write_all_at(&[changed], offset).unwrap();
        if offset + 9 < 10 * MIB {
            file.write_all_at(&[0x77], 10 * MIB - 1).unwrap();
        }
        let cmp = Command::new("cmp").args([&raw, &other]).output().unwrap();
        let cmp = String::from_utf8(cmp.stdout).unwrap();
        assert!(cmp.contains(&format!("byte {},", offset + 1)), "{cmp}");
        let out = rehost!["compare", "--json", &top, &other].ended(3);
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["equal"], false);
        let expected = serde_json::json!({
            "kind": "byte", "offset": offset, "left": content[index], "right": changed,
        });
        assert_eq!(report["difference"], expected);
        let text = rehost!["compare", &other, &top].ended(3);
        assert!(
            text.contains(&format!("differ at byte {offset}: ")),
            "{text}"
        );
        assert!(text.contains(&format!("{changed:#04x}")), "{text}");
    }
}

#[test]
fn a_longer_disk_is_equal_if_zeros_follow_and_nobody_is_strict() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let (short, long) = (at("short.raw"), at("long.qcow2"));
    fs::write(&short, [7; 70_000]).unwrap();
    rehost!["copy", &short, &long].ok();
    qemu_img!["resize", "-q", &long, "9M"];
    let text = rehost!["compare", &short, &long].ok();
    assert!(text.contains("equal, but for zeros"), "{text}");
    let out = rehost!["compare", "--strict", "--json", &short, &long].ended(3);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["difference"]["kind"], "size");
    assert_eq!(report["left"]["virtual_size"], 70_000);
    assert_eq!(report["right"]["virtual_size"], 9 * MIB);
    qemu_io(&long, "qcow2", &["write -P 1 8M 64k"]);
    let text = rehost!["compare", &short, &long].ended(3);
    assert!(
        text.contains(&format!("differ at byte {}: ", 8 * MIB)),
        "{text}"
    );
}

#[test]
fn compare_takes_what_cannot_be_compared_for_neither() {
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a.raw"), [0; 4096]).unwrap();
    rehost!["compare", at("a.raw"), at("absent.raw")].failed(1);
    fs::write(at("b.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    rehost!["compare", at("a.raw"), at("b.qcow2")].failed(4);
    rehost!["compare", "--format-b", "raw", at("a.raw"), at("b.qcow2")].ended(3);
    rehost!["compare", at("a.raw")].ended(2);
    assert_eq!(names(dir.path()), ["a.raw", "b.qcow2"]);
    tool(Command::new("cmp").arg("--version"));
}
