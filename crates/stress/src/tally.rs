//! What came of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use tare_evidence::{ActionPass, Failure, Tail, server_timing};

use crate::Line;
use crate::moment::ServiceClock;
use crate::outcome::{Outcome, failure};
use crate::tail::Grid;
use crate::times::Times;

/// What the client saw and the server did not tell of.
pub(crate) const NETWORK: &str = "network";
/// Components told of at most: what a server makes up anew for each request would take memory without end.
const COMPONENTS: usize = 64;

/// What came of the requests of one thread, or of all.
#[derive(Default)]
pub(crate) struct Tally {
    /// Since this was last looked at.
    pub(crate) window: Recent,
    pub(crate) lateness: Times,
    components: Vec<(String, Times)>,
    pub(crate) statuses: BTreeMap<u16, Times>,
    actions: Vec<Action>,
    pub(crate) succeeded: u64,
    failures: BTreeMap<&'static str, Failure>,
    pub(crate) connections: u64,
    /// The service's, where it is looked at.
    pub(crate) clock: ServiceClock,
    grid: Grid,
    /// Indices and times of one request's components, here for their memory to be used again.
    told: Vec<(usize, Duration)>,
}

/// What came of the last requests.
#[derive(Default)]
pub(crate) struct Recent {
    pub(crate) latency: Times,
    pub(crate) failed: u64,
    /// Of each request, where that is asked for.
    pub(crate) lines: Vec<Line>,
}

impl Recent {
    /// Takes what another has, which has nothing then.
    pub(crate) fn take(&mut self, other: &mut Self) {
        self.latency.add(&other.latency);
        self.failed += other.failed;
        self.lines.append(&mut other.lines);
        other.clear();
    }

    /// Forgets all, and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.latency.0.reset();
        self.failed = 0;
        self.lines.clear();
    }
}

#[derive(Default)]
struct Action {
    latency: Times,
    succeeded: u64,
}

/// When a request was due, sent and done.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    /// Since it was due, or sent where nothing is due.
    pub(crate) latency: Duration,
    /// Between when it was due and when it was sent; nothing where nothing is due.
    pub(crate) waited: Option<Duration>,
}

