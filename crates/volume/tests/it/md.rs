//! Arrays whose superblocks are written here and read by `mdadm --examine`: this host's kernel may
//! not have the driver that makes arrays.

use block::{BlockRead, BlockWrite, Memory};
use std::process::Command;
use std::sync::Arc;
use volume::md::{Array, Error, Finding, Level, Role, Superblock, Version, assemble};

const MIB: usize = 1 << 20;
/// Bytes of each member.
const MEMBER: usize = 3 * MIB;
const DATA: usize = MIB;
const CHUNK: usize = 64 << 10;

/// What a test says about a member.
#[derive(Clone, Copy)]
struct Shape {
    version: Version,
    level: i32,
    layout: u32,
    slots: u16,
    events: u64,
    feature_map: u32,
    recovery_offset: u64,
    /// Another role than the slot.
    role: Option<u16>,
}

const RAID1: Shape = Shape {
    version: Version::V1_2,
    level: 1,
    layout: 0,
    slots: 2,
    events: 20,
    feature_map: 0,
    recovery_offset: u64::MAX,
    role: None,
};

/// A member of this slot; its data starts with the number of the slot in each chunk.
fn member(shape: Shape, slot: u16) -> Vec<u8> {
    let mut bytes = vec![0; MEMBER];
    let data = match shape.version {
        Version::V1_1 | Version::V1_2 => DATA,
        _ => 0,
    };
    for (index, chunk) in bytes[data..data + MIB].chunks_mut(CHUNK).enumerate() {
        let what = if shape.level == 1 {
            0
        } else {
            usize::from(slot)
        };
        chunk.fill(u8::try_from(what * 16 + index).unwrap());
    }
    match shape.version {
        Version::V0_90 => old(&mut bytes, shape, slot, false),
        _ => new(&mut bytes, shape, slot, data),
    }
    bytes
}

fn new(bytes: &mut [u8], shape: Shape, slot: u16, data: usize) {
    let sector = match shape.version {
        Version::V1_1 => 0,
        Version::V1_2 => 8,
        _ => (MEMBER / 512 - 16) & !7,
    };
    let mut sb = vec![0; 512];
    let mut put = |at: usize, field: &[u8]| sb[at..at + field.len()].copy_from_slice(field);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(8, &shape.feature_map.to_le_bytes());
    put(16, b"sixteen letters!");
    put(32, b"web1:boot");
    put(72, &shape.level.to_le_bytes());
    put(76, &shape.layout.to_le_bytes());
    let sectors = |bytes: usize| u64::try_from(bytes / 512).unwrap().to_le_bytes();
    put(80, &sectors(MIB));
    put(88, &u32::try_from(CHUNK / 512).unwrap().to_le_bytes());
    put(92, &u32::from(shape.slots).to_le_bytes());
    put(128, &sectors(data));
    put(136, &sectors(MIB));
    put(144, &u64::try_from(sector).unwrap().to_le_bytes());
    put(152, &shape.recovery_offset.to_le_bytes());
    put(160, &u32::from(slot).to_le_bytes());
    put(168, &[slot.to_le_bytes()[0]; 16]);
    put(200, &shape.events.to_le_bytes());
    put(208, &u64::MAX.to_le_bytes());
    put(220, &u32::from(shape.slots).to_le_bytes());
    for other in 0..shape.slots {
        let role = match shape.role {
            Some(role) if other == slot => role,
            _ => other,
        };
        put(256 + usize::from(other) * 2, &role.to_le_bytes());
    }
    seal(&mut sb, shape.slots);
    bytes[sector * 512..sector * 512 + 512].copy_from_slice(&sb);
}

/// The sum of all words but that of the sum.
fn seal(sb: &mut [u8], slots: u16) {
    sb[216..220].fill(0);
    let summed = &sb[..256 + 2 * usize::from(slots)];
    let mut sum = 0_u64;
    for word in summed.chunks(4) {
        sum += match word {
            [a, b, c, d] => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
            [a, b] => u64::from(u16::from_le_bytes([*a, *b])),
            _ => unreachable!(),
        };
    }
    let sum = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    sb[216..220].copy_from_slice(&sum.to_le_bytes());
}

