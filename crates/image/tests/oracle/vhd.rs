//! VHD images against QEMU and vhd-core, in both directions.

use crate::qemu::{Lab, Random, assert_same, disk, open, patch};
use block::{BlockRead, Memory};
use image::{
    Error, Evidence, Format, Gate, MappedPlace, OpenOptions, VhdOptions, VhdSubformat, WriteFormat,
    WriteOptions, Written,
};
use ondisk::{Interrupt, NoProgress};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Neither whole blocks nor what any geometry reaches.
const SIZE: u64 = (9 << 20) + 3 * 512;
const BLOCK: usize = 2 << 20;

/// Where fields stand: of the footer, and of the dynamic disk header at byte 512.
const CREATOR: usize = 28;
const CURRENT_SIZE: usize = 48;
const GEOMETRY: usize = 56;
const DISK_TYPE: usize = 60;
const UNIQUE_ID: usize = 68;
const HEADER: usize = 512;
const PARENT_ID: usize = HEADER + 40;
const PARENT_NAME: usize = HEADER + 64;
const LOCATORS: usize = HEADER + 576;
const TABLE: usize = 1536;

/// Makes the checksums of both footers and of the header right.
fn seal(image: &mut [u8]) {
    let end = image.len() - 512;
    let mut places = vec![(end..end + 512, 64)];
    if image.starts_with(b"conectix") {
        places.extend([(0..512, 64), (HEADER..HEADER + 1024, 36)]);
    }
    for (structure, checksum) in places {
        let structure = &mut image[structure];
        structure[checksum..checksum + 4].fill(0);
        let sum = !structure.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        structure[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Changes a field of both footers.
fn set(image: &mut [u8], field: usize, bytes: &[u8]) {
    let end = image.len() - 512;
    if image.starts_with(b"conectix") {
        image[field..field + bytes.len()].copy_from_slice(bytes);
    }
    image[end + field..end + field + bytes.len()].copy_from_slice(bytes);
}

fn assert_agrees(lab: &Lab, name: &str) {
    let image = open(&lab.path(name));
    assert_eq!(image.format(), Format::Vhd, "{name}");
    assert_same(&image, &lab.truth(name, "vpc"), name);
}

/// What vhd-core reads.
fn second_opinion(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = ::vhd::VhdReader::open(path).unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_subformat_reads_the_same() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    for subformat in ["dynamic", "fixed"] {
        for force_size in ["on", "off"] {
            let name = format!("{subformat}-{force_size}.vhd");
            lab.img(&format!(
                "convert -O vpc -o subformat={subformat},force_size={force_size} source.raw {name}"
            ));
            assert_agrees(&lab, &name);
            let image = open(&lab.path(&name));
            let mut bytes = vec![0xee; image.device().size() as usize];
            image.device().read_at(0, &mut bytes).unwrap();
            assert!(second_opinion(&lab.path(&name)) == bytes, "{name}");
            let details = &image.layers()[0].details;
            let kind = details.iter().find(|detail| detail.name == "kind").unwrap();
            assert_eq!(kind.value, subformat);
        }
    }
}

/// QEMU probes it as raw, footer included.
#[test]
fn a_fixed_disk_is_no_raw_one_whatever_it_is_called() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 1 << 20);
    lab.img("convert -O vpc -o subformat=fixed,force_size=on source.raw disk.img");
    let probed = image::probe(&lab.path("disk.img")).unwrap();
    assert_eq!(
        (probed.format, probed.evidence),
        (Format::Vhd, Evidence::Content)
    );
    assert_agrees(&lab, "disk.img");
    // As Virtual PC wrote it before 2004.
    let bytes = fs::read(lab.path("disk.img")).unwrap();
    fs::write(lab.path("old.img"), &bytes[..bytes.len() - 1]).unwrap();
    assert_agrees(&lab, "old.img");
}

/// The size that a disk has is a matter of who made it.
#[test]
fn sizes_are_read_as_qemu_reads_them() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 1 << 20);
    lab.img("convert -O vpc -o force_size=on source.raw t.vhd");
    let sound = fs::read(lab.path("t.vhd")).unwrap();
    // 2040 sectors; then the largest geometry, which says nothing.
    let small = [0, 30, 4, 17];
    let largest = [0xff, 0xff, 16, 255];
    for creator in [
        b"vpc ", b"vs  ", b"qemu", b"qem2", b"win ", b"d2v ", b"d2v\0", b"tap\0", b"CTXS",
        b"wa\0\0", b"vbox", b"xxxx",
    ] {
        for geometry in [small, largest] {
            let mut image = sound.clone();
            set(&mut image, CREATOR, creator);
            set(&mut image, GEOMETRY, &geometry);
            seal(&mut image);
            fs::write(lab.path("t.vhd"), image).unwrap();
            // QEMU before version 10 took the geometry of all but a few makers, as Virtual PC did.
            let of_age = [b"vs  ", b"d2v\0", b"wa\0\0", b"vbox", b"xxxx"].contains(&creator);
            if geometry == largest || !of_age || lab.qemu_version() >= 10 {
                assert_agrees(&lab, "t.vhd");
            }
            let size = open(&lab.path("t.vhd")).device().size();
            let by_geometry = geometry == small && [b"vpc ", b"qemu"].contains(&creator);
            assert_eq!(size, if by_geometry { 2040 * 512 } else { 1 << 20 });
        }
    }
}

