//! Damaged VHDX images.
#![expect(
    clippy::as_conversions,
    reason = "offsets in these small images fit every width"
)]

use crate::craft::{
    self, BAT, Change, Craft, DATA_GUID, Entry, FULLY_PRESENT, HEADERS, ITEMS, LOG, METADATA, MIB,
    PARTIALLY_PRESENT, REGIONS, locator, seal,
};
use crate::make::{SIZE, disk};
use crate::{assert_cuts_are_told, assert_edits_are_told, read, words};
use image::{Error, OpenOptions};
use std::fs;
use std::ops::Range;
use std::path::Path;

/// A dynamic image of [`disk`], whose second half MiB is zero.
fn sound() -> Craft {
    let mut craft = Craft::new(SIZE as u64, MIB, 512);
    for (number, block) in disk().chunks(MIB).enumerate() {
        craft.block(number, FULLY_PRESENT, block);
    }
    craft
}

/// The same disk, whose BAT is in the log alone.
fn dirty() -> Craft {
    let mut craft = sound();
    let table = craft.bytes[BAT..BAT + 4096].to_vec();
    craft.put(BAT, &[0; 16]);
    craft.dirty();
    let len = craft.bytes.len();
    let next = craft.log(0, &Entry::new(5, 0, len, &[Change::Zero(BAT as u64, 8192)]));
    craft.log(
        next,
        &Entry::new(6, 0, len, &[Change::Sector(BAT as u64, table)]),
    );
    craft
}

/// A child of [`sound`] that has every second sector of its first block, and its parent's paths.
fn child(pairs: &[(&str, &str)]) -> Craft {
    let mut craft = Craft::new(SIZE as u64, MIB, 512);
    craft.parent(pairs);
    craft.bitmap(|sector| sector % 2 == 0);
    craft.block(0, PARTIALLY_PRESENT, &[0xc7; MIB]);
    craft
}

fn with_linkage(craft: impl Fn(&[(&str, &str)]) -> Craft, path: &str) -> Craft {
    craft(&[
        ("parent_linkage", &craft::braced(DATA_GUID)),
        ("relative_path", path),
    ])
}

/// Asserts that an edit of an image leads to an error with certain words once its checksums are
/// right again.
fn assert_sealed_edits_are_told(sound: &Craft, path: &Path, edits: &[(&str, usize, &[u8], &str)]) {
    for (what, at, bytes, expected) in edits {
        let mut image = Craft::new(512, MIB, 512);
        image.bytes.clone_from(&sound.bytes);
        image.put(*at, bytes);
        image.seal();
        fs::write(path, &image.bytes).unwrap();
        match read(path) {
            Ok(_) => panic!("{what}: it reads"),
            Err(error) => assert!(
                words(&error).contains(expected),
                "{what}: {}",
                words(&error)
            ),
        }
    }
}

