//! VMDK images against QEMU.

use crate::qemu::{Lab, assert_same, open, patch};
use image::{Error, Format, OpenOptions};
use std::fs;

const SIZE: u64 = (9 << 20) + 3 * 512;

/// Where fields of a sparse header stand.
const DESCRIPTOR_OFFSET: u64 = 28;
const GD_OFFSET: usize = 56;

#[test]
fn every_subformat_reads_the_same() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    for (name, options) in [
        ("monolithicSparse", ""),
        ("monolithicFlat", ""),
        ("twoGbMaxExtentSparse", ""),
        ("twoGbMaxExtentFlat", ""),
        ("streamOptimized", ""),
        ("monolithicSparse", ",zeroed_grain=on"),
        ("monolithicSparse", ",compat6=on"),
    ] {
        lab.img(&format!(
            "convert -O vmdk -o subformat={name}{options} source.raw {name}.vmdk"
        ));
        lab.assert_agrees(&format!("{name}.vmdk"), Format::Vmdk);
    }
}

#[test]
fn zeroed_grains_hide_the_parent() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 4 << 20);
    lab.img("convert -O vmdk source.raw base.vmdk");
    lab.img("create -q -f vmdk -o zeroed_grain=on -b base.vmdk -F vmdk top.vmdk");
    lab.io(
        "top.vmdk",
        &["write -q -P 3 100k 200k", "write -q -z 1M 512k"],
    );
    lab.assert_agrees("top.vmdk", Format::Vmdk);
    assert_eq!(open(&lab.path("top.vmdk")).layers().len(), 2);
}

#[test]
fn a_delta_is_read_with_its_parent_or_not_at_all() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 4 << 20);
    lab.img("convert -O vmdk source.raw base.vmdk");
    lab.img("create -q -f vmdk -b base.vmdk -F vmdk middle.vmdk");
    lab.io("middle.vmdk", &["write -q -P 1 64k 300k"]);
    lab.img("create -q -f vmdk -b middle.vmdk -F vmdk top.vmdk");
    lab.io("top.vmdk", &["write -q -P 2 200k 64k"]);
    lab.assert_agrees("top.vmdk", Format::Vmdk);

    let read = || image::open(&lab.path("top.vmdk"), &OpenOptions::default());
    fs::rename(lab.path("base.vmdk"), lab.path("away.vmdk")).unwrap();
    let error = read().unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("base.vmdk"), "{error}");

    // Another disk under the parent's name.
    lab.img("convert -O vmdk source.raw base.vmdk");
    let error = read().unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("content id"), "{error}");
}

/// QEMU passes over extents of type ZERO and refuses RDONLY, so the truth is put together here.
#[test]
fn extents_of_every_type_stand_behind_each_other() {
    let Some(lab) = Lab::new() else { return };
    let one = fs::read(lab.source("one.raw", 3 << 20)).unwrap();
    let flat = fs::read(lab.source("flat.raw", 2 << 20)).unwrap();
    let two = fs::read(lab.source("two.raw", 1 << 20)).unwrap();
    for name in ["one", "two"] {
        lab.img(&format!(
            "convert -O vmdk -o subformat=twoGbMaxExtentSparse {name}.raw {name}.vmdk"
        ));
    }
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
                createType=\"twoGbMaxExtentSparse\"\n\
                RW 6144 SPARSE \"one-s001.vmdk\"\n\
                RDONLY 1000 FLAT \"flat.raw\" 77\n\
                RW 513 ZERO\n\
                RW 2048 SPARSE \"two-s001.vmdk\"\n\
                RW 1 FLAT \"flat.raw\" 3\n";
    fs::write(lab.path("disk.vmdk"), text).unwrap();
    // One file twice would be a cycle in a chain, and nobody makes such disks.
    let error = image::open(&lab.path("disk.vmdk"), &OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("flat.raw"), "{error}");
    fs::copy(lab.path("flat.raw"), lab.path("other.raw")).unwrap();
    let text = text.replace("\"flat.raw\" 3", "\"other.raw\" 3");
    fs::write(lab.path("disk.vmdk"), text).unwrap();
    let truth = [
        &one[..],
        &flat[77 * 512..][..1000 * 512],
        &[0; 513 * 512],
        &two[..],
        &flat[3 * 512..][..512],
    ]
    .concat();
    assert_same(&open(&lab.path("disk.vmdk")), &truth, "disk.vmdk");
}

#[test]
fn a_stream_is_read_without_descriptor_and_under_any_name() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vmdk -o subformat=streamOptimized source.raw t.vmdk");
    let truth = lab.truth("t.vmdk", "vmdk");
    let path = lab.path("renamed.vmdk");
    fs::rename(lab.path("t.vmdk"), &path).unwrap();
    assert_same(&open(&path), &truth, "renamed");
    patch(&path, DESCRIPTOR_OFFSET, &[0; 16]);
    assert_same(&open(&path), &truth, "without descriptor");
}