#[test]
fn a_lost_footer_is_replaced_by_its_copy_and_the_other_way_round() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vpc -o force_size=on source.raw t.vhd");
    let truth = lab.truth("t.vhd", "vpc");
    let sound = fs::read(lab.path("t.vhd")).unwrap();
    let end = sound.len() - 512;
    for (what, range) in [
        ("footer of zeros", end..end + 512),
        ("footer with a wrong checksum", end + 64..end + 68),
        ("copy of zeros", 0..512),
        ("copy with a wrong checksum", 64..68),
    ] {
        let mut image = sound.clone();
        image[range].fill(0);
        fs::write(lab.path("u.vhd"), image).unwrap();
        assert_same(&open(&lab.path("u.vhd")), &truth, what);
    }
    fs::write(lab.path("u.vhd"), &sound[..end]).unwrap();
    assert_same(&open(&lab.path("u.vhd")), &truth, "no footer");
}

/// Clear bits of a dynamic disk mean nothing: see the comment where they are passed over.
#[test]
fn dynamic_disks_are_read_without_their_bitmaps() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vpc -o force_size=on source.raw t.vhd");
    let image = fs::read(lab.path("t.vhd")).unwrap();
    let first = u32::from_be_bytes(image[TABLE..TABLE + 4].try_into().unwrap());
    patch(&lab.path("t.vhd"), u64::from(first) * 512, &[0; 512]);
    assert_agrees(&lab, "t.vhd");
    let path = lab.path("t.vhd");
    assert!(second_opinion(&path) == lab.truth("t.vhd", "vpc"));
}

/// A delta over another image: bits decide sector by sector.
struct Delta {
    bytes: Vec<u8>,
    /// What it reads as over its parent.
    truth: Vec<u8>,
}

/// Makes a differencing disk of a dynamic one that QEMU wrote: QEMU cannot write any itself.
fn delta(lab: &Lab, parent: &Path, parent_truth: &[u8], seed: u64) -> Delta {
    let own = disk(SIZE, seed);
    fs::write(lab.path("own.raw"), &own).unwrap();
    lab.img("convert -O vpc -o force_size=on own.raw made.vhd");
    let mut bytes = fs::read(lab.path("made.vhd")).unwrap();
    let parent = fs::read(parent).unwrap();
    set(&mut bytes, DISK_TYPE, &4_u32.to_be_bytes());
    let id = &parent[parent.len() - 512 + UNIQUE_ID..][..16];
    bytes[PARENT_ID..PARENT_ID + 16].copy_from_slice(id);
    let mut truth = parent_truth.to_vec();
    let mut random = Random(seed);
    for block in 0..(SIZE as usize).div_ceil(BLOCK) {
        let entry = &bytes[TABLE + 4 * block..][..4];
        let entry = u32::from_be_bytes(entry.try_into().unwrap());
        if entry == u32::MAX {
            continue;
        }
        let bitmap = entry as usize * 512;
        bytes[bitmap..bitmap + 512].fill(0);
        let mut sector = 0;
        while sector < BLOCK / 512 {
            let (len, mine) = (1 + random.below(60) as usize, random.below(2) == 1);
            for sector in sector..(sector + len).min(BLOCK / 512) {
                let at = block * BLOCK + sector * 512;
                if mine {
                    bytes[bitmap + sector / 8] |= 0x80 >> (sector % 8);
                    if at < SIZE as usize {
                        truth[at..at + 512].copy_from_slice(&own[at..at + 512]);
                    }
                } else {
                    // What is the parent's must not be read here.
                    bytes[bitmap + 512 + sector * 512..][..512].fill(0xee);
                }
            }
            sector += len;
        }
    }
    Delta { bytes, truth }
}

