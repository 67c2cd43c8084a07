//! Superblocks of versions 1.0, 1.1 and 1.2: `struct mdp_superblock_1`.

use super::superblock::{MAGIC, SECTOR};
use super::{Damage, Level, Role, Superblock, Version};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of, usize_of_u32};
use ondisk::{Cursor, Short};
use uuid::Uuid;

/// Bytes before the roles.
const FIXED: usize = 256;
/// A superblock with its roles has at most 4 KiB: `MAX_SB_SIZE`.
const MAX: usize = 4096;
/// `feature_map`: bits that change nothing for us, a write-intent bitmap and bad blocks, whose
/// list is looked at.
const BITMAP_OFFSET: u32 = 1;
const RECOVERY_OFFSET: u32 = 2;
const RESHAPE_ACTIVE: u32 = 4;
const BAD_BLOCKS: u32 = 8;
const REPLACEMENT: u32 = 16;
const NEW_OFFSET: u32 = 64;
const RECOVERY_BITMAP: u32 = 128;
const RAID0_LAYOUT: u32 = 4096;
/// `WriteMostly1`, of `devflags`.
const WRITE_MOSTLY: u8 = 1;
/// Bits that are refused, by name.
const REFUSED: [(u32, &str); 6] = [
    (RESHAPE_ACTIVE | 32, "a reshape that is going on"),
    (REPLACEMENT, "a member that is being replaced"),
    (NEW_OFFSET, "data that is being moved"),
    (256, "a bitmap of a cluster"),
    (512, "a journal"),
    (1024 | 2048, "a partial parity log"),
];
const KNOWN: u32 =
    BITMAP_OFFSET | RECOVERY_OFFSET | BAD_BLOCKS | RECOVERY_BITMAP | RAID0_LAYOUT | 0xf74;

/// Reads the superblock of a version; none if none is there.
pub(super) fn read(
    device: &dyn BlockRead,
    version: Version,
) -> Result<Result<Option<Superblock>, Damage>, block::Error> {
    let sectors = device.size() / SECTOR;
    let sector = match version {
        Version::V1_1 => 0,
        Version::V1_2 => 8,
        // 8 KiB from the end, down to a multiple of 4 KiB.
        _ => match sectors.checked_sub(16) {
            Some(sector) => sector & !7,
            None => return Ok(Ok(None)),
        },
    };
    let at = sector.saturating_mul(SECTOR);
    let mut bytes = [0; MAX];
    let len = device.size().saturating_sub(at).min(u64_of(MAX));
    if len < u64_of(FIXED) {
        return Ok(Ok(None));
    }
    let there = bytes.get_mut(..usize_of(len)).unwrap_or_default();
    device.read_at(at, there)?;
    let place = Place {
        version,
        at,
        device: device.size(),
    };
    let parsed = parse(&bytes, place);
    let Ok(Some((superblock, bad_blocks))) = parsed else {
        return Ok(parsed.map(|_| None));
    };
    if let Some((at, len)) = bad_blocks
        && lists_bad_blocks(device, at, len)?
    {
        return Ok(Ok(Some(Superblock {
            unsupported: superblock.unsupported.or(Some("known bad blocks")),
            ..superblock
        })));
    }
    Ok(Ok(Some(superblock)))
}

/// Where a superblock was found.
#[derive(Clone, Copy)]
struct Place {
    version: Version,
    at: u64,
    device: u64,
}

/// A list of bad blocks: its byte on the device, and its bytes.
type BadBlocks = Option<(u64, u64)>;

