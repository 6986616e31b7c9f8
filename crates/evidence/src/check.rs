//! What had to be reached, and whether it was.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{self, Budget, Config, Targets};
use crate::units::{percent, range, time};
use crate::{Bench, Ceiling, Evidence, Fit, Pass, Range};

/// One thing that had to be reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was judged: `stress/after P95`, `tenant/cached against tenant/uncached`,
    /// `connection/new-tls round trips`.
    pub what: String,
    /// What was measured, with its unit.
    pub measured: String,
    /// What was required, with its unit.
    pub required: String,
    /// Whether it was reached.
    pub met: bool,
}

/// The strategy with every fix on.
pub const AFTER: &str = "after";
/// What the name of a check of round trips ends in.
const ROUND_TRIPS: &str = " round trips";

impl Check {
    /// Whether it is a count of round trips.
    pub fn is_of_round_trips(&self) -> bool {
        self.what.ends_with(ROUND_TRIPS)
    }
}

/// The checks that were not met.
pub fn missed(checks: &[Check]) -> impl Iterator<Item = &Check> {
    checks.iter().filter(|check| !check.met)
}

/// Judges everything that was measured and that `config` asks something of. Its budgets are for runs without a distance; what
/// it asks of a network is judged when the run was on that network. A budget is judged when both its sides were measured: a run of a part of
/// the benches is judged by that part.
pub fn judge(config: &Config, evidence: &Evidence) -> Vec<Check> {
    let network = config.networks.get(&evidence.run.network.name);
    let times = network.into_iter().flat_map(|network| &network.times_ms);

    let mut checks = Vec::new();
    // A worker's share is no load that anybody asked for; what is judged is the whole.
    for pass in evidence.passes.iter().filter(|pass| pass.share.is_none()) {
        // Somebody else's service is held to what ours must reach with every fix on.
        let strategy = pass.strategy.as_deref().unwrap_or(AFTER);
        let targets = config.targets(&evidence.run.network.name, strategy);
        let label = evidence.label(pass);
        let named = |check: Check| Check { what: format!("stress/{label} {}", check.what), ..check };
        checks.extend(targets.flat_map(|targets| judge_pass(targets, pass)).map(named));
    }
    checks.extend(budgets(config, evidence).filter_map(|budget| judge_budget(budget, evidence)));
    checks.extend(times.filter_map(|(id, range)| Some(judge_time(evidence.bench(id)?, *range))));
    // Where nothing could be counted, nothing is judged; where one bench was, another that was not is missing.
    let counts = |id: &String| evidence.bench(id).is_some_and(|bench| bench.round_trips.is_some());
    let round_trips = config.round_trips.iter().filter(|_| config.round_trips.keys().any(counts));
    checks.extend(round_trips.filter_map(|(id, at_most)| Some(judge_round_trips(evidence.bench(id)?, *at_most))));
    checks.extend(evidence.ceilings.iter().filter_map(|measured| judge_ceiling(&config.ceilings, measured)));
    checks
}

/// The budgets of a run like this one.
fn budgets<'a>(config: &'a Config, evidence: &Evidence) -> impl Iterator<Item = &'a Budget> {
    let network = config.networks.get(&evidence.run.network.name);
    // At a distance processors fall asleep between two answers, and how long work takes is another matter.
    let near = (!evidence.run.network.has_distance()).then_some(&config.budgets);
    near.into_iter().chain(network.map(|network| &network.budgets)).flatten()
}

/// The budgets that two benches miss, and that can be looked at more closely: by timing both in turns.
pub fn missed_by_benches<'a>(config: &'a Config, evidence: &Evidence) -> Vec<&'a Budget> {
    let missed = |budget: &&Budget| {
        let both = evidence.bench(&budget.id).and(evidence.bench(&budget.against));
        both.is_some() && judge_budget(budget, evidence).is_some_and(|check| !check.met)
    };
    budgets(config, evidence).filter(missed).collect()
}

