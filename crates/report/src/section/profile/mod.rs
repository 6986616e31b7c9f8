//! Actions taken apart.

mod plans;
mod waterfall;
mod work;

use tare_evidence::units::{percent, time, times};
use tare_evidence::{Evidence, Finding, Interval, Profile};

use super::{Section, Table, table};

/// All that is told of actions taken apart, in the order it is read.
pub(super) fn sections(evidence: &Evidence) -> Vec<Section> {
    let mut told: Vec<_> = waterfall::waterfall(evidence).into_iter().collect();
    for profile in &evidence.profiles {
        let of = [stands_out(profile), work::work(profile), plans::plans(profile)];
        told.extend(of.into_iter().flatten().map(|section| Section {
            // Of several strategies each has sections of its own.
            title: match evidence.profiles.len() {
                1 => section.title,
                _ => format!("{}: {}", name(profile), section.title),
            },
            ..section
        }));
    }
    told
}

/// What the figures of a profile come to. Where there are several of a service's strategies, with the action that it is of.
pub(crate) fn finding(profile: &Profile, evidence: &Evidence) -> String {
    match (&profile.strategy, evidence.profiles.len()) {
        (None, _) | (_, 1) => profile.finding.clone(),
        _ => format!("{} {}", profile.name, profile.finding),
    }
}

/// The strategy, and the action where it is not our own service's.
fn name(profile: &Profile) -> String {
    match &profile.strategy {
        Some(strategy) => format!("{} {strategy}", profile.name),
        None => profile.name.clone(),
    }
}

fn stands_out(profile: &Profile) -> Option<Section> {
    let findings = profile.findings.iter().zip(1..).map(|(finding, nth)| format!("{nth}. {}", sentence(finding)));
    let paragraphs: Vec<_> = findings.chain(profile.remarks.iter().cloned()).collect();
    let any = !paragraphs.is_empty();
    Some(Section { title: "What stands out".into(), paragraphs, essential: true, ..Section::default() }).filter(|_| any)
}

/// What was met, where, what to do, and what that was measured to be worth.
fn sentence(Finding { kind, what, at, share, advice, proof }: &Finding) -> String {
    let share = share.map(|share| format!(", {}", percent((share * 100.0).round() / 100.0)));
    let at = match at.is_empty() {
        true => String::new(),
        false => format!(" [{at}{}]", share.unwrap_or_default()),
    };
    let proven = proof.as_ref().map_or_else(String::new, |proof| {
        format!(
            " Tried in a transaction that was rolled back: {} without, {} with it, {} less.",
            time(proof.without_ms.estimate),
            time(proof.with_ms.estimate),
            times(proof.gain())
        )
    });
    format!("{what}{at} {advice}{proven} See {}.", kind.page())
}

/// `12.1 ms (11.9 ms to 12.4 ms)`.
fn with_interval(Interval { estimate, lower, upper }: Interval) -> String {
    match lower < upper {
        true => format!("{} ({} to {})", time(estimate), time(lower), time(upper)),
        false => time(estimate),
    }
}

/// The beginning of a statement, in one line.
fn shortened(sql: &str, most: usize) -> String {
    let words: Vec<_> = sql.split_whitespace().collect();
    let line = words.join(" ");
    match line.chars().count() > most {
        true => line.chars().take(most - 1).chain(['…']).collect(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Component, FindingKind, Machine, Plan, Proof, Run, Statement, Work};

    use super::*;

    fn exact(ms: f64) -> Interval {
        Interval { estimate: ms, lower: ms, upper: ms }
    }

    fn evidence() -> Evidence {
        let component = |name: &str, ms| Component { name: name.into(), ms: exact(ms), estimated: name == "auth" };
        let proof = Proof { change: "create index".into(), without_ms: exact(12.0), with_ms: exact(0.4) };
        let profile = Profile {
            strategy: Some("before".into()),
            name: "list_parts".into(),
            samples: 200,
            database_ms: Some(exact(12.0)),
            request_ms: exact(40.0),
            components: vec![component("auth", 1.0), component("connection", 19.0), component("action", 20.0)],
            work: Some(Work {
                requests: 20,
                round_trips: Some(560),
                connections: Some(20),
                statements: vec![Statement {
                    sql: "select quantity\n  from app.stock where part_id = $1".into(),
                    calls: 400,
                    rows: 400,
                    total_ms: 40.0,
                    nested: false,
                }],
            }),
            plans: vec![Plan {
                sql: "select 1".into(),
                calls: 1,
                ms: 12.0,
                nodes: vec!["Limit  12.0 ms".into(), "  Seq Scan on parts  11.9 ms".into()],
                ..Plan::default()
            }],
            findings: vec![Finding {
                kind: FindingKind::MissingIndex,
                what: "parts is read whole for 20 of its 100,000 rows.".into(),
                at: "Seq Scan on parts".into(),
                share: Some(0.984),
                advice: "create index on parts (location).".into(),
                proof: Some(proof),
            }],
            finding: "before: slow.".into(),
            next: "Next: an index.".into(),
            ..Profile::default()
        };
        Evidence { profiles: vec![profile], ..Evidence::begun(Run::default(), Machine::default()) }
    }

    #[test]
    fn a_finding_tells_where_what_to_do_and_what_it_is_worth() {
        let section = &sections(&evidence())[1];
        assert_eq!(
            section.paragraphs,
            [
                "1. parts is read whole for 20 of its 100,000 rows. [Seq Scan on parts, 98 %] create index on parts (location). \
              Tried in a transaction that was rolled back: 12.0 ms without, 400 µs with it, 30 × less. See docs/indexes.md."
            ]
        );
    }

    #[test]
    fn a_request_is_drawn_as_it_goes_by() {
        let figure = sections(&evidence())[0].figure.clone().unwrap();
        let lines: Vec<_> = figure.lines().collect();
        assert!(lines[0].contains("list_parts before") && lines[0].contains("40.0 ms"), "{figure}");
        let column = |nth: usize| lines[nth].chars().position(|character| character == '█').unwrap_or(0);
        assert!(column(2) < column(3), "each begins where the one before it ends: {figure}");
        assert!(lines[1].contains("estimated") && lines[3].contains("50 %"), "{figure}");
    }

    #[test]
    fn statements_are_told_for_each_request() {
        let section = &sections(&evidence())[2];
        assert!(section.paragraphs[0].contains("28 round trips") && section.paragraphs[0].contains("1 connection"));
        let row = &section.table.as_ref().unwrap().rows[0];
        assert_eq!(row[..3], ["select quantity from app.stock where part_id = $1", "20", "20"].map(str::to_owned));
    }
}
