//! Partition tables, volume groups, arrays.

use super::disk;
use block::{BlockRead, Memory};
use std::sync::Arc;

/// Volume groups: a metadata text up to its first NUL, and what lies in the extents behind, which
/// is [sparse](disk). Label, header and checksums around them are made right, those of a thin
/// pool's metadata as well.
pub fn logical_volumes(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0);
    let (text, extents) = data.split_at(end.unwrap_or(data.len()));
    if text.len() > 64 << 10 {
        return;
    }
    let extents = disk(extents.get(1..).unwrap_or_default()).unwrap_or_default();
    let mut bytes = vec![0; 1 << 20];
    let label = &mut bytes[512..1024];
    label[..8].copy_from_slice(b"LABELONE");
    label[8] = 1;
    label[20] = 32;
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].fill(b'a');
    label[74] = 16;
    // One data area from 1 MiB on, one metadata area from 4 KiB.
    label[105] = 16;
    label[113..115].copy_from_slice(&[0xf0, 0x0f]);
    let crc = lvm_checksum(&label[20..]);
    label[16..20].copy_from_slice(&crc.to_le_bytes());
    bytes[4608..4608 + text.len()].copy_from_slice(text);
    let len = u64::try_from(text.len() + 1).expect("it is short");
    let crc = lvm_checksum(&bytes[4608..4609 + text.len()]);
    let header = &mut bytes[4096..4608];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    header[25] = 16;
    header[33..35].copy_from_slice(&[0xf0, 0x0f]);
    header[41] = 2;
    header[48..56].copy_from_slice(&len.to_le_bytes());
    header[56..60].copy_from_slice(&crc.to_le_bytes());
    let crc = lvm_checksum(&header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(extents);
    for sealed in [false, true] {
        if sealed {
            bytes[1 << 20..].chunks_exact_mut(4096).for_each(seal_thin);
        }
        let member = volume::lvm::Member {
            name: "disk".to_owned(),
            device: Arc::new(Memory::new(bytes.clone())),
        };
        let assembled = volume::lvm::assemble(&[member]).expect("memory can be read");
        for group in &assembled.groups {
            for volume in &group.volumes {
                if let Ok(device) = &volume.device {
                    assert_eq!(device.size(), volume.size);
                    try_device(&**device);
                }
            }
        }
        for finding in &assembled.findings {
            assert!(!finding.to_string().is_empty());
        }
    }
}

/// LVM2's checksum: a CRC-32 with another start and no inversion.
fn lvm_checksum(bytes: &[u8]) -> u32 {
    let mut crc = 0xf597_a6cf_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    crc
}

/// Makes the checksum of a block right that may be one of a thin pool.
fn seal_thin(block: &mut [u8]) {
    // Superblocks of RAID have no checksum.
    if block.starts_with(b"DmRd") {
        return;
    }
    let salt = match (&block[4..8], &block[32..40]) {
        (_, magic) if magic == 27_022_010_u64.to_le_bytes() => 160_774,
        ([1 | 2, 0, 0, 0], _) => 121_107,
        _ => 240_779,
    };
    let crc = !crc32c::crc32c(&block[4..]) ^ salt;
    block[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Reads, asks and writes here and there.
fn try_device(device: &dyn block::BlockWrite) {
    let size = device.size();
    for at in [0, size / 3, size / 2, size.saturating_sub(1)] {
        if at >= size {
            continue;
        }
        if let Ok(extent) = device.extent_at(at) {
            assert!(extent.range.contains(&at) && extent.range.end <= size);
        }
        let mut there = vec![0; usize::try_from((size - at).min(5000)).expect("it is short")];
        if device.read_at(at, &mut there).is_ok() && device.write_at(at, &[0x5a]).is_ok() {
            // A volume may lie over what describes it.
            let _ = device.read_at(at, &mut there[..1]);
        }
    }
}

/// Members of a RAID: two, each half of a [sparse](disk) input. Their checksums are made right for
/// a second try.
pub fn raid_members(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len() / 8192 * 4096);
    for sealed in [false, true] {
        let mut members = Vec::new();
        for half in [first, second] {
            let mut half = half.to_vec();
            if sealed {
                seal_raid(&mut half);
            }
            let device: Arc<dyn block::BlockWrite> = Arc::new(Memory::new(half));
            let found = volume::md::Superblock::read(&device).expect("memory can be read");
            if let Ok(Some(superblock)) = found {
                members.push(("disk".to_owned(), device, superblock));
            }
        }
        for array in volume::md::assemble(&members) {
            if let Ok(device) = &array.device {
                try_device(&**device);
            }
            for finding in &array.findings {
                assert!(!finding.to_string().is_empty());
            }
        }
    }
}

/// Makes the checksums of superblocks right where they usually are.
fn seal_raid(bytes: &mut [u8]) {
    let end = bytes.len().saturating_sub(8192) & !0xfff;
    for at in [0, 4096, end] {
        let Some(superblock) = bytes.get_mut(at..at + 4096) else {
            continue;
        };
        let roles = u32::from_le_bytes([220, 221, 222, 223].map(|at| superblock[at]));
        let len = 256 + 2 * usize::try_from(roles).unwrap_or(0).min(1920);
        superblock[216..220].fill(0);
        let sum = superblock[..len].chunks(4).fold(0_u64, |sum, word| {
            let mut whole = [0; 4];
            whole[..word.len()].copy_from_slice(word);
            sum + u64::from(u32::from_le_bytes(whole))
        });
        let sum = u32::try_from(sum & 0xffff_ffff)
            .unwrap_or(0)
            .wrapping_add(u32::try_from(sum >> 32).unwrap_or(0));
        superblock[216..220].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Partition tables on a [sparse](disk) disk.
pub fn partitions(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let disk = Arc::new(Memory::new(bytes));
    let Ok(table) = volume::scan(&*disk) else {
        return;
    };
    for partition in &table.partitions {
        let inside = partition.end() <= disk.size();
        let opened = partition.open(disk.clone());
        assert_eq!(opened.is_ok(), partition.in_bounds);
        assert!(inside || !partition.in_bounds);
        if let Ok(window) = opened {
            assert_eq!(window.size(), partition.size);
        }
    }
    for finding in &table.findings {
        assert!(!finding.to_string().is_empty());
    }
}