/// Version 0.90, in one byte order or the other.
fn old(bytes: &mut [u8], shape: Shape, slot: u16, big: bool) {
    let mut words = vec![0_u32; 1024];
    words[0] = 0xa92b_4efc;
    words[2] = 90;
    words[5] = 0x0102_0304;
    words[7] = u32::from_ne_bytes(shape.level.to_ne_bytes());
    words[8] = u32::try_from(MIB / 1024).unwrap();
    words[9] = shape.slots.into();
    words[10] = shape.slots.into();
    words[11] = 3;
    words[13..16].copy_from_slice(&[5, 6, 7]);
    words[33] = 1;
    words[34] = shape.slots.into();
    let events = u32::try_from(shape.events).unwrap();
    words[if big { 40 } else { 39 }] = events;
    words[64] = shape.layout;
    words[65] = u32::try_from(CHUNK).unwrap();
    for other in 0..u32::from(shape.slots) {
        let at = 128 + usize::try_from(other).unwrap() * 32;
        words[at..at + 5].copy_from_slice(&[other, 8, other * 16 + 1, other, 6]);
    }
    words.copy_within(
        128 + usize::from(slot) * 32..160 + usize::from(slot) * 32,
        992,
    );
    let sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
    words[38] = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    let at = (MEMBER & !0xffff) - 0x1_0000;
    for (word, at) in words.iter().zip((at..).step_by(4)) {
        let word = if big {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        };
        bytes[at..at + 4].copy_from_slice(&word);
    }
}

type Parts = (Vec<Arc<Memory>>, Vec<Array>);

fn put_together(members: Vec<Vec<u8>>) -> Parts {
    let devices: Vec<_> = members
        .into_iter()
        .map(|it| Arc::new(Memory::new(it)))
        .collect();
    let members: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(index, device)| {
            let superblock = Superblock::read(device).unwrap().unwrap().unwrap();
            let device: Arc<dyn BlockWrite> = device.clone();
            (format!("disk {index}"), device, superblock)
        })
        .collect();
    let arrays = assemble(&members);
    (devices, arrays)
}