impl Tally {
    /// Counts a request for the action `action`. `promises` are what its success holds. Why it failed, if it did.
    pub(crate) fn count(
        &mut self,
        action: usize,
        outcome: &Outcome,
        Timing { latency, waited }: Timing,
        promises: &[String],
    ) -> Option<&'static str> {
        self.window.latency.record(latency);
        waited.inspect(|waited| self.lateness.record(*waited));
        let waited = waited.unwrap_or_default();
        self.told.clear();
        if let Outcome::Answer(answer) = outcome {
            self.statuses.entry(answer.status).or_default().record(latency);
            self.count_components(&answer.headers, latency.saturating_sub(waited));
        }
        self.grid.count(latency, waited, self.told.iter().copied());
        if action >= self.actions.len() {
            self.actions.resize_with(action + 1, Action::default);
        }
        self.actions[action].latency.record(latency);
        let failure = failure(outcome, promises);
        match failure {
            None => {
                self.succeeded += 1;
                self.actions[action].succeeded += 1;
                None
            }
            Some((kind, example)) => {
                self.window.failed += 1;
                let new = || Failure { kind: kind.into(), count: 0, example };
                self.failures.entry(kind).or_insert_with(new).count += 1;
                Some(kind)
            }
        }
    }

    fn count_components(&mut self, headers: &HeaderMap, latency: Duration) {
        let mut rest = latency;
        for (name, time) in
            headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok()).flat_map(server_timing)
        {
            let Some(index) = self.component(name) else { continue };
            self.components[index].1.record(time);
            self.told.push((index, time));
            rest = rest.saturating_sub(time);
        }
        if !self.told.is_empty()
            && let Some(index) = self.component(NETWORK)
        {
            self.components[index].1.record(rest);
            self.told.push((index, rest));
        }
    }

    fn component(&mut self, name: &str) -> Option<usize> {
        let known = self.components.iter().position(|(known, _)| known == name);
        known.or_else(|| {
            // One place is left for the rest.
            let full = self.components.len() >= COMPONENTS - usize::from(name != NETWORK);
            (!full).then(|| {
                self.components.push((name.to_owned(), Times::new()));
                self.components.len() - 1
            })
        })
    }

    /// Adds another's, except for what is recent.
    pub(crate) fn add(&mut self, other: Self) {
        self.lateness.add(&other.lateness);
        let mut known_as = Vec::new();
        for (name, times) in &other.components {
            match self.component(name) {
                Some(index) => {
                    self.components[index].1.add(times);
                    known_as.push(index);
                }
                None => known_as.push(COMPONENTS),
            }
        }
        self.grid.add(&other.grid, &known_as);
        for (status, times) in other.statuses {
            self.statuses.entry(status).or_default().add(&times);
        }
        if other.actions.len() > self.actions.len() {
            self.actions.resize_with(other.actions.len(), Action::default);
        }
        for (action, other) in self.actions.iter_mut().zip(other.actions) {
            action.latency.add(&other.latency);
            action.succeeded += other.succeeded;
        }
        self.succeeded += other.succeeded;
        self.connections += other.connections;
        self.clock.add(other.clock);
        for (kind, failure) in other.failures {
            match self.failures.get_mut(kind) {
                Some(known) => known.count += failure.count,
                None => drop(self.failures.insert(kind, failure)),
            }
        }
    }

    /// Each component, `network` last.
    pub(crate) fn components(&self) -> Vec<(&str, &Times)> {
        let mut components: Vec<_> = self.components.iter().map(|(name, times)| (&**name, times)).collect();
        components.sort_by_key(|(name, _)| *name == NETWORK);
        components
    }

    /// Each action, by its index, with what came of its requests.
    pub(crate) fn actions<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = (ActionPass, &'a Times)> {
        self.actions.iter().zip(names).map(|(Action { latency, succeeded }, name)| {
            let pass = ActionPass {
                name: (*name).to_owned(),
                requests: latency.0.len(),
                succeeded: *succeeded,
                latency: latency.summary(),
            };
            (pass, latency)
        })
    }

    pub(crate) fn tail(&self) -> Option<Tail> {
        let names: Vec<_> = self.components.iter().map(|(name, _)| &**name).collect();
        self.grid.tail(&names)
    }

    /// The most frequent first, each example as `shown` has it.
    pub(crate) fn failures(self, shown: &dyn Fn(&str) -> String) -> Vec<Failure> {
        let shown = |failure: Failure| Failure { example: shown(&failure.example), ..failure };
        let mut failures: Vec<_> = self.failures.into_values().map(shown).collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;
    use crate::connection::NoAnswer;

    fn answer(status: u16, body: &'static str, timing: Option<&'static str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(timing) = timing {
            headers.insert("server-timing", timing.parse().unwrap());
        }
        Outcome::Answer(Answer { status, headers, body: body.into(), length: body.len() as u64 })
    }

    fn after_ms(latency: u64) -> Timing {
        Timing { latency: Duration::from_millis(latency), waited: None }
    }

    #[test]
    fn failures_are_counted_by_kind_with_the_first_of_each() {
        let promises = ["/id".to_owned()];
        let mut tally = Tally::default();
        for outcome in [
            answer(200, r#"{"id":1}"#, None),
            answer(200, "{}", None),
            answer(200, "[]", None),
            answer(503, "busy", None),
            Outcome::NoAnswer(NoAnswer::Connect("refused".into())),
        ] {
            tally.count(0, &outcome, after_ms(1), &promises);
        }
        assert_eq!((tally.window.latency.0.len(), tally.succeeded, tally.window.failed), (5, 1, 4));
        let statuses: Vec<_> = tally.statuses.iter().map(|(status, times)| (*status, times.0.len())).collect();
        assert_eq!(statuses, [(200, 3), (503, 1)]);
        let failures = tally.failures(&str::to_uppercase);
        assert_eq!((&*failures[0].kind, failures[0].count), ("body", 2));
        assert_eq!(failures[0].example, "/ID IS MISSING: {}");
    }

    #[test]
    fn what_the_server_does_not_tell_of_is_the_network() {
        let mut tally = Tally::default();
        let outcome = answer(200, "{}", Some("auth;dur=0.25, action;dur=2.5"));
        let timing = Timing { latency: Duration::from_millis(9), waited: Some(Duration::from_millis(5)) };
        tally.count(0, &outcome, timing, &[]);
        let components = tally.components();
        assert_eq!(components.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["auth", "action", "network"]);
        let network = components[2].1.summary().p50_ms;
        assert!((network - 1.25).abs() < 0.01, "waiting for a connection of the load is not the network's: {network}");
    }

    #[test]
    fn a_server_that_tells_nothing_has_no_components() {
        let mut tally = Tally::default();
        tally.count(0, &answer(200, "{}", None), after_ms(1), &[]);
        assert!(tally.components().is_empty());
    }

    #[test]
    fn threads_add_up() {
        let (mut all, mut one, mut two) = (Tally::default(), Tally::default(), Tally::default());
        one.count(0, &answer(200, "{}", Some("auth;dur=1")), after_ms(10), &[]);
        two.count(1, &answer(503, "busy", Some("action;dur=2, auth;dur=3")), after_ms(30), &[]);
        all.add(one);
        all.add(two);
        let actions: Vec<_> = all.actions(&["a", "b"]).map(|(action, _)| (action.requests, action.succeeded)).collect();
        assert_eq!(actions, [(1, 1), (1, 0)]);
        let components: Vec<_> = all.components().iter().map(|(name, times)| (*name, times.0.len())).collect();
        assert_eq!(components, [("auth", 2), ("action", 1), ("network", 2)]);
    }

    #[test]
    fn a_server_that_makes_up_components_takes_no_memory_without_end() {
        let mut tally = Tally::default();
        for nth in 0..1000 {
            let timing: &'static str = format!("part{nth};dur=1").leak();
            tally.count(0, &answer(200, "", Some(timing)), after_ms(2), &[]);
        }
        assert_eq!(tally.components().len(), COMPONENTS - 1);
        assert_eq!(tally.components().last().unwrap().0, NETWORK);
    }
}