fn write_name(image: &mut [u8], name: &str) {
    for (at, unit) in name.encode_utf16().enumerate() {
        image[PARENT_NAME + 2 * at..][..2].copy_from_slice(&unit.to_be_bytes());
    }
}

/// Adds a parent locator, whose data goes where the padding of the table is.
fn write_locator(image: &mut [u8], number: usize, code: &[u8; 4], data: &[u8]) {
    let at = TABLE + 128 + 128 * number;
    image[at..at + data.len()].copy_from_slice(data);
    let locator = &mut image[LOCATORS + 24 * number..][..24];
    locator[..4].copy_from_slice(code);
    locator[4..8].copy_from_slice(&128_u32.to_be_bytes());
    locator[8..12].copy_from_slice(&(data.len() as u32).to_be_bytes());
    locator[16..24].copy_from_slice(&(at as u64).to_be_bytes());
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_differencing_disk_is_read_over_its_parents_sector_by_sector() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vpc -o force_size=on,subformat=fixed source.raw base.vhd");
    let base = lab.truth("base.vhd", "vpc");
    let mut middle = delta(&lab, &lab.path("base.vhd"), &base, 21);
    write_locator(&mut middle.bytes, 0, b"W2ru", &utf16(".\\base.vhd"));
    seal(&mut middle.bytes);
    fs::write(lab.path("middle.vhd"), &middle.bytes).unwrap();
    assert_same(&open(&lab.path("middle.vhd")), &middle.truth, "middle");
    assert!(middle.truth != base);

    let mut top = delta(&lab, &lab.path("middle.vhd"), &middle.truth, 33);
    write_name(&mut top.bytes, "middle.vhd");
    seal(&mut top.bytes);
    fs::write(lab.path("top.vhd"), &top.bytes).unwrap();
    let image = open(&lab.path("top.vhd"));
    assert_eq!(image.layers().len(), 3);
    assert_same(&image, &top.truth, "top");
    let mut seen = [false; 3];
    for mapping in image.mappings() {
        if let MappedPlace::Data { depth, .. } = mapping.unwrap().place {
            seen[depth] = true;
        }
    }
    assert_eq!(seen, [true; 3], "every layer holds something");
}

#[test]
fn a_parent_is_found_by_every_kind_of_name_or_named_in_the_error() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vpc -o force_size=on source.raw base.vhd");
    let base = lab.truth("base.vhd", "vpc");
    let sound = delta(&lab, &lab.path("base.vhd"), &base, 5);
    let child = lab.path("child.vhd");
    let write = |locators: &[(&[u8; 4], Vec<u8>)], name: &str| {
        let mut bytes = sound.bytes.clone();
        for (number, (code, data)) in locators.iter().enumerate() {
            write_locator(&mut bytes, number, code, data);
        }
        write_name(&mut bytes, name);
        seal(&mut bytes);
        fs::write(&child, bytes).unwrap();
    };
    let absent = utf16(".\\absent.vhd");
    for (what, locators, name) in [
        ("the name", vec![], "base.vhd"),
        ("an absolute name", vec![], "C:\\vm\\base.vhd"),
        ("relative", vec![(b"W2ru", utf16(".\\base.vhd"))], ""),
        ("with slashes", vec![(b"W2ru", utf16("./base.vhd\0"))], ""),
        ("absolute", vec![(b"W2ku", utf16("D:\\x y\\base.vhd"))], ""),
        ("a share", vec![(b"W2ku", utf16("\\\\s\\d\\base.vhd"))], ""),
        (
            "a URL",
            vec![(b"MacX", b"file://localhost/d/base.vhd".to_vec())],
            "",
        ),
        ("the second", vec![(b"W2ru", absent.clone())], "base.vhd"),
        ("elsewhere", vec![(b"W2ru", utf16("..\\vm\\base.vhd"))], ""),
    ] {
        write(&locators, name);
        assert_same(&open(&child), &sound.truth, what);
    }
    for (what, locators, name, expected) in [
        ("nothing", vec![], "", "does not say where its parent is"),
        ("absent", vec![(b"W2ru", absent)], "", "absent.vhd"),
        ("itself", vec![], "child.vhd", "refers to itself"),
        ("another", vec![], "own.vhd", "was made over"),
        ("a host's file", vec![], "/etc/passwd", "\"passwd\""),
        (
            "outside",
            vec![(b"W2ru", utf16("..\\up.vhd"))],
            "",
            "../up.vhd",
        ),
        ("an address", vec![], "nbd:localhost", "\"nbd:localhost\""),
    ] {
        fs::copy(lab.path("made.vhd"), lab.path("own.vhd")).unwrap();
        write(&locators, name);
        let error = image::open(&child, &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
    // A directory that the user allows.
    fs::create_dir(lab.path("vm")).unwrap();
    fs::rename(lab.path("base.vhd"), lab.path("vm/base.vhd")).unwrap();
    write(&[(b"W2ru", utf16(".\\vm\\base.vhd"))], "");
    let error = image::open(&child, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    let options = OpenOptions {
        gate: Gate::default().allow_dir(lab.path("vm")),
        ..OpenOptions::default()
    };
    let image = image::open(&child, &options).unwrap();
    assert_same(&image, &sound.truth, "in an allowed directory");
    assert_eq!(image.files().len(), 2);
}

#[test]
fn a_qcow2_image_over_a_vhd_is_read() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 4 << 20);
    lab.img("convert -O vpc -o force_size=on source.raw base.vhd");
    lab.img("create -q -f qcow2 -b base.vhd -F vpc top.qcow2");
    lab.io("top.qcow2", &["write -q -P 3 1M 100k"]);
    lab.assert_agrees("top.qcow2", Format::Qcow2);
    assert_eq!(open(&lab.path("top.qcow2")).layers()[1].format, Format::Vhd);
}

