//! A moment that several machines have agreed on, and how far their clocks agree.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::DATE;
use tare_evidence::Ahead;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the clock is looked at, which may be set meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// By how much what answers tell of a clock may differ: more, and the services behind one URL have different clocks.
const DIFFERENT: f64 = 1.0;

/// Waits until it is `moment` by this machine's clock, or `stop` is cancelled. `tell` is told now and then how long is left.
pub(crate) async fn wait_until(moment: SystemTime, stop: &CancellationToken, mut tell: impl FnMut(Duration)) {
    while let Ok(left) = moment.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        tell(left);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(left.min(LOOK)) => {}
        }
    }
}

/// `time` in seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What the `Date` of answers tells of the service's clock. It is in whole seconds, so one answer tells little; from many of them,
/// each sent and received at another part of a second, the bounds close in on the truth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServiceClock(Option<Bounds>);

/// How far it is ahead, in seconds.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    at_least: f64,
    at_most: f64,
}

impl ServiceClock {
    /// An answer with these headers came at `received` to a request sent at `sent`.
    pub(crate) fn see(&mut self, headers: &HeaderMap, sent: SystemTime, received: SystemTime) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()) else { return };
        let date = date.unix_timestamp() as f64;
        self.add(Self(Some(Bounds { at_least: date - seconds(received), at_most: date + 1.0 - seconds(sent) })));
    }

    /// What another knows is known, too.
    pub(crate) fn add(&mut self, other: Self) {
        self.0 = match (self.0, other.0) {
            (Some(one), Some(other)) => {
                Some(Bounds { at_least: one.at_least.max(other.at_least), at_most: one.at_most.min(other.at_most) })
            }
            (one, other) => one.or(other),
        };
    }

    /// Nothing where answers had no date, or came from services whose clocks differ.
    pub(crate) fn ahead(self) -> Option<Ahead> {
        let Bounds { at_least, at_most } = self.0?;
        // A service that writes its date down a moment before it is sent crosses the bounds by as much.
        let (low, high) = (at_least.min(at_most), at_least.max(at_most));
        (at_least - at_most <= DIFFERENT).then_some(Ahead { at_least_ms: low * 1e3, at_most_ms: high * 1e3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known after an answer every `every_ms`, from a service whose clock is so far ahead.
    fn known(ahead_ms: i64, every_ms: u64, answers: u64) -> Option<Ahead> {
        let mut clock = ServiceClock::default();
        for nth in 0..answers {
            let sent_ms = 1_700_000_000_250 + nth * every_ms;
            let date = OffsetDateTime::from_unix_timestamp((sent_ms as i64 + 1 + ahead_ms).div_euclid(1000)).unwrap();
            let mut headers = HeaderMap::new();
            let written = date.format(&Rfc2822).unwrap().replace("+0000", "GMT");
            headers.insert(DATE, written.parse().unwrap());
            let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
            clock.see(&headers, at(sent_ms), at(sent_ms + 2));
        }
        clock.ahead()
    }

    #[test]
    fn many_answers_tell_a_clock_better_than_a_date_is_written() {
        for ahead_ms in [0, 40, -40, 2_000, -86_400_000] {
            let Ahead { at_least_ms, at_most_ms } = known(ahead_ms, 7, 300).unwrap();
            let ahead = ahead_ms as f64;
            assert!(at_least_ms <= ahead && ahead <= at_most_ms, "{ahead}: {at_least_ms} to {at_most_ms}");
            assert!(at_most_ms - at_least_ms < 20.0, "{ahead}: {at_least_ms} to {at_most_ms}");
        }
        let Ahead { at_least_ms, at_most_ms } = known(0, 7, 1).unwrap();
        assert!(at_least_ms <= 0.0 && 0.0 <= at_most_ms && at_most_ms - at_least_ms > 1_000.0);
    }

    #[test]
    fn services_with_different_clocks_and_without_dates_tell_nothing() {
        assert_eq!(known(0, 7, 0), None);
        let mut clock = ServiceClock::default();
        for (at_least, at_most) in [(-0.01, 0.01), (4.99, 5.01)] {
            clock.add(ServiceClock(Some(Bounds { at_least, at_most })));
        }
        assert_eq!(clock.ahead(), None);
    }

    #[tokio::test]
    async fn a_moment_is_not_begun_before() {
        let moment = SystemTime::now() + Duration::from_millis(30);
        let mut told = Vec::new();
        wait_until(moment, &CancellationToken::new(), |left| told.push(left)).await;
        assert!(SystemTime::now() >= moment && !told.is_empty());
        let stopped = CancellationToken::new();
        stopped.cancel();
        wait_until(moment + Duration::from_secs(3600), &stopped, |_| ()).await;
    }
}
