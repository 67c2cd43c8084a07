//! What is damaged is said, and read from what is left.

use crate::common::{Disk, FileDisk};
use block::{BlockRead, Memory};
use std::sync::Arc;
use volume::{ChainEnd, Corrupt, Error, Finding, GptDamage, Table, TableKind};

const LAST: u64 = (64 << 20) / 512 - 1;

fn gpt() -> Disk {
    Disk::sgdisk(
        64,
        &[
            "-n",
            "1:2048:+8M",
            "-t",
            "1:ef00",
            "-n",
            "2:0:0",
            "-c",
            "2:root",
        ],
    )
}

#[test]
fn either_copy_of_a_gpt_is_enough() {
    let sound = gpt().scan().unwrap();
    let used = |primary| vec![Finding::BackupUsed { primary }];
    let bad = |backup| vec![Finding::BackupDamaged { backup }];
    let backup_at = LAST * 512;
    let cases: [(&str, u64, &[u8], Vec<Finding>); 8] = [
        (
            "primary zeroed",
            512,
            &[0; 512],
            used(GptDamage::NoHeader { at: 512 }),
        ),
        (
            "primary header",
            560,
            &[1],
            used(GptDamage::HeaderChecksum { at: 512 }),
        ),
        (
            "primary entries",
            1024 + 200,
            &[1],
            used(GptDamage::ArrayChecksum { lba: 2 }),
        ),
        (
            "primary header size",
            512 + 12,
            &[93],
            used(GptDamage::HeaderSize(93)),
        ),
        (
            "backup zeroed",
            backup_at,
            &[0; 512],
            bad(GptDamage::NoHeader { at: backup_at }),
        ),
        (
            "backup header",
            backup_at + 48,
            &[1],
            bad(GptDamage::HeaderChecksum { at: backup_at }),
        ),
        (
            "backup entries",
            backup_at - 32 * 512 + 200,
            &[1],
            bad(GptDamage::ArrayChecksum { lba: LAST - 32 }),
        ),
        ("attributes outside both", 512 + 200, &[1], vec![]),
    ];
    for (name, offset, bytes, findings) in cases {
        let disk = gpt_like(&sound);
        disk.patch(offset, bytes);
        let table = disk.scan().unwrap();
        assert_eq!(table.findings, findings, "{name}");
        let rest = |t: &Table| (t.kind, t.partitions.len(), t.partitions[1].size);
        assert_eq!(rest(&table), rest(&sound), "{name}");
    }
}

/// Another disk like the first; sgdisk draws new GUIDs.
fn gpt_like(sound: &Table) -> Disk {
    let disk = gpt();
    assert_eq!(
        disk.scan().unwrap().partitions.len(),
        sound.partitions.len()
    );
    disk
}

#[test]
fn two_damaged_copies_are_an_error_and_not_an_empty_disk() {
    let disk = gpt();
    disk.patch(560, &[1]);
    disk.patch(LAST * 512 - 32 * 512 + 200, &[1]);
    let Err(Error::Corrupt(corrupt)) = disk.scan() else {
        panic!("not refused");
    };
    assert_eq!(
        corrupt,
        Corrupt::NoUsableGpt {
            primary: GptDamage::HeaderChecksum { at: 512 },
            backup: GptDamage::ArrayChecksum { lba: LAST - 32 },
        }
    );
    let protective_only = Disk::new(64);
    protective_only.patch(450, &[0xee, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0, 0]);
    protective_only.patch(510, &[0x55, 0xaa]);
    assert!(matches!(protective_only.scan(), Err(Error::Corrupt(_))));
}

#[test]
fn a_grown_disk_keeps_its_table_and_says_where_the_backup_is() {
    let disk = gpt();
    let before = disk.scan().unwrap();
    disk.set_mib(80);
    let last = (80 << 20) / 512 - 1;
    let table = disk.scan().unwrap();
    assert_eq!(table.partitions, before.partitions);
    let moved = Finding::BackupNotAtEnd { backup: LAST, last };
    assert_eq!(table.findings, std::slice::from_ref(&moved));
    // Damaged entries: the sound header tells where the backup is.
    disk.patch(1024 + 200, &[1]);
    let table = disk.scan().unwrap();
    assert_eq!(table.partitions, before.partitions);
    let primary = GptDamage::ArrayChecksum { lba: 2 };
    assert_eq!(table.findings, [Finding::BackupUsed { primary }, moved]);
}

