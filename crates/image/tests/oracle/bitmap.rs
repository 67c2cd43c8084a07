//! Dirty bitmaps of qcow2 images, as QEMU keeps them and as it reads them.

use crate::qemu::{Lab, Random, open, patch};
use image::{BitmapInfo, Image};
use ondisk::Interrupt;
use serde_json::Value;
use std::fs;
use std::num::NonZeroU64;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SECTOR: NonZeroU64 = NonZeroU64::new(512).unwrap();

/// What QEMU serves as dirty by a bitmap.
fn qemu_dirty(lab: &Lab, image: &str, bitmap: &str) -> Vec<Range<u64>> {
    let socket = lab.path("socket");
    let mut server = Command::new("qemu-nbd")
        .args(["-r", "-f", "qcow2", "-B", bitmap, "-k"])
        .arg(&socket)
        .arg(lab.path(image))
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !socket.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no server");
        std::thread::sleep(Duration::from_millis(5));
    }
    let source = format!(
        "driver=nbd,server.type=unix,server.path={},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}",
        socket.display()
    );
    // The socket is there a moment before somebody listens.
    let (output, said) = loop {
        let output = Command::new("qemu-img")
            .args(["map", "--output=json", "--image-opts", &source])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = said.contains("Connection refused");
        if !refused || started.elapsed() > Duration::from_secs(60) {
            break (output, said);
        }
    };
    assert!(output.status.success(), "{said}");
    // It ends with its only client.
    assert!(server.wait().unwrap().success());
    let _ = fs::remove_file(&socket);
    let mut dirty: Vec<Range<u64>> = Vec::new();
    let runs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for run in runs.iter().filter(|run| run["data"] == false) {
        let start = run["start"].as_u64().unwrap();
        let end = start + run["length"].as_u64().unwrap();
        match dirty.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => dirty.push(start..end),
        }
    }
    dirty
}

fn dirty(image: &Image, bitmap: &str) -> Vec<Range<u64>> {
    let found = image.dirty(bitmap, SECTOR, &Interrupt::default());
    found.unwrap().unwrap().ranges
}

fn list(image: &Image) -> Vec<BitmapInfo> {
    image.bitmaps(0, &Interrupt::default()).unwrap()
}

/// Compares every bitmap of an image, and what is said about them.
#[track_caller]
fn assert_agrees(lab: &Lab, image: &str, names: &[&str]) {
    let opened = open(&lab.path(image));
    let found = list(&opened);
    let told = Command::new("qemu-img")
        .args(["info", "--output=json"])
        .arg(lab.path(image))
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let told = told["format-specific"]["data"]["bitmaps"].as_array();
    let told = told.unwrap();
    let ours: Vec<_> = found.iter().map(|bitmap| bitmap.name.as_str()).collect();
    assert_eq!(ours, names);
    assert_eq!(found.len(), told.len());
    for (bitmap, told) in found.iter().zip(told) {
        assert_eq!(told["name"], *bitmap.name);
        assert_eq!(told["granularity"], bitmap.granularity);
        let flags = told["flags"].as_array().unwrap();
        assert_eq!(flags.contains(&"auto".into()), bitmap.enabled, "{bitmap:?}");
        assert_eq!(
            flags.contains(&"in-use".into()),
            bitmap.in_use,
            "{bitmap:?}"
        );
        let ranges = dirty(&opened, &bitmap.name);
        assert_eq!(
            ranges,
            qemu_dirty(lab, image, &bitmap.name),
            "{}",
            bitmap.name
        );
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        assert_eq!(bitmap.dirty, Some(bytes), "{}", bitmap.name);
    }
}

fn writes(random: &mut Random, size: u64, count: usize) -> Vec<String> {
    let sectors = size / 512;
    let mut commands: Vec<_> = (0..count)
        .map(|_| {
            let at = random.below(sectors);
            let len = 1 + random.below(300).min(sectors - at - 1);
            let at = at * 512;
            match random.below(4) {
                0 => format!("write -z {at} {}", len * 512),
                1 => format!("discard {at} {}", len * 512),
                _ => format!("write -P 7 {at} {}", len * 512),
            }
        })
        .collect();
    // The last granule, of which the disk has a part.
    commands.push(format!("write -P 9 {} 512", size - 512));
    commands
}