#[test]
fn a_footer_stands_for_a_header_that_was_written_too_early() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vmdk -o subformat=streamOptimized source.raw t.vmdk");
    let truth = lab.truth("t.vmdk", "vmdk");
    let path = lab.path("t.vmdk");
    let mut bytes = fs::read(&path).unwrap();
    let header = bytes[..512].to_vec();
    let mut marker = [0; 512];
    marker[12] = 3;
    // QEMU puts the directory in front and an end-of-stream marker behind everything.
    bytes.extend([&marker[..], &header, &[0; 512]].concat());
    bytes[GD_OFFSET..GD_OFFSET + 8].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    lab.assert_agrees("t.vmdk", Format::Vmdk);

    bytes.resize(bytes.len() + 8 * 512, 0);
    fs::write(&path, &bytes).unwrap();
    assert_same(&open(&path), &truth, "padded with zeros");

    let len = bytes.len();
    let no_footer = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = image::open(&path, &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("footer"), "{what}: {error}");
    };
    no_footer(
        &bytes[..len - 9 * 512],
        "the end-of-stream marker is missing",
    );
    no_footer(&bytes[..len - 10 * 512], "the footer is missing");
    let mut garbled = bytes.clone();
    garbled[len - 11 * 512 + 12] = 2;
    no_footer(&garbled, "another marker");
    bytes[len - 1] = 7;
    no_footer(&bytes, "something else at the end");
}

#[test]
fn one_file_of_a_split_disk_is_refused() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 1 << 20);
    lab.img("convert -O vmdk -o subformat=twoGbMaxExtentSparse source.raw t.vmdk");
    let error = image::open(&lab.path("t-s001.vmdk"), &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("descriptor"), "{error}");

    lab.img("convert -O vmdk -o subformat=monolithicFlat source.raw f.vmdk");
    let error = image::open(&lab.path("f-flat.vmdk"), &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Unrecognised { .. }), "{error}");
}

#[test]
fn a_large_split_disk_has_all_its_files() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f vmdk -o subformat=twoGbMaxExtentSparse t.vmdk 5G");
    lab.io(
        "t.vmdk",
        &[
            "write -q -P 1 0 64k",
            "write -q -P 2 2047M 2M",
            "write -q -P 3 4G 1M",
        ],
    );
    let image = open(&lab.path("t.vmdk"));
    assert_eq!(image.device().size(), 5 << 30);
    for (at, byte) in [
        (0, 1),
        (2047 << 20, 2),
        ((2 << 30) + 1000, 2),
        (4 << 30, 3),
        (3 << 30, 0),
    ] {
        let mut buf = [0xee; 700];
        image.device().read_at(at, &mut buf).unwrap();
        assert_eq!(buf, [byte; 700], "at {at}");
    }
    fs::remove_file(lab.path("t-s002.vmdk")).unwrap();
    let error = image::open(&lab.path("t.vmdk"), &OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("t-s002.vmdk"), "{error}");
}

#[test]
fn streams_stand_behind_each_other() {
    let Some(lab) = Lab::new() else { return };
    let mut truth = Vec::new();
    let mut lines = String::new();
    for (name, size) in [("one", 3 << 20), ("two", SIZE)] {
        truth.extend(fs::read(lab.source(&format!("{name}.raw"), size)).unwrap());
        lab.img(&format!(
            "convert -O vmdk -o subformat=streamOptimized {name}.raw {name}.vmdk"
        ));
        lines += &format!("RW {} SPARSE \"{name}.vmdk\"\n", size / 512);
    }
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
         createType=\"twoGbMaxExtentSparse\"\n{lines}"
    );
    fs::write(lab.path("disk.vmdk"), text).unwrap();
    lab.assert_agrees("disk.vmdk", Format::Vmdk);
    let image = open(&lab.path("disk.vmdk"));
    assert_same(&image, &truth, "disk.vmdk");
    let told = |name: &str| {
        let details = &image.layers()[0].details;
        let found = details.iter().find(|detail| detail.name == name);
        found.map(|detail| detail.value.clone())
    };
    assert_eq!(told("extents").as_deref(), Some("2 sparse"));
    assert_eq!(told("compression").as_deref(), Some("zlib"));
}

/// The last stream may end with the file, without the zeros that fill its sector.
#[test]
fn a_stream_may_end_with_the_file() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O vmdk -o subformat=streamOptimized source.raw t.vmdk");
    let truth = lab.truth("t.vmdk", "vmdk");
    let path = lab.path("t.vmdk");
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    fs::write(&path, &bytes[..end]).unwrap();
    assert_same(&open(&path), &truth, "without padding");
    fs::write(&path, &bytes[..end - 5]).unwrap();
    let device = open(&path).device();
    assert!(device.read_at(0, &mut vec![0; truth.len()]).is_err());
}

/// A header without sectors is only there for the descriptor behind it.
#[test]
fn a_descriptor_may_stand_behind_an_empty_header() {
    let Some(lab) = Lab::new() else { return };
    lab.source("flat.raw", 1 << 20);
    lab.img("create -q -f vmdk t.vmdk 1M");
    let path = lab.path("t.vmdk");
    let mut bytes = fs::read(&path).unwrap();
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
                createType=\"monolithicFlat\"\nRW 2048 FLAT \"flat.raw\" 0\n";
    bytes[512..512 + 20 * 512].fill(0);
    bytes[512..512 + text.len()].copy_from_slice(text.as_bytes());
    bytes[12..20].fill(0);
    fs::write(&path, bytes).unwrap();
    lab.assert_agrees("t.vmdk", Format::Vmdk);
    assert_same(&open(&path), &fs::read(lab.path("flat.raw")).unwrap(), "t");
}
