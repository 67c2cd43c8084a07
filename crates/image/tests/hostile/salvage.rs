//! Reading on over damage: what is sound is read, what is not is listed.

use crate::make::{self, disk};
use block::ExtentKind;
use image::{Compression, Image, OpenOptions};
use std::fs;
use std::ops::Range;
use std::path::Path;

const CLUSTER: u64 = 65_536;

fn salvage(path: &Path) -> Image {
    let options = OpenOptions {
        salvage: true,
        ..OpenOptions::default()
    };
    image::open(path, &options).unwrap()
}

/// Reads all data extents into zeros, as a copy does.
fn content(image: &Image) -> Vec<u8> {
    let device = image.device();
    let index = |at: u64| usize::try_from(at).unwrap();
    let mut bytes = vec![0; index(device.size())];
    for extent in device.extents() {
        let extent = extent.unwrap();
        if extent.kind == ExtentKind::Data {
            let range = index(extent.range.start)..index(extent.range.end);
            device
                .read_at(extent.range.start, &mut bytes[range])
                .unwrap();
        }
    }
    bytes
}

/// Asserts that everything but `lost` is read, and that `lost` is listed with words.
fn assert_lost(path: &Path, lost: &[Range<u64>], words: &str) {
    assert!(crate::read(path).is_err(), "without salvage it is an error");
    let image = salvage(path);
    let found = content(&image);
    let mut expected = disk();
    for range in lost {
        let index = |at: u64| usize::try_from(at).unwrap();
        expected[index(range.start)..index(range.end)].fill(0);
    }
    assert!(found == expected);
    let told = image.lost();
    let ranges: Vec<_> = told.iter().map(|lost| lost.range.clone()).collect();
    assert_eq!(ranges, lost);
    for lost in told {
        assert!(lost.reason.contains(words), "{}", lost.reason);
    }
}

fn word(image: &[u8], at: usize) -> usize {
    let word = u64::from_be_bytes(image[at..at + 8].try_into().unwrap());
    usize::try_from(word & 0x00ff_ffff_ffff_fe00).unwrap()
}

#[test]
fn a_sound_image_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make::qcow2(dir.path(), Compression::Zstd);
    let image = salvage(&dir.path().join("made.qcow2"));
    assert!(content(&image) == disk());
    assert!(image.lost().is_empty());
}

#[test]
fn a_compressed_cluster_is_lost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.qcow2");
    for compression in [Compression::Zlib, Compression::Zstd] {
        let mut image = make::qcow2(dir.path(), compression);
        // The first compressed cluster begins behind the header's.
        image[65_536..65_560].fill(0xff);
        fs::write(&path, image).unwrap();
        let first = 0..CLUSTER;
        assert_lost(&path, std::slice::from_ref(&first), "cannot be expanded");
    }
}

#[test]
fn clusters_beyond_the_end_are_lost_and_neighbours_are_one_range() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.qcow2");
    let mut image = make::qcow2(dir.path(), Compression::None);
    let l2 = word(&image, word(&image, 40));
    let beyond = (1_u64 << 63 | 1 << 40).to_be_bytes();
    for cluster in [1, 2, 20] {
        image[l2 + cluster * 8..][..8].copy_from_slice(&beyond);
    }
    fs::write(&path, image).unwrap();
    let lost = [CLUSTER..3 * CLUSTER, 20 * CLUSTER..21 * CLUSTER];
    assert_lost(&path, &lost, "beyond the end of the file");
}

#[test]
fn what_a_damaged_table_maps_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.qcow2");
    let mut image = make::qcow2(dir.path(), Compression::None);
    let l1 = word(&image, 40);
    image[l1 + 7] |= 1;
    fs::write(&path, image).unwrap();
    let all = 0..u64::try_from(make::SIZE).unwrap();
    assert_lost(&path, &[all], "the L1 entry");
}

#[test]
fn a_damaged_table_is_lost_though_the_one_before_it_maps_nothing() {
    const L2_SPAN: usize = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    let mut disk = vec![0; 4 * L2_SPAN];
    disk[3 * L2_SPAN..].fill(7);
    let mut image = make::qcow2_of(&path, disk.clone(), 4096);
    // The first three entries map nothing; reserved bits of the second one are set.
    let l1 = word(&image, 40);
    image[l1 + 15] |= 1;
    fs::write(&path, image).unwrap();
    let image = salvage(&path);
    assert!(content(&image) == disk);
    let lost = image.lost();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].range, 2 << 20..4 << 20);
    assert!(lost[0].reason.contains("the L1 entry"), "{lost:?}");
}

