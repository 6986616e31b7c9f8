//! What came of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use http::HeaderMap;
use serde_json::Value;
use tare_evidence::{Failure, Latency, server_timing};

use crate::connection::{Answer, NoAnswer};

/// Significant digits kept of every latency.
const DIGITS: u8 = 3;
/// Nanoseconds of the longest latency that is told apart: a day.
const LONGEST: u64 = 86_400_000_000_000;
/// Bytes of an unexpected body that are shown.
const EXCERPT: usize = 200;
/// What the client saw and the server did not tell of.
const NETWORK: &str = "network";

/// What came of one request.
pub(crate) enum Outcome {
    Answer(Answer),
    NoAnswer(NoAnswer),
    Timeout(Duration),
}

/// What came of the requests of one worker, or of all.
pub(crate) struct Tally {
    latency: Times,
    components: Vec<(String, Times)>,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) succeeded: u64,
    failures: BTreeMap<&'static str, Failure>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latency: Times::new(),
            components: Vec::new(),
            statuses: BTreeMap::new(),
            succeeded: 0,
            failures: BTreeMap::new(),
        }
    }
}

impl Tally {
    /// Counts a request that took `latency`; `promises` are the JSON pointers that the body of a success holds.
    pub(crate) fn count(&mut self, outcome: &Outcome, latency: Duration, promises: &[String]) {
        self.latency.record(latency);
        if let Outcome::Answer(answer) = outcome {
            *self.statuses.entry(answer.status).or_default() += 1;
            self.count_components(&answer.headers, latency);
        }
        match failure(outcome, promises) {
            None => self.succeeded += 1,
            Some((kind, example)) => {
                let new = || Failure { kind: kind.into(), count: 0, example };
                self.failures.entry(kind).or_insert_with(new).count += 1;
            }
        }
    }

    fn count_components(&mut self, headers: &HeaderMap, latency: Duration) {
        let mut rest = latency;
        let mut told = false;
        for (name, time) in
            headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok()).flat_map(server_timing)
        {
            self.component(name).record(time);
            rest = rest.saturating_sub(time);
            told = true;
        }
        if told {
            self.component(NETWORK).record(rest);
        }
    }

    fn component(&mut self, name: &str) -> &mut Times {
        let index = match self.components.iter().position(|(known, _)| known == name) {
            Some(index) => index,
            None => {
                self.components.push((name.to_owned(), Times::new()));
                self.components.len() - 1
            }
        };
        &mut self.components[index].1
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.latency.add(&other.latency);
        for (name, times) in &other.components {
            self.component(name).add(times);
        }
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.succeeded += other.succeeded;
        for (kind, failure) in other.failures {
            match self.failures.get_mut(kind) {
                Some(known) => known.count += failure.count,
                None => drop(self.failures.insert(kind, failure)),
            }
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.latency.0.len()
    }

    pub(crate) fn latency(&self) -> Latency {
        self.latency.summary()
    }

    /// Each component, `network` last.
    pub(crate) fn components(&self) -> Vec<(String, Latency)> {
        let mut components: Vec<_> =
            self.components.iter().map(|(name, times)| (name.clone(), times.summary())).collect();
        components.sort_by_key(|(name, _)| name == NETWORK);
        components
    }

    /// The most frequent first.
    pub(crate) fn failures(self) -> Vec<Failure> {
        let mut failures: Vec<_> = self.failures.into_values().collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        failures
    }
}

/// The kind of a failure and what was met; nothing for a success.
fn failure(outcome: &Outcome, promises: &[String]) -> Option<(&'static str, String)> {
    match outcome {
        Outcome::NoAnswer(NoAnswer::Connect(reason)) => Some(("connect", reason.clone())),
        Outcome::NoAnswer(NoAnswer::Io(reason)) => Some(("io", reason.clone())),
        Outcome::Timeout(after) => Some(("timeout", format!("no answer within {} s", after.as_secs_f64()))),
        Outcome::Answer(Answer { status: 200, body, .. }) => broken_promise(body, promises).map(|why| ("body", why)),
        Outcome::Answer(Answer { status, body, .. }) => Some(("status", format!("{status}: {}", excerpt(body)))),
    }
}