fn vhd(subformat: VhdSubformat) -> WriteFormat {
    WriteFormat::Vhd(VhdOptions { subformat })
}

const SUBFORMATS: [VhdSubformat; 2] = [VhdSubformat::Fixed, VhdSubformat::Dynamic];

fn write(device: &dyn BlockRead, to: &Path, format: WriteFormat) -> Result<Written, Error> {
    let options = WriteOptions {
        format,
        overwrite: true,
        ..WriteOptions::default()
    };
    image::write(device, to, &options, &NoProgress, &Interrupt::default())
}

#[test]
fn what_we_write_reads_the_same_everywhere() {
    let Some(lab) = Lab::new() else { return };
    for size in [SIZE, SIZE + 77, 1, 512, 2 << 20, (24 << 20) + 512] {
        let mut truth = disk(size, 3);
        fs::write(lab.path("source.raw"), &truth).unwrap();
        lab.run("fallocate", &["--dig-holes", "source.raw"]);
        let device = open(&lab.path("source.raw")).device();
        truth.resize((size as usize).next_multiple_of(512), 0);
        for subformat in SUBFORMATS {
            let what = format!("{subformat:?} {size}");
            let path = lab.path("t.vhd");
            let written = write(&device, &path, vhd(subformat)).unwrap();
            assert_eq!(written.virtual_size, truth.len() as u64, "{what}");
            assert!(lab.truth("t.vhd", "vpc") == truth, "{what}: qemu-img");
            assert!(second_opinion(&path) == truth, "{what}: vhd-core");
            assert_same(&open(&path), &truth, &what);
            let used = fs::metadata(&path).unwrap().blocks() * 512;
            assert!(used <= written.data + 65_536, "{what}: {used} bytes used");
        }
    }
}

/// Blocks, table and footer lie so that another writer goes on with them.
#[test]
fn qemu_can_write_into_what_we_wrote() {
    let Some(lab) = Lab::new() else { return };
    let mut truth = vec![0; 20 << 20];
    truth[..5 << 20].copy_from_slice(&disk(5 << 20, 4));
    let device = Memory::new(truth.clone());
    for subformat in SUBFORMATS {
        write(&device, &lab.path("t.vhd"), vhd(subformat)).unwrap();
        let commands = ["write -q -P 7 1M 100k", "write -q -P 9 17M 2M"];
        let mut words = vec!["-f", "vpc", "t.vhd"];
        words.extend(commands.iter().flat_map(|command| ["-c", *command]));
        lab.run("qemu-io", &words);
        let mut expected = truth.clone();
        expected[1 << 20..(1 << 20) + (100 << 10)].fill(7);
        expected[17 << 20..19 << 20].fill(9);
        assert!(lab.truth("t.vhd", "vpc") == expected, "{subformat:?}");
        assert_same(&open(&lab.path("t.vhd")), &expected, "after qemu-io");
    }
}

