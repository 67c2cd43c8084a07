//! How fast EC2 is asked, and for how long things may take.

use std::time::Duration;

/// How fast EC2 is asked, and for how long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At most so many requests in a second; `None`, or what is no number above zero, is no limit.
    pub max_requests_per_second: Option<f64>,
    /// All attempts of one request and the pauses between them.
    pub operation: Duration,
    /// For so long what was just made may not be known to all of EC2, and what was just removed may
    /// still hold its address.
    pub settled: Duration,
    /// Between two looks at the same thing, at the most.
    pub poll: Duration,
    /// Until an image is available.
    pub image: Duration,
    /// Until an instance runs.
    pub running: Duration,
    /// Until its status checks are passed, from then on.
    pub status_ok: Duration,
    /// For so long a failed status check may still be a guest that is booting.
    pub impaired: Duration,
    /// Until a guest has shut down.
    pub stopped: Duration,
    /// Until an instance is terminated, and its volumes and interfaces are free.
    pub terminated: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_requests_per_second: None,
            operation: Duration::from_secs(120),
            settled: Duration::from_secs(120),
            poll: Duration::from_secs(5),
            image: Duration::from_secs(600),
            running: Duration::from_secs(600),
            // The checks themselves take some minutes, and a volume that is read from its snapshot
            // for the first time is slow.
            status_ok: Duration::from_secs(1800),
            impaired: Duration::from_secs(300),
            stopped: Duration::from_secs(900),
            terminated: Duration::from_secs(900),
        }
    }
}