/// Why `body` is not the success it should be: it is not JSON, or nothing is where one of the JSON pointers `promises` points.
pub fn broken_promise(body: &[u8], promises: &[String]) -> Option<String> {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return Some(format!("not JSON: {}", excerpt(body)));
    };
    let missing = promises.iter().find(|pointer| json.pointer(pointer).is_none_or(Value::is_null))?;
    Some(format!("{missing} is missing: {}", excerpt(body)))
}

fn excerpt(body: &[u8]) -> String {
    match body {
        [] => "an empty body".into(),
        body => String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned(),
    }
}

/// A histogram of times, in nanoseconds.
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        Self(Histogram::new(DIGITS).expect("three digits are within what the histogram allows"))
    }

    fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        self.0.record(nanoseconds).expect("the histogram resizes itself up to any time within its bound");
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("a histogram that resizes itself takes any other");
    }

    fn summary(&self) -> Latency {
        let milliseconds = |nanoseconds: f64| nanoseconds / 1e6;
        let quantile = |quantile| milliseconds(self.0.value_at_quantile(quantile) as f64);
        match self.0.is_empty() {
            true => Latency::default(),
            false => Latency {
                min_ms: milliseconds(self.0.min() as f64),
                mean_ms: milliseconds(self.0.mean()),
                p50_ms: quantile(0.50),
                p95_ms: quantile(0.95),
                p99_ms: quantile(0.99),
                max_ms: milliseconds(self.0.max() as f64),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str, timing: Option<&'static str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(timing) = timing {
            headers.insert("server-timing", timing.parse().unwrap());
        }
        Outcome::Answer(Answer { status, headers, body: body.into() })
    }

    #[test]
    fn only_a_200_with_what_was_promised_is_a_success() {
        let promises = ["/result/id".to_owned()];
        let mut tally = Tally::default();
        for outcome in [
            answer(200, r#"{"result":{"id":1}}"#, None),
            answer(200, r#"{"result":{"id":null}}"#, None),
            answer(200, r#"{"result":{}}"#, None),
            answer(200, "", None),
            answer(204, "", None),
            answer(500, "oops", None),
            Outcome::NoAnswer(NoAnswer::Connect("refused".into())),
            Outcome::NoAnswer(NoAnswer::Io("reset".into())),
            Outcome::Timeout(Duration::from_secs(30)),
        ] {
            tally.count(&outcome, Duration::from_millis(1), &promises);
        }
        assert_eq!((tally.requests(), tally.succeeded), (9, 1));
        assert_eq!(tally.statuses, BTreeMap::from([(200, 4), (204, 1), (500, 1)]));
        let failures = tally.failures();
        assert_eq!((&*failures[0].kind, failures[0].count), ("body", 3));
        let example = |kind: &str| &*failures.iter().find(|failure| failure.kind == kind).unwrap().example;
        assert_eq!(example("status"), "204: an empty body");
        assert!(example("body").starts_with("/result/id is missing"));
        assert_eq!(example("timeout"), "no answer within 30 s");
        assert_eq!((example("connect"), example("io")), ("refused", "reset"));
    }

    #[test]
    fn what_the_server_does_not_tell_of_is_the_network() {
        let mut tally = Tally::default();
        let timing = Some("auth;dur=0.25, action;dur=2.5");
        tally.count(&answer(200, "{}", timing), Duration::from_millis(4), &[]);
        let components = tally.components();
        let names: Vec<_> = components.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["auth", "action", "network"]);
        assert!((components[2].1.p50_ms - 1.25).abs() < 0.01, "{components:?}");
    }

    #[test]
    fn workers_add_up() {
        let (mut all, mut one, mut two) = (Tally::default(), Tally::default(), Tally::default());
        one.count(&answer(200, "{}", Some("auth;dur=1")), Duration::from_millis(10), &[]);
        two.count(&answer(503, "busy", None), Duration::from_millis(30), &[]);
        all.add(one);
        all.add(two);
        let latency = all.latency();
        assert_eq!((all.requests(), all.succeeded), (2, 1));
        assert!((latency.mean_ms - 20.0).abs() < 0.1 && (latency.max_ms - 30.0).abs() < 0.1, "{latency:?}");
    }
}
