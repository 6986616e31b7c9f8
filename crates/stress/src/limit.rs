//! The search for the highest rate that holds.
//!
//! Rates are doubled or halved until one holds and one does not, and then the middle is tried until the two are close. One
//! trial says little on a busy machine: a rate counts when two trials of it came out the same.

/// Trials of one rate that must agree.
const AGREED: u32 = 2;
/// Requests per second below which nothing is looked for.
const LOWEST: f64 = 1.0;

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    rate: f64,
    precision: f64,
    highest: f64,
    /// Trials of the rate so far: those that held and those that did not.
    trials: (u32, u32),
    /// The highest rate that counts as one that holds.
    held: Option<f64>,
    /// The lowest that counts as one that does not.
    failed: Option<f64>,
}

impl Search {
    /// A search that begins at the rate `first` and ends when the lowest that fails is within `precision` of the highest
    /// that holds, 0.05 being 5 %, or when `highest` holds.
    pub fn new(first: f64, precision: f64, highest: f64) -> Self {
        Self { rate: round(first.clamp(LOWEST, highest)), precision, highest, trials: (0, 0), held: None, failed: None }
    }

    /// The rate to try next; nothing when the limit is known.
    pub fn next(&self) -> Option<f64> {
        let over = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed <= held * (1.0 + self.precision) || round(failed) <= round(held) + 1.0,
            (Some(held), None) => held >= self.highest,
            (None, Some(failed)) => failed <= LOWEST,
            (None, None) => false,
        };
        (!over).then_some(self.rate)
    }

    /// How the rate that was to be tried came out.
    pub fn tell(&mut self, held: bool) {
        match held {
            true => self.trials.0 += 1,
            false => self.trials.1 += 1,
        }
        match self.trials {
            (AGREED, _) => self.held = Some(self.rate),
            (_, AGREED) => self.failed = Some(self.rate),
            _ => return,
        }
        self.trials = (0, 0);
        self.rate = round(match (self.held, self.failed) {
            (Some(held), None) => (held * 2.0).min(self.highest),
            (None, Some(failed)) => (failed / 2.0).max(LOWEST),
            // Rates are compared as ratios, so the middle is the geometric one.
            (Some(held), Some(failed)) => (held * failed).sqrt(),
            (None, None) => self.rate,
        });
    }

    /// The highest rate that held, and the lowest that did not.
    pub fn found(&self) -> (Option<f64>, Option<f64>) {
        (self.held, self.failed)
    }
}

/// Rates are whole where that changes them little.
fn round(rate: f64) -> f64 {
    if rate >= 100.0 { rate.round() } else { (rate * 10.0).round() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where `holds` says what comes of each trial; the rates in the order they were tried.
    fn search(mut search: Search, mut holds: impl FnMut(usize, f64) -> bool) -> (Search, Vec<f64>) {
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            assert!(tried.len() < 100, "{tried:?}");
            search.tell(holds(tried.len(), rate));
        }
        (search, tried)
    }

    #[test]
    fn the_limit_is_found_from_above_and_below() {
        for first in [10.0, 900.0, 40_000.0] {
            let (found, tried) = search(Search::new(first, 0.05, 1e6), |_, rate| rate <= 1234.0);
            let (Some(held), Some(failed)) = found.found() else { panic!("{found:?}") };
            assert!(held <= 1234.0 && failed > 1234.0 && failed <= held * 1.05, "{found:?}");
            assert!(tried.len() <= 40, "{tried:?}");
        }
    }

    #[test]
    fn one_trial_gone_wrong_changes_nothing() {
        let (calm, _) = search(Search::new(800.0, 0.05, 1e6), |_, rate| rate <= 1234.0);
        let (noisy, _) = search(Search::new(800.0, 0.05, 1e6), |nth, rate| (rate <= 1234.0) != (nth == 1));
        assert_eq!(calm.found(), noisy.found());
    }

    #[test]
    fn it_ends_where_everything_holds_or_nothing() {
        let (all, _) = search(Search::new(100.0, 0.05, 5000.0), |_, _| true);
        assert_eq!(all.found(), (Some(5000.0), None));
        let (none, _) = search(Search::new(100.0, 0.05, 5000.0), |_, _| false);
        assert_eq!(none.found(), (None, Some(LOWEST)));
    }

    #[test]
    fn small_rates_end_too() {
        let (found, _) = search(Search::new(3.0, 0.05, 1e6), |_, rate| rate <= 2.0);
        let (held, failed) = found.found();
        assert!(held.unwrap() <= 2.0 && failed.unwrap() > 2.0);
    }
}
