//! Damaged qcow2 images.

use crate::make::{self, disk};
use crate::{assert_cuts_are_told, assert_edits_are_told, assert_flips_do_no_harm, read, words};
use image::{Compression, Error, OpenOptions};
use ondisk::width::u64_of;
use std::fs;
use std::ops::Range;
use std::path::Path;

fn word(image: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(image[at..at + 8].try_into().unwrap())
}

/// Where the L1 table is, and where the first L2 table is.
fn tables(image: &[u8]) -> (usize, usize) {
    let l1 = usize::try_from(word(image, 40)).unwrap();
    let l2 = usize::try_from(word(image, l1) & 0x00ff_ffff_ffff_fe00).unwrap();
    (l1, l2)
}

fn metadata(image: &[u8]) -> Vec<Range<usize>> {
    let (l1, l2) = tables(image);
    let refcounts = usize::try_from(word(image, 48)).unwrap();
    vec![0..112, l1..l1 + 8, l2..l2 + 256, refcounts..refcounts + 8]
}

#[test]
fn each_broken_field_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let sound = make::qcow2(dir.path(), Compression::None);
    let path = dir.path().join("t.qcow2");
    let (l1, l2) = tables(&sound);
    let beyond = (1_u64 << 63 | 1 << 40).to_be_bytes();
    let unaligned = (1_u64 << 63 | 65_536 | 512).to_be_bytes();
    assert_edits_are_told(
        &sound,
        &path,
        &[
            ("version 1", 4, &[0, 0, 0, 1], "qcow version 1"),
            ("version 9", 4, &[0, 0, 0, 9], "qcow version 9"),
            ("tiny clusters", 20, &[0, 0, 0, 8], "cluster_bits is 8"),
            ("huge clusters", 20, &[0, 0, 0, 22], "cluster_bits is 22"),
            ("huge disk", 24, &[0xff; 8], "size is 18446744073709551615"),
            (
                "more disk than tables",
                24,
                &[0, 0, 1, 0],
                "l1_size must be 2049",
            ),
            ("AES", 32, &[0, 0, 0, 1], "encrypted with AES"),
            ("LUKS", 32, &[0, 0, 0, 2], "encrypted with LUKS"),
            ("no tables", 36, &[0; 4], "l1_size must be 1 at least"),
            ("huge L1", 36, &[0x7f; 4], "l1_size is 2139062143"),
            ("L1 at odd place", 47, &[1], "l1_table_offset"),
            ("L1 beyond the end", 40, &[0, 0, 1], "but the file ends"),
            ("corrupt bit", 79, &[2], "marked corrupt"),
            (
                "unknown bits",
                72,
                &[0x80, 0, 0, 0, 0, 0, 0, 0x20],
                "bit 63",
            ),
            ("data file without name", 79, &[4], "does not name it"),
            ("compression bit alone", 79, &[8], "contradicts"),
            ("compression type alone", 104, &[1], "contradicts"),
            ("refcount order", 99, &[7], "refcount_order is 7"),
            ("short header", 103, &[96], "header_length is 96"),
            ("odd header", 103, &[109], "header_length is 109"),
            ("long header", 100, &[1], "header_length is 16777328"),
            (
                "extension leaves the cluster",
                112,
                &[0xe2, 0x79, 0x2a, 0xca, 1],
                "extension",
            ),
            (
                "backing name outside",
                10,
                &[1, 0, 0, 0, 0, 0, 0, 0, 0, 9],
                "backing file's name",
            ),
            (
                "long backing name",
                14,
                &[0, 200, 0, 0, 8],
                "backing file's name",
            ),
            (
                "L1 entry beyond the end",
                l1,
                &beyond,
                "L2 table at guest offset 0 maps to bytes",
            ),
            ("L1 entry unaligned", l1, &unaligned, "not aligned to 65536"),
            ("L1 entry reserved", l1, &[0xc0], "reserved"),
            (
                "L2 entry beyond the end",
                l2 + 8,
                &beyond,
                "guest offset 65536 maps to bytes 1099511627776",
            ),
            ("L2 entry unaligned", l2, &unaligned, "not aligned to 65536"),
            ("L2 entry reserved", l2, &[0x90], "reserved"),
            ("L2 entry compressed", l2, &[0x40], "cannot be expanded"),
        ],
    );
}

#[test]
fn a_cut_image_reads_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Zlib, Compression::Zstd] {
        let sound = make::qcow2(dir.path(), compression);
        assert_cuts_are_told(&sound, &disk(), &dir.path().join("t.qcow2"));
    }
}

#[test]
fn flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Zlib, Compression::Zstd] {
        let sound = make::qcow2(dir.path(), compression);
        assert_flips_do_no_harm(&sound, &metadata(&sound), &dir.path().join("t.qcow2"));
    }
}

#[test]
fn garbled_streams_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    for compression in [Compression::Zlib, Compression::Zstd] {
        let mut image = make::qcow2(dir.path(), compression);
        image[65_536..65_600].fill(0xff);
        fs::write(&path, image).unwrap();
        let words = words(&read(&path).unwrap_err());
        assert!(
            words.contains("the compressed cluster at guest offset 0 (byte 65536)"),
            "{words}"
        );
    }
}

/// Makes an image name a backing file.
fn with_backing(image: &[u8], name: &str, format: &str) -> Vec<u8> {
    let mut image = image.to_vec();
    image[112..116].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca]);
    image[116..120].copy_from_slice(&u32::try_from(format.len()).unwrap().to_be_bytes());
    image[120..120 + format.len()].copy_from_slice(format.as_bytes());
    image[8..16].copy_from_slice(&4096_u64.to_be_bytes());
    image[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
    image[4096..4096 + name.len()].copy_from_slice(name.as_bytes());
    image
}

