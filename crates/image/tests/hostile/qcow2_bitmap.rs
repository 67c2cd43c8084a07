//! Dirty bitmaps that are damaged, or that do not have to be right: the disk reads all the same.

use crate::make::{self, SIZE, disk};
use crate::read;
use image::{BitmapInfo, Compression, Error, Image, OpenOptions};
use ondisk::Interrupt;
use ondisk::width::u64_of;
use std::fs;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;

const CLUSTER: usize = 65_536;
const GRANULARITY: usize = 4096;
/// Where the header extension is, and where the bits of features that are cleared by strangers.
const EXTENSION: usize = 112;
const AUTOCLEAR: usize = 88;
/// Entries of the directory: the second one begins after 24 bytes, a name of one, and padding.
const SECOND: usize = 32;

struct Made {
    image: Vec<u8>,
    directory: usize,
    table: usize,
    data: usize,
}

fn entry(table: usize, name: u8) -> Vec<u8> {
    let mut entry = u64_of(table).to_be_bytes().to_vec();
    // One cluster; enabled.
    entry.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    // Dirty tracking, 4 KiB a bit, a name of one byte, no extra data.
    entry.extend([1, 12, 0, 1, 0, 0, 0, 0, name]);
    entry.resize(SECOND, 0);
    entry
}

/// An image of [`disk`] with two bitmaps: of `b` the bits 0, 9 to 16 and the last are set, of `c`
/// all are.
fn made(dir: &Path) -> Made {
    let mut image = make::qcow2(dir, Compression::None);
    image.resize(image.len().next_multiple_of(CLUSTER), 0);
    let directory = image.len();
    let [table, data, second] = [1, 2, 3].map(|n| directory + n * CLUSTER);
    image.resize(second + CLUSTER, 0);
    let entries = [entry(table, b'b'), entry(second, b'c')].concat();
    image[directory..][..entries.len()].copy_from_slice(&entries);
    image[table..][..8].copy_from_slice(&u64_of(data).to_be_bytes());
    image[second + 7] = 1;
    image[data..][..3].copy_from_slice(&[1, 0b1111_1110, 1]);
    image[data + SIZE / GRANULARITY / 8 - 1] = 0x80;
    let mut extension = [0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24, 0, 0, 0, 2, 0, 0, 0, 0].to_vec();
    extension.extend(u64_of(2 * SECOND).to_be_bytes());
    extension.extend(u64_of(directory).to_be_bytes());
    extension.extend([0; 8]);
    image[EXTENSION..][..extension.len()].copy_from_slice(&extension);
    image[AUTOCLEAR + 7] |= 1;
    Made {
        image,
        directory,
        table,
        data,
    }
}

fn open(path: &Path) -> Image {
    image::open(path, &OpenOptions::default()).unwrap()
}

fn dirty(image: &Image, name: &str) -> Result<Vec<Range<u64>>, Error> {
    let granule = NonZeroU64::new(512).unwrap();
    let dirty = image.dirty(name, granule, &Interrupt::default())?;
    Ok(dirty.unwrap().ranges)
}

fn one(range: Range<u64>) -> [Range<u64>; 1] {
    [range]
}

fn list(image: &Image) -> Result<Vec<BitmapInfo>, Error> {
    image.bitmaps(0, &Interrupt::default())
}

#[test]
fn what_is_sound_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    fs::write(&path, made(dir.path()).image).unwrap();
    let opened = open(&path);
    let (unit, size) = (u64_of(GRANULARITY), u64_of(SIZE));
    let ranges = [0..unit, 9 * unit..17 * unit, size - unit..size];
    assert_eq!(dirty(&opened, "b").unwrap(), ranges);
    assert_eq!(dirty(&opened, "c").unwrap(), one(0..size));
    let found = list(&opened).unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|bitmap| (&*bitmap.name, bitmap.dirty))
        .collect();
    assert_eq!(told, [("b", Some(10 * unit)), ("c", Some(size))]);
}

#[test]
fn what_is_wrong_with_the_directory_is_told_and_the_disk_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    let Made {
        image, directory, ..
    } = made(dir.path());
    let edits: &[(&str, usize, &[u8], &str)] = &[
        ("short extension", EXTENSION + 7, &[16], "16 bytes long, 24"),
        (
            "too many",
            EXTENSION + 8,
            &[0, 1, 0, 0],
            "nb_bitmaps is 65536",
        ),
        ("one more", EXTENSION + 11, &[3], "entry 2"),
        ("one less", EXTENSION + 11, &[1], "32 left after 1"),
        ("huge", EXTENSION + 16, &[1], "bitmap_directory_size is"),
        ("beyond the end", EXTENSION + 20, &[3], "the file ends"),
        ("odd place", EXTENSION + 31, &[8], "bitmap_directory_offset"),
        (
            "no place",
            EXTENSION + 24,
            &[0; 8],
            "bitmap_directory_offset",
        ),
        ("far", EXTENSION + 24, &[0xff; 6], "the file ends"),
        ("no name", directory + 19, &[0], "1 to 1023"),
        ("long name", directory + 18, &[4], "1 to 1023"),
        ("name past the end", directory + 19, &[90], "ends in it"),
        (
            "extra past the end",
            directory + 20,
            &[0xff; 4],
            "ends in it",
        ),
        ("no number", directory + 17, &[64], "granularity_bits"),
        ("twice", directory + SECOND + 24, b"b", "two bitmaps \"b\""),
    ];
    for (what, at, bytes, expected) in edits {
        let mut damaged = image.clone();
        damaged[*at..][..bytes.len()].copy_from_slice(bytes);
        fs::write(&path, damaged).unwrap();
        assert!(read(&path).unwrap() == disk(), "{what}");
        let opened = open(&path);
        for error in [list(&opened).unwrap_err(), dirty(&opened, "b").unwrap_err()] {
            assert!(matches!(error, Error::Corrupt(_)), "{what}: {error}");
            let said = error.to_string();
            assert!(said.contains(expected), "{what}: {said}");
        }
    }
}