#[test]
fn a_partition_that_leaves_a_truncated_disk_is_listed_but_not_opened() {
    let disk = gpt();
    let before = disk.scan().unwrap();
    disk.set_mib(40);
    let table = disk.scan().unwrap();
    let last = (40 << 20) / 512 - 1;
    let (end, size) = (before.partitions[1].end(), 40 << 20);
    assert_eq!(
        table.findings,
        [
            Finding::MadeForLargerDisk {
                last_usable: LAST - 33,
                last
            },
            Finding::BackupDamaged {
                backup: GptDamage::NoHeader { at: LAST * 512 }
            },
            Finding::LeavesDisk {
                number: 2,
                end,
                size
            },
        ]
    );
    let root = table.partition(2).unwrap();
    assert_eq!(root.size, before.partitions[1].size, "not cut");
    let device = Arc::new(FileDisk::open(&disk.path));
    assert!(matches!(
        root.open(device.clone()),
        Err(Error::LeavesDisk { number: 2, .. })
    ));
    let esp = table.partition(1).unwrap().open(device.clone()).unwrap();
    assert_eq!((esp.start(), esp.size()), (1 << 20, 8 << 20));
}

#[test]
fn copies_that_differ_are_told() {
    let disk = gpt();
    let old = FileDisk::open(&disk.path);
    let mut head = vec![0; 34 * 512];
    old.read_at(0, &mut head).unwrap();
    crate::common::run(
        std::process::Command::new("sgdisk")
            .args(["-c", "2:new"])
            .arg(&disk.path),
    );
    disk.patch(0, &head);
    let table = disk.scan().unwrap();
    assert_eq!(table.findings, [Finding::BackupDiffers]);
    assert_eq!(table.partition(2).unwrap().label.as_deref(), Some("root"));
}

#[test]
fn a_gpt_that_no_mbr_announces_is_not_used() {
    let disk = gpt();
    disk.patch(0, &[0; 512]);
    let table = disk.scan().unwrap();
    assert_eq!(
        (table.kind, table.findings),
        (TableKind::None, vec![Finding::GptNotAnnounced])
    );
    let disk = gpt();
    disk.patch(450, &[0x83]);
    let table = disk.scan().unwrap();
    assert_eq!((table.kind, table.partitions.len()), (TableKind::Mbr, 1));
    assert_eq!(table.findings[0], Finding::GptNotAnnounced);
}

#[test]
fn overlaps_are_told() {
    let script = "label: dos\nunit: sectors\nstart=2048, size=4096\nstart=8192, size=2048\n";
    let disk = Disk::sfdisk(64, script);
    disk.patch(446 + 12, &8192_u32.to_le_bytes());
    let findings = disk.scan().unwrap().findings;
    assert_eq!(
        findings,
        [Finding::Overlap {
            first: 1,
            second: 2
        }]
    );
}

#[test]
fn other_maps_are_refused_by_name() {
    let mut apple = vec![0; 4096];
    apple[..2].copy_from_slice(b"ER");
    apple[512..514].copy_from_slice(b"PM");
    let Err(Error::Unsupported(what)) = volume::scan(&Memory::new(apple)) else {
        panic!("not refused");
    };
    assert_eq!(what.to_string(), "Apple partition map");
}

/// A disk of 10,000 sectors with an extended partition from sector 100 on.
fn with_chain(records: &[(u32, Option<u32>)]) -> Memory {
    let mut bytes = vec![0; 10_000 * 512];
    let mut entry = |sector: u32, slot: usize, kind: u8, start: u32, size: u32| {
        let sector = usize::try_from(sector).unwrap() * 512;
        let at = sector + 446 + slot * 16;
        bytes[at + 4] = kind;
        bytes[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
        bytes[sector + 510..sector + 512].copy_from_slice(&[0x55, 0xaa]);
    };
    entry(0, 0, 0x05, 100, 9_000);
    for (record, next) in records {
        entry(100 + record, 0, 0x83, 1, 3);
        if let Some(next) = next {
            entry(100 + record, 1, 0x05, *next, 10);
        }
    }
    Memory::new(bytes)
}

/// Name, records, logical partitions found, and what is said.
type ChainCase<'a> = (&'a str, &'a [(u32, Option<u32>)], usize, Vec<Finding>);

#[test]
fn the_walk_along_logical_partitions_ends() {
    let chain = |lba, end| vec![Finding::LogicalChain { lba, end }];
    let long: Vec<_> = (0..400).map(|n| (n * 10, Some(n * 10 + 10))).collect();
    let cases: [ChainCase<'_>; 6] = [
        ("sound", &[(0, Some(10)), (10, None)], 2, vec![]),
        ("self loop", &[(0, Some(0))], 1, chain(100, ChainEnd::Loop)),
        (
            "loop",
            &[(0, Some(10)), (10, Some(20)), (20, Some(10))],
            3,
            chain(110, ChainEnd::Loop),
        ),
        (
            "no record",
            &[(0, Some(10))],
            1,
            chain(110, ChainEnd::NoSignature),
        ),
        (
            "off the disk",
            &[(0, Some(u32::MAX))],
            1,
            chain(100 + u64::from(u32::MAX), ChainEnd::LeavesDisk),
        ),
        ("too long", &long, 251, chain(100 + 2510, ChainEnd::TooLong)),
    ];
    for (name, records, logical, findings) in cases {
        let table = volume::scan(&with_chain(records)).unwrap();
        assert_eq!(table.partitions.len(), 1 + logical, "{name}");
        assert_eq!(table.findings, findings, "{name}");
    }
}

#[test]
fn no_change_of_a_byte_makes_the_reader_fail_otherwise() {
    let disk = gpt();
    let mut sound = vec![0; 64 << 20];
    FileDisk::open(&disk.path).read_at(0, &mut sound).unwrap();
    // Only both ends hold anything; what lies between is left out to be quick.
    let (head, tail) = (&sound[..40 * 512], &sound[sound.len() - 40 * 512..]);
    let small: Vec<u8> = [head, tail].concat();
    let mut state = 1_u64;
    for _ in 0..3_000 {
        let mut bytes = small.clone();
        for _ in 0..4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % bytes.len();
            bytes[at] = state.to_le_bytes()[3];
        }
        let _ = volume::scan(&Memory::new(bytes));
    }
}

