//! The limits of a connection to EBS.

use crate::Error;
use std::time::Duration;

/// The limits of a connection to EBS.
#[derive(Clone, Debug)]
pub struct Config {
    /// At most so many million bits of blocks in a second, above zero.
    pub max_mbps: Option<f64>,
    /// At most so many requests in a second, of all kinds together, above zero.
    pub max_requests_per_second: Option<f64>,
    /// Requests under way at a time, at least; 1 or more.
    pub min_concurrency: u32,
    /// Requests under way at a time, at most, up to [`Config::MAX_CONCURRENCY`]. Each block under way
    /// is 512 KiB of memory.
    pub max_concurrency: u32,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// All attempts of one request and the pauses between them.
    pub operation: Duration,
    /// After a snapshot was begun, blocks that the service does not find it for are sent again
    /// for so long: it takes up to a minute until all of the service knows it.
    pub not_found: Duration,
    /// From the seal of a snapshot to its final state.
    pub completion: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            operation: Duration::from_secs(120),
            not_found: Duration::from_secs(120),
            completion: Duration::from_secs(3600),
        }
    }
}

/// A put takes AWS some 100 ms, so this many at a time can use the default quota of 1000 in a second
/// up. With the blocks that wait it is 82 MiB of memory.
const CONCURRENCY: u32 = 128;

impl Default for Config {
    fn default() -> Self {
        Self {
            max_mbps: None,
            max_requests_per_second: None,
            min_concurrency: 1,
            max_concurrency: CONCURRENCY,
            timeouts: Timeouts::default(),
        }
    }
}

impl Config {
    /// The most requests at a time: with a block each, 128 MiB.
    pub const MAX_CONCURRENCY: u32 = 256;

    pub(crate) fn check(&self) -> Result<(), Error> {
        let setting = |what, why: &str| {
            Err(Error::Setting {
                what,
                why: why.to_owned(),
            })
        };
        // Below one request in a day no pace can be kept; NaN is no rate either.
        let rate = |rate: f64| rate.is_finite() && rate >= 1e-5;
        if self.max_mbps.is_some_and(|given| !rate(given)) {
            return setting("the limit in Mbit/s", "it is no number above zero");
        }
        if self
            .max_requests_per_second
            .is_some_and(|given| !rate(given))
        {
            return setting("the limit of requests", "it is no number above zero");
        }
        let bounds = self.min_concurrency..=self.max_concurrency;
        if *bounds.start() < 1 || bounds.is_empty() || *bounds.end() > Self::MAX_CONCURRENCY {
            return setting("the concurrency", "it is not between 1 and 256");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_zero_and_empty_bounds_are_refused() {
        assert!(Config::default().check().is_ok());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = Config {
                max_mbps: Some(rate),
                ..Config::default()
            };
            assert!(config.check().is_err(), "{rate}");
            let config = Config {
                max_requests_per_second: Some(rate),
                ..Config::default()
            };
            assert!(config.check().is_err(), "{rate}");
        }
        for (least, most) in [(0, 4), (5, 4), (1, 257)] {
            let config = Config {
                min_concurrency: least,
                max_concurrency: most,
                ..Config::default()
            };
            assert!(config.check().is_err(), "{least} {most}");
        }
    }
}
