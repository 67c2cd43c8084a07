//! Superblocks of version 0.90: `mdp_super_t`, in the byte order of the machine that made it.

use super::superblock::{MAGIC, SECTOR};
use super::{Damage, Level, Role, Superblock, Version};
use block::BlockRead;
use ondisk::width::usize_of;
use uuid::Uuid;

/// `MD_RESERVED_BYTES`: superblocks lie in the last whole one of these but none.
const RESERVED: u64 = 0x1_0000;
const SIZE: usize = 4096;
/// Descriptors of members.
const DISKS: usize = 27;
/// Words of a descriptor.
const DESCRIPTOR: usize = 32;
/// Bits of `disk.state`.
const FAULTY: u32 = 1;
const ACTIVE: u32 = 2;
const SYNC: u32 = 4;
const REMOVED: u32 = 8;
const WRITE_MOSTLY: u32 = 1 << 9;

/// Reads the superblock; none if none is there.
pub(super) fn read(
    device: &dyn BlockRead,
) -> Result<Result<Option<Superblock>, Damage>, block::Error> {
    let Some(at) = (device.size() & !RESERVED.wrapping_sub(1)).checked_sub(RESERVED) else {
        return Ok(Ok(None));
    };
    let mut bytes = [0; SIZE];
    device.read_at(at, &mut bytes)?;
    for order in [u32::from_le_bytes, u32::from_be_bytes] {
        let (words, _) = bytes.as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|word| order(*word)).collect();
        let little = order([1, 0, 0, 0]) == 1;
        match parse(&words, little, at) {
            Ok(None) => {}
            found => return Ok(found),
        }
    }
    Ok(Ok(None))
}

fn parse(words: &[u32], little: bool, at: u64) -> Result<Option<Superblock>, Damage> {
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    let field = |field| Damage::Field {
        version: Version::V0_90,
        at,
        field,
    };
    if word(0) != MAGIC || word(1) != 0 {
        return Ok(None);
    }
    if checksum(words) != word(38) {
        return Err(Damage::Checksum {
            version: Version::V0_90,
            at,
        });
    }
    let mut id = [0; 16];
    for (part, index) in id.chunks_exact_mut(4).zip([5, 13, 14, 15]) {
        part.copy_from_slice(&word(index).to_be_bytes());
    }
    // Which half of a number comes first depends on the machine.
    let (low, high) = if little {
        (word(39), word(40))
    } else {
        (word(40), word(39))
    };
    let events = u64::from(high) << 32 | u64::from(low);
    let raid_disks = word(10);
    // `this_disk` ends the superblock; what all agree on stands in its descriptor.
    let this = word(128 + DISKS * DESCRIPTOR);
    let number = usize::try_from(this).ok().filter(|number| *number < DISKS);
    let number = number.ok_or(field("this_disk"))?;
    let descriptor = number.saturating_mul(DESCRIPTOR).saturating_add(128);
    let (slot, state) = (
        word(descriptor.saturating_add(3)),
        word(descriptor.saturating_add(4)),
    );
    let role = if state & (FAULTY | REMOVED) != 0 {
        Role::Faulty
    } else if state & (ACTIVE | SYNC) == ACTIVE | SYNC && slot < raid_disks {
        Role::Active(slot)
    } else {
        Role::Spare
    };
    let level = Level::of(word(7));
    let chunk = u64::from(word(65));
    if chunk % SECTOR != 0 {
        return Err(field("chunk_size"));
    }
    Ok(Some(Superblock {
        version: Version::V0_90,
        array: Uuid::from_bytes(id),
        name: None,
        preferred_minor: Some(word(11)),
        level,
        layout: match level {
            Level::Raid(0) => None,
            _ => Some(word(64)),
        },
        chunk,
        component_size: u64::from(word(8)).saturating_mul(1024),
        slots: raid_disks,
        data_offset: 0,
        data_size: at,
        role,
        events,
        // `MD_SB_CLEAN`
        clean: word(33) & 1 != 0,
        recovered: true,
        write_mostly: state & WRITE_MOSTLY != 0,
        // `reshape_position` and the rest count from minor version 91 on.
        unsupported: (word(2) != 90).then_some("a reshape that is going on"),
    }))
}

/// `calc_sb_csum` of drivers/md/md.c: the sum of all words, with that of `sb_csum` as zero.
fn checksum(words: &[u32]) -> u32 {
    let mut sum = 0_u64;
    for (index, word) in words.iter().enumerate() {
        if index != 38 {
            sum = sum.saturating_add(u64::from(*word));
        }
    }
    let half = |half: u64| u32::try_from(half).unwrap_or(u32::MAX);
    half(sum & 0xffff_ffff).wrapping_add(half(sum >> 32))
}

const _: () = assert!(usize_of(RESERVED) > SIZE && 128 + (DISKS + 1) * DESCRIPTOR == SIZE / 4);