/// CRC-32 of ISO-HDLC, as GPT uses it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

/// A disk with a GPT whose primary has one header field or entry changed, checksums made right
/// again.
fn with_primary(offset: usize, value: &[u8]) -> Memory {
    let disk = gpt();
    let mut bytes = vec![0; 64 << 20];
    FileDisk::open(&disk.path).read_at(0, &mut bytes).unwrap();
    bytes[512 + offset..][..value.len()].copy_from_slice(value);
    let entries = crc32(&bytes[1024..1024 + 128 * 128]);
    bytes[512 + 88..][..4].copy_from_slice(&entries.to_le_bytes());
    bytes[512 + 16..][..4].fill(0);
    let header = crc32(&bytes[512..512 + 92]);
    bytes[512 + 16..][..4].copy_from_slice(&header.to_le_bytes());
    Memory::new(bytes)
}

#[test]
fn a_header_with_a_right_checksum_is_not_trusted_either() {
    let cases: [(&str, usize, &[u8], GptDamage); 6] = [
        (
            "my lba",
            24,
            &[7],
            GptDamage::Misplaced { lba: 1, my_lba: 7 },
        ),
        ("entry size", 84, &[0, 1], GptDamage::EntrySize(256)),
        ("entries", 80, &[1, 16], GptDamage::TooManyEntries(4097)),
        (
            "all entries",
            80,
            &[255; 4],
            GptDamage::TooManyEntries(u32::MAX),
        ),
        (
            "array",
            72,
            &[255; 8],
            GptDamage::ArrayLeavesDisk { lba: u64::MAX },
        ),
        (
            "array at end",
            72,
            &[0, 0, 2],
            GptDamage::ArrayLeavesDisk { lba: 0x2_0000 },
        ),
    ];
    for (name, offset, value, primary) in cases {
        let table = volume::scan(&with_primary(offset, value)).unwrap();
        assert_eq!(table.findings, [Finding::BackupUsed { primary }], "{name}");
        assert_eq!(table.partitions.len(), 2, "{name}");
    }
    // What else a header says does not matter where its entries are sound.
    let itself = volume::scan(&with_primary(32, &[1, 0, 0, 0, 0, 0, 0, 0])).unwrap();
    let backup = GptDamage::Misplaced { lba: 1, my_lba: 1 };
    let (no_backup, moved) = (
        Finding::BackupDamaged { backup },
        Finding::BackupNotAtEnd {
            backup: 1,
            last: LAST,
        },
    );
    assert_eq!(itself.findings, [moved, no_backup]);
}

#[test]
fn entries_that_cannot_be_are_listed_and_not_opened() {
    // First and last sector of the second entry.
    let ends = |first: u64, last: u64| [first.to_le_bytes(), last.to_le_bytes()].concat();
    let at = 512 + 128 + 32;
    for (first_lba, last_lba) in [
        (100, 99),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
        (1 << 60, 1 << 61),
    ] {
        let disk = with_primary(at, &ends(first_lba, last_lba));
        let table = volume::scan(&disk).unwrap();
        let partition = table.partition(2).unwrap();
        assert!(!partition.in_bounds);
        let impossible = Finding::ImpossibleRange {
            number: 2,
            first_lba,
            last_lba,
        };
        assert!(table.findings.contains(&impossible), "{:?}", table.findings);
        assert!(matches!(
            partition.open(Arc::new(disk)),
            Err(Error::LeavesDisk { .. })
        ));
    }
}
