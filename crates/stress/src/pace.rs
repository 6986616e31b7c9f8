//! When requests are due.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

/// The highest rate that can be asked for, requests per second.
const HIGHEST: f64 = 1e6;
/// What a pace may read like, for messages.
const FORMS: &str = "a rate reads 500 (requests a second), and stages read 100:10s,100..1000:60s";

/// A rate at which requests are due, whether or not those before them are answered; perhaps in stages that follow one
/// another.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    given: String,
    stages: Vec<Stage>,
}

/// A rate, or a ramp from one to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stage {
    from: f64,
    to: f64,
    /// In seconds; infinite where none was given.
    seconds: f64,
}

/// What was given is no pace.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is no rate: {reason}; {FORMS}")]
pub struct PaceError {
    given: String,
    reason: &'static str,
}

impl Pace {
    /// So many requests a second, without an end.
    pub fn constant(per_second: f64) -> Self {
        let stage = Stage { from: per_second, to: per_second, seconds: f64::INFINITY };
        Self { given: format!("{per_second}"), stages: vec![stage] }
    }

    /// When the request `n` is due, since the beginning and counted from 0; nothing after the last stage, or after all time.
    pub fn due(&self, n: u64) -> Option<Duration> {
        let (mut n, mut begun) = (n as f64, 0.0);
        for stage in &self.stages {
            let there_are = stage.requests();
            if n < there_are {
                return Duration::try_from_secs_f64(begun + stage.seconds_until(n)).ok();
            }
            n -= there_are;
            begun += stage.seconds;
        }
        None
    }

    /// Requests that are due in all; nothing when there is no end.
    pub fn requests(&self) -> Option<u64> {
        let requests: f64 = self.stages.iter().map(Stage::requests).sum();
        requests.is_finite().then_some(requests.ceil() as u64)
    }

    /// How long it lasts; nothing when there is no end.
    pub fn duration(&self) -> Option<Duration> {
        let seconds: f64 = self.stages.iter().map(|stage| stage.seconds).sum();
        seconds.is_finite().then(|| Duration::from_secs_f64(seconds))
    }
}

impl Stage {
    fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.seconds
    }

    /// After how long `n` requests have been due: `n = from·t + (to − from)/2·t²/seconds`, solved for `t`.
    fn seconds_until(&self, n: f64) -> f64 {
        let Self { from, to, seconds } = *self;
        if from == to || n == 0.0 {
            return n / from.max(f64::MIN_POSITIVE);
        }
        // This form holds for ramps down and up, and from nothing.
        2.0 * n / (from + (from * from + 2.0 * (to - from) / seconds * n).max(0.0).sqrt())
    }
}

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(given: &str) -> Result<Self, PaceError> {
        let bad = |reason| PaceError { given: given.to_owned(), reason };
        let rate = |text: &str| match text.trim().parse::<f64>() {
            Ok(rate) if (0.0..=HIGHEST).contains(&rate) => Ok(rate),
            _ => Err(bad("its rate is not a number from 0 to 1000000")),
        };
        let mut stages = Vec::new();
        for stage in given.split(',') {
            let (rates, seconds) = match stage.split_once(':') {
                Some((rates, given)) => {
                    let time = time(given).ok_or_else(|| bad("its time is none, like 10s or 2m"))?;
                    (rates, time.as_secs_f64())
                }
                None => (stage, f64::INFINITY),
            };
            let (from, to) = match rates.split_once("..") {
                Some((from, to)) => (rate(from)?, rate(to)?),
                None => (rate(rates)?, rate(rates)?),
            };
            if from + to == 0.0 {
                return Err(bad("nothing would be sent"));
            }
            if from != to && seconds.is_infinite() {
                return Err(bad("a ramp needs a time"));
            }
            stages.push(Stage { from, to, seconds });
        }
        match stages.iter().rev().skip(1).any(|stage| stage.seconds.is_infinite()) {
            true => Err(bad("a stage that others follow needs a time")),
            false => Ok(Self { given: given.to_owned(), stages }),
        }
    }
}

impl Display for Pace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.given)
    }
}

/// A time above 0 with its unit: `10s`, `500ms`, `2m` or `1h`.
pub fn time(given: &str) -> Option<Duration> {
    let number = given.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &given[number.len()..] {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.trim().parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_ms(pace: &Pace, n: u64) -> Option<f64> {
        pace.due(n).map(|due| (due.as_secs_f64() * 1e6).round() / 1e3)
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_and_has_no_end() {
        let pace: Pace = "500".parse().unwrap();
        assert_eq!([0, 1, 500].map(|n| due_ms(&pace, n)), [Some(0.0), Some(2.0), Some(1000.0)]);
        assert_eq!((pace.requests(), pace.duration()), (None, None));
        assert_eq!(pace, Pace::constant(500.0));
        assert_eq!(Pace::constant(0.1).due(u64::MAX), None);
    }

    #[test]
    fn stages_follow_one_another_and_end() {
        let pace: Pace = "100:10s,200:500ms".parse().unwrap();
        assert_eq!(
            [999, 1000, 1099, 1100].map(|n| due_ms(&pace, n)),
            [Some(9990.0), Some(10_000.0), Some(10_495.0), None]
        );
        assert_eq!((pace.requests(), pace.duration()), (Some(1100), Some(Duration::from_millis(10_500))));
    }

    #[test]
    fn a_ramp_has_as_many_requests_as_its_mean_rate() {
        for given in ["0..100:10s", "100..0:10s"] {
            let pace: Pace = given.parse().unwrap();
            assert_eq!(pace.requests(), Some(500), "{given}");
            let due: Vec<_> = (0..500).map(|n| pace.due(n).unwrap()).collect();
            assert!(due.is_sorted() && due[499] < Duration::from_secs(10), "{given}");
            assert_eq!(pace.due(500), None);
        }
        // A quarter of the requests of a ramp from nothing is due when half of its time is over.
        let ramp: Pace = "0..100:10s".parse().unwrap();
        assert_eq!(due_ms(&ramp, 125), Some(5000.0));
    }

    #[test]
    fn what_is_no_pace_is_told_with_what_one_looks_like() {
        for (given, reason) in [
            ("", "not a number"),
            ("fast", "not a number"),
            ("-1", "not a number"),
            ("NaN", "not a number"),
            ("0", "nothing would be sent"),
            ("10..20", "a ramp needs a time"),
            ("10,20:5s", "needs a time"),
            ("10:5", "its time is none"),
            ("10:0s", "its time is none"),
        ] {
            let error = given.parse::<Pace>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("100..1000:60s"), "{given}: {error}");
        }
    }
}
