//! Times of inodes: seconds and nanoseconds in 32 bits each, or with `bigtime` nanoseconds since
//! December 1901 in 64 bits.

use fs::Time;

const NANOSECONDS: u64 = 1_000_000_000;
/// Seconds from the first time that `bigtime` has to the Unix epoch, `XFS_BIGTIME_EPOCH_OFFSET`.
const BIG_EPOCH: i64 = 1 << 31;
/// The last second that the kernel keeps with `bigtime`, `XFS_BIGTIME_TIME_MAX`, from 1901 on.
const BIG_MAX: u64 = u64::MAX / NANOSECONDS;

/// The time that a field holds.
pub(crate) fn decode(raw: u64, big: bool) -> Time {
    if big {
        let seconds = raw.checked_div(NANOSECONDS).unwrap_or(0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let rest = raw.checked_rem(NANOSECONDS).unwrap_or(0);
        return Time {
            seconds: seconds.saturating_sub(BIG_EPOCH),
            nanoseconds: u32::try_from(rest).unwrap_or(0),
        };
    }
    let [a, b, c, d, e, f, g, h] = raw.to_be_bytes();
    Time {
        seconds: i32::from_be_bytes([a, b, c, d]).into(),
        nanoseconds: u32::from_be_bytes([e, f, g, h]).min(999_999_999),
    }
}

/// The field for a time; times that it cannot hold become the nearest that it can.
pub(crate) fn encode(time: Time, big: bool) -> u64 {
    if big {
        let seconds = time.seconds.saturating_add(BIG_EPOCH);
        let seconds = u64::try_from(seconds).unwrap_or(0).min(BIG_MAX);
        return seconds
            .saturating_mul(NANOSECONDS)
            .saturating_add(time.nanoseconds.into());
    }
    let nearest = if time.seconds < 0 { i32::MIN } else { i32::MAX };
    let seconds = i32::try_from(time.seconds).unwrap_or(nearest);
    let [a, b, c, d] = seconds.to_be_bytes();
    let [e, f, g, h] = time.nanoseconds.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for seconds in [-(1 << 31), -1, 0, 1, (1 << 31) - 1] {
            let time = Time {
                seconds,
                nanoseconds: 999_999_999,
            };
            assert_eq!(decode(encode(time, false), false), time);
            assert_eq!(decode(encode(time, true), true), time);
        }
        let late = Time {
            seconds: 1 << 33,
            nanoseconds: 5,
        };
        assert_eq!(decode(encode(late, true), true), late);
        assert_eq!(decode(encode(late, false), false).seconds, (1 << 31) - 1);
    }
}