#[test]
fn each_broken_field_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    let image = sound();
    fs::write(&path, &image.bytes).unwrap();
    assert!(read(&path).unwrap() == disk(), "the recipe is sound");
    let entry = |number: usize| METADATA + 32 + number * 32;
    let item = |number: usize| ITEMS + number * 256;
    let (first, second) = (REGIONS[0], REGIONS[1]);
    let one = |value: u64| value.to_le_bytes();
    assert_edits_are_told(
        &image.bytes,
        &path,
        &[
            ("signature", 0, b"vhdxfilE", "not recognised"),
            (
                "metadata signature",
                METADATA,
                b"M",
                "does not begin with its signature",
            ),
            (
                "many items",
                METADATA + 10,
                &[0xff; 2],
                "EntryCount of the metadata is 65535",
            ),
            (
                "no parameters",
                entry(0),
                &[0; 16],
                "00000000-0000-0000-0000-000000000000",
            ),
            (
                "no size",
                entry(1) + 16,
                &[0; 12],
                "virtual disk size has 0 bytes",
            ),
            (
                "fewer items",
                METADATA + 10,
                &[1, 0],
                "logical sector size is missing",
            ),
            (
                "item in the table",
                entry(0) + 16,
                &[0, 0, 0, 0],
                "leaves its region",
            ),
            (
                "item beyond the region",
                entry(0) + 18,
                &[16],
                "leaves its region",
            ),
            ("huge item", entry(1) + 20, &[0xff; 4], "leaves its region"),
            (
                "short item",
                entry(1) + 20,
                &[7],
                "has 7 bytes, 8 are expected",
            ),
            (
                "items twice",
                entry(3),
                &image.bytes[entry(2)..entry(2) + 16],
                "two metadata items",
            ),
            ("tiny blocks", item(0), &[0, 0, 8, 0], "BlockSize is 524288"),
            (
                "huge blocks",
                item(0),
                &[0, 0, 0, 32],
                "BlockSize is 536870912",
            ),
            (
                "odd blocks",
                item(0),
                &[0, 0, 48, 0],
                "BlockSize is 3145728",
            ),
            ("no blocks", item(0), &[0; 4], "BlockSize is 0"),
            (
                "parent without locator",
                item(0) + 4,
                &[2],
                "no parent locator",
            ),
            (
                "huge disk",
                item(1),
                &one((64 << 40) + 512),
                "VirtualDiskSize is 70368744178176",
            ),
            (
                "odd disk",
                item(1),
                &one(SIZE as u64 + 100),
                "no whole sectors",
            ),
            (
                "disk beyond the BAT",
                item(1),
                &one(1 << 40),
                "the BAT needs",
            ),
            ("sectors", item(2), &[0, 1], "LogicalSectorSize is 256"),
            ("reserved state", BAT, &[4], "illegal state"),
            ("another reserved state", BAT + 8, &[5], "illegal state"),
            ("reserved bits", BAT + 1, &[1], "reserved"),
            ("partial block", BAT, &[7], "only differencing"),
            ("block at the beginning", BAT, &[6, 0, 0], "header section"),
            (
                "block in the log",
                BAT,
                &[6, 0, 0x10],
                "the log or a region",
            ),
            (
                "block in the metadata",
                BAT,
                &[6, 0, 0x20],
                "the log or a region",
            ),
            (
                "block in the BAT",
                BAT + 8,
                &[6, 0, 0x30],
                "the log or a region",
            ),
            (
                "block beyond the end",
                BAT + 8,
                &[6, 0, 0x60],
                "beyond the end of the file",
            ),
            ("block far beyond the end", BAT + 8, &[0xff; 8], "reserved"),
            (
                "block at no place",
                BAT + 8,
                &[6, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff],
                "beyond",
            ),
        ],
    );
    let guid = |at: usize| image.bytes[at..at + 16].to_vec();
    let both = |offset: usize, bytes: &[u8]| {
        let mut other = sound();
        other.put(first + offset, bytes);
        other.put(second + offset, bytes);
        other
    };
    // What both copies of the headers and of the region tables say, with right checksums.
    for (what, broken, expected) in [
        (
            "many regions",
            both(8, &[0xff; 4]),
            "both region tables are damaged",
        ),
        ("no regions", both(8, &[0]), "no BAT region"),
        ("one region", both(8, &[1]), "no metadata region"),
        (
            "regions twice",
            both(16, &guid(first + 48)),
            "two metadata regions",
        ),
        (
            "unknown region",
            both(16, b"unknown region.."),
            "needs the unknown region",
        ),
        ("odd region", both(33, &[1]), "the region 2dc27766"),
        (
            "region in the header section",
            both(32, &[0; 8]),
            "the region 2dc27766",
        ),
        (
            "region at no place",
            both(32, &[0xff; 8]),
            "the region 2dc27766",
        ),
        ("odd length", both(40, &[1]), "the region 2dc27766"),
        ("no length", both(40, &[0; 4]), "the region 2dc27766"),
        (
            "region beyond the end",
            both(35, &[1]),
            "but the file at byte",
        ),
        (
            "region over another",
            both(32, &[0, 0, 0x20]),
            "overlap at byte 2097152",
        ),
        (
            "region over the log",
            both(32, &[0, 0, 0x10]),
            "overlap at byte 1048576",
        ),
    ] {
        assert_sealed_edits_are_told(&broken, &path, &[(what, 8, &[0], expected)]);
    }
    for (what, offset, bytes, expected) in [
        ("version", 66, &[2_u8, 0][..], "VHDX version 2"),
        ("odd log", 68, &[1, 0], "the log is said to be"),
        (
            "log in the header section",
            72,
            &[0; 8],
            "the log is said to be",
        ),
        (
            "log at no place",
            72,
            &[0, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff],
            "log is said",
        ),
    ] {
        let mut broken = sound();
        broken.put(HEADERS[0] + offset, bytes);
        assert_sealed_edits_are_told(
            &broken,
            &path,
            &[(what, HEADERS[1] + offset, bytes, expected)],
        );
    }
}

