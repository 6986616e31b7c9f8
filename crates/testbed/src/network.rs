//! How far a service is from its database.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The network between a service and its database, for a [`Relay`](crate::Relay) to stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// From a question to its answer, what the server does not counted; half of it each way.
    pub round_trip: Duration,
    /// A round trip takes as much longer or shorter, at most. Drawn from a seed: each run meets the same.
    pub jitter: Duration,
    /// Bits per second each way, shared by all connections; nothing when it is not limited.
    pub bandwidth: Option<u64>,
}

/// The environment variable that says at what network benches are measured.
pub const NETWORK: &str = "TARE_NETWORK";

/// The profiles that have a name. Without jitter those who wait for the same distance fall in step, and are served in bursts.
const PROFILES: [(&str, Network); 4] = [
    ("loopback", Network::LOOPBACK),
    ("zone", Network::jittered(Duration::from_millis(1))),
    ("region", Network::jittered(Duration::from_millis(10))),
    ("remote", Network::jittered(Duration::from_millis(50))),
];
const TIME_UNITS: [(&str, f64); 3] = [("us", 1e3), ("ms", 1e6), ("s", 1e9)];
const RATE_UNITS: [(&str, f64); 3] = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
/// Longer than this nobody waits.
const LONGEST: Duration = Duration::from_secs(60);
/// Less than this is a mistake for a larger unit.
const NARROWEST: u64 = 1_000;
/// More than this, which no network has, could not be told to the last bit.
const WIDEST: u64 = 1_000_000_000_000_000;

impl Network {
    /// No distance: service and database are on one machine, and no relay is between them.
    pub const LOOPBACK: Self = Self::at(Duration::ZERO);

    /// A distance, without jitter and with all the bandwidth there is.
    pub const fn at(round_trip: Duration) -> Self {
        Self { round_trip, jitter: Duration::ZERO, bandwidth: None }
    }

    /// A distance with the jitter that profiles have: a tenth of it.
    const fn jittered(round_trip: Duration) -> Self {
        Self { round_trip, jitter: Duration::from_nanos(round_trip.as_nanos() as u64 / 10), bandwidth: None }
    }
}

/// Why a network is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{reason}; a network is loopback, zone (1 ms), region (10 ms) or remote (50 ms), each with a tenth of jitter, or some of \
     rtt=80ms,jitter=5ms,bandwidth=100mbit (us, ms, s; kbit, mbit, gbit)"
)]
pub struct NetworkError {
    reason: String,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(given: &str) -> Result<Self, NetworkError> {
        if let Some((_, profile)) = PROFILES.iter().find(|(name, _)| *name == given) {
            return Ok(*profile);
        }
        let refused = |reason: String| Err(NetworkError { reason });
        let (mut round_trip, mut jitter, mut bandwidth) = (None, None, None);
        for part in given.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return refused(format!("{part:?} is neither a profile nor key=value"));
            };
            let amount = match key {
                "rtt" | "jitter" => quantity(value, &TIME_UNITS),
                "bandwidth" => quantity(value, &RATE_UNITS),
                _ => return refused(format!("{key:?} is not known of a network")),
            };
            let Some(amount) = amount else { return refused(format!("{part:?} is not an amount with its unit")) };
            let place = match key {
                "rtt" => &mut round_trip,
                "jitter" => &mut jitter,
                _ => &mut bandwidth,
            };
            if place.replace(amount).is_some() {
                return refused(format!("{key} is given twice"));
            }
        }
        let time = |nanoseconds: Option<u64>| Duration::from_nanos(nanoseconds.unwrap_or(0));
        let network = Self { round_trip: time(round_trip), jitter: time(jitter), bandwidth };
        match network {
            Self { round_trip, .. } if round_trip > LONGEST => refused(format!("{given:?} is farther than a minute")),
            Self { round_trip, jitter, .. } if jitter > round_trip => {
                refused(format!("{given:?} has more jitter than distance"))
            }
            Self { bandwidth: Some(..NARROWEST), .. } => {
                refused(format!("{given:?} has less than 1 kbit of bandwidth"))
            }
            Self { bandwidth: Some(bandwidth), .. } if bandwidth > WIDEST => {
                refused(format!("{given:?} has more than 1000000 gbit of bandwidth"))
            }
            network => Ok(network),
        }
    }
}

/// A number that is not negative, and its unit: in the smallest there is.
fn quantity(given: &str, units: &[(&str, f64)]) -> Option<u64> {
    let unit_at = given.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = given.split_at(unit_at);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = number.parse::<f64>().ok().filter(|_| plain)? * scale;
    (amount < u64::MAX as f64).then_some(amount.round() as u64)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round_trip, jitter, bandwidth } = *self;
        if let Some((name, _)) = PROFILES.iter().find(|(_, profile)| profile == self) {
            return f.write_str(name);
        }
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "rtt={}ms", milliseconds(round_trip))?;
        if !jitter.is_zero() {
            write!(f, ",jitter={}ms", milliseconds(jitter))?;
        }
        if let Some(bandwidth) = bandwidth {
            write!(f, ",bandwidth={}mbit", bandwidth as f64 / 1e6)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_profile_or_its_parts() {
        let network = |given: &str| given.parse::<Network>().unwrap();
        assert_eq!(network("remote"), network("rtt=50ms,jitter=5ms"));
        assert_eq!(network("loopback"), Network::LOOPBACK);
        let parts = network("rtt=80ms,jitter=0.5ms,bandwidth=100mbit");
        assert_eq!((parts.round_trip, parts.jitter), (Duration::from_millis(80), Duration::from_micros(500)));
        assert_eq!(parts.bandwidth, Some(100_000_000));
        assert_eq!(network("rtt=250us").round_trip, Duration::from_micros(250));
    }

    #[test]
    fn it_is_told_as_it_can_be_given() {
        for given in ["remote", "zone", "rtt=80ms", "rtt=1.5ms,jitter=0.5ms,bandwidth=0.25mbit"] {
            assert_eq!(given.parse::<Network>().unwrap().to_string(), given);
        }
        assert_eq!("rtt=10ms,jitter=1ms".parse::<Network>().unwrap().to_string(), "region");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_the_form_shown() {
        for (given, reason) in [
            ("moon", "\"moon\" is neither"),
            ("", "\"\" is neither"),
            ("rtt=-5ms", "\"rtt=-5ms\" is not an amount"),
            ("rtt=5", "\"rtt=5\" is not an amount"),
            ("rtt=ms", "is not an amount"),
            ("rtt=1e3ms", "is not an amount"),
            ("rtt=NaNms", "is not an amount"),
            ("latency=5ms", "\"latency\" is not known"),
            ("rtt=5ms,rtt=6ms", "rtt is given twice"),
            ("rtt=5ms,jitter=6ms", "more jitter than distance"),
            ("jitter=1ms", "more jitter than distance"),
            ("rtt=2000s", "farther than a minute"),
            ("rtt=5ms,bandwidth=0.1kbit", "less than 1 kbit"),
            ("rtt=5ms,bandwidth=1000000.1gbit", "more than 1000000 gbit"),
            ("rtt=5ms,bandwidth=5ms", "is not an amount"),
            ("remote,jitter=5ms", "\"remote\" is neither"),
        ] {
            let error = given.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("rtt=80ms,jitter=5ms"), "{given}: {error}");
        }
    }
}
