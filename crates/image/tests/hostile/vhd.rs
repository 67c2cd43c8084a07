//! Damaged VHD images.

use crate::make::{
    self, SIZE, VHD_BLOCK, VHD_BLOCKS, VHD_HEADER, VHD_LOCATOR, VHD_TABLE, Vhd, disk, seal_vhd,
};
use crate::{
    assert_cuts_are_told, assert_edits_are_told, assert_flips_do_no_harm, read, read_device, words,
};
use image::{Error, OpenOptions};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const KINDS: [Vhd; 3] = [Vhd::Fixed, Vhd::Dynamic, Vhd::Differencing];

/// A directory with the parent of [`Vhd::Differencing`].
fn beside_the_parent() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("base.vhd"), make::vhd(Vhd::Dynamic)).unwrap();
    dir
}

/// Which structures an edit changes.
#[derive(Clone, Copy)]
enum In {
    Footers,
    Header,
}

/// Asserts that each edit of a sound image, whose checksums are made right again, is told.
fn assert_sealed_edits_are_told(sound: &[u8], path: &Path, edits: &[(In, usize, &[u8], &str)]) {
    for (place, field, bytes, expected) in edits {
        let mut image = sound.to_vec();
        let starts = match place {
            In::Footers if image.starts_with(b"conectix") => vec![0, image.len() - 512],
            In::Footers => vec![image.len() - 512],
            In::Header => vec![VHD_HEADER],
        };
        for start in starts {
            image[start + field..][..bytes.len()].copy_from_slice(bytes);
        }
        seal_vhd(&mut image);
        fs::write(path, image).unwrap();
        match read(path) {
            Ok(_) => panic!("{expected}: it reads"),
            Err(error) => {
                let words = words(&error);
                assert!(words.contains(expected), "{expected}: {words}");
            }
        }
    }
}

#[test]
fn the_recipe_makes_sound_images() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    for kind in KINDS {
        let mut image = make::vhd(kind);
        fs::write(&path, &image).unwrap();
        assert!(read(&path).unwrap() == disk(), "{kind:?}");
        if kind == Vhd::Differencing {
            // The bits say which half is the parent's.
            let data = VHD_BLOCKS + 512;
            image[data..data + VHD_BLOCK].fill(0xee);
            fs::write(&path, &image).unwrap();
            let bytes = read(&path).unwrap();
            for (sector, own) in bytes[..VHD_BLOCK]
                .chunks(512)
                .zip([1, 1, 0, 0, 0, 1, 0, 1].repeat(16))
            {
                assert_eq!(sector == [0xee; 512], own == 1);
            }
        }
    }
}

#[test]
fn each_broken_field_of_a_footer_is_told_by_name() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    for kind in KINDS {
        assert_sealed_edits_are_told(
            &make::vhd(kind),
            &path,
            &[
                (In::Footers, 13, &[2], "footer is of version 2.0"),
                (In::Footers, 60, &[0; 4], "disk_type is 0"),
                (In::Footers, 60, &[0, 0, 0, 5], "disk_type is 5"),
                (In::Footers, 60, &[0xff; 4], "disk_type is 4294967295"),
                (In::Footers, 55, &[1], "whole sectors"),
                (
                    In::Footers,
                    48,
                    &[0xff; 6],
                    if kind == Vhd::Fixed {
                        "a fixed disk of 18446744073709486080 bytes"
                    } else {
                        "number of blocks is 281474976710655"
                    },
                ),
                // Virtual PC sizes disks by geometry, of which there is none.
                (
                    In::Footers,
                    28,
                    b"vpc \0\0\0\0Wi2k\0\0\0\0\0\x20\0\0\0\0\0\0\0\x20\0\0\0\0\0\0",
                    "disk_geometry is empty",
                ),
            ],
        );
    }
    assert_sealed_edits_are_told(
        &make::vhd(Vhd::Fixed),
        &path,
        &[
            (
                In::Footers,
                53,
                &[0x20, 2],
                "before the footer at byte 2097152",
            ),
            (In::Footers, 60, &[0, 0, 0, 3], "but the file ends"),
        ],
    );
    assert_sealed_edits_are_told(
        &make::vhd(Vhd::Dynamic),
        &path,
        &[
            (In::Footers, 16, &[0xff; 8], "but the file ends"),
            (In::Footers, 22, &[4], "no dynamic disk header at byte 1024"),
            (
                In::Footers,
                53,
                &[0x21],
                "max_table_entries is 32, but a disk of 2162688",
            ),
            // What it was made over is another matter than its kind.
            (In::Footers, 63, &[4], "does not say where its parent is"),
        ],
    );
}