/// What reads, with which the truth that is to come is compared.
fn reads(path: &Path, craft: &Craft) -> Result<Vec<u8>, Error> {
    fs::write(path, &craft.bytes).unwrap();
    read(path)
}

#[test]
fn the_later_sound_header_is_the_current_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    let other = b"another content.";
    let id = |craft: &Craft| {
        fs::write(&path, &craft.bytes).unwrap();
        let image = image::open(&path, &OpenOptions::default())?;
        let details = &image.layers()[0].details;
        let id = details.iter().find(|d| d.name == "data-write-id").unwrap();
        Ok::<_, Error>(id.value.clone())
    };
    let text = |guid: [u8; 16]| craft::braced(guid).trim_matches(['{', '}']).to_owned();
    // The second one has the higher number in what is crafted.
    for (edit, expected) in [
        (None, text(DATA_GUID)),
        (Some((HEADERS[0], [9_u8, 0])), text(*other)),
        (Some((HEADERS[0], [0, 1])), text(*other)),
        (Some((HEADERS[0], [6, 0])), text(DATA_GUID)),
    ] {
        let mut craft = sound();
        craft.put(HEADERS[0] + 32, other);
        if let Some((at, number)) = edit {
            craft.put(at + 8, &number);
        }
        craft.seal();
        assert_eq!(id(&craft).unwrap(), expected, "{edit:?}");
    }
    // Whichever is damaged, the other one is taken, whatever its number.
    for (damaged, expected) in [(0, text(DATA_GUID)), (1, text(*other))] {
        for at in [0, 4, 100, 4095] {
            let mut craft = sound();
            craft.put(HEADERS[0] + 32, other);
            craft.seal();
            craft.bytes[HEADERS[damaged] + at] ^= 0x10;
            assert_eq!(id(&craft).unwrap(), expected, "header {damaged}, byte {at}");
            assert!(reads(&path, &craft).unwrap() == disk());
        }
    }
    let mut craft = sound();
    craft.bytes[HEADERS[0] + 9] ^= 1;
    craft.bytes[HEADERS[1] + 9] ^= 1;
    let error = reads(&path, &craft).unwrap_err();
    assert!(
        error.to_string().contains("both headers are damaged"),
        "{error}"
    );
    // Equal numbers: none is current, unless nothing tells them apart.
    let mut craft = sound();
    craft.put(HEADERS[0] + 8, &[8]);
    craft.seal();
    assert!(reads(&path, &craft).unwrap() == disk());
    craft.put(HEADERS[0] + 32, other);
    craft.seal();
    let error = reads(&path, &craft).unwrap_err();
    assert!(error.to_string().contains("sequence number 8"), "{error}");
}

#[test]
fn the_second_region_table_stands_in_for_a_damaged_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    for at in [0, 5, 8, 32, 40_000, 65_535] {
        let mut craft = sound();
        craft.bytes[REGIONS[0] + at] ^= 4;
        assert!(reads(&path, &craft).unwrap() == disk(), "byte {at}");
        craft.bytes[REGIONS[1] + at] ^= 4;
        let error = reads(&path, &craft).unwrap_err();
        assert!(error.to_string().contains("both region tables"), "{error}");
    }
    // What need not be known is passed over.
    let mut craft = sound();
    for at in REGIONS {
        craft.put(at + 8, &[3]);
        let mut entry = b"an optional one.".to_vec();
        entry.extend((64_u64 << 30).to_le_bytes());
        entry.extend((1_u32 << 20).to_le_bytes());
        craft.put(at + 16 + 64, &entry);
    }
    craft.item("11111111222233334444555555555555", 0, b"optional");
    craft.item("caa16737fa364d43b3b633f0aa44e76b", 1, b"of a user");
    craft.seal();
    assert!(reads(&path, &craft).unwrap() == disk());
    craft.item("11111111222233334444555555555555", 4, b"not optional");
    let error = reads(&path, &craft).unwrap_err();
    assert!(error.to_string().contains("11111111-2222-3333"), "{error}");
}

