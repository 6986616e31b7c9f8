//! Why the slowest requests are slow.

use tare_evidence::units::{percent, time, times};
use tare_evidence::{Circumstance, Evidence, Latency, Pass, Tail, TailShare};

use super::{Section, label};

/// A P99 that is a smaller multiple of P50 needs no explanation.
const SHORT: f64 = 1.5;
/// The share of the difference that is explained when no more components are named.
const ENOUGH: f64 = 0.9;
/// Components named at most.
const MOST: usize = 3;
/// What a request waits for before it is sent: the load's own, and not told by the service.
const WAITING: &str = "waiting";

/// For each pass how long its tail is and what makes it.
pub(super) fn tail(evidence: &Evidence) -> Option<Section> {
    let told =
        evidence.passes.iter().filter_map(|pass| Some(explained(pass, pass.tail.as_ref()?, &label(pass, evidence))));
    let paragraphs: Vec<_> = told.collect();
    (!paragraphs.is_empty()).then(|| Section {
        title: "The tail, explained".into(),
        paragraphs,
        essential: true,
        ..Section::default()
    })
}

fn explained(pass: &Pass, tail: &Tail, label: &str) -> String {
    let Latency { p50_ms, p99_ms, .. } = pass.latency;
    let ratio = times(p99_ms / p50_ms);
    if p99_ms < SHORT * p50_ms {
        return format!("{label}: the tail is short: P99 is {ratio} P50.");
    }
    let mut sentences =
        vec![format!("{label}: P99 is {ratio} P50 ({} against {}).", time(p99_ms), time(p50_ms)), difference(tail)];
    sentences.extend(tail.circumstances.iter().map(circumstance));
    sentences.join(" ")
}

/// How much longer the slow requests take, and which components make that up.
fn difference(tail: &Tail) -> String {
    let longer = format!("Requests above P95 take {} longer than typical ones", time(tail.slow_ms - tail.typical_ms));
    let (named, explained) = named(tail);
    let by_service = tail.shares.iter().any(|share| share.component != WAITING);
    let unknown = |what: &str| {
        format!("The service sends no Server-Timing, so {what} cannot be split; docs/stress.md tells how it could.")
    };
    match (named.is_empty(), by_service) {
        (true, true) => format!("{longer}, spread over many components."),
        (true, false) => format!("{longer}. {}", unknown("the difference")),
        (false, false) if explained < ENOUGH => format!("{longer}; {}. {}", named.join(", "), unknown("the rest")),
        (false, _) => format!("{longer}; {}.", named.join(", ")),
    }
}

/// Components, the largest share first, until enough is explained; and how much is.
fn named(tail: &Tail) -> (Vec<String>, f64) {
    let (mut named, mut explained) = (Vec::new(), 0.0);
    // Less than half a per cent would be told as none.
    for share in tail.shares.iter().filter(|share| share.share >= 0.005).take(MOST) {
        if explained >= ENOUGH {
            break;
        }
        named.push(match named.is_empty() {
            true => format!(
                "{} of that is {} ({} against {})",
                part(share.share),
                component(share),
                time(share.slow_ms),
                time(share.typical_ms)
            ),
            false => format!("{} {}", part(share.share), component(share)),
        });
        explained += share.share;
    }
    (named, explained)
}

fn component(TailShare { component, .. }: &TailShare) -> &str {
    match &**component {
        WAITING => "the wait for an idle connection of the load itself",
        other => other,
    }
}

/// In whole per cent; more than all there is, where other components are faster in slow requests, is all.
fn part(share: f64) -> String {
    match share {
        all if all >= 0.995 => "all".into(),
        part => whole_percent(part),
    }
}

fn whole_percent(share: f64) -> String {
    percent((share * 100.0).round() / 100.0)
}

