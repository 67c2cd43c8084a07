//! The older mirrors, of device-mapper's target `mirror`.

use super::Error;
use super::open::{Opened, Opener, device_error};
use block::{BlockRead, Leg, Stripes};
use ondisk::width::{u64_of, usize_of};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `MIRROR_MAGIC` of drivers/md/dm-log.c.
const MAGIC: u32 = 0x4d69_5272;
/// `MIRROR_DISK_VERSION`.
const VERSION: u32 = 2;
/// `LOG_OFFSET`: where the bits start, in bytes.
const BITS: u64 = 1024;
/// Regions of 2 TiB in regions of the smallest size that LVM2 takes, 4 KiB.
const MAX_REGIONS: u64 = 1 << 29;

/// Puts a mirror together. The first leg is where the others are synchronised from, so it is what
/// counts; without it another does if the log says that all of them were the same.
pub(super) fn open(
    opener: &mut Opener<'_>,
    volume: &str,
    legs: Vec<(&str, Result<Opened, Error>)>,
    log: Option<Result<Opened, Error>>,
    size: u64,
) -> Result<Opened, Error> {
    let first_is_there = legs.first().is_some_and(|(_, leg)| leg.is_ok());
    let synced = !first_is_there
        && match log {
            Some(Ok(log)) => all_in_sync(&*log.device).map_err(|error| device_error(&error))?,
            _ => false,
        };
    let (mut devices, mut members, mut failed) = (Vec::new(), BTreeSet::new(), None);
    let mut copies = 0_usize;
    for (index, (name, leg)) in legs.into_iter().enumerate() {
        devices.push(match leg {
            Ok(leg) => {
                members.extend(leg.members);
                copies = copies.saturating_add(leg.copies);
                if index == 0 || first_is_there || synced {
                    Leg::in_sync(leg.device)
                } else {
                    Leg::behind(leg.device)
                }
            }
            Err(error) if !error.is_a_gap() => return Err(error),
            Err(error) => {
                opener.find_leg(
                    volume,
                    name,
                    "it is not there; it has to be replaced afterwards",
                );
                failed.get_or_insert(error);
                Leg::missing()
            }
        });
    }
    match Stripes::mirror(devices, size) {
        Ok(device) => Ok(Opened {
            device: Arc::new(device),
            members,
            copies,
        }),
        Err(error) => Err(failed.unwrap_or_else(|| device_error(&error))),
    }
}

/// Whether the log of a mirror says that every region is the same on all legs.
fn all_in_sync(log: &dyn BlockRead) -> Result<bool, block::Error> {
    let mut header = [0; 16];
    if log.size() < BITS {
        return Ok(false);
    }
    log.read_at(0, &mut header)?;
    let [m0, m1, m2, m3, v0, v1, v2, v3, regions @ ..] = header;
    let regions = u64::from_le_bytes(regions);
    if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC
        || u32::from_le_bytes([v0, v1, v2, v3]) != VERSION
        || regions > MAX_REGIONS
    {
        return Ok(false);
    }
    let mut left = regions;
    let mut at = BITS;
    let mut piece = vec![0; 4096];
    while left > 0 {
        let bytes = left.div_ceil(8).min(u64_of(piece.len()));
        let Some(bits) = piece.get_mut(..usize_of(bytes)) else {
            return Ok(false);
        };
        if at.saturating_add(bytes) > log.size() {
            return Ok(false);
        }
        log.read_at(at, bits)?;
        for byte in bits.iter() {
            let here = left.min(8);
            let want = match u32::try_from(here) {
                Ok(here) if here < 8 => !(0xff_u8 << here),
                _ => 0xff,
            };
            if byte & want != want {
                return Ok(false);
            }
            left = left.saturating_sub(here);
        }
        at = at.saturating_add(bytes);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    #[test]
    fn a_log_counts_every_region() {
        let log = |regions: u64, bits: &[u8]| {
            let mut bytes = vec![0; 4096];
            bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
            bytes[8..16].copy_from_slice(&regions.to_le_bytes());
            bytes[1024..1024 + bits.len()].copy_from_slice(bits);
            all_in_sync(&Memory::new(bytes)).unwrap()
        };
        assert!(log(12, &[0xff, 0x0f]));
        assert!(log(16, &[0xff, 0xff]));
        assert!(!log(13, &[0xff, 0x0f]));
        assert!(!log(12, &[0xfe, 0x0f]));
        assert!(!log(1 << 20, &[0xff; 3072]));
        assert!(!log(u64::MAX, &[0xff; 3072]));
        assert!(!all_in_sync(&Memory::new(vec![0; 4096])).unwrap());
        assert!(!all_in_sync(&Memory::new(vec![0; 100])).unwrap());
    }
}
