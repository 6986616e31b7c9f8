//! What the figures come to.

use tare_evidence::{Component, Profile};

/// The share of a request from which on one side of it is the place to work, as the guide has it.
const DOMINANT: f64 = 0.70;
/// Components named at most.
const NAMED: usize = 2;
/// Milliseconds that a component may take with its fix, as published: below there is nothing to fix.
const FIXED_MS: f64 = 1.0;
/// Share of a request below which a gain is not worth telling as the next thing to do.
const WORTH: f64 = 0.05;

/// The fix for each component's cost, where there is one.
const FIXES: [(&str, &str); 4] =
    [("connection", "pooling"), ("tenant", "tenant-cache"), ("audit", "async-audit"), ("action", "one-call")];

/// Puts the findings in order, the most costly first, and says what all comes to and what to do next.
pub fn conclude(profile: &mut Profile) {
    let database_ms = database_ms(profile).unwrap_or_default();
    let request_ms = profile.request_ms.estimate;
    profile.findings.sort_by(|one, other| {
        let cost = |finding| saving_of(finding, database_ms, request_ms);
        cost(other).total_cmp(&cost(one))
    });
    profile.finding = sentence(profile);
    profile.next = next(profile);
}

/// What the query takes in the database: without the way there and back, where that is known.
fn database_ms(profile: &Profile) -> Option<f64> {
    let way = profile.distances.iter().find(|distance| distance.to == "database");
    let way_ms = way.map_or(0.0, |distance| distance.round_trip_ms.estimate);
    profile.database_ms.map(|taken| (taken.estimate - way_ms).max(0.0))
}

/// Milliseconds of each component beyond the query itself, which is inside the action and no overhead; the largest first.
fn overheads(profile: &Profile) -> Vec<(&Component, f64)> {
    let query_ms = database_ms(profile).unwrap_or_default();
    let overhead = |component: &Component| match &*component.name {
        "action" => (component.ms.estimate - query_ms).max(0.0),
        _ => component.ms.estimate,
    };
    let mut costs: Vec<_> = profile.components.iter().map(|component| (component, overhead(component))).collect();
    costs.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    costs
}

fn fix_of(component: &str) -> Option<&'static str> {
    FIXES.iter().find(|(of, _)| *of == component).map(|(_, fix)| *fix)
}

fn sentence(profile: &Profile) -> String {
    let who = profile.strategy.as_deref().unwrap_or(&profile.name);
    let request_ms = profile.request_ms.estimate;
    let mut costs = overheads(profile);
    costs.truncate(NAMED);
    let largest = costs.iter().map(|(component, ms)| {
        let mark = if component.estimated { " (estimated)" } else { "" };
        format!("{} {}{mark}", component.name, percent(ms / request_ms))
    });
    let largest = match costs.is_empty() {
        true => String::new(),
        false => format!(", most of it {}", largest.collect::<Vec<_>>().join(" and ")),
    };
    let strategy = profile.strategy.as_deref();
    let fixes = costs.iter().filter_map(|(component, _)| fix_of(&component.name));
    let fixes: Vec<_> = fixes.filter(|fix| !is_on(fix, strategy)).collect();
    let fixes = match fixes.is_empty() {
        true => String::new(),
        false => {
            format!(" ({})", fixes.iter().map(|fix| format!("{fix}, docs/{fix}.md")).collect::<Vec<_>>().join("; "))
        }
    };
    let Some(database_ms) = database_ms(profile) else {
        return format!("{who}: a request takes {request_ms:.2} ms{largest}.");
    };
    let database = (database_ms / request_ms).min(1.0);
    let whole = format!("{who}: the query takes {database_ms:.2} ms of a request's {request_ms:.2} ms");
    match 1.0 - database {
        share if share > DOMINANT => {
            format!("{whole}; {} is overhead{largest}: work on what surrounds the query{fixes}.", percent(share))
        }
        share if share < 1.0 - DOMINANT => format!(
            "{whole}, {} of it: work on queries and indexes (docs/indexes.md, docs/query.md).",
            percent(database)
        ),
        share => format!("{whole}; {} is overhead{largest}: neither side dominates, both can gain.", percent(share)),
    }
}

/// What would be saved of a request at most, in milliseconds.
fn saving_of(finding: &tare_evidence::Finding, database_ms: f64, request_ms: f64) -> f64 {
    let of_statement = matches!(finding.kind.side(), tare_evidence::Side::Database);
    let whole = if of_statement && database_ms > 0.0 { database_ms } else { request_ms };
    match &finding.proof {
        Some(proof) => whole * (1.0 - 1.0 / proof.gain()),
        None => whole * finding.share.unwrap_or_default(),
    }
}

