//! LVM2's RAID: images beside volumes with a superblock for each, `dm_raid_superblock` of
//! drivers/md/dm-raid.c.

use super::Error;
use super::group::RaidLevel;
use super::open::{Opened, Opener, device_error, wrong};
use block::{BlockRead, Leg, Stripes};
use ondisk::{Cursor, Short};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

/// One leg.
pub(super) struct Image<'n> {
    /// Name of the volume with the data.
    pub(super) name: &'n str,
    /// The metadata says that it is to be filled anew.
    pub(super) rebuild: bool,
    /// What is written there may come later than is said, so it is read only if no other is left.
    pub(super) write_mostly: bool,
    /// The volume with the superblock, if the level has them.
    pub(super) meta: Option<Result<Opened, Error>>,
    pub(super) data: Result<Opened, Error>,
}

/// How the legs hold the volume; sizes in bytes.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) level: RaidLevel,
    pub(super) chunk: u64,
    pub(super) copies: u64,
    pub(super) size: u64,
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Superblock {
    array_position: u32,
    num_devices: u32,
    events: u64,
    failed_devices: u64,
    disk_recovery_offset: u64,
    level: u32,
    layout: u32,
    reshaping: bool,
}

/// `DM_RAID_MAGIC`.
const MAGIC: u32 = 0x6452_6d44;
/// `FEATURE_FLAG_SUPPORTS_V190`: the fields about reshaping are there.
const SUPPORTS_V190: u32 = 1;
/// `MaxSector`: nothing is left to recover.
const ALL: u64 = u64::MAX;

impl Superblock {
    /// None if there is none, as on a leg that was never used.
    fn read(meta: &dyn BlockRead) -> Result<Option<Self>, block::Error> {
        let mut bytes = [0; 72];
        if meta.size() < 512 {
            return Ok(None);
        }
        meta.read_at(0, &mut bytes)?;
        // The array is as long as what is taken from it.
        Ok(Self::parse(&bytes).ok().flatten())
    }

    fn parse(bytes: &[u8]) -> Result<Option<Self>, Short> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u32_le()? != MAGIC {
            return Ok(None);
        }
        let compat_features = cursor.u32_le()?;
        let (num_devices, array_position) = (cursor.u32_le()?, cursor.u32_le()?);
        let (events, failed_devices) = (cursor.u64_le()?, cursor.u64_le()?);
        let disk_recovery_offset = cursor.u64_le()?;
        cursor.skip(8)?;
        let (level, layout) = (cursor.u32_le()?, cursor.u32_le()?);
        cursor.skip(4)?;
        let flags = cursor.u32_le()?;
        Ok(Some(Self {
            array_position,
            num_devices,
            events,
            failed_devices,
            disk_recovery_offset,
            level,
            layout,
            reshaping: compat_features & SUPPORTS_V190 != 0 && flags != 0,
        }))
    }

    fn has_failed(&self, position: usize) -> bool {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let bit = 1_u64.checked_shl(position).unwrap_or(0);
        self.failed_devices & bit != 0
    }
}

/// Puts the legs together.
pub(super) fn open(
    opener: &mut Opener<'_>,
    volume: &str,
    images: Vec<Image<'_>>,
    layout: Layout,
) -> Result<Opened, Error> {
    let count = images.len();
    let mut superblocks = Vec::with_capacity(count);
    for (position, image) in images.iter().enumerate() {
        let superblock = match &image.meta {
            Some(Ok(meta)) => {
                Superblock::read(&*meta.device).map_err(|error| device_error(&error))?
            }
            _ => None,
        };
        if let Some(superblock) = &superblock {
            check(superblock, position, count, layout, volume)?;
        }
        superblocks.push(superblock);
    }
    let newest = superblocks
        .iter()
        .flatten()
        .max_by_key(|superblock| superblock.events)
        .copied();
    let (mut legs, mut members, mut failed) = (Vec::new(), BTreeSet::new(), None);
    let (mut copies_each, mut slow) = (1, Vec::new());
    for (position, (image, superblock)) in images.into_iter().zip(superblocks).enumerate() {
        let data = match image.data {
            Ok(data) => data,
            Err(error) if !error.is_a_gap() => return Err(error),
            Err(error) => {
                opener.find_leg(
                    volume,
                    image.name,
                    "it is not there; it has to be replaced afterwards (lvconvert --repair)",
                );
                failed.get_or_insert(error);
                legs.push(Leg::missing());
                continue;
            }
        };
        let why = match (&superblock, &newest) {
            _ if image.rebuild => Some("it is being rebuilt"),
            // Without any superblock the array was never used, and starts from its first leg.
            (None, None) if layout.level == RaidLevel::Raid1 && position > 0 => {
                Some("the array was never started")
            }
            (_, None) => None,
            (None, Some(_)) => Some("it has no superblock"),
            (Some(_), Some(newest)) if newest.has_failed(position) => Some("it has failed"),
            (Some(it), Some(newest)) if it.events < newest.events => Some("it is stale"),
            (Some(it), _) if it.disk_recovery_offset != ALL => Some("it is being rebuilt"),
            _ => None,
        };
        members.extend(data.members);
        copies_each = copies_each.max(data.copies);
        let is_slow = layout.level == RaidLevel::Raid1 && image.write_mostly;
        legs.push(match why {
            None if is_slow => {
                slow.push((position, Leg::in_sync(data.device.clone())));
                Leg::behind(data.device)
            }
            None => Leg::in_sync(data.device),
            Some(why) => {
                opener.find_leg(volume, image.name, why);
                // It is part of the array and will be filled from the others; until then the
                // kernel writes to it as we do.
                Leg::behind(data.device)
            }
        });
    }
    if !legs.iter().any(Leg::is_in_sync) {
        for (position, leg) in slow {
            if let Some(place) = legs.get_mut(position) {
                *place = leg;
            }
        }
    }
    let chunk = match layout.level {
        RaidLevel::Raid1 => layout.size,
        _ => layout.chunk,
    };
    let chunk = NonZeroU64::new(chunk)
        .ok_or_else(|| wrong(format!("stripes of {volume} are of {chunk} bytes")))?;
    let copies = usize::try_from(layout.copies).unwrap_or(usize::MAX);
    match Stripes::new(legs, chunk, copies, layout.size) {
        Ok(device) => Ok(Opened {
            device: Arc::new(device),
            members,
            copies: copies.saturating_mul(copies_each),
        }),
        Err(error) => Err(failed.unwrap_or_else(|| device_error(&error))),
    }
}

/// Whether a superblock can be of this array.
fn check(
    superblock: &Superblock,
    position: usize,
    count: usize,
    layout: Layout,
    volume: &str,
) -> Result<(), Error> {
    let same = |number: u32, other: usize| usize::try_from(number) == Ok(other);
    let level = match layout.level {
        RaidLevel::Raid0 => 0,
        RaidLevel::Raid1 => 1,
        RaidLevel::Raid10 => 10,
    };
    if superblock.reshaping {
        return Err(Error::Type("raid that is being reshaped".to_owned()));
    }
    if !same(superblock.array_position, position)
        || !same(superblock.num_devices, count)
        || superblock.level != level
    {
        return Err(wrong(format!(
            "the superblock of leg {position} of {volume} is of another array"
        )));
    }
    // Near copies in the lowest byte, far ones in the next: one.
    if layout.level == RaidLevel::Raid10 && superblock.layout >> 8 != 1 {
        return Err(Error::Type("raid10 with far copies".to_owned()));
    }
    Ok(())
}
