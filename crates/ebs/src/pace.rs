//! Not faster than the user allows, whoever asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Hands out moments at which requests may go, evenly spaced; all workers share it.
///
/// There is no burst: a limit that is one per second for an account is meant as such by those who
/// split it among machines.
#[derive(Debug)]
pub(crate) struct Pace {
    requests: Option<Duration>,
    byte: Option<f64>,
    next: Mutex<Next>,
}

#[derive(Debug)]
struct Next {
    request: Instant,
    bytes: Instant,
}

/// What leaves evenly does not arrive evenly: this part of the allowed rate is used, so that no
/// second at the other end sees more.
const HEADROOM: f64 = 0.95;

impl Pace {
    /// `requests` in a second, `mbps` million bits of block data in a second; `None` is no limit.
    pub(crate) fn new(requests: Option<f64>, mbps: Option<f64>) -> Self {
        let now = Instant::now();
        Self {
            requests: requests.map(|rate| Duration::from_secs_f64(1.0 / (rate * HEADROOM))),
            byte: mbps.map(|rate| 8.0 / (rate * 1e6)),
            next: Mutex::new(Next {
                request: now,
                bytes: now,
            }),
        }
    }

    /// Waits until a request that moves `bytes` bytes of blocks may go.
    pub(crate) async fn wait(&self, bytes: u32) {
        let at = self.reserve(Instant::now(), bytes);
        tokio::time::sleep_until(at).await;
    }

    fn reserve(&self, now: Instant, bytes: u32) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = now;
        if self.requests.is_some() {
            at = at.max(next.request);
        }
        if self.byte.is_some() && bytes > 0 {
            at = at.max(next.bytes);
        }
        // Both clocks run from the moment that was given, so no time is saved up for a burst.
        if let Some(gap) = self.requests {
            next.request = later(at, gap);
        }
        if let Some(second) = self.byte.filter(|_| bytes > 0) {
            next.bytes = later(at, Duration::from_secs_f64(second * f64::from(bytes)));
        }
        at
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_requests_than_allowed() {
        let pace = Pace::new(Some(10.0), None);
        let start = Instant::now();
        // Idle time must not be saved up for a burst.
        let idle = start + Duration::from_secs(100);
        let times: Vec<_> = (0..50).map(|_| pace.reserve(idle, 0)).collect();
        for window in times.windows(11) {
            assert!(window[10] - window[0] > Duration::from_secs(1));
        }
        assert!(times[49] - times[0] < Duration::from_secs(6));
    }

    #[test]
    fn bytes_are_spaced_by_their_number() {
        let pace = Pace::new(None, Some(8.0));
        let now = Instant::now();
        assert_eq!(pace.reserve(now, 500_000), now);
        let second = pace.reserve(now, 1_000_000);
        assert_eq!((second - now).as_millis(), 500);
        assert_eq!((pace.reserve(now, 1) - now).as_millis(), 1500);
        // What moves no block does not wait for those that do.
        assert_eq!(pace.reserve(now, 0), now);
    }
}
