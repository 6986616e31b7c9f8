//! A worker's share of a load that several machines send together.

use std::fmt::{self, Display};
use std::str::FromStr;

/// Workers at most.
const MOST: u64 = 10_000;

/// Worker so and so of so many. Of whatever comes in turn, worker 1 takes the first, worker 2 the second and so on, and then worker 1
/// again: shares add up to the whole, and no two workers ever take the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    worker: u64,
    workers: u64,
}

/// What was given is no share.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no share; it reads 3/8 for the third of eight workers, who are from 1 to 10000")]
pub struct ShareError(String);

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self { worker: 1, workers: 1 };

    /// Which of the workers, from 1.
    pub fn worker(self) -> u64 {
        self.worker
    }

    /// Workers in all.
    pub fn workers(self) -> u64 {
        self.workers
    }

    /// How many of `whole` are in it.
    pub fn of(self, whole: u64) -> u64 {
        whole.saturating_sub(self.worker - 1).div_ceil(self.workers)
    }

    /// Which of the whole the `nth` of this share is; both are counted from 0.
    pub fn number(self, nth: u64) -> u64 {
        nth.saturating_mul(self.workers).saturating_add(self.worker - 1)
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.worker, self.workers)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(given: &str) -> Result<Self, ShareError> {
        let read = || {
            let (worker, workers) = given.split_once('/')?;
            let (worker, workers) = (worker.trim().parse().ok()?, workers.trim().parse().ok()?);
            ((1..=MOST).contains(&workers) && (1..=workers).contains(&worker)).then_some(Self { worker, workers })
        };
        read().ok_or_else(|| ShareError(given.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(workers: u64) -> impl Iterator<Item = Share> {
        (1..=workers).map(move |worker| Share { worker, workers })
    }

    #[test]
    fn shares_add_up_and_nothing_is_in_two() {
        for workers in 1..=17 {
            for whole in 0..60 {
                let taken: Vec<_> =
                    all(workers).flat_map(|share| (0..share.of(whole)).map(move |nth| share.number(nth))).collect();
                let different: BTreeSet<_> = taken.iter().copied().collect();
                assert_eq!(different, (0..whole).collect(), "{workers} workers, {whole}");
                assert_eq!(taken.len() as u64, whole, "{workers} workers, {whole}");
            }
        }
        assert_eq!((Share::WHOLE.of(u64::MAX), Share::WHOLE.number(7)), (u64::MAX, 7));
    }

    #[test]
    fn what_is_no_share_says_what_one_is() {
        assert_eq!("3/8".parse::<Share>().unwrap(), Share { worker: 3, workers: 8 });
        assert_eq!("3/8".parse::<Share>().unwrap().to_string(), "3/8");
        for given in ["", "3", "0/8", "9/8", "3/0", "-1/8", "1/2/3", "a/b", "1/10001"] {
            assert!(given.parse::<Share>().unwrap_err().to_string().contains("3/8"), "{given}");
        }
    }
}
