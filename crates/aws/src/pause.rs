//! How long to wait before something is asked again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Full jitter: anything from nothing to a bound that is `first` after one attempt and doubles with
/// each, up to `last`.
pub fn pause(attempts: u32, first: Duration, last: Duration) -> Duration {
    up_to(bound(attempts, first, last), random())
}

fn bound(attempts: u32, first: Duration, last: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    first.saturating_mul(doubled).min(last)
}

fn up_to(bound: Duration, random: u32) -> Duration {
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Each new state of the standard library's hash maps is seeded by the system.
fn random() -> u32 {
    let bytes = RandomState::new().hash_one(0_u8).to_le_bytes();
    let [a, b, c, d, ..] = bytes;
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_may_be_nothing() {
        let (first, last) = (Duration::from_millis(100), Duration::from_secs(2));
        assert_eq!(bound(1, first, last), first);
        assert_eq!(bound(3, first, last), Duration::from_millis(400));
        assert_eq!(bound(40, first, last), last);
        assert_eq!(up_to(last, u32::MAX), last);
        assert_eq!(up_to(last, 0), Duration::ZERO);
    }
}
