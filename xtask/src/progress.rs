//! What is running and how long is left: a live line in a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often what a step is at is said where there is no terminal.
const NOW_AND_THEN: Duration = Duration::from_secs(5);

/// A step that is planned, and how long it is expected to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// From an earlier run, or from experience.
    pub expected: Duration,
}

/// Shows progress. Clones show the same.
#[derive(Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
    state: Arc<Mutex<State>>,
}

struct State {
    ahead: Vec<Planned>,
    expected: Duration,
    since: Instant,
    /// When a line was last said where there is no terminal.
    said: Instant,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new(plan: Vec<Planned>) -> Self {
        let state = State { ahead: plan, expected: Duration::ZERO, since: Instant::now(), said: Instant::now() };
        let state = Arc::new(Mutex::new(state));
        let bar = std::io::stderr().is_terminal().then(|| live_line(state.clone()));
        Self { bar, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins; it and those planned before it are no longer ahead.
    pub fn begin(&self, name: &str) {
        let (expected, left) = {
            let mut state = self.state();
            state.since = Instant::now();
            state.said = state.since;
            state.expected = Duration::ZERO;
            if let Some(index) = state.ahead.iter().position(|planned| planned.name == name) {
                state.expected = state.ahead[index].expected;
                state.ahead.drain(..=index);
            }
            (state.expected, state.left())
        };
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(name.to_owned());
                bar.set_message("");
            }
            None => eprintln!("{name}: about {}, {} left", words(expected), words(left)),
        }
    }

    /// What the running step is at: shown live, and now and then as a line where there is no terminal.
    pub fn at(&self, message: impl Into<String>) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("· {}", message.into())),
            None => {
                let mut state = self.state();
                if state.said.elapsed() >= NOW_AND_THEN {
                    state.said = Instant::now();
                    eprintln!("  {}, {} left", message.into(), words(state.left()));
                }
            }
        }
    }

    /// The running step takes that long, as far as one can tell by now.
    pub fn expect(&self, whole: Duration) {
        self.state().expected = whole;
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Nothing more is shown.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn left(&self) -> Duration {
        let ahead: Duration = self.ahead.iter().map(|planned| planned.expected).sum();
        ahead + self.expected.saturating_sub(self.since.elapsed())
    }
}

fn live_line(state: Arc<Mutex<State>>) -> ProgressBar {
    let left = move |_: &indicatif::ProgressState, text: &mut dyn std::fmt::Write| {
        let left = state.lock().unwrap_or_else(PoisonError::into_inner).left();
        let _ = write!(text, "{} left", words(left));
    };
    let style = ProgressStyle::with_template("{spinner} {elapsed} {left} · {prefix} {wide_msg}")
        .expect("the template is understood")
        .with_key("left", left);
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// `8 s`, `1 min 20 s`.
pub fn words(time: Duration) -> String {
    match time.as_secs_f64().round() as u64 {
        seconds @ ..60 => format!("{seconds} s"),
        seconds if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_words() {
        assert_eq!([8, 60, 80].map(|seconds| words(Duration::from_secs(seconds))), ["8 s", "1 min", "1 min 20 s"]);
    }

    #[test]
    fn what_is_left_is_what_is_ahead_and_the_rest_of_this_step() {
        let plan = [("a", 10), ("b", 20), ("c", 40)]
            .map(|(name, seconds)| Planned { name: name.into(), expected: Duration::from_secs(seconds) });
        let progress = Progress::new(plan.into());
        progress.begin("b");
        let left = progress.state().left().as_secs_f64();
        assert!((59.0..=60.0).contains(&left), "{left}");
        progress.begin("unplanned");
        assert_eq!(progress.state().left(), Duration::from_secs(40));
    }
}
