//! What came of load.

mod activity;
mod components;
mod histogram;
mod limit;
mod parts;
mod tail;
mod timeline;

use tare_evidence::units::{percent, rate, time, whole};
use tare_evidence::{ActionPass, Evidence, Latency, LatencyReading, Pass, SuccessReading};

use super::{Section, Table, table};

/// A request sent later than this was late; less is how exact a timer is.
const LATE_MS: f64 = 1.0;

/// All that is told of load, in the order it is read.
pub(super) fn sections(evidence: &Evidence) -> [Option<Section>; 9] {
    [
        stress(evidence),
        actions(evidence),
        parts::parts(evidence),
        histogram::histogram(evidence),
        timeline::timeline(evidence),
        components::components(evidence),
        tail::tail(evidence),
        activity::activity(evidence),
        limit::limit(evidence),
    ]
}

fn stress(evidence: &Evidence) -> Option<Section> {
    // The least latency is left out, for the table to be no wider than a screen; the histogram tells it.
    let header =
        ["pass", "requests", "success", "5xx", "mean", "P50", "P95", "P99", "P99.9", "max", "throughput", "total"];
    let rows = evidence.passes.iter().map(|pass| {
        let Latency { mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms, .. } = pass.latency;
        let latency = [mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms].map(time);
        let mut row = vec![
            label(pass, evidence),
            asked_for(pass),
            percent(pass.success_rate()),
            pass.server_errors().to_string(),
        ];
        row.extend(latency);
        row.extend([rate(pass.throughput()), time(pass.seconds * 1e3)]);
        row
    });
    let table = table(&header, rows.collect())?;
    let paragraphs = evidence.passes.iter().flat_map(|pass| sentences(pass, &label(pass, evidence))).collect();
    Some(Section { title: "Stress".into(), paragraphs, table: Some(table), essential: true, ..Section::default() })
}

/// `3,000 × 10`, and at a rate `3,000 at 500/s × 10`; of a worker among eight `375 at 1/8 of 500/s × 2`.
fn asked_for(pass: &Pass) -> String {
    let share = pass.share.as_ref().map_or_else(String::new, |share| format!("1/{} of ", share.workers));
    let at = match &pass.rate {
        Some(rate) if rate.parse::<f64>().is_ok() => format!(" at {share}{rate}/s"),
        Some(stages) => format!(" at {share}{stages}"),
        None => String::new(),
    };
    format!("{}{at} × {}", whole(pass.requests as f64), pass.concurrency)
}

/// What is to be said of a pass, what it means first.
fn sentences(pass: &Pass, label: &str) -> Vec<String> {
    let (success, latency) = (SuccessReading::of(pass.success_rate()), LatencyReading::of(pass.latency.p95_ms));
    let reading = format!(
        "{label}: success {}: {}; P95 {}: {}.",
        percent(pass.success_rate()),
        success.advice(),
        time(pass.latency.p95_ms),
        latency.advice()
    );
    let failures = pass.failures.iter().map(|failure| {
        format!("{label}: {} × {}, the first: {}", whole(failure.count as f64), failure.kind, failure.example)
    });
    let of_workers = [share(pass, label), parts::together(pass, label)];
    let others = [statuses(pass, label), lateness(pass, label), reconnections(pass, label)];
    let others = of_workers.into_iter().chain(others).flatten();
    std::iter::once(reading).chain(failures).chain(others).collect()
}

/// A part says that it is one.
fn share(pass: &Pass, label: &str) -> Option<String> {
    let share = pass.share.as_ref()?;
    Some(format!(
        "{label}: this is what worker {} of {} sent; `cargo xtask stress merge` puts all of them together.",
        share.worker, share.workers
    ))
}

/// Fast failures make a pass look fast, so where statuses differ each has its own P95.
fn statuses(pass: &Pass, label: &str) -> Option<String> {
    let each = pass.statuses.iter().map(|(status, count)| {
        let p95 = pass.latency_by_status.get(status).map(|latency| format!(" (P95 {})", time(latency.p95_ms)));
        format!("{status} × {}{}", whole(*count as f64), p95.unwrap_or_default())
    });
    let each: Vec<_> = each.collect();
    (each.len() > 1).then(|| format!("{label}: statuses: {}.", each.join(", ")))
}