#[test]
fn bitmaps_of_every_granularity_say_what_qemu_says() {
    let Some(lab) = Lab::new() else { return };
    let mut random = Random(11);
    for (granularity, cluster, size) in [
        (512, 512, 3_000_320),
        (512, 65_536, 70_001_664),
        (4096, 4096, 500_000_256_u64.next_multiple_of(512)),
        (65_536, 65_536, 1 << 30),
        (65_536, 512, 400_000_000),
        (1 << 20, 65_536, 123_456_789_504),
        (1_u64 << 31, 2 << 20, (1 << 40) + 512),
    ] {
        let create = format!(
            "create -q -f qcow2 -o cluster_size={cluster},lazy_refcounts=on d.qcow2 {size}"
        );
        lab.img(&create);
        let add = |name: &str, more: &str| {
            lab.img(&format!(
                "bitmap --add{more} -g {granularity} d.qcow2 {name}"
            ));
        };
        let write = |random: &mut Random, count| {
            let commands = writes(random, size, count);
            let commands: Vec<_> = commands.iter().map(String::as_str).collect();
            lab.io("d.qcow2", &commands);
        };
        add("first", "");
        add("off", " --disable");
        write(&mut random, 20);
        add("second", "");
        assert_agrees(&lab, "d.qcow2", &["first", "off", "second"]);
        lab.img("bitmap --disable d.qcow2 first");
        write(&mut random, 5);
        assert_agrees(&lab, "d.qcow2", &["first", "off", "second"]);
        let opened = open(&lab.path("d.qcow2"));
        assert_eq!(dirty(&opened, "off"), []);
        assert_ne!(dirty(&opened, "second"), []);
        lab.img("bitmap --merge first --merge second d.qcow2 off");
        lab.img("bitmap --clear --enable d.qcow2 first");
        write(&mut random, 1);
        lab.img("bitmap --remove d.qcow2 second");
        assert_agrees(&lab, "d.qcow2", &["first", "off"]);
        let opened = open(&lab.path("d.qcow2"));
        let last = dirty(&opened, "first").pop().unwrap();
        assert_eq!(last.end, size);
        fs::remove_file(lab.path("d.qcow2")).unwrap();
    }
}

fn one(range: Range<u64>) -> [Range<u64>; 1] {
    [range]
}

fn word(image: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(image[at..at + 8].try_into().unwrap())
}

/// Where the directory of an image's bitmaps is.
fn directory(image: &[u8]) -> usize {
    let mut at = 104.max(word(image, 96) as usize & 0xffff_ffff);
    while image[at..at + 4] != [0x23, 0x85, 0x28, 0x75] {
        let len = word(image, at) as usize & 0xffff_ffff;
        at += 8 + len.next_multiple_of(8);
    }
    word(image, at + 8 + 16) as usize
}

#[test]
fn clusters_of_a_bitmap_need_not_be_stored() {
    let Some(lab) = Lab::new() else { return };
    // Three clusters of 512 bytes of bits, and a part of a fourth.
    let size = 3 * 512 * 8 * 4096 + 5 * 4096 + 512;
    lab.img(&format!(
        "create -q -f qcow2 -o cluster_size=512 d.qcow2 {size}"
    ));
    lab.img("bitmap --add -g 4096 d.qcow2 b");
    lab.io("d.qcow2", &["write -P 1 17M 1"]);
    assert_agrees(&lab, "d.qcow2", &["b"]);
    let image = fs::read(lab.path("d.qcow2")).unwrap();
    let table = word(&image, directory(&image)) as usize;
    let entries: Vec<_> = (0..4).map(|n| word(&image, table + n * 8)).collect();
    assert!(entries[1] > 1 && [0, 2, 3].map(|n| entries[n]) == [0; 3]);
    // QEMU never writes them, and reads them.
    for ones in [vec![0], vec![3], vec![0, 1], vec![0, 1, 2, 3]] {
        fs::write(lab.path("d.qcow2"), &image).unwrap();
        for entry in &ones {
            let at = table + entry * 8;
            patch(&lab.path("d.qcow2"), at as u64, &1_u64.to_be_bytes());
        }
        assert_agrees(&lab, "d.qcow2", &["b"]);
    }
    let opened = open(&lab.path("d.qcow2"));
    assert_eq!(dirty(&opened, "b"), one(0..size));
    // In granules of another size they are rounded out.
    fs::write(lab.path("d.qcow2"), &image).unwrap();
    let opened = open(&lab.path("d.qcow2"));
    let granule = NonZeroU64::new(512 << 10).unwrap();
    let coarse = opened.dirty("b", granule, &Interrupt::default());
    let coarse = coarse.unwrap().unwrap();
    assert_eq!(coarse.ranges, one(17 << 20..(17 << 20) + (512 << 10)));
    assert!(coarse.enabled);
}

#[test]
fn a_disk_that_was_resized_has_the_bitmap_that_qemu_makes_of_it() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 -o cluster_size=512 d.qcow2 20M");
    lab.img("bitmap --add -g 4096 d.qcow2 b");
    lab.io("d.qcow2", &["write -P 1 1M 1M", "write -P 1 19M 1M"]);
    lab.img("resize -q d.qcow2 100M");
    assert_agrees(&lab, "d.qcow2", &["b"]);
    lab.io("d.qcow2", &["write -P 1 99M 1M"]);
    assert_agrees(&lab, "d.qcow2", &["b"]);
    lab.img("resize -q --shrink d.qcow2 19968k");
    assert_agrees(&lab, "d.qcow2", &["b"]);
}

#[test]
fn a_bitmap_that_was_not_saved_is_refused() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 d.qcow2 20M");
    lab.img("bitmap --add d.qcow2 b");
    // A process that is killed leaves the bitmap in use.
    let _ = Command::new("qemu-io")
        .args([
            "-f",
            "qcow2",
            "-c",
            "write 0 64k",
            "-c",
            "flush",
            "-c",
            "abort",
        ])
        .arg(lab.path("d.qcow2"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let opened = open(&lab.path("d.qcow2"));
    let found = list(&opened);
    assert!(found[0].in_use && found[0].dirty.is_none(), "{found:?}");
    let error = opened.dirty("b", SECTOR, &Interrupt::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is in use"), "{error}");
    assert!(
        opened
            .dirty("c", SECTOR, &Interrupt::default())
            .unwrap()
            .is_none()
    );
}