#[test]
fn ranges_that_touch_are_one_in_whatever_order_they_are_met() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.qcow2");
    let mut image = make::qcow2(dir.path(), Compression::None);
    let l2 = word(&image, word(&image, 40));
    let beyond = (1_u64 << 63 | 1 << 40).to_be_bytes();
    for cluster in 2..6 {
        image[l2 + cluster * 8..][..8].copy_from_slice(&beyond);
    }
    fs::write(&path, image).unwrap();
    let image = salvage(&path);
    let mut buf = vec![0xee; 100];
    for cluster in [3, 5, 2, 4, 3] {
        buf.fill(0xee);
        image.device().read_at(cluster * CLUSTER, &mut buf).unwrap();
        assert!(buf.iter().all(|b| *b == 0));
    }
    let ranges: Vec<_> = image.lost().into_iter().map(|lost| lost.range).collect();
    // Only what was asked for was tried.
    let piece = |cluster: u64| cluster * CLUSTER..cluster * CLUSTER + 100;
    assert_eq!(ranges, [piece(2), piece(3), piece(4), piece(5)]);
    let mut all = vec![0; 4 << 16];
    image.device().read_at(2 * CLUSTER, &mut all).unwrap();
    let ranges: Vec<_> = image.lost().into_iter().map(|lost| lost.range).collect();
    let joined = 2 * CLUSTER..6 * CLUSTER;
    assert_eq!(ranges, std::slice::from_ref(&joined));
    // A caller's mistake is none of the image's damage.
    let size = image.device().size();
    assert!(image.device().read_at(size, &mut buf).is_err());
}

#[test]
fn what_only_a_missing_parent_has_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let Some(child) = child_without_parent(dir.path()) else {
        return;
    };
    assert!(
        crate::read(&child).is_err(),
        "without salvage it is an error"
    );
    let image = salvage(&child);
    let found = content(&image);
    let ours = usize::try_from(CLUSTER).unwrap()..usize::try_from(2 * CLUSTER).unwrap();
    assert!(found[ours.clone()].iter().all(|b| *b == 5));
    assert!(
        found[..ours.start]
            .iter()
            .chain(&found[ours.end..])
            .all(|b| *b == 0)
    );
    let ranges: Vec<_> = image.lost().into_iter().map(|lost| lost.range).collect();
    assert_eq!(ranges, [0..CLUSTER, 2 * CLUSTER..16 * CLUSTER]);
    let reason = &image.lost()[0].reason;
    assert!(
        reason.contains("base.raw") && reason.contains("does not exist"),
        "{reason}"
    );
}

/// A qcow2 image of 1 MiB whose second cluster is its own, over a parent that is taken away.
fn child_without_parent(dir: &Path) -> Option<std::path::PathBuf> {
    let run = |tool: &str, words: &str| {
        let mut command = std::process::Command::new(tool);
        let output = command.args(words.split(' ')).current_dir(dir).output();
        output.is_ok_and(|output| output.status.success())
    };
    fs::write(dir.join("base.raw"), vec![3; 1 << 20]).unwrap();
    let made = run(
        "qemu-img",
        "create -q -f qcow2 -F raw -b base.raw child.qcow2",
    ) && std::process::Command::new("qemu-io")
        .args(["-c", "write -q -P 5 64k 64k", "child.qcow2"])
        .current_dir(dir)
        .status()
        .is_ok_and(|status| status.success());
    if !made {
        eprintln!("skipped: qemu-img and qemu-io are not installed");
        return None;
    }
    fs::remove_file(dir.join("base.raw")).unwrap();
    Some(dir.join("child.qcow2"))
}

#[test]
fn an_extent_that_is_not_there_is_lost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.vmdk");
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
                RW 128 FLAT \"a.bin\" 0\nRW 256 FLAT \"b.bin\" 0\nRW 128 SPARSE \"c.vmdk\"\n\
                RW 128 FLAT \"a.bin2\" 0\n";
    fs::write(&path, text).unwrap();
    fs::write(dir.path().join("a.bin"), vec![1; 65_536]).unwrap();
    fs::write(dir.path().join("c.vmdk"), vec![9; 65_536]).unwrap();
    fs::write(dir.path().join("a.bin2"), vec![2; 65_536]).unwrap();
    assert!(image::open(&path, &OpenOptions::default()).is_err());
    let image = salvage(&path);
    let found = content(&image);
    let expected = [vec![1; 65_536], vec![0; 3 * 65_536], vec![2; 65_536]].concat();
    assert!(found == expected);
    let told = image.lost();
    let ranges: Vec<_> = told.iter().map(|lost| lost.range.clone()).collect();
    // The second is not there, the third is no image: they are neighbours.
    let lost = CLUSTER..4 * CLUSTER;
    assert_eq!(ranges, std::slice::from_ref(&lost));
    assert!(told[0].reason.contains("b.bin"), "{}", told[0].reason);
}