#[test]
fn one_content_gives_one_file_whatever_the_source_and_the_threads() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    lab.img("convert -O qcow2 -o cluster_size=4k source.raw other.qcow2");
    lab.img("convert -O vpc -o force_size=on source.raw other.vhd");
    let memory = Memory::new(fs::read(&source).unwrap());
    let mut ids = Vec::new();
    for subformat in SUBFORMATS {
        let mut first: Option<Vec<u8>> = None;
        for (name, threads) in [
            ("source.raw", 1),
            ("other.qcow2", 2),
            ("other.vhd", 5),
            ("", 3),
        ] {
            let options = WriteOptions {
                format: vhd(subformat),
                threads: NonZeroUsize::new(threads),
                overwrite: true,
                ..WriteOptions::default()
            };
            let to = lab.path("t.vhd");
            let write = |device: &dyn BlockRead| {
                image::write(device, &to, &options, &NoProgress, &Interrupt::default()).unwrap();
            };
            if name.is_empty() {
                write(&memory);
            } else {
                write(&open(&lab.path(name)).device());
            }
            let bytes = fs::read(&to).unwrap();
            ids.push(bytes[bytes.len() - 512 + UNIQUE_ID..][..16].to_vec());
            assert!(
                *first.get_or_insert_with(|| bytes.clone()) == bytes,
                "from {name:?}"
            );
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let other = Memory::new(disk(SIZE, 2));
    write(&other, &lab.path("t.vhd"), vhd(VhdSubformat::Dynamic)).unwrap();
    let bytes = fs::read(lab.path("t.vhd")).unwrap();
    assert_ne!(bytes[UNIQUE_ID..UNIQUE_ID + 16], ids[0]);
}

/// A device of holes but for its last sectors.
fn large(lab: &Lab, size: u64) -> Arc<dyn BlockRead> {
    lab.run("truncate", &["-s", &size.to_string(), "large.raw"]);
    patch(&lab.path("large.raw"), size - 512, &[5; 512]);
    open(&lab.path("large.raw")).device()
}

#[test]
fn the_largest_disk_is_written_and_a_larger_one_refused_with_advice() {
    let Some(lab) = Lab::new() else { return };
    const MOST: u64 = 2040 << 30;
    let device = large(&lab, MOST);
    for subformat in SUBFORMATS {
        let to = lab.path("t.vhd");
        write(&device, &to, vhd(subformat)).unwrap();
        lab.img("compare -q -f vpc -F raw t.vhd large.raw");
        let image = open(&to).device();
        assert_eq!(image.size(), MOST);
        let mut sector = [0; 512];
        image.read_at(MOST - 512, &mut sector).unwrap();
        assert_eq!(sector, [5; 512]);
        assert_eq!(image.extents().count(), 2, "{subformat:?}");
    }
    let device = large(&lab, MOST + 512);
    let error = write(&device, &lab.path("u.vhd"), vhd(VhdSubformat::Dynamic)).unwrap_err();
    assert!(matches!(error, Error::Options { .. }), "{error}");
    assert!(error.to_string().contains("use vhdx"), "{error}");
    assert!(!lab.path("u.vhd").exists());
}

/// The footer's size must be what both kinds of readers see, at sizes that no geometry reaches.
#[test]
fn sizes_that_we_write_are_the_sizes_that_qemu_sees() {
    let Some(lab) = Lab::new() else { return };
    for sectors in [0, 1, 67, 68, 69, 4097, 1 << 21, (1 << 21) + 1, 268_435_457] {
        let device = match sectors {
            0 => Arc::new(Memory::new(Vec::new())),
            _ => large(&lab, sectors * 512),
        };
        write(&device, &lab.path("t.vhd"), vhd(VhdSubformat::Dynamic)).unwrap();
        assert_eq!(open(&lab.path("t.vhd")).device().size(), sectors * 512);
        let output = Command::new("qemu-img")
            .args(["info", "--output=json", "-f", "vpc"])
            .arg(lab.path("t.vhd"))
            .output()
            .unwrap();
        let info: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(info["virtual-size"], sectors * 512);
        let bytes = fs::read(lab.path("t.vhd")).unwrap();
        assert_eq!(
            bytes[CURRENT_SIZE..CURRENT_SIZE + 8],
            (sectors * 512).to_be_bytes()
        );
    }
}
