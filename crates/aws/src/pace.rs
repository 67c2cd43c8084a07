//! Not faster than the user allows, whoever asks.

use std::time::Duration;
use tokio::time::Instant;

/// Lets requests go one after the other, evenly spaced; all workers share it.
///
/// There is no burst: a limit that is one per second for an account is meant as such by those who
/// split it among machines. Nor is there one after a moment in which this host was busy: what was
/// missed by more than a moment is not made up for.
#[derive(Debug)]
pub struct Pace {
    requests: Option<Line>,
    bytes: Option<Line>,
}

/// Those who wait for one limit.
#[derive(Debug)]
struct Line {
    /// Seconds for each request, or for each byte.
    gap: f64,
    /// When the next one may go. Whoever holds it is the first of the line, and sleeps until then.
    next: tokio::sync::Mutex<Instant>,
}

/// What leaves evenly does not arrive evenly: this part of the allowed rate is used, so that no
/// second at the other end sees more.
const HEADROOM: f64 = 0.95;
/// How late one may be without those behind it being late too: timers are no finer than a
/// millisecond. A second then has at most 1.02 times the requests that its gaps allow, which is
/// still below 1 / [`HEADROOM`].
const SLACK: Duration = Duration::from_millis(20);

impl Pace {
    /// `requests` in a second, `mbps` million bits of block data in a second; `None`, or what is no
    /// number above zero, is no limit.
    pub fn new(requests: Option<f64>, mbps: Option<f64>) -> Self {
        let is_rate = |rate: &f64| rate.is_finite() && *rate > 0.0;
        let (requests, mbps) = (requests.filter(is_rate), mbps.filter(is_rate));
        Self {
            requests: requests.map(|rate| Line::new(1.0 / (rate * HEADROOM))),
            bytes: mbps.map(|rate| Line::new(8.0 / (rate * 1e6))),
        }
    }

    /// Waits until a request that moves `bytes` bytes of blocks may go.
    pub async fn wait(&self, bytes: u32) {
        if let Some(line) = self.bytes.as_ref().filter(|_| bytes > 0) {
            line.wait(f64::from(bytes)).await;
        }
        if let Some(line) = &self.requests {
            line.wait(1.0).await;
        }
    }
}

impl Line {
    fn new(gap: f64) -> Self {
        Self {
            gap,
            next: tokio::sync::Mutex::new(Instant::now()),
        }
    }

    async fn wait(&self, units: f64) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = self.after(*next, Instant::now(), units);
    }

    /// When the next one may go, if one of so many units goes `now`, and might have gone at `due`.
    fn after(&self, due: Instant, now: Instant, units: f64) -> Instant {
        let counted = now.checked_sub(SLACK).map_or(due, |late| due.max(late));
        // The longest gap is that of one request in a day, or of a block in some years.
        let gap = Duration::try_from_secs_f64(self.gap * units).unwrap_or(Duration::MAX);
        counted.checked_add(gap).unwrap_or(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When requests go that are woken so late each.
    #[expect(clippy::arithmetic_side_effects, reason = "a test may panic")]
    fn times(line: &Line, late: &[Duration]) -> Vec<Duration> {
        let start = Instant::now() + Duration::from_secs(100);
        let mut due = start;
        let mut before = start;
        let mut times = Vec::new();
        for late in late {
            let now = before.max(due) + *late;
            due = line.after(due, now, 1.0);
            before = now;
            times.push(now - start);
        }
        times
    }

    #[expect(clippy::arithmetic_side_effects, reason = "a test may panic")]
    fn most_in_a_second(times: &[Duration]) -> usize {
        let second = Duration::from_secs(1);
        let within = |first: &Duration| {
            let all = times.iter();
            all.filter(|time| (*first..*first + second).contains(&**time))
                .count()
        };
        times.iter().map(within).max().unwrap()
    }

    #[test]
    fn no_second_has_more_requests_than_allowed() {
        for rate in [1_u32, 2, 3, 10, 40, 200, 1000] {
            let line = Line::new(1.0 / (f64::from(rate) * HEADROOM));
            let most = usize::try_from(rate).unwrap();
            let even = times(&line, &vec![Duration::ZERO; 3 * most]);
            assert!(most_in_a_second(&even) <= most, "{rate}");
            assert!(even[3 * most - 1] < Duration::from_millis(3200), "{rate}");
            // Each is late by up to a millisecond, and some by much more.
            let late = |at: usize| match at % (most / 2 + 2) {
                0 => Duration::from_millis(400),
                _ => Duration::from_micros(u64::try_from(at % 1000).unwrap()),
            };
            let late: Vec<_> = (0..4 * most).map(late).collect();
            assert!(most_in_a_second(&times(&line, &late)) <= most, "{rate}");
        }
    }

    #[test]
    fn a_timer_of_a_millisecond_is_no_limit_of_its_own() {
        let line = Line::new(1.0 / (1000.0 * HEADROOM));
        // All that are due at a time go when the timer wakes the first of them.
        let (start, tick) = (Instant::now(), Duration::from_millis(1));
        let (mut due, mut now) = (start, start);
        for _ in 0..1000 {
            while now < due {
                now += tick;
            }
            due = line.after(due, now, 1.0);
        }
        assert!(
            now - start < Duration::from_millis(1070),
            "{:?}",
            now - start
        );
    }

    #[test]
    fn bytes_are_spaced_by_their_number_and_nothing_is_saved_up() {
        let pace = Pace::new(None, Some(8.0));
        let line = pace.bytes.unwrap();
        let start = Instant::now();
        let second = line.after(start, start, 500_000.0);
        assert_eq!((second - start).as_millis(), 500);
        let idle = start + Duration::from_secs(1000);
        let third = line.after(second, idle, 1_000_000.0);
        assert_eq!((third - idle).as_millis(), 980);
    }

    #[test]
    fn what_is_no_rate_is_no_limit() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let pace = Pace::new(Some(rate), Some(rate));
            assert!(pace.requests.is_none() && pace.bytes.is_none(), "{rate}");
        }
    }

    #[test]
    fn what_moves_no_block_does_not_wait_for_those_that_do() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            // A block takes an hour.
            let pace = Pace::new(None, Some(0.001));
            pace.wait(512 << 10).await;
            let limit = Duration::from_secs(60);
            assert!(tokio::time::timeout(limit, pace.wait(0)).await.is_ok());
            let limit = Duration::from_millis(20);
            assert!(tokio::time::timeout(limit, pace.wait(1)).await.is_err());
        });
    }
}
