//! The line to the service: so many bytes in a second, whoever sends them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All connections go through it, one piece after another.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// When it has passed on what it was given.
    free: Mutex<Option<Instant>>,
}

impl Line {
    /// Takes as long as the line does for so many bytes; 0 bytes in a second is no limit.
    pub(crate) async fn pass(&self, bytes: usize, bytes_per_second: u64) {
        if bytes_per_second == 0 {
            return;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let time = Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second);
        let passed = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let passed = free.map_or(now, |free| free.max(now)) + time;
            *free = Some(passed);
            passed
        };
        tokio::time::sleep_until(passed.into()).await;
    }
}