#[test]
fn each_broken_field_of_a_dynamic_header_is_told_by_name() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    for kind in [Vhd::Dynamic, Vhd::Differencing] {
        assert_sealed_edits_are_told(
            &make::vhd(kind),
            &path,
            &[
                (
                    In::Header,
                    0,
                    b"cxsparsf",
                    "no dynamic disk header at byte 512",
                ),
                (In::Header, 16, &[0xff; 8], "but the file ends"),
                (In::Header, 16, &[0, 0, 0, 0, 0, 0, 3, 0], "overlaps"),
                (In::Header, 16, &[0, 0, 0, 0, 0, 0, 0, 0], "overlaps"),
                (
                    In::Header,
                    25,
                    &[9],
                    "dynamic disk header is of version 9.0",
                ),
                (In::Header, 28, &[0; 4], "max_table_entries is 0"),
                (In::Header, 32, &[0; 4], "block_size is 0"),
                (In::Header, 32, &[0, 1, 0, 1], "block_size is 65537"),
                (In::Header, 32, &[0, 0, 1, 0], "block_size is 256"),
                (
                    In::Header,
                    32,
                    &[0x20, 0, 0, 0],
                    "its blocks have 536870912 bytes",
                ),
                // A bitmap and a block of another size are not where they are expected.
                (In::Header, 32, &[0, 2, 0, 0], "overlaps"),
            ],
        );
    }
    assert_sealed_edits_are_told(
        &make::vhd(Vhd::Differencing),
        &path,
        &[
            (
                In::Header,
                40,
                &[0; 16],
                "was made over 00000000-0000-0000-0000-000000000000",
            ),
            (In::Header, 576, b"W9ru", "does not say where its parent is"),
            (
                In::Header,
                584,
                &[0xff; 4],
                "platform_data_length is 4294967295",
            ),
            (In::Header, 592, &[0x7f; 8], "but the file ends"),
        ],
    );
}

#[test]
fn checksums_and_table_entries_are_checked() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    for kind in [Vhd::Dynamic, Vhd::Differencing] {
        let sound = make::vhd(kind);
        let end = sound.len() - 512;
        let last = u32::try_from(end / 512).unwrap().to_be_bytes();
        let beyond = u32::try_from(end / 512 + 100).unwrap().to_be_bytes();
        let first: [u8; 4] = sound[VHD_TABLE..VHD_TABLE + 4].try_into().unwrap();
        assert_edits_are_told(
            &sound,
            &path,
            &[
                (
                    "header checksum",
                    VHD_HEADER + 700,
                    &[1],
                    "checksum of the dynamic disk header at byte 512",
                ),
                (
                    "block in the copy",
                    VHD_TABLE,
                    &[0; 4],
                    "the block at guest offset 0 (66048 bytes at byte 0) overlaps the copy",
                ),
                (
                    "block in the header",
                    VHD_TABLE + 4,
                    &[0, 0, 0, 2],
                    "the block at guest offset 65536 (66048 bytes at byte 1024) overlaps the dynamic",
                ),
                (
                    "block in the table",
                    VHD_TABLE,
                    &[0, 0, 0, 3],
                    "overlaps the block allocation table",
                ),
                (
                    "block in the footer",
                    VHD_TABLE,
                    &(u32::from_be_bytes(last) - 128).to_be_bytes(),
                    "overlaps the footer",
                ),
                (
                    "block that ends beyond the end",
                    VHD_TABLE,
                    &last,
                    "block at guest offset 0 maps to bytes",
                ),
                ("block beyond the end", VHD_TABLE, &beyond, "beyond the end"),
                (
                    "block far beyond the end",
                    VHD_TABLE + 8,
                    &[0xff, 0xff, 0xff, 0xfe],
                    "guest offset 131072 maps to bytes 2199023254528",
                ),
                (
                    "one place for two blocks",
                    VHD_TABLE + 4,
                    &first,
                    "the block at guest offset 65536 (66048 bytes at byte 3584) overlaps the block at guest offset 0",
                ),
                (
                    "blocks that overlap",
                    VHD_TABLE + 4,
                    &(u32::from_be_bytes(first) + 5).to_be_bytes(),
                    "overlaps the block at guest offset",
                ),
            ],
        );
    }
    for kind in KINDS {
        let sound = make::vhd(kind);
        let end = sound.len() - 512;
        let mut image = sound.clone();
        image[end + 100] ^= 1;
        fs::write(&path, &image).unwrap();
        // A fixed disk has no copy.
        assert_eq!(read(&path).is_ok(), kind != Vhd::Fixed);
        if kind != Vhd::Fixed {
            image[100] ^= 1;
            fs::write(&path, &image).unwrap();
        }
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("footer at byte {end}")), "{error}");
    }
}