fn lateness(pass: &Pass, label: &str) -> Option<String> {
    let Latency { p99_ms, max_ms, .. } = pass.lateness.filter(|lateness| lateness.p99_ms > LATE_MS)?;
    Some(format!(
        "{label}: requests were sent up to {} late (P99 {}): all {} connections were busy when they were due, and the \
         wait is counted; more connections (-c) tell the service's own time from waiting for it.",
        time(max_ms),
        time(p99_ms),
        pass.concurrency
    ))
}

/// A connection for each request at a time is what a pass needs, when none is closed under it.
fn reconnections(pass: &Pass, label: &str) -> Option<String> {
    (pass.connections > pass.concurrency as u64).then(|| {
        format!(
            "{label}: {} connections were opened for {} requests at a time: they did not stay open.",
            whole(pass.connections as f64),
            pass.concurrency
        )
    })
}

fn actions(evidence: &Evidence) -> Option<Section> {
    let mixes: Vec<_> = evidence.passes.iter().filter(|pass| !pass.actions.is_empty()).collect();
    let rows = mixes.iter().flat_map(|pass| {
        let whose = if mixes.len() > 1 { format!("{}: ", label(pass, evidence)) } else { String::new() };
        pass.actions.iter().map(move |action| action_row(&whose, action))
    });
    let header = ["action", "requests", "success", "P50", "P95", "P99", "max"];
    let table = table(&header, rows.collect())?;
    Some(Section { title: "Each action".into(), table: Some(table), essential: true, ..Section::default() })
}

fn action_row(whose: &str, action: &ActionPass) -> Vec<String> {
    let Latency { p50_ms, p95_ms, p99_ms, max_ms, .. } = action.latency;
    let success = match action.requests {
        0 => String::new(),
        requests => percent(action.succeeded as f64 / requests as f64),
    };
    let mut row = vec![format!("{whose}{}", action.name), whole(action.requests as f64), success];
    row.extend([p50_ms, p95_ms, p99_ms, max_ms].map(time));
    row
}

fn label(pass: &Pass, evidence: &Evidence) -> String {
    let name = evidence.label(pass);
    if pass.interrupted { format!("{name} (interrupted)") } else { name }
}

/// Of each strategy the pass that is compared; the others would make a table wider than a screen, and figures longer.
fn compared(evidence: &Evidence) -> impl Iterator<Item = &Pass> {
    evidence.passes.iter().filter(|pass| match &pass.strategy {
        Some(strategy) => evidence.pass(strategy).is_some_and(|first| std::ptr::eq(first, *pass)),
        None => true,
    })
}