fn circumstance(Circumstance { what, of_slow, of_all }: &Circumstance) -> String {
    format!(
        "{} of the slow requests ended while {what}, {} of all did.",
        whole_percent(*of_slow),
        whole_percent(*of_all)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::evidence;
    use super::*;

    fn told(p99_ms: f64, shares: &[(&str, f64, f64)], circumstances: &[(&str, f64, f64)]) -> String {
        let (typical_ms, slow_ms) = (5.0, 45.0);
        let share = |&(component, typical, slow): &(&str, f64, f64)| TailShare {
            component: component.into(),
            typical_ms: typical,
            slow_ms: slow,
            share: (slow - typical) / (slow_ms - typical_ms),
        };
        let circumstance =
            |&(what, of_slow, of_all): &(&str, f64, f64)| Circumstance { what: what.into(), of_slow, of_all };
        let tail = Tail {
            typical_ms,
            slow_ms,
            shares: shares.iter().map(share).collect(),
            circumstances: circumstances.iter().map(circumstance).collect(),
            ..Tail::default()
        };
        let pass = Pass {
            strategy: Some("after".into()),
            latency: Latency { p50_ms: 5.0, p99_ms, ..Latency::default() },
            tail: Some(tail),
            ..Pass::default()
        };
        let section = super::tail(&evidence(vec![pass])).unwrap();
        assert!(section.essential);
        section.paragraphs.concat()
    }

    #[test]
    fn a_short_tail_is_told_as_such() {
        let told = told(6.5, &[("connection", 0.3, 40.0)], &[("it rained", 0.6, 0.1)]);
        assert_eq!(told, "after: the tail is short: P99 is 1.3 × P50.");
    }

    #[test]
    fn components_are_named_until_most_is_explained() {
        let told = told(40.1, &[("connection", 1.0, 31.0), ("action", 3.0, 10.0), ("network", 1.0, 4.0)], &[]);
        assert_eq!(
            told,
            "after: P99 is 8.0 × P50 (40.1 ms against 5.00 ms). Requests above P95 take 40.0 ms longer than typical \
             ones; 75 % of that is connection (31.0 ms against 1.00 ms), 18 % action."
        );
    }

    #[test]
    fn no_more_than_three_are_named_and_none_that_is_faster() {
        let shares = [("a", 0.0, 12.0), ("b", 0.0, 10.0), ("c", 0.0, 9.0), ("d", 0.0, 9.5), ("e", 1.0, 0.5)];
        assert!(told(40.0, &shares, &[]).ends_with("30 % of that is a (12.0 ms against 0 ns), 25 % b, 23 % c."));
        let faster = [("a", 1.0, 43.0), ("b", 4.0, 2.0)];
        assert!(told(40.0, &faster, &[]).ends_with("; all of that is a (43.0 ms against 1.00 ms)."));
    }

    #[test]
    fn waiting_is_told_as_the_loads_own() {
        let told = told(40.0, &[("waiting", 0.0, 38.0), ("action", 5.0, 7.0)], &[]);
        assert!(
            told.ends_with(
                "; 95 % of that is the wait for an idle connection of the load itself (38.0 ms against 0 ns)."
            ),
            "{told}"
        );
    }

    #[test]
    fn without_server_timing_the_difference_is_not_split() {
        let nothing = "40.0 ms longer than typical ones. The service sends no Server-Timing, so the difference \
                       cannot be split; docs/stress.md tells how it could.";
        assert!(told(40.0, &[], &[]).ends_with(nothing), "{}", told(40.0, &[], &[]));
        let waited = told(40.0, &[("waiting", 0.0, 20.0)], &[]);
        assert!(waited.contains("; 50 % of that is the wait for an idle connection of the load itself ("), "{waited}");
        assert!(waited.contains(". The service sends no Server-Timing, so the rest cannot be split;"), "{waited}");
        assert!(!told(40.0, &[("waiting", 0.0, 39.0)], &[]).contains("Server-Timing"), "enough is explained");
    }

    #[test]
    fn circumstances_follow() {
        let told = told(
            40.0,
            &[("connection", 0.0, 40.0)],
            &[("requests waited for a connection of the pool", 0.624, 0.081), ("a checkpoint ran", 0.3, 0.1)],
        );
        let expected = "62 % of the slow requests ended while requests waited for a connection of the pool, 8 % of all \
                        did. 30 % of the slow requests ended while a checkpoint ran, 10 % of all did.";
        assert!(told.ends_with(expected), "{told}");
    }
}
