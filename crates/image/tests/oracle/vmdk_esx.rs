//! Snapshots of ESX and ESXi, made here, against QEMU.

use crate::esx::{self, Grain};
use crate::qemu::{Lab, assert_same, disk, open};
use image::Format;
use std::fs;
use std::io::Read;

/// A base disk of QEMU's making, and its content id.
fn base(lab: &Lab, size: u64) -> u32 {
    lab.source("base.raw", size);
    lab.img("convert -O vmdk -o subformat=monolithicFlat base.raw base.vmdk");
    let text = fs::read_to_string(lab.path("base.vmdk")).unwrap();
    let cid = text.lines().find_map(|line| line.strip_prefix("CID="));
    u32::from_str_radix(cid.unwrap(), 16).unwrap()
}

#[test]
fn cowd_disks_of_each_grain_size_read_the_same() {
    let Some(lab) = Lab::new() else { return };
    for (grain_sectors, size) in [(1, (9 << 20) + 512), (8, 18 << 20), (128, (9 << 20) + 1536)] {
        let mut content = disk(size, u64::from(grain_sectors));
        // A table that nobody needs.
        content[2 << 20..4 << 20].fill(0);
        let sectors = u32::try_from(size / 512).unwrap();
        let made = esx::cowd(
            sectors,
            grain_sectors,
            &esx::grains(&content, grain_sectors as usize * 512),
        );
        fs::write(lab.path("t-delta.vmdk"), made.bytes).unwrap();
        let line = format!("RW {sectors} VMFSSPARSE \"t-delta.vmdk\"");
        fs::write(
            lab.path("t.vmdk"),
            esx::descriptor("vmfsSparse", &line, None),
        )
        .unwrap();
        lab.assert_agrees("t.vmdk", Format::Vmdk);
        assert_same(&open(&lab.path("t.vmdk")), &content, "the truth");
        let mut theirs = Vec::new();
        let mut reader = vmdk::VmdkReader::open_path(&lab.path("t.vmdk")).unwrap();
        reader.read_to_end(&mut theirs).unwrap();
        assert!(theirs == content, "vmdk-core");
    }
}

#[test]
fn a_cowd_delta_covers_its_parent_by_sectors() {
    let Some(lab) = Lab::new() else { return };
    let size = 9 << 20;
    let cid = base(&lab, size);
    let change = disk(size, 99);
    let mut truth = fs::read(lab.path("base.raw")).unwrap();
    let mut grains = Vec::new();
    // In no order, as a guest writes; neighbours of the disk that are none in the file, too.
    for number in [9000, 3, 4, 2, 17_000, 5, 18_431] {
        let range = number * 512..(number + 1) * 512;
        truth[range.clone()].copy_from_slice(&change[range.clone()]);
        grains.push((number, Grain::Data(&change[range])));
    }
    let made = esx::cowd(18_432, 1, &grains);
    fs::write(lab.path("t-000001-delta.vmdk"), made.bytes).unwrap();
    let text = esx::descriptor(
        "vmfsSparse",
        "RW 18432 VMFSSPARSE \"t-000001-delta.vmdk\"",
        Some((cid, "base.vmdk")),
    );
    fs::write(lab.path("t-000001.vmdk"), text).unwrap();
    lab.assert_agrees("t-000001.vmdk", Format::Vmdk);
    assert_same(&open(&lab.path("t-000001.vmdk")), &truth, "the truth");
}

#[test]
fn sesparse_disks_read_the_same() {
    let Some(lab) = Lab::new() else { return };
    // Numbers of grains that need the upper and the lower part of an entry.
    for (size, first) in [((9 << 20) + 512, 0), (18 << 20, 4090)] {
        let mut content = disk(size, first + 5);
        content[8 << 20..(8 << 20) + 65_536].fill(0);
        let mut grains = esx::grains(&content, 4096);
        grains.push(((8 << 20) / 4096, Grain::Zero));
        grains.push(((8 << 20) / 4096 + 1, Grain::Unmapped));
        let made = esx::sesparse(size / 512, first, &grains);
        assert!(made.table >= made.directory.end + (size / (16 << 20)) as usize * 32_768);
        fs::write(lab.path("t-sesparse.vmdk"), made.bytes).unwrap();
        let line = format!("RW {} SESPARSE \"t-sesparse.vmdk\"", size / 512);
        fs::write(lab.path("t.vmdk"), esx::descriptor("seSparse", &line, None)).unwrap();
        lab.assert_agrees("t.vmdk", Format::Vmdk);
        assert_same(&open(&lab.path("t.vmdk")), &content, "the truth");
        let mut theirs = Vec::new();
        let mut reader = vmdk::VmdkReader::open_path(&lab.path("t.vmdk")).unwrap();
        reader.read_to_end(&mut theirs).unwrap();
        assert!(theirs == content, "vmdk-core");
    }
}

#[test]
fn a_sesparse_delta_covers_its_parent_with_data_and_zeros() {
    let Some(lab) = Lab::new() else { return };
    let size = 20 << 20;
    let cid = base(&lab, size);
    let change = disk(size, 77);
    let mut truth = fs::read(lab.path("base.raw")).unwrap();
    let mut grains = Vec::new();
    for number in [5000, 1, 2, 3, 5119, 4096, 4095, 700] {
        let range = number * 4096..(number + 1) * 4096;
        let grain = match number {
            2 => Grain::Zero,
            3 | 700 => Grain::Unmapped,
            _ => Grain::Data(&change[range.clone()]),
        };
        match grain {
            Grain::Data(bytes) => truth[range].copy_from_slice(bytes),
            _ => truth[range].fill(0),
        }
        grains.push((number, grain));
    }
    let made = esx::sesparse(size / 512, 4095, &grains);
    fs::write(lab.path("t-sesparse.vmdk"), made.bytes).unwrap();
    let text = esx::descriptor(
        "seSparse",
        "RW 40960 SESPARSE \"t-sesparse.vmdk\"",
        Some((cid, "base.vmdk")),
    );
    fs::write(lab.path("t.vmdk"), text).unwrap();
    lab.assert_agrees("t.vmdk", Format::Vmdk);
    assert_same(&open(&lab.path("t.vmdk")), &truth, "the truth");

    // And a COWD snapshot over that.
    let top = esx::cowd(40_960, 1, &[(8, Grain::Data(&[7; 512]))]);
    fs::write(lab.path("u-delta.vmdk"), top.bytes).unwrap();
    let text = esx::descriptor(
        "vmfsSparse",
        "RW 40960 VMFSSPARSE \"u-delta.vmdk\"",
        Some((0x1234_5678, "t.vmdk")),
    );
    fs::write(lab.path("u.vmdk"), text).unwrap();
    truth[4096..4608].fill(7);
    lab.assert_agrees("u.vmdk", Format::Vmdk);
    let image = open(&lab.path("u.vmdk"));
    assert_same(&image, &truth, "three layers");
    let told: Vec<_> = image.layers()[1]
        .details
        .iter()
        .map(|detail| (detail.name, detail.value.as_str()))
        .collect();
    let parent = format!("{cid:08x}");
    assert_eq!(
        told,
        [
            ("create-type", "seSparse"),
            ("cid", "12345678"),
            ("parent-cid", &parent),
            ("hardware-version", "8"),
            ("extents", "1 seSparse"),
            ("grain-size", "4096"),
        ]
    );
}