/// Both are sound: nothing says which one is right.
#[test]
fn footers_that_contradict_each_other_are_refused() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    let sound = make::vhd(Vhd::Dynamic);
    for (field, bytes, expected) in [
        (60, &[0, 0, 0, 2][..], "disk_type: 3 and 2"),
        (53, &[0x10], "current_size: 2097152 and 1048576"),
        (68, b"SIXTEEN", "unique_id"),
        (22, &[4], "data_offset: 512 and 1024"),
        (57, &[61], "disk_geometry: 60/4/17 and 61/4/17"),
        (28, b"vpc ", "creator_application: test and vpc"),
    ] {
        let mut image = sound.clone();
        image[field..field + bytes.len()].copy_from_slice(bytes);
        seal_vhd(&mut image);
        fs::write(&path, &image).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // The rest is nobody's business.
    let mut image = sound.clone();
    image[24..28].fill(7);
    image[84] = 1;
    seal_vhd(&mut image);
    fs::write(&path, &image).unwrap();
    assert!(read(&path).unwrap() == disk());
}

#[test]
fn a_fixed_disk_needs_the_footer_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhd");
    let sound = make::vhd(Vhd::Fixed);
    // A footer alone at the beginning, of a kind that has no copy there.
    let end = sound.len() - 512;
    let moved = [&sound[end..], &sound[..end]].concat();
    fs::write(&path, moved).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("the footer of a fixed disk is at its end"),
        "{error}"
    );
    let forced = OpenOptions {
        format: Some(image::Format::Vhd),
        ..OpenOptions::default()
    };
    fs::write(&path, &sound[..end]).unwrap();
    let error = image::open(&path, &forced).unwrap_err().to_string();
    assert!(error.contains("neither a footer"), "{error}");
    // What the disk itself begins with does not matter, unless it is a sound copy.
    let mut begins = sound.clone();
    begins[..8].copy_from_slice(b"conectix");
    fs::write(&path, &begins).unwrap();
    assert!(read(&path).unwrap() == begins[..SIZE]);
}

#[test]
fn a_cut_image_reads_whole_or_not_at_all() {
    let dir = beside_the_parent();
    for kind in KINDS {
        let sound = make::vhd(kind);
        assert_cuts_are_told(&sound, &disk(), &dir.path().join("t.vhd"));
    }
}

#[test]
fn flipped_bits_never_panic() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    for kind in KINDS {
        let sound = make::vhd(kind);
        let end = sound.len() - 512;
        let others = match kind {
            Vhd::Fixed => Vec::new(),
            Vhd::Dynamic | Vhd::Differencing => vec![
                0..85,
                VHD_HEADER..VHD_HEADER + 60,
                VHD_HEADER + 576..VHD_HEADER + 600,
                VHD_TABLE..VHD_TABLE + 128,
                VHD_LOCATOR..VHD_LOCATOR + 20,
                VHD_BLOCKS..VHD_BLOCKS + 16,
            ],
        };
        let footer = end..end + 85;
        let metadata: Vec<_> = std::iter::once(footer).chain(others).collect();
        assert_flips_do_no_harm(&sound, &metadata, &path);
    }
}

