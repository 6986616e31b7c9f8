//! What happened when: a histogram of latencies for each window of time.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use tare_evidence::Span;

use crate::times::Times;

/// How long a window is at first.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
/// Windows kept at most. Beyond them each two become one, so that a pass of any length takes bounded memory.
const MOST: usize = 600;
/// Spans told of at most.
pub(crate) const TOLD: usize = 60;

/// A window of time, and the latencies of the requests that came to their end in it.
#[derive(Clone)]
pub struct Window {
    from: Duration,
    length: Duration,
    requests: u64,
    failed: u64,
    /// A histogram as it is written to files: nearly all of its counts are 0, and take no space so.
    times: Vec<u8>,
}

/// The windows of a pass.
#[derive(Default)]
pub(crate) struct Timeline {
    windows: Vec<Window>,
    /// How many windows of the first length become one.
    fold: usize,
    /// Those that are not yet as many, together.
    pending: Option<(Window, usize)>,
}

impl Window {
    pub(crate) fn new(from: Duration, length: Duration, times: &Times, failed: u64) -> Self {
        let mut packed = Vec::new();
        V2Serializer::new().serialize(&times.0, &mut packed).expect("memory takes what is written to it");
        Self { from, length, requests: times.0.len(), failed, times: packed }
    }

    /// When it began, since counting began.
    pub(crate) fn from(&self) -> Duration {
        self.from
    }

    /// How long it was.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Latencies in nanoseconds.
    pub(crate) fn times(&self) -> Histogram<u64> {
        let read = Deserializer::new().deserialize(&mut &self.times[..]);
        let mut times: Histogram<u64> = read.expect("what was written here can be read");
        // As wide as its own values and no wider, until it is told so.
        times.auto(true);
        times
    }

    /// Requests that came to their end in it.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Those that took longer.
    pub(crate) fn slower_than(&self, latency_ms: f64) -> u64 {
        let times = self.times();
        let bound = times.highest_equivalent((latency_ms * 1e6) as u64);
        times.iter_recorded().filter(|step| step.value_iterated_to() > bound).map(|step| step.count_at_value()).sum()
    }

    /// Whether `at` lies in it.
    pub(crate) fn holds(&self, at: Duration) -> bool {
        (self.from..self.from + self.length).contains(&at)
    }

    fn join(&mut self, next: &Self) {
        let mut times = Times(self.times());
        times.add(&Times(next.times()));
        *self = Self::new(self.from, next.from + next.length - self.from, &times, self.failed + next.failed);
    }

    fn span(&self) -> Span {
        let latency = Times(self.times()).summary();
        Span {
            from_s: self.from.as_secs_f64(),
            seconds: self.length.as_secs_f64(),
            requests: self.requests,
            failed: self.failed,
            p50_ms: latency.p50_ms,
            p95_ms: latency.p95_ms,
            p99_ms: latency.p99_ms,
        }
    }
}

impl Timeline {
    /// Adds the window that follows the last one.
    pub(crate) fn push(&mut self, window: Window) {
        let fold = self.fold.max(1);
        let (joined, of) = match self.pending.take() {
            None => (window, 1),
            Some((mut pending, of)) => {
                pending.join(&window);
                (pending, of + 1)
            }
        };
        if of < fold {
            self.pending = Some((joined, of));
            return;
        }
        self.windows.push(joined);
        if self.windows.len() == MOST {
            self.windows = joined_by(&self.windows, 2);
            self.fold = fold * 2;
        }
    }

    /// All windows, in order.
    pub(crate) fn finish(mut self) -> Vec<Window> {
        self.windows.extend(self.pending.map(|(window, _)| window));
        self.windows
    }
}

/// What is told of them: not more spans than a page holds.
pub(crate) fn spans(windows: &[Window]) -> Vec<Span> {
    joined_by(windows, windows.len().div_ceil(TOLD).max(1)).iter().map(Window::span).collect()
}

fn joined_by(windows: &[Window], many: usize) -> Vec<Window> {
    let joined = windows.chunks(many).map(|chunk| {
        let mut joined = chunk[0].clone();
        chunk[1..].iter().for_each(|next| joined.join(next));
        joined
    });
    joined.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(nth: u32, latencies_ms: &[u64]) -> Window {
        let mut times = Times::new();
        latencies_ms.iter().for_each(|ms| times.record(Duration::from_millis(*ms)));
        Window::new(nth * WINDOW, WINDOW, &times, 0)
    }

    #[test]
    fn a_long_pass_has_wider_windows_and_loses_nothing() {
        let mut timeline = Timeline::default();
        (0..5001).for_each(|nth| timeline.push(window(nth, &[u64::from(nth % 7) + 1])));
        let windows = timeline.finish();
        assert!((MOST / 2..=MOST).contains(&windows.len()), "{}", windows.len());
        assert_eq!(windows.iter().map(Window::requests).sum::<u64>(), 5001);
        assert!(windows.windows(2).all(|pair| pair[0].from() + pair[0].length() == pair[1].from()));
        let spans = spans(&windows);
        assert!(spans.len() <= TOLD);
        assert_eq!(spans.iter().map(|span| span.requests).sum::<u64>(), 5001);
    }

    #[test]
    fn the_slower_ones_are_counted() {
        let window = window(0, &[1, 5, 5, 10, 20]);
        assert_eq!([0.5, 5.0, 10.0, 20.0].map(|ms| window.slower_than(ms)), [5, 2, 1, 0]);
        assert!(window.holds(Duration::ZERO) && !window.holds(WINDOW));
    }
}
