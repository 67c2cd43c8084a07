//! Times in inodes: 32 bits of seconds, and where there is room two more bits and nanoseconds.

use crate::raw::low_32;
use fs::Time;

/// Bits of the extra word that extend the seconds; nanoseconds stand above them.
const EPOCH_BITS: u32 = 2;
const EPOCH_MASK: u32 = 3;

/// Reads a time; `extra` is 0 where the inode has no room for it.
pub(crate) fn decode(seconds: u32, extra: u32) -> Time {
    let base = i64::from(i32::from_le_bytes(seconds.to_le_bytes()));
    let epoch = i64::from(extra & EPOCH_MASK) << 32;
    Time {
        seconds: base.saturating_add(epoch),
        // Thirty bits hold more than a second; broken values are cut like the kernel's display.
        nanoseconds: (extra >> EPOCH_BITS).min(999_999_999),
    }
}

/// The seconds and the extra word of a time, clamped to what the inode can hold.
pub(crate) fn encode(time: Time, has_extra: bool) -> (u32, Option<u32>) {
    let first = i64::from(i32::MIN);
    let last = i64::from(i32::MAX);
    if !has_extra {
        let seconds = time.seconds.clamp(first, last);
        return (low_32(u64::from_le_bytes(seconds.to_le_bytes())), None);
    }
    let seconds = time.seconds.clamp(first, last.saturating_add(3 << 32));
    let low = low_32(u64::from_le_bytes(seconds.to_le_bytes()));
    let base = i64::from(i32::from_le_bytes(low.to_le_bytes()));
    let epoch = seconds.saturating_sub(base) >> 32;
    let epoch = u32::try_from(epoch).unwrap_or(0) & EPOCH_MASK;
    let nanoseconds = time.nanoseconds.min(999_999_999);
    (low, Some((nanoseconds << EPOCH_BITS) | epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_1901_to_2446_survive_with_nanoseconds() {
        for seconds in [
            i64::from(i32::MIN),
            -1,
            0,
            i64::from(i32::MAX),
            i64::from(i32::MAX) + 1,
            4_294_967_296,
            i64::from(i32::MAX) + (3 << 32),
        ] {
            let time = Time {
                seconds,
                nanoseconds: 999_999_999,
            };
            let (low, extra) = encode(time, true);
            assert_eq!(decode(low, extra.unwrap()), time);
        }
    }

    #[test]
    fn without_room_times_end_in_2038() {
        let time = Time {
            seconds: 1 << 40,
            nanoseconds: 5,
        };
        assert_eq!(encode(time, false), (0x7fff_ffff, None));
        assert_eq!(decode(0x7fff_ffff, 0).seconds, i64::from(i32::MAX));
    }
}