/// As above, but the checksums are made right again, so that every field is really looked at.
#[test]
fn flipped_bits_under_right_checksums_never_panic() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    let mut state = 1_u64;
    let mut random = move |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % end
    };
    for kind in KINDS {
        let sound = make::vhd(kind);
        let end = sound.len() - 512;
        let mut refused = 0;
        for _ in 0..400 {
            let mut image = sound.clone();
            for _ in 0..1 + random(2) {
                let at = random(85);
                let bit = 1 << random(8);
                image[end + at] ^= bit;
                if kind != Vhd::Fixed {
                    image[at] ^= bit;
                    let header = [random(60), 576 + random(24)][random(2)];
                    image[VHD_HEADER + header] ^= 1 << random(8);
                }
            }
            if random(2) == 0 {
                image[VHD_TABLE + random(128)] ^= 1 << random(8);
            }
            seal_vhd(&mut image);
            fs::write(&path, image).unwrap();
            match image::open(&path, &OpenOptions::default()) {
                Ok(image) if image.device().size() <= 1 << 40 => {
                    refused += usize::from(read_device(&image).is_err());
                }
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 100, "only {refused} for {kind:?}");
    }
}

#[test]
fn deltas_are_never_read_without_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhd");
    fs::write(&path, make::vhd(Vhd::Differencing)).unwrap();
    let error = image::open(&path, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("base.vhd"), "{error}");
    fs::write(dir.path().join("base.vhd"), "no VHD at all").unwrap();
    let error = image::open(&path, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    fs::write(dir.path().join("base.vhd"), make::vhd(Vhd::Fixed)).unwrap();
    let image = image::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(image.layers().len(), 2);
}

/// What is refused at once otherwise, is found and listed when it is read.
#[test]
fn salvage_loses_the_damaged_blocks_alone() {
    let dir = beside_the_parent();
    let path = dir.path().join("t.vhd");
    let salvage = OpenOptions {
        salvage: true,
        ..OpenOptions::default()
    };
    for kind in [Vhd::Dynamic, Vhd::Differencing] {
        let mut image = make::vhd(kind);
        image[VHD_TABLE + 4..VHD_TABLE + 8].copy_from_slice(&[0x7f; 4]);
        fs::write(&path, &image).unwrap();
        assert!(image::open(&path, &OpenOptions::default()).is_err());
        let image = image::open(&path, &salvage).unwrap();
        let mut bytes = vec![0xee; SIZE];
        image.device().read_at(0, &mut bytes).unwrap();
        let mut expected = disk();
        expected[VHD_BLOCK..2 * VHD_BLOCK].fill(0);
        assert!(bytes == expected, "{kind:?}");
        let lost = image.lost();
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].range, 65_536..131_072);
        assert!(lost[0].reason.contains("beyond the end"), "{lost:?}");
    }
    // What is in one place belongs to one block at most, and nobody knows to which.
    let mut image = make::vhd(Vhd::Dynamic);
    let first: [u8; 4] = image[VHD_TABLE..VHD_TABLE + 4].try_into().unwrap();
    image[VHD_TABLE + 8..VHD_TABLE + 12].copy_from_slice(&first);
    fs::write(&path, &image).unwrap();
    let image = image::open(&path, &salvage).unwrap();
    let mut bytes = vec![0xee; SIZE];
    image.device().read_at(0, &mut bytes).unwrap();
    let mut expected = disk();
    expected[..VHD_BLOCK].fill(0);
    expected[2 * VHD_BLOCK..3 * VHD_BLOCK].fill(0);
    assert!(bytes == expected);
    let lost = image.lost();
    let ranges: Vec<_> = lost.iter().map(|lost| lost.range.clone()).collect();
    assert_eq!(ranges, [0..65_536, 131_072..196_608]);
    assert!(lost[0].reason.contains("overlaps the block"), "{lost:?}");
    // A fixed disk whose footer promises more than there is.
    let mut fixed = make::vhd(Vhd::Fixed);
    let end = fixed.len() - 512;
    fixed[end + 53] = 0x30;
    seal_vhd(&mut fixed);
    fs::write(&path, &fixed).unwrap();
    let image = image::open(&path, &salvage).unwrap();
    let mut bytes = vec![0xee; 3 << 20];
    image.device().read_at(0, &mut bytes).unwrap();
    assert!(bytes[..SIZE] == disk());
    assert!(bytes[SIZE..].iter().all(|b| *b == 0));
    assert_eq!(image.lost()[0].range, 2 << 20..3 << 20);
}
