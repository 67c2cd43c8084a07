//! RAID0 over members of different sizes: zones, each over the members that reach so far.
//! drivers/md/raid0.c.

use super::Error;
use block::{BlockRead, BlockWrite, Concat, Leg, Stripes, Window};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::sync::Arc;

/// `RAID0_ORIG_LAYOUT`: zones go on where the count of the array is.
const ORIGINAL: u32 = 1;
/// `RAID0_ALT_MULTIZONE_LAYOUT`: each zone starts with its first member.
const ALTERNATE: u32 = 2;

/// Puts the members together in their order.
pub(super) fn open(
    members: &[Arc<dyn BlockWrite>],
    chunk: NonZeroU64,
    layout: Option<u32>,
) -> Result<Arc<dyn BlockWrite>, Error> {
    let wrong = |error: &dyn std::error::Error| Error::Wrong(error.to_string());
    // Members end with their last whole chunk.
    let whole = |device: &Arc<dyn BlockWrite>| device.size() / chunk;
    let mut ends: Vec<u64> = members.iter().map(whole).collect();
    ends.sort_unstable();
    ends.dedup();
    let (mut zones, mut start, mut zone_start): (Vec<Arc<dyn BlockWrite>>, u64, u64) =
        (Vec::new(), 0, 0);
    for end in ends {
        let mut legs = Vec::new();
        let rows = end.saturating_sub(start);
        for member in members.iter().filter(|member| whole(member) >= end) {
            let (at, len) = (
                start.saturating_mul(chunk.get()),
                rows.saturating_mul(chunk.get()),
            );
            let window = Window::new(member.clone(), at, len).map_err(|error| wrong(&error))?;
            legs.push(Leg::in_sync(Arc::new(window)));
        }
        let count = u64_of(legs.len());
        if rows == 0 || count == 0 {
            continue;
        }
        // With one member left there is one way to go on (`create_strip_zones`).
        if !zones.is_empty() && count > 1 {
            match layout {
                Some(ORIGINAL) => {
                    let shift = zone_start.checked_rem(count).unwrap_or(0);
                    legs.rotate_left(usize_of(shift));
                }
                Some(ALTERNATE) => {}
                _ => {
                    return Err(Error::Unsupported(
                        "members of different sizes and a RAID0 layout that it does not tell",
                    ));
                }
            }
        }
        let chunks = rows.saturating_mul(count);
        let size = chunks.saturating_mul(chunk.get());
        let stripes = Stripes::new(legs, chunk, 1, size).map_err(|error| wrong(&error))?;
        zones.push(Arc::new(stripes));
        zone_start = zone_start.saturating_add(chunks);
        start = end;
    }
    let concat = Concat::new(zones).map_err(|error| wrong(&error))?;
    Ok(Arc::new(concat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    const CHUNK: NonZeroU64 = NonZeroU64::new(1024).unwrap();

    /// Members of so many chunks and half of one; each chunk is filled with the number of its
    /// member and its own.
    fn members(chunks: &[u8]) -> Vec<Arc<dyn BlockWrite>> {
        let fill = |(member, count): (u8, &u8)| {
            let chunks = (0..*count).map(|chunk| vec![member * 16 + chunk; 1024]);
            let mut bytes: Vec<u8> = chunks.flatten().collect();
            bytes.extend([0xff; 512]);
            let memory: Arc<dyn BlockWrite> = Arc::new(Memory::new(bytes));
            memory
        };
        (0..).zip(chunks).map(fill).collect()
    }

    fn order(chunks: &[u8], layout: Option<u32>) -> Vec<u8> {
        let device = open(&members(chunks), CHUNK, layout).unwrap();
        let mut bytes = vec![0; usize_of(device.size())];
        device.read_at(0, &mut bytes).unwrap();
        bytes.into_iter().step_by(1024).collect()
    }

    #[test]
    fn zones_are_as_in_the_kernel() {
        assert_eq!(order(&[2, 2], None), [0, 0x10, 1, 0x11]);
        // Two chunks of three members, then of the second and third; then of the third alone.
        let first = [0, 0x10, 0x20];
        // The second zone starts at chunk 3: 3 % 2 is 1.
        let original = [&first[..], &[0x21, 0x11, 0x22]].concat();
        assert_eq!(order(&[1, 2, 3], Some(1)), original);
        let alternate = [&first[..], &[0x11, 0x21, 0x22]].concat();
        assert_eq!(order(&[1, 2, 3], Some(2)), alternate);
        assert_eq!(order(&[1, 3], None), [0, 0x10, 0x11, 0x12]);
        let error = open(&members(&[1, 2, 2]), CHUNK, None).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)));
    }
}