/// The thing to do that would save the most.
fn next(profile: &Profile) -> String {
    let request_ms = profile.request_ms.estimate;
    let query_ms = database_ms(profile).unwrap_or_default();
    let mut candidates: Vec<(f64, String)> = Vec::new();
    for (component, ms) in overheads(profile) {
        let Some(fix) = fix_of(&component.name).filter(|_| ms > FIXED_MS) else { continue };
        if is_on(fix, profile.strategy.as_deref()) {
            continue;
        }
        let estimated = if component.estimated { ", estimated" } else { "" };
        let share = percent(ms / request_ms);
        let told = format!("{fix} takes {} off, {share} of a request{estimated}: see docs/{fix}.md", milliseconds(ms));
        candidates.push((ms, told));
    }
    for finding in &profile.findings {
        let ms = saving_of(finding, query_ms, request_ms);
        let what = finding.what.trim_end_matches('.');
        candidates.push((ms, format!("{what}. {} See {}", finding.advice, finding.kind.page())));
    }
    let worth = candidates.into_iter().filter(|(ms, _)| *ms >= request_ms * WORTH);
    match worth.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((_, told)) => format!("Next: {told}."),
        None if query_ms > DOMINANT * request_ms && query_ms > FIXED_MS => {
            "Next: the query itself is most of a request, and its plan shows nothing to mend: ask for less, or remember it. \
             See docs/query.md."
                .into()
        }
        None => "Next: nothing; no part of a request stands out.".into(),
    }
}

/// Whether a strategy of ours has `fix` already.
fn is_on(fix: &str, strategy: Option<&str>) -> bool {
    strategy.is_some_and(|strategy| strategy == "after" || strategy.split('+').any(|on| on == fix))
}

fn milliseconds(ms: f64) -> String {
    tare_evidence::units::time(ms)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Distance, Finding, FindingKind, Interval, Proof};

    use super::*;

    fn exact(ms: f64) -> Interval {
        Interval { estimate: ms, lower: ms, upper: ms }
    }

    fn profile(strategy: &str, request_ms: f64, database_ms: Option<f64>, components: &[(&str, f64)]) -> Profile {
        let component =
            |&(name, ms): &(&str, f64)| Component { name: name.to_owned(), ms: exact(ms), estimated: false };
        let mut profile = Profile {
            strategy: Some(strategy.to_owned()),
            request_ms: exact(request_ms),
            database_ms: database_ms.map(exact),
            components: components.iter().map(component).collect(),
            ..Profile::default()
        };
        conclude(&mut profile);
        profile
    }

    #[test]
    fn the_larger_side_is_where_to_work() {
        let slow = [("auth", 0.1), ("tenant", 40.0), ("connection", 50.0), ("action", 9.0)];
        let said = profile("before", 100.0, Some(1.0), &slow);
        assert_eq!(
            said.finding,
            "before: the query takes 1.00 ms of a request's 100.00 ms; 99 % is overhead, most of it connection 50 % and \
             tenant 40 %: work on what surrounds the query (pooling, docs/pooling.md; tenant-cache, docs/tenant-cache.md)."
        );
        assert_eq!(said.next, "Next: pooling takes 50.0 ms off, 50 % of a request: see docs/pooling.md.");
        let finding = |database_ms| profile("x", 100.0, Some(database_ms), &slow).finding;
        assert!(finding(80.0).contains("80 % of it: work on queries and indexes"));
        assert!(finding(50.0).ends_with("neither side dominates, both can gain."));
        assert_eq!(profile("x", 3.0, None, &[]).finding, "x: a request takes 3.00 ms.");
    }

    #[test]
    fn the_query_is_no_overhead_of_its_action() {
        let said = profile("x", 10.0, Some(2.0), &[("action", 2.5), ("network", 7.5)]).finding;
        assert!(said.contains("most of it network 75 % and action 5 %"), "{said}");
    }

    #[test]
    fn a_fix_that_is_on_is_no_advice() {
        let said = profile("after", 10.0, Some(1.0), &[("action", 9.0), ("network", 1.0)]).finding;
        assert!(said.ends_with("most of it action 80 % and network 10 %: work on what surrounds the query."), "{said}");
    }

    #[test]
    fn the_way_to_the_database_is_no_work_of_its() {
        let mut far = profile("x", 52.0, Some(51.0), &[("action", 51.5)]);
        let to_database = Distance { to: "database".into(), round_trip_ms: exact(50.0), by: String::new() };
        far.distances.push(to_database);
        conclude(&mut far);
        assert!(far.finding.contains("takes 1.00 ms of a request's 52.00 ms; 98 % is overhead"), "{}", far.finding);
    }

    #[test]
    fn what_saves_the_most_is_next() {
        let mut slow =
            profile("pooling", 100.0, Some(60.0), &[("connection", 5.0), ("tenant", 20.0), ("action", 75.0)]);
        assert!(slow.next.starts_with("Next: tenant-cache"), "what is on already is no fix: {}", slow.next);
        let finding = |what: &str, share, proof| Finding {
            kind: FindingKind::MissingIndex,
            what: what.into(),
            at: String::new(),
            share: Some(share),
            advice: "Create it.".into(),
            proof,
        };
        let proof = Proof { change: String::new(), without_ms: exact(60.0), with_ms: exact(6.0) };
        slow.findings = vec![finding("A small thing.", 0.1, None), finding("An index is missing.", 0.2, Some(proof))];
        conclude(&mut slow);
        assert_eq!(slow.next, "Next: An index is missing. Create it. See docs/indexes.md.");
        assert_eq!(slow.findings[0].what, "An index is missing.", "proven to take 54 ms off");
    }

    #[test]
    fn nothing_is_next_where_all_is_fast() {
        let fast = profile("after", 0.5, Some(0.2), &[("connection", 0.001), ("action", 0.25), ("audit", 0.2)]);
        assert_eq!(fast.next, "Next: nothing; no part of a request stands out.");
    }
}