fn parse(bytes: &[u8; MAX], place: Place) -> Result<Option<(Superblock, BadBlocks)>, Damage> {
    let Place { version, at, .. } = place;
    let field = |field| Damage::Field { version, at, field };
    // The superblock is read whole.
    let short = |_: Short| field("length");
    let mut cursor = Cursor::new(bytes);
    let magic = cursor.u32_le().map_err(short)?;
    let major_version = cursor.u32_le().map_err(short)?;
    if magic != MAGIC || major_version != 1 {
        return Ok(None);
    }
    let feature_map = cursor.u32_le().map_err(short)?;
    cursor.skip(4).map_err(short)?;
    let set_uuid = Uuid::from_bytes(cursor.take_array().map_err(short)?);
    let set_name: [u8; 32] = cursor.take_array().map_err(short)?;
    cursor.skip(8).map_err(short)?;
    let level = Level::of(cursor.u32_le().map_err(short)?);
    let layout = cursor.u32_le().map_err(short)?;
    let size = cursor.u64_le().map_err(short)?;
    let chunksize = cursor.u32_le().map_err(short)?;
    let raid_disks = cursor.u32_le().map_err(short)?;
    let mut cursor = Cursor::new(bytes);
    cursor.skip(128).map_err(short)?;
    let data_offset = cursor.u64_le().map_err(short)?;
    let data_size = cursor.u64_le().map_err(short)?;
    let super_offset = cursor.u64_le().map_err(short)?;
    let recovery_offset = cursor.u64_le().map_err(short)?;
    let dev_number = cursor.u32_le().map_err(short)?;
    cursor.skip(20).map_err(short)?;
    let devflags = cursor.u8().map_err(short)?;
    let bblog_shift = cursor.u8().map_err(short)?;
    let bblog_size = cursor.u16_le().map_err(short)?;
    let bblog_offset = cursor.u32_le().map_err(short)?;
    cursor.skip(8).map_err(short)?;
    let events = cursor.u64_le().map_err(short)?;
    let resync_offset = cursor.u64_le().map_err(short)?;
    let sb_csum = cursor.u32_le().map_err(short)?;
    let max_dev = usize_of_u32(cursor.u32_le().map_err(short)?);
    let roles_end = max_dev.saturating_mul(2).saturating_add(FIXED);
    let summed = bytes.get(..roles_end).ok_or(field("max_dev"))?;
    if checksum(summed) != sb_csum {
        return Err(Damage::Checksum { version, at });
    }
    // Linux looks where it expects it and believes nothing else, so neither do we.
    if super_offset.checked_mul(SECTOR) != Some(at) {
        return Err(field("super_offset"));
    }
    let roles = bytes.get(FIXED..roles_end).unwrap_or_default();
    let (roles, _) = roles.as_chunks::<2>();
    let role = roles.get(usize_of_u32(dev_number));
    let role = match role.map(|role| u16::from_le_bytes(*role)) {
        None | Some(0xffff) => Role::Spare,
        Some(0xfffe | 0xfffd) => Role::Faulty,
        Some(slot) => Role::Active(u32::from(slot)),
    };
    let bytes_of = |sectors: u64, name| sectors.checked_mul(SECTOR).ok_or(field(name));
    let data_offset = bytes_of(data_offset, "data_offset")?;
    let data_size = bytes_of(data_size, "data_size")?;
    if data_offset
        .checked_add(data_size)
        .is_none_or(|end| end > place.device)
    {
        return Err(field("data_size"));
    }
    let refused = REFUSED.iter().find(|(bit, _)| feature_map & bit != 0);
    let unsupported = match refused {
        Some((_, name)) => Some(*name),
        None if feature_map & !KNOWN != 0 => Some("features that are not known"),
        None => None,
    };
    let bad_blocks = (feature_map & BAD_BLOCKS != 0 && bblog_size > 0 && bblog_shift < 32)
        .then(|| {
            // The offset has a sign, from the superblock on.
            let offset = i64::from(i32::from_ne_bytes(bblog_offset.to_ne_bytes()));
            let sector = super_offset.checked_add_signed(offset)?;
            let len = u64::from(bblog_size).checked_mul(SECTOR)?;
            Some((sector.checked_mul(SECTOR)?, len))
        })
        .flatten();
    let superblock = Superblock {
        version,
        array: set_uuid,
        name: name(&set_name),
        preferred_minor: None,
        level,
        layout: match level {
            Level::Raid(0) => (feature_map & RAID0_LAYOUT != 0).then_some(layout),
            _ => Some(layout),
        },
        chunk: u64::from(chunksize).saturating_mul(SECTOR),
        component_size: bytes_of(size, "size")?,
        slots: raid_disks,
        data_offset,
        data_size,
        role,
        events,
        clean: resync_offset == u64::MAX,
        recovered: feature_map & (RECOVERY_OFFSET | RECOVERY_BITMAP) == 0
            || recovery_offset == u64::MAX,
        write_mostly: devflags & WRITE_MOSTLY != 0,
        unsupported,
    };
    Ok(Some((superblock, bad_blocks)))
}

/// The text up to the first NUL; none if that is empty.
fn name(bytes: &[u8; 32]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// `calc_sb_1_csum` of drivers/md/md.c: the sum of all words, with that of `sb_csum` as zero.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = 0_u64;
    for (index, word) in words.iter().enumerate() {
        // 216 / 4
        if index != 54 {
            sum = sum.saturating_add(u64::from(u32::from_le_bytes(*word)));
        }
    }
    if let [a, b] = rest {
        sum = sum.saturating_add(u64::from(u16::from_le_bytes([*a, *b])));
    }
    let (low, high) = (sum & 0xffff_ffff, sum >> 32);
    // Both fit; the carry is lost, as in the kernel.
    let half = |half: u64| u32::try_from(half).unwrap_or(u32::MAX);
    half(low).wrapping_add(half(high))
}

/// Whether a list of bad blocks names any: entries of 64 bits, all ones behind the last.
fn lists_bad_blocks(device: &dyn BlockRead, at: u64, len: u64) -> Result<bool, block::Error> {
    // `MD_MAX_BADBLOCKS` are 4 KiB.
    let mut list = vec![0; usize_of(len.min(4096))];
    if at
        .checked_add(u64_of(list.len()))
        .is_none_or(|end| end > device.size())
    {
        return Ok(false);
    }
    device.read_at(at, &mut list)?;
    let first = list
        .first_chunk()
        .map_or(u64::MAX, |it| u64::from_le_bytes(*it));
    Ok(first != u64::MAX && first != 0)
}
