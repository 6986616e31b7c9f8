//! Openings at a bounded rate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Turns that come at a rate, after a first few at once: a database that has just come back is not met by everybody.
pub(super) struct Pace {
    interval: Duration,
    burst: u32,
    last: Mutex<Instant>,
}

impl Pace {
    /// `per_second` turns a second, `burst` of them at once after a rest.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let now = Instant::now();
        Self { interval, burst, last: Mutex::new(now.checked_sub(interval * burst).unwrap_or(now)) }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) {
        let turn = self.next(Instant::now());
        tokio::time::sleep_until(turn.into()).await;
    }

    fn next(&self, now: Instant) -> Instant {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = now.checked_sub(self.interval * self.burst).unwrap_or(now);
        *last = (*last).max(rested) + self.interval;
        (*last).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_a_rate_after_a_burst() {
        let pace = Pace::new(100, 3);
        let now = Instant::now();
        let waits = |now: Instant| [(); 5].map(|()| (pace.next(now) - now).as_millis().div_ceil(5) * 5);
        assert_eq!(waits(now), [0, 0, 0, 10, 20]);
        let rested = now + Duration::from_secs(9);
        assert_eq!(waits(rested), [0, 0, 0, 10, 20]);
    }
}