#[test]
fn a_log_counts_only_where_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    assert!(
        reads(&path, &dirty()).unwrap() == disk(),
        "the recipe is sound"
    );
    let next = 4096;
    // Damage of the last entry leaves the first, whose tail is itself; the table is then zero.
    for at in [0, 8, 12, 16, 24, 33, 60, 64, 72, 88, 5000, 4096, 4100, 8191] {
        let mut craft = dirty();
        craft.bytes[LOG.start + next + at] ^= 0x11;
        assert!(reads(&path, &craft).unwrap() == vec![0; SIZE], "byte {at}");
    }
    let broken = |expected: &str, edit: &dyn Fn(&mut Craft)| {
        let mut craft = dirty();
        edit(&mut craft);
        let error = reads(&path, &craft).unwrap_err();
        assert!(
            words(&error).contains(expected),
            "{expected}: {}",
            words(&error)
        );
    };
    let none = "no sequence of valid entries";
    broken(none, &|craft| craft.put(LOG.start, &vec![0; LOG.len()]));
    broken(none, &|craft| {
        craft.bytes[LOG.start + 4] ^= 1;
        craft.bytes[LOG.start + next + 4] ^= 1;
    });
    // Right checksums, but wrong content.
    let len = craft_len();
    let zero = |at: u64, len: u64| vec![Change::Zero(at, len)];
    let only = |entry: Entry| {
        move |craft: &mut Craft| {
            craft.put(LOG.start, &vec![0; LOG.len()]);
            craft.log(0, &entry);
        }
    };
    broken(none, &only(Entry::new(1, 4096, len, &[])));
    broken(none, &only(Entry::new(1, 100, len, &[])));
    broken(
        none,
        &only(Entry::new(1, usize::try_from(u32::MAX).unwrap(), len, &[])),
    );
    broken(none, &only(Entry::new(0, 0, len, &[])));
    broken(
        none,
        &only(Entry::new(1, 0, len, zero(BAT as u64 + 8, 4096))),
    );
    broken(none, &only(Entry::new(1, 0, len, zero(BAT as u64, 100))));
    broken(none, &only(Entry::new(1, 0, len, zero(1 << 63, 1 << 63))));
    broken(
        none,
        &only(Entry::new(
            1,
            0,
            len,
            &[Change::Sector(u64::MAX - 4095, vec![0; 4096])],
        )),
    );
    broken("its end is lost", &only(Entry::new(1, 0, len + 1, &[])));
    let edited = |at: usize, bytes: &'static [u8]| {
        move |craft: &mut Craft| {
            craft.put(LOG.start, &vec![0; LOG.len()]);
            let change = Change::Sector(BAT as u64, vec![1; 4096]);
            let mut entry = Entry::new(1 << 32, 0, len, &[change]).bytes();
            entry[at..at + bytes.len()].copy_from_slice(bytes);
            seal(&mut entry);
            craft.put(LOG.start, &entry);
        }
    };
    broken("are reserved", &edited(8, &[0, 0x20]));
    for (at, bytes) in [
        (0, &b"LOGE"[..]),
        (8, &[0; 4]),
        (8, &[0, 0x10]),
        (8, &[1, 0x20]),
        (8, &[0xff; 4]),
        (24, &[0xff; 4]),
        (24, &[2]),
        (32, b"another log's id"),
        (64, b"DESC"),
        (88, &[7]),
        (4096, b"DATA"),
        (4100, &[2]),
        (8188, &[7]),
    ] {
        broken(none, &edited(at, bytes));
    }
    broken("log is of version 7", &|craft| {
        for at in HEADERS {
            craft.put(at + 64, &[7]);
        }
        craft.seal();
    });
    broken("but the file ends", &|craft| {
        for at in HEADERS {
            craft.put(at + 72, &(1_u64 << 40).to_le_bytes());
        }
        craft.seal();
    });
    broken("LogLength is 4293918720", &|craft| {
        for at in HEADERS {
            craft.put(at + 68, &[0, 0, 0xf0, 0xff]);
        }
        craft.seal();
    });
    // A log that is not in force is not looked at.
    let mut craft = dirty();
    for at in HEADERS {
        craft.put(at + 48, &[0; 16]);
        craft.put(at + 64, &[7]);
    }
    craft.seal();
    assert!(reads(&path, &craft).unwrap() == vec![0; SIZE]);
}

fn craft_len() -> usize {
    sound().bytes.len()
}

/// Lengths that nobody can allocate or walk, in entries that are sound.
#[test]
fn giant_changes_of_a_log_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    let mut craft = sound();
    craft.dirty();
    let len = craft.bytes.len();
    let block = (craft.bytes.len() - MIB) as u64;
    let mut changes = vec![Change::Zero(block, (1 << 62) - 4096 * 1024); 120];
    changes.push(Change::Sector(block + 4096, vec![b'x'; 4096]));
    let mut entry = Entry::new(1, 0, len, changes);
    entry.last = u64::MAX;
    craft.log(0, &entry);
    let start = std::time::Instant::now();
    let mut truth = disk();
    truth[MIB..].fill(0);
    truth[MIB + 4096..MIB + 8192].fill(b'x');
    assert!(reads(&path, &craft).unwrap() == truth);
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn a_cut_image_reads_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    for image in [sound(), dirty()] {
        assert_cuts_are_told(&image.bytes, &disk(), &path);
    }
}

