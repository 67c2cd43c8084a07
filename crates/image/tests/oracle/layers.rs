//! Which layers of a chain decide what, against QEMU's map and against the content itself.

use crate::qemu::{Lab, Random, open};
use block::BlockRead;
use image::{Fingerprint, Format, Image, OpenOptions};
use ondisk::Interrupt;
use serde_json::Value;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SECTOR: NonZeroU64 = NonZeroU64::new(512).unwrap();
/// Disks have 1 to 5 MiB.
const SECTORS: u64 = 10_000;

fn read(image: &Image) -> Vec<u8> {
    let device = image.device();
    let mut bytes = vec![0; device.size() as usize];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

/// For each sector the layer that QEMU has it from.
fn depths(lab: &Lab, image: &str, sectors: u64) -> Vec<Option<u64>> {
    let output = Command::new("qemu-img")
        .args(["map", "--output=json"])
        .arg(lab.path(image))
        .output()
        .unwrap();
    let runs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut depths = vec![None; sectors as usize];
    for run in runs.iter().filter(|run| run["present"] == true) {
        let start = run["start"].as_u64().unwrap() / 512;
        let end = start + run["length"].as_u64().unwrap() / 512;
        depths[start as usize..end as usize].fill(run["depth"].as_u64());
    }
    depths
}

fn ranges(sectors: impl Iterator<Item = bool>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (sector, is_in) in (0_u64..).zip(sectors) {
        let start = sector * 512;
        match ranges.last_mut() {
            Some(last) if is_in && last.end == start => last.end = start + 512,
            _ if is_in => ranges.push(start..start + 512),
            _ => {}
        }
    }
    ranges
}

#[test]
fn what_layers_do_not_decide_is_as_those_below_have_it() {
    let Some(lab) = Lab::new() else { return };
    let mut random = Random(5);
    for round in 0..12 {
        let bases = ["raw", "qcow2", "vmdk", "vpc", "vhdx"];
        let format = bases[round % bases.len()];
        let size = |random: &mut Random| (2000 + random.below(SECTORS - 2000)) * 512;
        let mut sizes = vec![size(&mut random)];
        let mut names = vec![format!("{round}-0.{format}")];
        lab.img(&format!("create -q -f {format} {} {}", names[0], sizes[0]));
        for layer in 0..4 {
            let name = names[layer].clone();
            if layer > 0 {
                let mut create = format!(
                    "create -q -f qcow2 -b {} -F {} -o cluster_size={} {name}",
                    names[layer - 1],
                    if layer == 1 { format } else { "qcow2" },
                    [512, 4096, 65_536][layer - 1],
                );
                if round % 3 > 0 {
                    create.push_str(&format!(" {}", size(&mut random)));
                }
                lab.img(&create);
            }
            // Some formats round the size, and an overlay takes over what its base has.
            sizes.truncate(layer);
            sizes.push(open(&lab.path(&name)).device().size());
            let writes: Vec<_> = (0..6)
                .map(|_| {
                    let sectors = sizes[layer] / 512;
                    let at = random.below(sectors);
                    let len = (1 + random.below(400)).min(sectors - at) * 512;
                    let at = at * 512;
                    match random.below(5) {
                        0 => format!("write -z {at} {len}"),
                        _ => format!("write -P {} {at} {len}", 1 + random.below(200)),
                    }
                })
                .collect();
            let writes: Vec<_> = writes.iter().map(String::as_str).collect();
            let kind = if layer == 0 { format } else { "qcow2" };
            let mut words = vec!["-f", kind, &name];
            words.extend(writes.iter().flat_map(|write| ["-c", write]));
            lab.run("qemu-io", &words);
            names.push(format!("{round}-{}.qcow2", layer + 1));
        }
        let top = open(&lab.path(&names[3]));
        let content = read(&top);
        let depths = depths(&lab, &names[3], sizes[3] / 512);
        for above in 1..4_usize {
            let decided = top.decided_above(above, SECTOR, &Interrupt::default());
            let decided = decided.unwrap();
            // From the image down; the last one is below.
            let under: Vec<u64> = (1..=above).map(|layer| sizes[3 - layer]).collect();
            let expected = depths.iter().enumerate().map(|(sector, depth)| {
                let ends = under.iter().any(|size| *size <= sector as u64 * 512);
                ends || depth.is_some_and(|depth| depth < above as u64)
            });
            assert_eq!(decided, ranges(expected), "{format} {above} of {sizes:?}");
            let below = read(&open(&lab.path(&names[3 - above])));
            let mut starts: Vec<u64> = decided.iter().map(|range| range.end).collect();
            starts.insert(0, 0);
            let ends = decided.iter().map(|range| range.start).chain([sizes[3]]);
            for (start, end) in starts.into_iter().zip(ends).filter(|(a, b)| a < b) {
                let gap = start as usize..end as usize;
                assert!(content[gap.clone()] == below[gap.clone()], "{gap:?}");
            }
            // The same in coarser pieces: no piece is missing, and none is too much.
            let coarse = NonZeroU64::new(64 << 10).unwrap();
            let pieces = top.decided_above(above, coarse, &Interrupt::default());
            for (piece, start) in (0..sizes[3]).step_by(64 << 10).enumerate() {
                let end = (start + (64 << 10)).min(sizes[3]);
                let touches = |range: &&Range<u64>| range.start < end && start < range.end;
                let within = pieces.as_ref().unwrap().iter().find(touches);
                assert!(within.is_none_or(|range| range.start <= start && end <= range.end));
                let wanted = decided.iter().any(|range| touches(&range));
                assert_eq!(within.is_some(), wanted, "piece {piece}");
            }
        }
        let all = top.decided_above(4, SECTOR, &Interrupt::default());
        let nothing = top.decided_above(0, SECTOR, &Interrupt::default());
        assert!(nothing.unwrap().is_empty() && !all.unwrap().is_empty());
    }
}

/// The fingerprints of an image, once no file of it is too young to have one.
fn prints(path: &Path, options: &OpenOptions) -> Vec<Option<Fingerprint>> {
    loop {
        let image = image::open(path, options).unwrap();
        let wait = image.settles_in();
        assert!(wait <= Duration::from_secs(2) && image.is_as_opened());
        if wait.is_zero() {
            return image.fingerprints();
        }
        assert_eq!(image.fingerprints()[0], None);
        std::thread::sleep(wait);
    }
}

#[test]
fn a_fingerprint_is_of_all_files_and_of_how_they_were_opened() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 -o data_file=data.raw base.qcow2 4M");
    lab.img("create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2");
    lab.img("snapshot -c s top.qcow2");
    let options = OpenOptions::default();
    let top = lab.path("top.qcow2");
    let found = prints(&top, &options);
    let (whole, below) = (found[0].unwrap(), found[1].unwrap());
    assert_ne!(whole, below);
    assert_eq!(prints(&lab.path("base.qcow2"), &options), [Some(below)]);
    let raw = OpenOptions {
        format: Some(Format::Raw),
        ..options.clone()
    };
    assert_ne!(prints(&lab.path("base.qcow2"), &raw), [Some(below)]);
    // The disk as it was is not what the files are fingerprinted for, but lies over the same ones.
    let inner = OpenOptions {
        snapshot: Some("s".to_owned()),
        ..options.clone()
    };
    assert_eq!(prints(&top, &inner), [None, Some(below)]);
    let salvage = OpenOptions {
        salvage: true,
        ..options.clone()
    };
    assert_eq!(prints(&top, &salvage), [None, None]);
    let opened = open(&top);
    // Only the file with the data of the base is touched.
    let data = File::options().write(true).open(lab.path("data.raw"));
    data.unwrap().write_all_at(&[1], 0).unwrap();
    assert!(!opened.is_as_opened());
    let after = prints(&top, &options);
    assert!(after[0].is_some_and(|print| print != whole));
    assert!(after[1].is_some_and(|print| print != below));
}
