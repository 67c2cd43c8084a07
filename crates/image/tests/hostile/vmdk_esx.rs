//! Damaged snapshots of ESX and ESXi.

use crate::esx::{self, Grain, Made};
use crate::make::{SIZE, disk};
use crate::{assert_cuts_are_told, assert_edits_are_told, assert_flips_do_no_harm, read, words};
use image::{Error, OpenOptions};
use ondisk::width::u64_of;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the volatile header is in what is made here.
const VOLATILE: usize = 512;

/// An extent of [`disk`] and the path for it, beside which its descriptor is.
fn cowd(dir: &Path) -> (Made, PathBuf) {
    let sectors = u32::try_from(SIZE / 512).unwrap();
    let made = esx::cowd(sectors, 8, &esx::grains(&disk(), 4096));
    (made, described(dir, "vmfsSparse", "VMFSSPARSE"))
}

fn sesparse(dir: &Path) -> (Made, PathBuf) {
    let disk = disk();
    let mut grains = esx::grains(&disk, 4096);
    grains.push((SIZE / 4096 / 4, Grain::Zero));
    grains.push((SIZE / 4096 / 4 + 1, Grain::Unmapped));
    let made = esx::sesparse(u64_of(SIZE) / 512, 0, &grains);
    (made, described(dir, "seSparse", "SESPARSE"))
}

fn described(dir: &Path, create_type: &str, extent_type: &str) -> PathBuf {
    let line = format!("RW {} {extent_type} \"t.extent\"", SIZE / 512);
    let text = esx::descriptor(create_type, &line, None);
    fs::write(dir.join("t.vmdk"), text).unwrap();
    dir.join("t.extent")
}

#[test]
fn each_broken_field_of_cowd_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (made, path) = cowd(dir.path());
    fs::write(&path, &made.bytes).unwrap();
    assert!(
        read(&path).unwrap() == disk(),
        "the recipe makes a sound image"
    );
    let (directory, table) = (made.directory.start, made.table);
    assert_edits_are_told(
        &made.bytes,
        &path,
        &[
            ("magic", 0, b"ABCD", "has no sparse header"),
            ("version", 4, &[2], "version 2"),
            ("flags", 8, &[7], "flags 0x7"),
            ("fewer sectors", 12, &[0, 8], "it has 2048"),
            ("no grains", 16, &[0], "grainSize is 0"),
            ("odd grains", 16, &[3], "grainSize is 3"),
            ("huge grains", 16, &[0, 0, 1], "grains have 65536 sectors"),
            ("directory beyond the end", 22, &[1], "but the file ends"),
            ("no directory", 24, &[0], "0 entries, 1 are needed"),
            (
                "too many sectors",
                12,
                &[0xff; 4],
                "1 entries, 131072 are needed",
            ),
            (
                "table beyond the end",
                directory + 2,
                &[1],
                "grain table at guest offset 0",
            ),
            (
                "grain beyond the end",
                table + 6,
                &[1],
                "grain at guest offset 4096 maps",
            ),
            (
                "grain in the header",
                table,
                &[3, 0],
                "points into the header",
            ),
            ("zero grain", table, &[1, 0], "points into the header"),
        ],
    );
}

#[test]
fn each_broken_field_of_sesparse_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (made, path) = sesparse(dir.path());
    fs::write(&path, &made.bytes).unwrap();
    assert!(
        read(&path).unwrap() == disk(),
        "the recipe makes a sound image"
    );
    let (directory, table) = (made.directory.start, made.table);
    assert_edits_are_told(
        &made.bytes,
        &path,
        &[
            ("magic", 0, b"ABCD", "has no sparse header"),
            ("second half of the magic", 4, &[1], "has no sparse header"),
            (
                "version",
                8,
                &[2],
                "version of its seSparse header is 0x200000002",
            ),
            (
                "huge capacity",
                16,
                &[0xff; 8],
                "capacity is 18446744073709551615",
            ),
            ("many tables", 22, &[16], "directory entries"),
            ("fewer sectors", 16, &[0, 8], "it has 2048"),
            (
                "grain size",
                24,
                &[16],
                "grain size of its seSparse header is 0x10",
            ),
            ("table size", 32, &[8], "grain table size of its seSparse"),
            ("flags", 40, &[1], "flags of its seSparse header is 0x1"),
            ("reserved", 48, &[1], "first reserved field"),
            ("last reserved", 79, &[1], "fourth reserved field"),
            (
                "volatile header elsewhere",
                80,
                &[2],
                "no volatile header at byte 1024",
            ),
            ("volatile header beyond", 86, &[1], "but the file ends"),
            (
                "volatile magic",
                VOLATILE,
                &[1],
                "no volatile header at byte 512",
            ),
            ("journal", VOLATILE + 24, &[1], "journal has to be replayed"),
            ("directory beyond the end", 134, &[1], "but the file ends"),
            ("no directory", 136, &[0], "0 entries, 1 are needed"),
            (
                "tables beyond the end",
                150,
                &[1],
                "grain table at guest offset 0",
            ),
            ("no tables", 152, &[0], "points out of the part"),
            (
                "grains beyond the end",
                198,
                &[1],
                "grain at guest offset 0 maps",
            ),
            ("no grains", 200, &[0; 8], "points out of the part"),
            (
                "directory of another kind",
                directory + 7,
                &[0x20],
                "no known kind",
            ),
            ("directory entry", directory + 4, &[1], "no known kind"),
            ("table number", directory, &[9], "points out of the part"),
            ("grain of another kind", table + 7, &[0x40], "no known kind"),
            (
                "unallocated with a number",
                table,
                &[1, 0, 0, 0, 0, 0, 0, 0],
                "no known kind",
            ),
            (
                "low bits of a grain",
                table + 7,
                &[0x3f],
                "points out of the part",
            ),
            (
                "high bits of a grain",
                table,
                &[1],
                "points out of the part",
            ),
        ],
    );
}

#[test]
fn a_cut_extent_reads_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    for make in [cowd, sesparse] {
        let (made, path) = make(dir.path());
        assert_cuts_are_told(&made.bytes, &disk(), &path);
    }
}

#[test]
fn flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (made, path) = cowd(dir.path());
    let tables = [
        0..32,
        made.directory.clone(),
        made.table..made.table + SIZE / 4096 * 4,
    ];
    assert_flips_do_no_harm(&made.bytes, &tables, &path);
    let (made, path) = sesparse(dir.path());
    let tables = [
        0..208,
        VOLATILE..VOLATILE + 32,
        made.directory.clone(),
        made.table..made.table + SIZE / 4096 * 8,
    ];
    assert_flips_do_no_harm(&made.bytes, &tables, &path);
}

/// An extent alone may be a whole disk or a snapshot, of which half is somewhere else.
#[test]
fn an_extent_alone_says_what_to_open() {
    let dir = tempfile::tempdir().unwrap();
    for (made, name, kind) in [
        (cowd(dir.path()).0, "vm-000001-delta.vmdk", "COWD"),
        (
            sesparse(dir.path()).0,
            "vm-000001-sesparse.vmdk",
            "seSparse",
        ),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, made.bytes).unwrap();
        let error = image::open(&path, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        let words = words(&error);
        assert!(words.contains(kind), "{words}");
        assert!(words.contains("probably \"vm-000001.vmdk\""), "{words}");
    }
}