#[test]
fn flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    let table = METADATA..METADATA + 32 * 7;
    let items = ITEMS..ITEMS + 4 * 256 + 16;
    let regions = REGIONS.map(|at| at..at + 80);
    let headers = HEADERS.map(|at| at..at + 80);
    let bat = BAT..BAT + 16;
    let log = [
        LOG.start..LOG.start + 64,
        LOG.start + 4096..LOG.start + 4200,
        LOG.start + 8192..LOG.start + 12288,
    ];
    let unsummed = [table, items, bat];
    let all = [&unsummed[..], &regions, &headers].concat();
    let (image, logged) = (sound().bytes, dirty().bytes);
    assert!(flips(&image, &unsummed, &path, |_| {}) > 40);
    assert!(flips(&image, &all, &path, |_| {}) > 40);
    assert!(flips(&logged, &[&log[..], &headers].concat(), &path, |_| {}) > 0);
    // What is behind a checksum is only reached with one that is right.
    let headers_too = [&all[..], &log].concat();
    let refused = flips(&logged, &headers_too, &path, |bytes| {
        for at in HEADERS {
            seal(&mut bytes[at..at + 4096]);
        }
        for at in REGIONS {
            seal(&mut bytes[at..at + (64 << 10)]);
        }
        seal(&mut bytes[LOG.start..LOG.start + 4096]);
        seal(&mut bytes[LOG.start + 4096..LOG.start + 3 * 4096]);
    });
    assert!(refused > 40, "{refused}");
}

/// Flips some bits in parts of an image 400 times; how often that was noticed.
fn flips(sound: &[u8], parts: &[Range<usize>], path: &Path, mend: impl Fn(&mut [u8])) -> usize {
    use std::os::unix::fs::FileExt;
    let mut state = 1_u64;
    let mut random = move |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % end
    };
    fs::write(path, sound).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let (mut refused, front) = (0, 4 * MIB);
    for _ in 0..400 {
        let mut image = sound[..front].to_vec();
        for _ in 0..1 + random(4) {
            let range = &parts[random(parts.len())];
            image[range.start + random(range.len())] ^= 1 << random(8);
        }
        mend(&mut image);
        // Only what differs is written, which is quicker.
        let pages = image.chunks(4096).zip(sound.chunks(4096)).enumerate();
        let changed: Vec<_> = pages.filter(|(_, (new, old))| new != old).collect();
        for (number, (new, _)) in &changed {
            file.write_all_at(new, *number as u64 * 4096).unwrap();
        }
        let opened = image::open(path, &OpenOptions::default());
        refused += usize::from(match opened {
            Ok(image) if image.device().size() > 1 << 40 => false,
            Ok(image) => crate::read_device(&image).is_err(),
            Err(_) => true,
        });
        for (number, (_, old)) in &changed {
            file.write_all_at(old, *number as u64 * 4096).unwrap();
        }
    }
    refused
}

