//! How the published guide reads a stress pass.

/// What a success rate says: above 95 % go on to latency, from 90 % look into failures, below fix errors first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuccessReading {
    /// More than 95 %.
    GoOn,
    /// 90 to 95 %.
    LookIntoFailures,
    /// Less than 90 %.
    FixErrorsFirst,
}

impl SuccessReading {
    /// The reading of a rate from 0 to 1.
    pub fn of(success_rate: f64) -> Self {
        match success_rate {
            rate if rate > 0.95 => Self::GoOn,
            rate if rate >= 0.90 => Self::LookIntoFailures,
            _ => Self::FixErrorsFirst,
        }
    }

    /// What to do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::GoOn => "go on to latency",
            Self::LookIntoFailures => "look into the failures",
            Self::FixErrorsFirst => "fix the errors first",
        }
    }
}

/// What a P95 says: below 500 ms good, to 2000 ms it could gain, above it must be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyReading {
    /// Below 500 ms.
    Good,
    /// 500 to 2000 ms.
    CouldGain,
    /// Above 2000 ms.
    MustImprove,
}

impl LatencyReading {
    /// The reading of a P95 in milliseconds.
    pub fn of(p95_ms: f64) -> Self {
        match p95_ms {
            p95 if p95 < 500.0 => Self::Good,
            p95 if p95 <= 2000.0 => Self::CouldGain,
            _ => Self::MustImprove,
        }
    }

    /// What it says.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::CouldGain => "could gain",
            Self::MustImprove => "must be worked on",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_change_where_the_guide_says() {
        use LatencyReading::{CouldGain, Good, MustImprove};
        use SuccessReading::{FixErrorsFirst, GoOn, LookIntoFailures};
        let rates = [1.0, 0.951, 0.95, 0.90, 0.899, 0.0].map(SuccessReading::of);
        assert_eq!(rates, [GoOn, GoOn, LookIntoFailures, LookIntoFailures, FixErrorsFirst, FixErrorsFirst]);
        let p95s = [1.0, 499.9, 500.0, 2000.0, 2000.1].map(LatencyReading::of);
        assert_eq!(p95s, [Good, Good, CouldGain, CouldGain, MustImprove]);
    }
}