/// Judges one pass by `targets`; what is judged is told as `success`, `5xx`, `P50` and `P95`.
pub fn judge_pass(targets: &Targets, pass: &Pass) -> Vec<Check> {
    let check = |what: &str, measured: String, required: String, met: bool| Check {
        what: what.into(),
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
    let latency = |what: &str, measured: f64, required: Option<f64>| {
        let required = required?;
        Some(check(what, format!("{measured:.1} ms"), format!("< {required} ms"), measured < required))
    };
    let p50 = latency("P50", pass.latency.p50_ms, targets.p50_ms);
    let p95 = latency("P95", pass.latency.p95_ms, targets.p95_ms);
    [success, errors, p50, p95].into_iter().flatten().collect()
}

fn judge_budget(budget: &Budget, evidence: &Evidence) -> Option<Check> {
    let time = |id: &str| match id.strip_prefix("stress/") {
        Some(strategy) => evidence.pass(strategy).map(|pass| pass.latency.p95_ms),
        None => evidence.bench(id).map(Bench::median_ms),
    };
    let one_after_the_other = time(&budget.id)? / time(&budget.against)?;
    let in_turns = evidence.in_turns.iter().find(|both| both.id == budget.id && both.against == budget.against);
    let (ratio, how) = match in_turns {
        Some(both) => (both.ratio, ", in turns"),
        None => (one_after_the_other, ""),
    };
    Some(Check {
        what: format!("{} against {}", budget.id, budget.against),
        measured: format!("{}{how}", multiple(ratio)),
        required: bound(budget.at_most),
        met: ratio <= budget.at_most,
    })
}

fn judge_time(bench: &Bench, range_ms: Range) -> Check {
    let median = bench.median_ms();
    Check {
        what: format!("{} median", bench.id),
        measured: time(median),
        required: range(range_ms, "ms"),
        met: Fit::of(median, range_ms) == Fit::Within,
    }
}

fn judge_round_trips(bench: &Bench, at_most: u64) -> Check {
    Check {
        what: format!("{}{ROUND_TRIPS}", bench.id),
        measured: bench.round_trips.map_or_else(|| "not counted".into(), |counted| counted.to_string()),
        required: format!("≤ {at_most}"),
        met: bench.round_trips.is_some_and(|counted| counted <= at_most),
    }
}

fn judge_ceiling(ceilings: &[config::Ceiling], measured: &Ceiling) -> Option<Check> {
    let same = |one: &&config::Ceiling| one.action == measured.action && one.client == measured.client;
    let required = ceilings.iter().find(same)?.at_least;
    Some(Check {
        what: format!("HTTP {} against pgbench", measured.action),
        measured: percent(measured.share),
        required: format!("≥ {}", percent(required)),
        met: measured.share >= required,
    })
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
    use crate::{InTurns, Interval, Latency, Machine, Network, Run};

    fn bench(id: &str, ms: f64, round_trips: Option<u64>) -> Bench {
        let median_ns = Interval { estimate: ms * 1e6, ..Interval::default() };
        Bench { id: id.into(), median_ns, round_trips, ..Bench::default() }
    }

    fn pass(strategy: &str, p95_ms: f64, statuses: &[(u16, u64)]) -> Pass {
        let statuses: BTreeMap<u16, u64> = statuses.iter().copied().collect();
        Pass {
            strategy: Some(strategy.into()),
            name: "view_part_details".into(),
            requests: statuses.values().sum(),
            succeeded: statuses.get(&200).copied().unwrap_or(0),
            statuses,
            latency: Latency { p50_ms: p95_ms / 2.0, p95_ms, ..Latency::default() },
            ..Pass::default()
        }
    }

    fn judged(config: &str, network: &str, benches: Vec<Bench>, passes: Vec<Pass>) -> Vec<Check> {
        let run = Run { network: Network { name: network.into(), ..Network::default() }, ..Run::default() };
        let evidence = Evidence { benches, passes, ..Evidence::begun(run, Machine::default()) };
        judge(&Config::parse(config).unwrap(), &evidence)
    }

    fn on_loopback(config: &str, benches: Vec<Bench>, passes: Vec<Pass>) -> Vec<Check> {
        judged(config, Network::LOOPBACK, benches, passes)
    }

    fn shown(check: &Check) -> (&str, &str, &str, bool) {
        (&check.what, &check.measured, &check.required, check.met)
    }

    #[test]
    fn a_pass_is_held_to_each_of_its_targets() {
        let config = "[targets.after]\nsuccess_rate = 0.99\nserver_errors = 0\np50_ms = 250\np95_ms = 500";
        let met = |pass| on_loopback(config, vec![], vec![pass]).iter().map(|check| check.met).collect::<Vec<_>>();
        assert_eq!(met(pass("after", 499.0, &[(200, 500)])), [true; 4]);
        assert_eq!(met(pass("after", 500.0, &[(200, 490), (500, 10)])), [false; 4]);
        assert_eq!(met(pass("before", 9000.0, &[(500, 1)])), [] as [bool; 0], "no targets, no judgement");
    }

    #[test]
    fn a_share_of_a_load_is_judged_by_nothing_and_the_whole_is() {
        let whole = Pass { strategy: None, ..pass("after", 9000.0, &[(500, 1)]) };
        let share = Pass { share: Some(crate::Share::default()), ..whole.clone() };
        let judged = |pass| on_loopback("[targets.after]\nsuccess_rate = 0.99", vec![], vec![pass]).len();
        assert_eq!((judged(whole), judged(share)), (1, 0));
    }

    #[test]
    fn a_missed_check_says_what_was_measured_and_required() {
        let checks = on_loopback("[targets.after]\np95_ms = 0.5", vec![], vec![pass("after", 12.34, &[(200, 1)])]);
        let missed: Vec<_> = missed(&checks).map(shown).collect();
        assert_eq!(missed, [("stress/after P95", "12.3 ms", "< 0.5 ms", false)]);
    }

    #[test]
    fn budgets_of_work_are_for_runs_without_a_distance() {
        let config = "[[budgets]]\nid = 'a/fast'\nagainst = 'a/slow'\nat_most = 0.5\n\
                      [[networks.remote.budgets]]\nid = 'a/fast'\nagainst = 'a/slow'\nat_most = 0.9";
        let required = |network: Network| {
            let benches = vec![bench("a/fast", 7.0, None), bench("a/slow", 10.0, None)];
            let run = Run { network, ..Run::default() };
            let evidence = Evidence { benches, ..Evidence::begun(run, Machine::default()) };
            let checks = judge(&Config::parse(config).unwrap(), &evidence);
            checks.into_iter().map(|check| check.required).collect::<Vec<_>>()
        };
        assert_eq!(required(Network::default()), ["≤ 0.5 ×"]);
        let far = |name: &str| Network { name: name.into(), round_trip_ms: 50.0, ..Network::default() };
        assert_eq!((required(far("remote")), required(far("rtt=50ms"))), (vec!["≤ 0.9 ×".to_owned()], vec![]));
    }

    #[test]
    fn passes_of_one_strategy_are_told_apart_by_their_action() {
        let mut other = pass("after", 40.0, &[(200, 1)]);
        other.name = "consume_part".into();
        let checks = on_loopback("[targets.after]\np95_ms = 50", vec![], vec![pass("after", 20.0, &[(200, 1)]), other]);
        let named: Vec<_> = checks.iter().map(|check| &*check.what).collect();
        assert_eq!(named, ["stress/after P95", "stress/after consume_part P95"]);
    }

    #[test]
    fn a_budget_is_a_ratio_of_two_benches_or_two_passes() {
        let config = "[[budgets]]\nid = 'a/fast'\nagainst = 'a/slow'\nat_most = 0.001\n\
                      [[budgets]]\nid = 'stress/after'\nagainst = 'stress/before'\nat_most = 0.1\n\
                      [[budgets]]\nid = 'a/fast'\nagainst = 'a/absent'\nat_most = 2";
        let benches = vec![bench("a/fast", 1.0, None), bench("a/slow", 2000.0, None)];
        let passes = vec![pass("before", 100.0, &[(200, 1)]), pass("after", 20.0, &[(200, 1)])];
        let checks = on_loopback(config, benches, passes);
        assert_eq!(checks.len(), 2, "what was not measured is not judged");
        assert!(checks[0].met && checks[0].measured == "2000 × cheaper" && checks[0].required == "≥ 1000 × cheaper");
        assert!(!checks[1].met && checks[1].measured == "5 × cheaper");
    }

    #[test]
    fn what_two_benches_come_to_in_turns_is_what_they_are_judged_by() {
        let config = "[[budgets]]\nid = 'a/fast'\nagainst = 'a/slow'\nat_most = 2\n\
                      [[budgets]]\nid = 'stress/slow'\nagainst = 'a/slow'\nat_most = 2";
        let config = Config::parse(config).unwrap();
        let mut evidence = Evidence::begun(Run::default(), Machine::default());
        evidence.benches = vec![bench("a/fast", 3.0, None), bench("a/slow", 1.0, None)];
        evidence.passes = vec![pass("slow", 5.0, &[(200, 1)])];
        let missed: Vec<_> = missed_by_benches(&config, &evidence).iter().map(|budget| &*budget.id).collect();
        assert_eq!(missed, ["a/fast"], "a pass is no bench");
        evidence.in_turns = vec![InTurns { id: "a/fast".into(), against: "a/slow".into(), ratio: 1.5, rounds: 8 }];
        let checks = judge(&config, &evidence);
        assert_eq!(shown(&checks[0]), ("a/fast against a/slow", "1.50 ×, in turns", "≤ 2 ×", true));
        assert!(!checks[1].met && missed_by_benches(&config, &evidence).is_empty());
    }

    #[test]
    fn round_trips_are_held_to_the_last_one() {
        let config = "[round_trips]\n'a/more' = 6\n'a/same' = 6\n'a/uncounted' = 6\n'a/unmeasured' = 6";
        let benches =
            vec![bench("a/more", 1.0, Some(7)), bench("a/same", 1.0, Some(6)), bench("a/uncounted", 1.0, None)];
        assert_eq!(
            on_loopback(config, benches, vec![]).iter().map(shown).collect::<Vec<_>>(),
            [
                ("a/more round trips", "7", "≤ 6", false),
                ("a/same round trips", "6", "≤ 6", true),
                ("a/uncounted round trips", "not counted", "≤ 6", false),
            ]
        );
        assert!(
            on_loopback(config, vec![bench("a/uncounted", 1.0, None)], vec![]).is_empty(),
            "nothing could be counted"
        );
    }

    #[test]
    fn what_is_asked_of_a_network_is_judged_there_and_beside_the_rest() {
        let config = "[targets.after]\np95_ms = 500\n[networks.remote.targets.after]\np95_ms = 60\n\
                      [networks.remote.times_ms]\n'a/new' = [280, 980]\n'a/pooled' = [0, 1]\n\
                      [[networks.remote.budgets]]\nid = 'a/pooled'\nagainst = 'a/new'\nat_most = 0.1";
        let at = |network| {
            let benches = vec![bench("a/new", 270.0, None), bench("a/pooled", 0.0003, None)];
            judged(config, network, benches, vec![pass("after", 100.0, &[(200, 1)])])
        };
        assert_eq!(
            at("zone").iter().map(shown).collect::<Vec<_>>(),
            [("stress/after P95", "100.0 ms", "< 500 ms", true)]
        );
        assert_eq!(
            at("remote").iter().map(shown).collect::<Vec<_>>(),
            [
                ("stress/after P95", "100.0 ms", "< 500 ms", true),
                ("stress/after P95", "100.0 ms", "< 60 ms", false),
                ("a/pooled against a/new", "900000 × cheaper", "≥ 10 × cheaper", true),
                ("a/new median", "270 ms", "280–980 ms", false),
                ("a/pooled median", "300 ns", "≤ 1 ms", true),
            ]
        );
    }
}
