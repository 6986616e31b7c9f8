//! What had to be reached, and whether it was.

use serde::{Deserialize, Serialize};

use crate::config::{self, Budget, Config};
use crate::{Bench, Ceiling, Pass};

/// One thing that had to be reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was judged: `stress/after P95`, `tenant/cached against tenant/uncached`.
    pub what: String,
    /// What was measured, with its unit.
    pub measured: String,
    /// What was required, with its unit.
    pub required: String,
    /// Whether it was reached.
    pub met: bool,
}

/// The checks that were not met.
pub fn missed(checks: &[Check]) -> impl Iterator<Item = &Check> {
    checks.iter().filter(|check| !check.met)
}

/// Judges everything that was measured and that `config` asks something of. A budget is judged when both its sides were
/// measured: a run of a part of the benches is judged by that part.
pub fn judge(config: &Config, benches: &[Bench], passes: &[Pass], ceilings: &[Ceiling]) -> Vec<Check> {
    let targets = passes.iter().flat_map(|pass| judge_pass(config, pass));
    let budgets = config.budgets.iter().filter_map(|budget| judge_budget(budget, benches, passes));
    let ceilings = ceilings.iter().filter_map(|measured| {
        let same = |one: &&config::Ceiling| one.action == measured.action && one.client == measured.client;
        let required = config.ceilings.iter().find(same)?.at_least;
        Some(Check {
            what: format!("HTTP {} against pgbench", measured.action),
            measured: percent(measured.share),
            required: format!("≥ {}", percent(required)),
            met: measured.share >= required,
        })
    });
    targets.chain(budgets).chain(ceilings).collect()
}

fn judge_pass(config: &Config, pass: &Pass) -> Vec<Check> {
    // Somebody else's service is held to what ours must reach with every fix on.
    let Some(targets) = config.targets.get(pass.strategy.as_deref().unwrap_or("after")) else { return Vec::new() };
    let name = pass.strategy.as_ref().unwrap_or(&pass.name);
    let check = |what: &str, measured: String, required: String, met: bool| Check {
        what: format!("stress/{name} {what}"),
        measured,
        required,
        met,
    };
    let success = targets.success_rate.map(|required| {
        let rate = pass.success_rate();
        check("success", percent(rate), format!("> {}", percent(required)), rate > required)
    });
    let errors = targets.server_errors.map(|required| {
        let errors = pass.server_errors();
        check("5xx", errors.to_string(), format!("≤ {required}"), errors <= required)
    });
    let p95 = targets.p95_ms.map(|required| {
        let p95 = pass.latency.p95_ms;
        check("P95", format!("{p95:.1} ms"), format!("< {required} ms"), p95 < required)
    });
    [success, errors, p95].into_iter().flatten().collect()
}

fn judge_budget(budget: &Budget, benches: &[Bench], passes: &[Pass]) -> Option<Check> {
    let time = |id: &str| match id.strip_prefix("stress/") {
        Some(strategy) => {
            let pass = passes.iter().find(|pass| pass.strategy.as_deref() == Some(strategy))?;
            Some(pass.latency.p95_ms)
        }
        None => benches.iter().find(|bench| bench.id == id).map(|bench| bench.median_ns.estimate),
    };
    let ratio = time(&budget.id)? / time(&budget.against)?;
    Some(Check {
        what: format!("{} against {}", budget.id, budget.against),
        measured: multiple(ratio),
        required: bound(budget.at_most),
        met: ratio <= budget.at_most,
    })
}

fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// `1.20 ×` of the other's time, or how many times cheaper.
fn multiple(ratio: f64) -> String {
    match ratio {
        cheap if cheap < 0.5 => format!("{:.0} × cheaper", 1.0 / cheap),
        ratio => format!("{ratio:.2} ×"),
    }
}

fn bound(at_most: f64) -> String {
    match at_most {
        cheap if cheap < 0.5 => format!("≥ {:.0} × cheaper", 1.0 / cheap),
        ratio => format!("≤ {ratio} ×"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Interval, Latency};

    fn bench(id: &str, ns: f64) -> Bench {
        let interval = Interval { estimate: ns, lower: ns, upper: ns };
        Bench { id: id.into(), median_ns: interval, mean_ns: interval, std_dev_ns: 0.0, samples: 10 }
    }

    fn pass(strategy: &str, p95_ms: f64, statuses: &[(u16, u64)]) -> Pass {
        let statuses: BTreeMap<u16, u64> = statuses.iter().copied().collect();
        Pass {
            strategy: Some(strategy.into()),
            name: "view_part_details".into(),
            url: String::new(),
            concurrency: 10,
            warmup: 0,
            requests: statuses.values().sum(),
            succeeded: statuses.get(&200).copied().unwrap_or(0),
            statuses,
            failures: Vec::new(),
            seconds: 1.0,
            interrupted: false,
            latency: Latency { p95_ms, ..Latency::default() },
            components: Vec::new(),
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(text).unwrap()
    }

    #[test]
    fn a_pass_is_held_to_each_of_its_targets() {
        let config = config("[targets.after]\nsuccess_rate = 0.99\nserver_errors = 0\np95_ms = 500");
        let met = |pass| judge(&config, &[], &[pass], &[]).iter().map(|check| check.met).collect::<Vec<_>>();
        assert_eq!(met(pass("after", 499.0, &[(200, 500)])), [true, true, true]);
        assert_eq!(met(pass("after", 500.0, &[(200, 490), (500, 10)])), [false, false, false]);
        assert_eq!(met(pass("before", 9000.0, &[(500, 1)])), [] as [bool; 0], "no targets, no judgement");
    }

    #[test]
    fn a_missed_check_says_what_was_measured_and_required() {
        let config = config("[targets.after]\np95_ms = 0.5");
        let checks = judge(&config, &[], &[pass("after", 12.34, &[(200, 1)])], &[]);
        let missed: Vec<_> = missed(&checks).collect();
        assert_eq!(
            (&*missed[0].what, &*missed[0].measured, &*missed[0].required),
            ("stress/after P95", "12.3 ms", "< 0.5 ms")
        );
    }

    #[test]
    fn a_budget_is_a_ratio_of_two_benches_or_two_passes() {
        let config = config(
            "[[budgets]]\nid = 'a/fast'\nagainst = 'a/slow'\nat_most = 0.001\n\
             [[budgets]]\nid = 'stress/after'\nagainst = 'stress/before'\nat_most = 0.1\n\
             [[budgets]]\nid = 'a/fast'\nagainst = 'a/absent'\nat_most = 2",
        );
        let benches = [bench("a/fast", 1.0), bench("a/slow", 2000.0)];
        let passes = [pass("before", 100.0, &[(200, 1)]), pass("after", 20.0, &[(200, 1)])];
        let checks = judge(&config, &benches, &passes, &[]);
        assert_eq!(checks.len(), 2, "what was not measured is not judged");
        assert!(checks[0].met && checks[0].measured == "2000 × cheaper" && checks[0].required == "≥ 1000 × cheaper");
        assert!(!checks[1].met && checks[1].measured == "5 × cheaper");
    }
}
