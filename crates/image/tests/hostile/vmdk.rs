//! Damaged VMDK images.

use crate::make::{self, VMDK_DESCRIPTOR, VMDK_DIRECTORY, VMDK_TABLE, disk};
use crate::{assert_cuts_are_told, assert_edits_are_told, assert_flips_do_no_harm, read};
use std::fs;

#[test]
fn each_broken_field_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    for compressed in [false, true] {
        let sound = make::vmdk(compressed);
        fs::write(&path, &sound).unwrap();
        assert!(
            read(&path).unwrap() == disk(),
            "the recipe makes a sound image"
        );
        assert_edits_are_told(
            &sound,
            &path,
            &[
                ("magic", 0, b"ABCD", "is not recognised"),
                ("COWD", 0, b"COWD", "VMFS sparse disk (COWD)"),
                (
                    "seSparse",
                    0,
                    &[0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0],
                    "seSparse",
                ),
                ("version", 4, &[4], "version 4"),
                (
                    "huge capacity",
                    12,
                    &[0xff; 8],
                    "capacity is 18446744073709551615",
                ),
                (
                    "many tables",
                    12,
                    &[0, 0, 0, 0, 0, 0, 16],
                    "directory entries",
                ),
                ("no grains", 20, &[0], "grainSize is 0"),
                ("odd grains", 20, &[3], "grainSize is 3"),
                ("huge grains", 20, &[0, 0, 1], "grains have 65536 sectors"),
                ("descriptor beyond the end", 30, &[1], "but the file ends"),
                ("huge descriptor", 36, &[0xff; 8], "descriptorSize"),
                ("no table entries", 44, &[0; 4], "numGTEsPerGT is 0"),
                (
                    "many table entries",
                    44,
                    &[0xff; 4],
                    "numGTEsPerGT is 4294967295",
                ),
                ("directory beyond the end", 58, &[1], "but the file ends"),
                ("footer that is not there", 56, &[0xff; 8], "no footer"),
                ("text mode", 73, b"\n\n\r\n", "copied as text"),
                ("algorithm", 77, &[7], "unknown algorithm 7"),
                (
                    "encrypted",
                    VMDK_DESCRIPTOR,
                    b"encryptionKeys=\"x\"\n#",
                    "encrypted",
                ),
                (
                    "descriptor that is not text",
                    VMDK_DESCRIPTOR + 30,
                    &[0xff],
                    "not text",
                ),
                (
                    "blank descriptor line",
                    VMDK_DESCRIPTOR + 22,
                    b"garbage\n#",
                    "line 2",
                ),
                (
                    "table beyond the end",
                    VMDK_DIRECTORY + 2,
                    &[1],
                    "grain table at guest offset 0",
                ),
                (
                    "grain beyond the end",
                    VMDK_TABLE + 6,
                    &[1],
                    "grain at guest offset 65536 maps",
                ),
                (
                    "grain in the header",
                    VMDK_TABLE,
                    &[1, 0, 0, 0],
                    "points into the header",
                ),
            ],
        );
    }
}

#[test]
fn a_grain_must_be_the_one_that_its_marker_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    let sound = make::vmdk(true);
    let first = usize::from(sound[VMDK_TABLE]) * 512;
    assert_edits_are_told(
        &sound,
        &path,
        &[
            (
                "swapped grains",
                VMDK_TABLE + 4,
                &sound[VMDK_TABLE..VMDK_TABLE + 4],
                "grain at sector 0",
            ),
            ("other marker", first, &[1], "grain at sector 1"),
            (
                "huge stream",
                first + 8,
                &[0xff; 4],
                "size in a grain marker",
            ),
            ("cut stream", first + 8, &[9, 0, 0, 0], "cannot be expanded"),
            ("garbled stream", first + 12, &[0; 8], "cannot be expanded"),
            ("no algorithm", 77, &[0, 0], "compressAlgorithm is 0"),
        ],
    );
}

#[test]
fn a_cut_image_reads_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    for compressed in [false, true] {
        let sound = make::vmdk(compressed);
        assert_cuts_are_told(&sound, &disk(), &dir.path().join("t.vmdk"));
    }
}

#[test]
fn flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    for compressed in [false, true] {
        let sound = make::vmdk(compressed);
        let metadata = [
            0..80,
            VMDK_DESCRIPTOR..VMDK_DESCRIPTOR + 150,
            VMDK_DIRECTORY..VMDK_DIRECTORY + 4,
            VMDK_TABLE..VMDK_TABLE + 128,
        ];
        assert_flips_do_no_harm(&sound, &metadata, &dir.path().join("t.vmdk"));
    }
}

/// Deflate goes on from most flips with other bytes: only the checksum at the end tells.
#[test]
fn a_flip_in_a_compressed_grain_is_always_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    let sound = make::vmdk(true);
    // The first grain begins behind the tables, with its marker of 12 bytes.
    let marker = 26 * 512;
    let len = u32::from_le_bytes(sound[marker + 8..marker + 12].try_into().unwrap());
    let len = usize::try_from(len).unwrap();
    for at in (0..len).step_by(len / 100) {
        let mut image = sound.clone();
        image[marker + 12 + at] ^= 0x10;
        fs::write(&path, &image).unwrap();
        let image = crate::open(&path).unwrap();
        let mut bytes = vec![0; 65_536];
        let result = image.device().read_at(0, &mut bytes);
        assert!(result.is_err(), "byte {at} of the stream is not missed");
    }
}

#[test]
fn deltas_are_never_read_without_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let delta = |lines: &str| {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=2\nparentCID=12345678\n{lines}RW 4096 ZERO\n"
        );
        fs::write(dir.path().join("t.vmdk"), text).unwrap();
        image::open(&dir.path().join("t.vmdk"), &image::OpenOptions::default())
    };
    fs::write(dir.path().join("base.vmdk"), make::vmdk(false)).unwrap();
    for (lines, expected) in [
        ("", "parentFileNameHint"),
        ("parentFileNameHint=\"absent.vmdk\"\n", "absent.vmdk"),
        (
            "parentFileNameHint=\"/vmfs/volumes/x/other.vmdk\"\n",
            "/vmfs/volumes",
        ),
        ("parentFileNameHint=\"t.vmdk\"\n", "refers to itself"),
    ] {
        let error = delta(lines).unwrap_err();
        assert!(error.to_string().contains(expected), "{lines}: {error}");
    }
    let image = delta("parentFileNameHint=\"base.vmdk\"\n").unwrap();
    assert_eq!(image.layers().len(), 2);
}
