//! The highest rate at which targets still hold.

use tare_evidence::units::{percent, rate, time};
use tare_evidence::{Evidence, Latency, Limit, Trial};

use super::{Section, Table, per_second};

/// Every limit in a sentence, and the trials by which it was found.
pub(super) fn limit(evidence: &Evidence) -> Option<Section> {
    let limits = &evidence.limits;
    (!limits.is_empty()).then(|| Section {
        title: "Limit".into(),
        paragraphs: limits.iter().map(sentence).collect(),
        table: trials(limits),
        essential: true,
        ..Section::default()
    })
}

fn sentence(limit: &Limit) -> String {
    let (whose, targets) = (label(limit), &limit.targets);
    match (limit.held, limit.failed) {
        (Some(held), Some(failed)) => format!(
            "{whose} holds {targets} up to {}; at {} it did not{}.",
            rate(held),
            per_second(failed),
            why(limit, failed)
        ),
        (Some(held), None) => format!("{whose} holds {targets} at every rate tried, up to {}.", rate(held)),
        (None, Some(failed)) => {
            format!("{whose} does not hold {targets} at the lowest rate tried, {}{}.", rate(failed), why(limit, failed))
        }
        (None, None) => format!("{whose}: whether {targets} hold was tried at no rate to its end."),
    }
}

/// `: P95 812 ms`, what was missed at the rate `failed`; of several trials at it, in the last.
fn why(limit: &Limit, failed: f64) -> String {
    let missed = limit.trials.iter().rev().find(|trial| trial.rate == failed && !trial.missed.is_empty());
    missed.map(|trial| format!(": {}", trial.missed.join(", "))).unwrap_or_default()
}

fn label(Limit { strategy, name, .. }: &Limit) -> String {
    strategy.iter().chain([name]).map(|part| &**part).collect::<Vec<_>>().join(" ")
}

/// A row for each trial; where there are several limits, each row says of which it is.
fn trials(limits: &[Limit]) -> Option<Table> {
    let mut header = vec!["rate", "throughput", "success", "P50", "P95", "P99", "did not hold"];
    let several = limits.len() > 1;
    if several {
        header.insert(0, "of");
    }
    let rows = limits.iter().flat_map(|limit| {
        limit.trials.iter().map(move |trial| several.then(|| label(limit)).into_iter().chain(row(trial)).collect())
    });
    super::table(&header, rows.collect())
}

fn row(trial: &Trial) -> Vec<String> {
    let Latency { p50_ms, p95_ms, p99_ms, .. } = trial.latency;
    let mut row = vec![rate(trial.rate), rate(trial.throughput), percent(trial.success_rate)];
    row.extend([p50_ms, p95_ms, p99_ms].map(time));
    row.push(trial.missed.join(", "));
    row
}

#[cfg(test)]
mod tests {
    use super::super::tests::evidence;
    use super::*;

    fn found(held: Option<f64>, failed: Option<f64>) -> Limit {
        let trial = |rate, missed: &[&str]| Trial {
            rate,
            throughput: rate - 1.0,
            latency: Latency { p50_ms: 5.0, p95_ms: 12.0, p99_ms: 40.0, ..Latency::default() },
            success_rate: 1.0,
            missed: missed.iter().map(|&missed| missed.to_owned()).collect(),
        };
        Limit {
            strategy: Some("after".into()),
            name: "view_part_details".into(),
            targets: "P95 < 500 ms, success > 99 %".into(),
            held,
            failed,
            trials: held
                .map(|rate| trial(rate, &[]))
                .into_iter()
                .chain(failed.map(|rate| trial(rate, &["P95 812 ms"])))
                .collect(),
        }
    }

    #[test]
    fn a_limit_lies_between_what_held_and_what_did_not() {
        assert_eq!(
            sentence(&found(Some(3200.0), Some(3360.0))),
            "after view_part_details holds P95 < 500 ms, success > 99 % up to 3,200 req/s; at 3,360 it did not: \
             P95 812 ms."
        );
    }

    #[test]
    fn a_limit_beyond_every_rate_is_told_as_such() {
        let told = sentence(&Limit { strategy: None, ..found(Some(3200.0), None) });
        assert_eq!(
            told,
            "view_part_details holds P95 < 500 ms, success > 99 % at every rate tried, up to 3,200 req/s."
        );
    }

    #[test]
    fn a_limit_below_every_rate_is_told_as_such() {
        assert_eq!(
            sentence(&found(None, Some(50.0))),
            "after view_part_details does not hold P95 < 500 ms, success > 99 % at the lowest rate tried, 50.0 req/s: \
             P95 812 ms."
        );
    }

    #[test]
    fn a_limit_without_a_trial_claims_nothing() {
        let told = sentence(&found(None, None));
        assert_eq!(
            told,
            "after view_part_details: whether P95 < 500 ms, success > 99 % hold was tried at no rate to its end."
        );
    }

    #[test]
    fn each_trial_has_a_row_with_what_did_not_hold() {
        let shown = |limits: Vec<Limit>| limit(&Evidence { limits, ..evidence(Vec::new()) }).unwrap().table;
        let one = found(Some(3200.0), Some(3360.0));
        let table = shown(vec![one.clone()]).unwrap();
        let figures = ["3,359 req/s", "100 %", "5.00 ms", "12.0 ms", "40.0 ms"];
        assert_eq!(table.rows[0][6], "");
        assert_eq!(table.rows[1][1..6], figures);
        assert_eq!([&*table.rows[1][0], &*table.rows[1][6]], ["3,360 req/s", "P95 812 ms"]);
        let other = Limit { strategy: Some("before".into()), ..one.clone() };
        let table = shown(vec![one, other]).unwrap();
        assert_eq!([&*table.header[0], &*table.rows[2][0]], ["of", "before view_part_details"]);
        assert_eq!(shown(vec![found(None, None)]), None);
    }
}