/// A rate whose unit is told elsewhere: `3,360`.
fn per_second(per_second: f64) -> String {
    rate(per_second).trim_end_matches(" req/s").to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tare_evidence::{Machine, Run};

    use super::*;

    pub(super) fn evidence(passes: Vec<Pass>) -> Evidence {
        Evidence { passes, ..Evidence::begun(Run::default(), Machine::default()) }
    }

    fn pass() -> Pass {
        Pass {
            strategy: Some("after".into()),
            name: "view_part_details".into(),
            concurrency: 10,
            requests: 3000,
            succeeded: 3000,
            seconds: 6.0,
            ..Pass::default()
        }
    }

    #[test]
    fn an_open_loop_is_told_by_its_rate() {
        let at = |rate: Option<&str>| asked_for(&Pass { rate: rate.map(str::to_owned), ..pass() });
        let shown = [None, Some("500"), Some("100..1000:60s")].map(at);
        assert_eq!(shown, ["3,000 × 10", "3,000 at 500/s × 10", "3,000 at 100..1000:60s × 10"]);
        let share = tare_evidence::Share { worker: 3, workers: 8, ..tare_evidence::Share::default() };
        let part = Pass { rate: Some("500".into()), share: Some(share), ..pass() };
        assert_eq!(asked_for(&part), "3,000 at 1/8 of 500/s × 10");
        assert!(sentences(&part, "url").iter().any(|told| told.contains("worker 3 of 8")));
    }

    #[test]
    fn the_stress_table_fits_a_screen() {
        let latency = |ms| Latency {
            mean_ms: ms,
            p50_ms: ms,
            p95_ms: ms,
            p99_ms: ms,
            p999_ms: ms,
            max_ms: ms,
            ..Latency::default()
        };
        let at_a_rate = Pass { rate: Some("500".into()), latency: latency(12.3), ..pass() };
        let slow = Pass { strategy: Some("before".into()), latency: latency(1234.0), ..pass() };
        for pass in [at_a_rate, slow] {
            let text = crate::terminal(&evidence(vec![pass]), &[]);
            let rows = text.lines().filter(|line| line.starts_with('│'));
            let widest = rows.map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 120, "{widest}\n{text}");
        }
    }

    #[test]
    fn statuses_are_told_where_there_are_several() {
        let p95 = |p95_ms| Latency { p95_ms, ..Latency::default() };
        let mixed = Pass {
            statuses: BTreeMap::from([(200, 480), (302, 1), (503, 20)]),
            latency_by_status: BTreeMap::from([(200, p95(12.0)), (503, p95(3.0))]),
            ..pass()
        };
        let told = statuses(&mixed, "after").unwrap();
        assert_eq!(told, "after: statuses: 200 × 480 (P95 12.0 ms), 302 × 1, 503 × 20 (P95 3.00 ms).");
        assert_eq!(statuses(&Pass { statuses: BTreeMap::from([(200, 500)]), ..pass() }, "after"), None);
    }

    #[test]
    fn lateness_is_told_where_it_is_more_than_a_timers() {
        let late = |p99_ms| Pass { lateness: Some(Latency { p99_ms, max_ms: 31.0, ..Latency::default() }), ..pass() };
        let told = lateness(&late(12.0), "url").unwrap();
        assert!(
            told.starts_with("url: requests were sent up to 31.0 ms late (P99 12.0 ms): all 10 connections"),
            "{told}"
        );
        assert_eq!(lateness(&late(1.0), "url"), None);
        assert_eq!(lateness(&pass(), "url"), None, "a closed loop is never late");
    }

    #[test]
    fn connections_that_do_not_stay_open_are_told_of() {
        let opened = |connections| reconnections(&Pass { connections, ..pass() }, "url");
        assert_eq!(opened(10), None);
        let told = "url: 3,000 connections were opened for 10 requests at a time: they did not stay open.";
        assert_eq!(opened(3000).as_deref(), Some(told));
    }

    #[test]
    fn each_action_of_a_mix_has_a_row() {
        let action = |name: &str, requests, succeeded| {
            let latency = Latency { p50_ms: 5.0, p95_ms: 9.0, p99_ms: 12.0, max_ms: 40.0, ..Latency::default() };
            ActionPass { name: name.into(), requests, succeeded, latency }
        };
        let mix = Pass { actions: vec![action("view", 2400, 2400), action("consume", 600, 300)], ..pass() };
        let rows = |passes| actions(&evidence(passes)).unwrap().table.unwrap().rows;
        assert_eq!(rows(vec![mix.clone()])[1], ["consume", "600", "50 %", "5.00 ms", "9.00 ms", "12.0 ms", "40.0 ms"]);
        let other = Pass { strategy: Some("before".into()), ..mix.clone() };
        assert_eq!(rows(vec![mix, other])[2][0], "before: view");
        assert_eq!(actions(&evidence(vec![pass()])), None);
    }

    #[test]
    fn what_an_older_pass_did_not_keep_has_no_section() {
        let titles: Vec<_> = sections(&evidence(vec![pass()])).into_iter().flatten().map(|one| one.title).collect();
        assert_eq!(titles, ["Stress"]);
        assert!(sections(&evidence(Vec::new())).iter().all(Option::is_none));
    }

    #[test]
    fn figures_are_of_the_first_pass_of_each_strategy_and_of_every_other_service() {
        let of = |strategy: Option<&str>, name: &str| Pass {
            strategy: strategy.map(str::to_owned),
            name: name.into(),
            ..pass()
        };
        let passes =
            vec![of(Some("after"), "a"), of(Some("after"), "b"), of(Some("after"), "a"), of(None, "c"), of(None, "c")];
        let evidence = evidence(passes);
        assert_eq!(compared(&evidence).map(|pass| &*pass.name).collect::<Vec<_>>(), ["a", "c", "c"]);
    }
}