#[test]
fn each_broken_field_of_a_locator_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vhdx");
    fs::write(dir.path().join("base.vhdx"), sound().bytes).unwrap();
    let linkage = craft::braced(DATA_GUID);
    let told = |expected: &str, pairs: &[(&str, &str)]| {
        let error = reads(&path, &child(pairs)).unwrap_err();
        assert!(
            words(&error).contains(expected),
            "{expected}: {}",
            words(&error)
        );
    };
    told("lacks a path", &[("parent_linkage", &linkage)]);
    told("lacks parent_linkage", &[("relative_path", "base.vhdx")]);
    let path_of = ("relative_path", "base.vhdx");
    told("no GUID", &[("parent_linkage", "{1234}"), path_of]);
    told(
        "has the key of one before",
        &[("parent_linkage", &linkage), path_of, path_of],
    );
    let wrong = craft::braced([7; 16]);
    told(
        "its child was made over 07070707-0707",
        &[("parent_linkage", &wrong), path_of],
    );
    let good = with_linkage(child, "base.vhdx");
    assert!(reads(&path, &good).is_ok());
    let item = ITEMS + 5 * 256;
    assert_edits_are_told(
        &good.bytes,
        &path,
        &[
            ("type", item, &[0; 16], "locator of the unknown type"),
            (
                "many entries",
                item + 18,
                &[0xff; 2],
                "parent locator leaves",
            ),
            (
                "key beyond the item",
                item + 20,
                &[0xff; 4],
                "parent locator leaves",
            ),
            (
                "value beyond the item",
                item + 24,
                &[0xff; 2],
                "parent locator leaves",
            ),
            ("half a letter", item + 28, &[1], "parent locator leaves"),
            (
                "bitmap missing",
                good.bitmap_entry(),
                &[0],
                "no sector bitmap",
            ),
            (
                "bitmap at the beginning",
                good.bitmap_entry(),
                &[6, 0, 0],
                "header section",
            ),
            (
                "bitmap in the log",
                good.bitmap_entry(),
                &[6, 0, 0x10],
                "the log or a region",
            ),
            (
                "bitmap beyond the end",
                good.bitmap_entry() + 3,
                &[1],
                "sector bitmap at guest",
            ),
        ],
    );
    // Keys and values over each other would be gigabytes of text.
    let mut bomb = locator("b04aefb7d19e4a81b78925b8e9445913", &[]);
    bomb[18..20].copy_from_slice(&60_000_u16.to_le_bytes());
    for number in 0..60_000 {
        bomb.extend([20 + number * 2, 20_u32].map(u32::to_le_bytes).concat());
        bomb.extend([60_000_u16, 60_000].map(u16::to_le_bytes).concat());
    }
    let mut craft = Craft::new(SIZE as u64, MIB, 512);
    craft.put(ITEMS + 4, &[2]);
    craft.item("a8d35f2db30b454dabf7d3d84834ab0c", 4, &bomb);
    let error = reads(&path, &craft).unwrap_err();
    assert!(
        error.to_string().contains("parent locator leaves"),
        "{error}"
    );
}

#[test]
fn children_are_never_read_without_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("t.vhdx");
    for place in [dir.path().join("base.vhdx"), inside.join("near.vhdx")] {
        fs::write(place, sound().bytes).unwrap();
    }
    let mut truth = disk();
    for sector in (0..MIB / 512).step_by(2) {
        truth[sector * 512..][..512].fill(0xc7);
    }
    let open = |pairs: &[(&str, &str)]| {
        let linkage = craft::braced(DATA_GUID);
        let pairs = [&[("parent_linkage", linkage.as_str())], pairs].concat();
        reads(&path, &child(&pairs))
    };
    for paths in [
        &[("relative_path", ".\\near.vhdx")][..],
        &[("relative_path", "near.vhdx")],
        // Carried here together: the name is what is left of the path.
        &[("relative_path", "..\\..\\disks\\near.vhdx")],
        &[("absolute_win32_path", "C:\\disks\\near.vhdx")],
        &[
            ("relative_path", "gone.vhdx"),
            ("volume_path", "\\\\?\\Volume{1}\\near.vhdx"),
        ],
    ] {
        assert!(open(paths).unwrap() == truth, "{paths:?}");
    }
    let error = open(&[("relative_path", "..\\gone.vhdx")]).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("\"gone.vhdx\""), "{error}");
    // Other directories are for the caller to allow.
    let error = open(&[("relative_path", "..\\base.vhdx")]).unwrap_err();
    assert!(error.to_string().contains("\"base.vhdx\""), "{error}");
    let options = OpenOptions {
        gate: image::Gate::default().allow_dir(dir.path().to_owned()),
        ..OpenOptions::default()
    };
    assert_eq!(image::open(&path, &options).unwrap().layers().len(), 2);
    let error = open(&[("relative_path", "t.vhdx")]).unwrap_err();
    assert!(error.to_string().contains("refers to itself"), "{error}");
    let error = open(&[("relative_path", "..\\..")]).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    // The parent is of either identity that the child knows.
    let (wrong, right) = (craft::braced([7; 16]), craft::braced(DATA_GUID));
    for linkages in [[&wrong, &right], [&right, &wrong]] {
        let pairs = [
            ("parent_linkage", linkages[0].as_str()),
            ("parent_linkage2", linkages[1]),
            ("relative_path", "near.vhdx"),
        ];
        assert!(
            reads(&path, &child(&pairs)).unwrap() == truth,
            "{linkages:?}"
        );
    }
}