/// The first byte of each chunk.
fn chunks(array: &Array) -> Vec<u8> {
    let device = array.device.as_ref().unwrap();
    let mut bytes = vec![0; usize::try_from(device.size()).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    bytes.chunks(CHUNK).map(|chunk| chunk[0]).collect()
}

fn all(shape: Shape) -> Vec<Vec<u8>> {
    (0..shape.slots).map(|slot| member(shape, slot)).collect()
}

#[test]
fn mdadm_reads_what_we_read() {
    if Command::new("mdadm").arg("--version").output().is_err() {
        println!("skipped: needs mdadm");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("member");
    for version in [Version::V0_90, Version::V1_0, Version::V1_1, Version::V1_2] {
        for (level, called) in [(-1, "linear"), (0, "raid0"), (1, "raid1"), (10, "raid10")] {
            let layout = if level == 10 { 0x102 } else { 0 };
            let shape = Shape {
                version,
                level,
                layout,
                ..RAID1
            };
            let bytes = member(shape, 1);
            std::fs::write(&path, &bytes).unwrap();
            let said = Command::new("mdadm")
                .arg("--examine")
                .arg(&path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(!said.contains("expected"), "{version} {level}: {said}");
            let superblock = Superblock::read(&Memory::new(bytes))
                .unwrap()
                .unwrap()
                .unwrap();
            assert_eq!(
                (superblock.version, superblock.role),
                (version, Role::Active(1))
            );
            let field = |name: &str| {
                let mut lines = said.lines().filter_map(|line| line.split_once(" : "));
                let (_, value) = lines.find(|(key, _)| key.trim() == name).unwrap();
                value.trim().to_owned()
            };
            assert_eq!(field("Raid Level"), called, "{said}");
            assert_eq!(field("Raid Devices"), "2");
            let uuid = superblock.array.simple().to_string();
            let key = if version == Version::V0_90 {
                "UUID"
            } else {
                "Array UUID"
            };
            assert_eq!(field(key).replace(':', "")[..32], uuid, "{said}");
            assert_eq!(field("Events"), "20");
            let checksum = field("Checksum");
            assert!(checksum.contains("correct"), "{checksum}");
        }
    }
}

#[test]
fn mirrors_of_every_version_are_read_and_written_on_all_legs() {
    for version in [Version::V0_90, Version::V1_0, Version::V1_1, Version::V1_2] {
        let shape = Shape { version, ..RAID1 };
        let (devices, arrays) = put_together(all(shape));
        let array = &arrays[0];
        assert_eq!(array.findings, []);
        assert_eq!(array.used, [0, 1]);
        assert_eq!(chunks(array), (0..16).collect::<Vec<u8>>());
        array
            .device
            .as_ref()
            .unwrap()
            .write_at(70_000, b"new")
            .unwrap();
        let data = match version {
            Version::V1_1 | Version::V1_2 => DATA,
            _ => 0,
        };
        for device in devices {
            assert_eq!(&device.bytes()[data + 70_000..][..3], b"new");
        }
    }
    let mut bytes = member(
        Shape {
            version: Version::V0_90,
            ..RAID1
        },
        0,
    );
    old(&mut bytes, RAID1, 0, true);
    let superblock = Superblock::read(&Memory::new(bytes))
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(superblock.events, 20);
    assert_eq!(superblock.preferred_minor, Some(3));
}

#[test]
fn what_is_written_mostly_is_read_only_if_nothing_else_is_there() {
    let slow = |slot, fill: u8| {
        let mut bytes = member(RAID1, slot);
        bytes[DATA..DATA + MIB].fill(fill);
        bytes[4096 + 184] = 1;
        seal(&mut bytes[4096..4608], 2);
        bytes
    };
    let (devices, arrays) = put_together(vec![slow(0, 7), member(RAID1, 1)]);
    assert_eq!(chunks(&arrays[0])[..2], [0, 1]);
    assert_eq!(arrays[0].findings, []);
    arrays[0]
        .device
        .as_ref()
        .unwrap()
        .write_at(9, b"x")
        .unwrap();
    assert_eq!(devices[0].bytes()[DATA + 9], b'x');
    let (_, arrays) = put_together(vec![slow(0, 7), slow(1, 8)]);
    assert_eq!(chunks(&arrays[0])[0], 7);
    let (_, arrays) = put_together(vec![slow(1, 8)]);
    assert_eq!(chunks(&arrays[0])[0], 8);
}

#[test]
fn events_say_who_counts() {
    let with = |events| Shape { events, ..RAID1 };
    let leg = |shape, slot, fill: u8| {
        let mut bytes = member(shape, slot);
        bytes[DATA..DATA + MIB].fill(fill);
        bytes
    };
    // One event behind is not stale: superblocks are written one after the other.
    let (_, arrays) = put_together(vec![leg(with(19), 0, 1), leg(with(20), 1, 2)]);
    assert_eq!((arrays[0].findings.len(), arrays[0].used.len()), (0, 2));
    // It may have failed since, so the newer one is believed.
    assert_eq!(chunks(&arrays[0])[0], 2);
    // Not both copies can have, though.
    let raid10 = |events, slot| {
        let shape = Shape {
            level: 10,
            layout: 0x102,
            slots: 4,
            ..with(events)
        };
        member(shape, slot)
    };
    let of = |events: [u64; 4]| {
        put_together(
            (0..4)
                .zip(events)
                .map(|(slot, events)| raid10(events, slot))
                .collect(),
        )
        .1
    };
    assert_eq!(chunks(&of([20, 20, 19, 19])[0])[..2], [0, 0x20]);
    assert_eq!(chunks(&of([20, 20, 19, 20])[0])[..2], [0, 0x30]);
    assert_eq!(chunks(&of([19, 20, 19, 19])[0])[..2], [0x10, 0x20]);
    assert!(of([20, 20, 18, 18])[0].device.is_err());
    // Of two that are behind, the fresher one is written.
    let (devices, arrays) = put_together(vec![
        leg(with(10), 0, 1),
        leg(with(19), 0, 1),
        leg(with(20), 1, 2),
    ]);
    arrays[0]
        .device
        .as_ref()
        .unwrap()
        .write_at(0, b"x")
        .unwrap();
    assert_eq!(
        devices
            .iter()
            .map(|it| it.bytes()[DATA])
            .collect::<Vec<_>>(),
        [1, b'x', b'x']
    );
    let (devices, arrays) = put_together(vec![leg(with(18), 0, 1), leg(with(20), 1, 2)]);
    let array = &arrays[0];
    assert_eq!(chunks(array)[0], 2);
    assert_eq!(array.used, [0, 1]);
    assert!(matches!(
        &array.findings[..],
        [Finding::Stale {
            events: 18,
            newest: 20,
            ..
        }]
    ));
    array.device.as_ref().unwrap().write_at(0, &[9]).unwrap();
    assert_eq!(devices[0].bytes()[DATA], 9);
    assert_eq!(devices[1].bytes()[DATA], 9);
    // One that is being filled is written and not read.
    let filling = Shape {
        feature_map: 2,
        recovery_offset: 8,
        ..RAID1
    };
    let (devices, arrays) = put_together(vec![leg(filling, 0, 1), leg(RAID1, 1, 2)]);
    let array = &arrays[0];
    assert!(matches!(&array.findings[..], [Finding::Rebuilding { .. }]));
    assert_eq!(chunks(array)[0], 2);
    array.device.as_ref().unwrap().write_at(0, &[9]).unwrap();
    assert_eq!(devices[0].bytes()[DATA], 9);
    // Spares and those that failed are none of it.
    for role in [0xffff, 0xfffe] {
        let role = Shape {
            role: Some(role),
            ..RAID1
        };
        let (_, arrays) = put_together(vec![leg(role, 0, 1), leg(RAID1, 1, 2)]);
        assert_eq!(arrays[0].used, [1]);
    }
    let (_, arrays) = put_together(vec![leg(RAID1, 0, 1), leg(RAID1, 0, 2)]);
    assert!(matches!(
        arrays[0].device,
        Err(Error::DuplicateMember { slot: 0, .. })
    ));
}

#[test]
fn stripes_rows_and_near_copies_are_laid_out_as_in_the_kernel() {
    let shape = |level, layout, slots| Shape {
        level,
        layout,
        slots,
        ..RAID1
    };
    let (_, arrays) = put_together(all(shape(0, 0, 3)));
    let striped: Vec<u8> = (0..48).map(|n: u8| n % 3 * 16 + n / 3).collect();
    assert_eq!(chunks(&arrays[0]), striped);
    let (_, arrays) = put_together(all(shape(-1, 0, 2)));
    assert_eq!(chunks(&arrays[0]), (0..32).collect::<Vec<u8>>());
    assert_eq!(arrays[0].level, Level::Linear);
    // Copies differ here, so it shows which is read: A A B / B C C on three devices.
    let (devices, arrays) = put_together(all(shape(10, 0x102, 3)));
    let near: Vec<u8> = (0..24).map(|n: u8| n * 2 % 3 * 16 + n * 2 / 3).collect();
    assert_eq!(chunks(&arrays[0]), near);
    let at = u64::try_from(CHUNK).unwrap();
    arrays[0]
        .device
        .as_ref()
        .unwrap()
        .write_at(at, &[0xee])
        .unwrap();
    assert_eq!(devices[2].bytes()[DATA], 0xee);
    assert_eq!(devices[0].bytes()[DATA + CHUNK], 0xee);
    // One may be missing, two may not.
    let (_, arrays) = put_together(all(shape(10, 0x102, 3)).drain(1..).collect());
    assert!(arrays[0].device.is_ok());
    let (_, arrays) = put_together(all(shape(10, 0x102, 3)).drain(2..).collect());
    assert!(matches!(
        arrays[0].device,
        Err(Error::TooFew { slot: 0, slots: 3 })
    ));
    let (_, arrays) = put_together(all(shape(0, 0, 3)).drain(1..).collect());
    assert!(matches!(
        arrays[0].device,
        Err(Error::TooFew { slot: 0, slots: 3 })
    ));
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let error = |shape: Shape| {
        let (_, arrays) = put_together(all(shape));
        arrays[0].device.as_ref().unwrap_err().to_string()
    };
    for (level, text) in [(4, "RAID4"), (5, "RAID5"), (6, "RAID6"), (-4, "multipath")] {
        let said = error(Shape {
            level,
            slots: 3,
            ..RAID1
        });
        assert_eq!(
            said,
            format!("the array is of level {text}, which is not supported")
        );
    }
    assert!(
        error(Shape {
            level: 10,
            layout: 0x201,
            ..RAID1
        })
        .contains("far")
    );
    for (feature_map, text) in [(4, "reshape"), (16, "replaced"), (1 << 20, "not known")] {
        let said = error(Shape {
            feature_map,
            ..RAID1
        });
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn damage_is_told_and_never_panics() {
    for version in [Version::V0_90, Version::V1_0, Version::V1_1, Version::V1_2] {
        let whole = member(Shape { version, ..RAID1 }, 0);
        let at = match version {
            Version::V1_1 => 0,
            Version::V1_2 => 4096,
            Version::V1_0 => ((MEMBER / 512 - 16) & !7) * 512,
            Version::V0_90 => (MEMBER & !0xffff) - 0x1_0000,
        };
        for offset in 8..256 {
            let mut bytes = whole.clone();
            bytes[at + offset] ^= 0x10;
            let told = Superblock::read(&Memory::new(bytes)).unwrap();
            assert!(told.is_err(), "{version} {offset}");
        }
        let cut = whole[..at + 200].to_vec();
        let _ = Superblock::read(&Memory::new(cut)).unwrap();
    }
}