#[test]
fn chains_that_do_not_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = make::qcow2(dir.path(), Compression::None);
    let path = |name: &str| dir.path().join(name);
    let put = |name: &str, backing: &str| {
        fs::write(path(name), with_backing(&image, backing, "qcow2")).unwrap();
    };
    let open = |name: &str| image::open(&path(name), &OpenOptions::default());
    put("self.qcow2", "self.qcow2");
    put("a.qcow2", "b.qcow2");
    put("b.qcow2", "a.qcow2");
    std::os::unix::fs::symlink("linked.qcow2", path("link.qcow2")).unwrap();
    put("linked.qcow2", "link.qcow2");
    for name in ["self.qcow2", "a.qcow2", "linked.qcow2"] {
        let error = open(name).unwrap_err();
        assert!(
            error.to_string().contains("refers to itself"),
            "{name}: {error}"
        );
    }
    for depth in 0..40 {
        put(&format!("{depth}.qcow2"), &format!("{}.qcow2", depth + 1));
    }
    let error = open("0.qcow2").unwrap_err();
    assert!(error.to_string().contains("deeper than 32"), "{error}");
    fs::write(path("40.qcow2"), &image).unwrap();
    assert_eq!(open("20.qcow2").unwrap().layers().len(), 21);
}

#[test]
fn backing_files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let image = make::qcow2(dir.path(), Compression::None);
    fs::write(dir.path().join("base.raw"), disk()).unwrap();
    let path = dir.path().join("t.qcow2");
    for (name, format, expected) in [
        ("absent.raw", "raw", "\"absent.raw\""),
        ("/etc/passwd", "raw", "\"/etc/passwd\""),
        ("../base.raw", "raw", "\"../base.raw\""),
        ("json:{\"driver\":\"nbd\"}", "raw", "json"),
        ("base.raw", "vdi", "\"vdi\""),
        ("base.raw", "qcow2", "qcow version"),
        (
            "base.raw",
            "vmdk",
            "neither a sparse header nor a descriptor",
        ),
    ] {
        fs::write(&path, with_backing(&image, name, format)).unwrap();
        let error = image::open(&path, &OpenOptions::default()).unwrap_err();
        assert!(
            words(&error).contains(expected),
            "{name} as {format}: {error}"
        );
    }
    fs::write(&path, with_backing(&image, "base.raw", "raw")).unwrap();
    assert!(read(&path).unwrap() == disk());
}

#[test]
fn a_file_that_shrinks_while_it_is_open_gives_errors() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("t.raw");
    fs::write(&raw, disk()).unwrap();
    assert_shrinking_is_told(&raw);
    let path = dir.path().join("t.qcow2");
    fs::write(&path, make::qcow2(dir.path(), Compression::None)).unwrap();
    assert_shrinking_is_told(&path);
}

fn assert_shrinking_is_told(path: &Path) {
    let device = image::open(path, &OpenOptions::default()).unwrap().device();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(1 << 19).unwrap();
    let mut bytes = vec![0; make::SIZE];
    let error = device.read_at(0, &mut bytes).unwrap_err();
    let error = words(&Error::from(error));
    assert!(error.contains("the file ends at byte"), "{error}");
}

/// A table of snapshots is looked at by those who want one, and its damage stops nobody else.
#[test]
fn a_damaged_snapshot_table_is_told_to_those_who_want_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut sound = make::qcow2(dir.path(), Compression::None);
    let path = dir.path().join("t.qcow2");
    let table = sound.len().next_multiple_of(65_536);
    sound.resize(table, 0);
    let l1 = sound[40..48].to_vec();
    for (id, name) in [("1", "first"), ("2", "second")] {
        let mut entry = l1.clone();
        entry.extend(1_u32.to_be_bytes());
        entry.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
        entry.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        entry.extend([0; 20]);
        entry.extend(16_u32.to_be_bytes());
        entry.extend([0; 8]);
        entry.extend(u64_of(make::SIZE).to_be_bytes());
        entry.extend(id.as_bytes());
        entry.extend(name.as_bytes());
        entry.resize(entry.len().next_multiple_of(8), 0);
        sound.extend(entry);
    }
    sound[60..64].copy_from_slice(&2_u32.to_be_bytes());
    sound[64..72].copy_from_slice(&u64_of(table).to_be_bytes());
    let open = |bytes: &[u8], wanted: &str| {
        fs::write(&path, bytes).unwrap();
        let options = OpenOptions {
            snapshot: Some(wanted.to_owned()),
            ..OpenOptions::default()
        };
        image::open(&path, &options).and_then(|image| crate::read_device(&image))
    };
    for wanted in ["first", "2"] {
        assert!(open(&sound, wanted).unwrap() == disk());
    }
    let edits: [(&str, usize, &[u8], &str); 9] = [
        ("too many", 60, &[0, 1, 0, 1], "nb_snapshots is 65537"),
        ("more than there are", 63, &[3], "but the file ends"),
        ("no table", 64, &[0; 8], "snapshots_offset"),
        ("odd place", 71, &[8], "snapshots_offset"),
        ("beyond the end", 66, &[1], "but the file ends"),
        (
            "much extra",
            table + 36,
            &[0, 0, 4, 1],
            "extra_data_size is 1025",
        ),
        ("long name", table + 14, &[0xff], "but the file ends"),
        ("tables elsewhere", table, &[0, 0, 1], "but the file ends"),
        ("short tables", table + 11, &[0], "l1_size must be 1"),
    ];
    for (what, at, bytes, expected) in edits {
        let mut image = sound.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        match open(&image, "first") {
            Ok(_) => panic!("{what}: it reads"),
            Err(error) => assert!(words(&error).contains(expected), "{what}: {error}"),
        }
        assert!(read(&path).unwrap() == disk(), "{what}");
    }
}