#[test]
fn what_is_wrong_with_one_bitmap_is_told_of_that_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    let Made {
        image,
        directory,
        table,
        data,
    } = made(dir.path());
    let beyond = u64_of(image.len()).to_be_bytes();
    let stored = u64_of(data).to_be_bytes()[7] | 1;
    let edits: &[(&str, usize, &[u8], &str)] = &[
        ("in use", directory + 15, &[3], "is in use"),
        ("unknown flag", directory + 15, &[10], "unknown flags 0x8"),
        ("type", directory + 16, &[2], "unknown type 2"),
        (
            "fine",
            directory + 17,
            &[8],
            "granularity_bits of 8, 9 to 31",
        ),
        ("coarse", directory + 17, &[32], "granularity_bits of 32"),
        ("empty table", directory + 11, &[0], "table of 0 entries"),
        ("odd table", directory + 7, &[8], "bitmap_table_offset is"),
        ("no table", directory, &[0; 8], "bitmap_table_offset is 0"),
        ("table beyond", directory, &beyond, "the file ends"),
        ("reserved", table, &[0x80], "reserved"),
        ("low bits", table + 7, &[2], "reserved"),
        ("one and an offset", table + 7, &[stored], "reserved"),
        ("odd cluster", table + 6, &[2], "table entry is"),
        ("cluster beyond", table, &beyond, "the file ends"),
    ];
    for (what, at, bytes, expected) in edits {
        let mut damaged = image.clone();
        damaged[*at..][..bytes.len()].copy_from_slice(bytes);
        fs::write(&path, damaged).unwrap();
        assert!(read(&path).unwrap() == disk(), "{what}");
        let opened = open(&path);
        let said = dirty(&opened, "b").unwrap_err().to_string();
        assert!(said.contains(expected), "{what}: {said}");
        assert_eq!(dirty(&opened, "c").unwrap(), one(0..u64_of(SIZE)), "{what}");
        let found = list(&opened).unwrap();
        let problem = found[0].problem.as_deref().unwrap();
        assert!(problem.contains(expected), "{what}: {problem}");
        assert!(found[0].dirty.is_none() && found[1].problem.is_none());
    }
}

#[test]
fn extra_data_may_stand_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    let Made {
        mut image,
        directory,
        ..
    } = made(dir.path());
    // Eight bytes before the name of the first one, and the directory has no second.
    image[directory + 23] = 8;
    image[directory + 24..][..8].copy_from_slice(b"whatever");
    image[directory + 32] = b'b';
    image[directory + 33..][..31].fill(0);
    image[EXTENSION + 11] = 1;
    image[EXTENSION + 23] = 40;
    fs::write(&path, &image).unwrap();
    let said = dirty(&open(&path), "b").unwrap_err().to_string();
    assert!(said.contains("needs extra data"), "{said}");
    image[directory + 15] |= 4;
    fs::write(&path, &image).unwrap();
    assert_eq!(dirty(&open(&path), "b").unwrap().len(), 3);
}

#[test]
fn bitmaps_that_a_stranger_did_not_keep_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    let mut image = made(dir.path()).image;
    image[AUTOCLEAR + 7] = 0;
    fs::write(&path, &image).unwrap();
    let opened = open(&path);
    let error = dirty(&opened, "b").unwrap_err();
    assert!(matches!(error, Error::Options { .. }));
    assert!(error.to_string().contains("may miss changes"), "{error}");
    let found = list(&opened).unwrap();
    assert!(found.iter().all(|bitmap| bitmap.dirty.is_none()));
}

#[test]
fn a_small_file_cannot_make_much_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.qcow2");
    let Made {
        mut image,
        directory,
        data,
        ..
    } = made(dir.path());
    // More bits than any bitmap has.
    image[24..32].copy_from_slice(&(1_u64 << 42).to_be_bytes());
    image[36..40].copy_from_slice(&8192_u32.to_be_bytes());
    image.resize(image.len() + 64 * CLUSTER, 0);
    image[directory + 17] = 9;
    image[directory + 8..][..4].copy_from_slice(&[0x7f; 4]);
    fs::write(&path, &image).unwrap();
    let said = dirty(&open(&path), "b").unwrap_err().to_string();
    assert!(said.contains("the size of a bitmap is"), "{said}");
    // Many entries of a table lead to one cluster.
    image[directory + 17] = 12;
    let table = image.len() - 2 * CLUSTER;
    image[directory..][..8].copy_from_slice(&u64_of(table).to_be_bytes());
    for number in 0..512 {
        image[table + number * 8..][..8].copy_from_slice(&u64_of(data).to_be_bytes());
    }
    fs::write(&path, &image).unwrap();
    let said = dirty(&open(&path), "b").unwrap_err().to_string();
    assert!(said.contains("overlap"), "{said}");
}
