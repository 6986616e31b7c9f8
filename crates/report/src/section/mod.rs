//! What is told of a run, in the order it is read.

mod bar;
pub(crate) mod changes;
mod comparison;
mod matrix;
pub(crate) mod profile;
mod round_trips;
mod stress;

use serde::Serialize;
use tare_evidence::units::{percent, rate, time, whole};
use tare_evidence::{Bench, Ceiling, Check, Evidence, Interval, Network};

use crate::plot::{AFTER, Axis, Chart, Mark, Plot, Row, Scale, Series, Unit};

/// A title, sentences, and perhaps a table and a figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// Sentences above the table.
    pub paragraphs: Vec<String>,
    /// Figures.
    pub table: Option<Table>,
    /// Lines of characters that are shown as they are, one below the other, below the table.
    pub figure: Option<String>,
    /// Pictures of the same, where they can be shown.
    pub(crate) plots: Vec<Plot>,
    /// Whether a summary has it, too.
    pub essential: bool,
}

impl Section {
    /// Of sentences and perhaps a table.
    pub fn new(title: impl Into<String>, paragraphs: Vec<String>, table: Option<Table>) -> Self {
        Self { title: title.into(), paragraphs, table, ..Self::default() }
    }
}

/// A header and rows of as many cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Rows; the first cell says what the row is about.
    pub rows: Vec<Vec<String>>,
}

/// All that is told of `evidence`; what was not measured has no section. Times are predicted at the distances
/// `predict_ms`, each a round-trip time in milliseconds.
pub fn sections(evidence: &Evidence, predict_ms: &[f64]) -> Vec<Section> {
    let mut told = vec![verdict(evidence)];
    told.extend(changes::sections(evidence).into_iter().map(Some));
    told.extend([comparison::comparison(evidence), round_trips::round_trips(evidence, predict_ms)]);
    told.extend(matrix::sections(evidence).into_iter().map(Some));
    told.extend(stress::sections(evidence));
    told.extend(profile::sections(evidence).into_iter().map(Some));
    told.extend([ceilings(evidence), checks(evidence), benches(evidence), how(evidence)]);
    told.into_iter().flatten().collect()
}

/// Up to three sentences: what is slower, whether all was met and what was not, and whether other runs disturbed it.
pub(crate) fn verdict_sentence(evidence: &Evidence) -> String {
    let disturbed = match evidence.run.beside.as_slice() {
        [] => return judged(evidence),
        [other] => {
            format!("Another run measured on this machine at the same time ({other}): times of both are disturbed.")
        }
        others => format!(
            "{} other runs measured on this machine at the same time ({}): times of all are disturbed.",
            others.len(),
            others.join("; ")
        ),
    };
    format!("{} {disturbed}", judged(evidence))
}

fn judged(evidence: &Evidence) -> String {
    if evidence.run.interrupted {
        return "Interrupted: what was measured until then is shown, and nothing is judged by it.".into();
    }
    let asked = changes::other_checks(evidence);
    match &evidence.changes {
        None => met_sentence(&asked),
        Some(changes) if asked.is_empty() => changes::verdict(changes),
        Some(changes) => format!("{} {}", changes::verdict(changes), met_sentence(&asked)),
    }
}

/// Whether all targets and budgets are met, and which are not.
fn met_sentence(checks: &[&Check]) -> String {
    let missed: Vec<_> = checks.iter().filter(|check| !check.met).collect();
    match (checks.len(), missed.as_slice()) {
        (0, _) => "Nothing was measured that a target or budget asks for.".into(),
        (1, []) => "All that was asked for is met.".into(),
        (all, []) => format!("All {all} targets and budgets are met."),
        (all, missed) => {
            let named: Vec<_> = missed
                .iter()
                .map(|check| format!("{} ({}, required {})", check.what, check.measured, check.required))
                .collect();
            format!("Missed {} of {all} targets and budgets: {}.", missed.len(), named.join("; "))
        }
    }
}

/// The next thing to do, where that is what was asked for.
pub(crate) fn next(evidence: &Evidence) -> Option<String> {
    if let Some(next) = evidence.changes.as_ref().filter(|_| !evidence.run.interrupted).and_then(changes::next) {
        return Some(next);
    }
    match (&evidence.matrix, evidence.profiles.as_slice()) {
        (Some(matrix), _) => Some(matrix.next.clone()),
        // Several are of strategies side by side, which is to compare them.
        (None, [profile]) => Some(profile.next.clone()),
        (None, _) => None,
    }
}

fn verdict(evidence: &Evidence) -> Option<Section> {
    Some(Section {
        title: format!("tare {}", evidence.run.command),
        paragraphs: next(evidence).into_iter().chain([verdict_sentence(evidence), setting(evidence)]).collect(),
        ..Section::default()
    })
}

/// When, on what, against what.
pub(crate) fn setting(evidence: &Evidence) -> String {
    let run = &evidence.run;
    let commit = run.commit.as_deref().map_or_else(String::new, |commit| {
        format!(" · commit {}{}", short(commit), if run.dirty { " with changes" } else { "" })
    });
    let postgres = evidence.postgres.as_ref().map_or_else(String::new, |postgres| {
        let fsync = postgres.settings.get("fsync").map_or_else(String::new, |fsync| format!(", fsync {fsync}"));
        let tls = if postgres.tls { "TLS" } else { "no TLS" };
        let (parts, tenants) = (whole(postgres.parts as f64), postgres.tenants);
        format!(
            " · PostgreSQL {} ({}, {tls}{fsync}), {parts} parts over {tenants} tenants",
            postgres.version, postgres.provider
        )
    });
    let machine = &evidence.machine;
    format!(
        "{}{commit} · {} × {}, load {:.2} when it began{postgres}{}",
        run.started_at,
        machine.cores,
        machine.cpu,
        machine.load,
        network(&run.network)
    )
}

/// The beginning of a commit's hash.
pub(crate) fn short(commit: &str) -> String {
    commit.chars().take(9).collect()
}

/// ` · network remote (50 ms, jitter 5 ms)`, or as it was given; nothing on loopback.
fn network(Network { name, round_trip_ms, jitter_ms, .. }: &Network) -> String {
    match &**name {
        Network::LOOPBACK => String::new(),
        given if given.contains('=') => format!(" · network {given}"),
        profile => format!(" · network {profile} ({round_trip_ms} ms, jitter {jitter_ms} ms)"),
    }
}

fn ceilings(evidence: &Evidence) -> Option<Section> {
    let sentence = |ceiling: &Ceiling| {
        let bare = ceiling.bare.as_ref().map(|bare| {
            let (rate, share) = (rate(bare.per_second), percent(bare.share));
            format!("; a bare HTTP server, without tokens, tenants and audit of reads: {rate}, {share}")
        });
        format!(
            "{} through HTTP: {}, {} of pgbench's {} with the same SQL prepared{} (medians of {} interleaved rounds, {} connections \
             each, sent by {}).",
            ceiling.action,
            rate(ceiling.http_per_second),
            percent(ceiling.share),
            rate(ceiling.pgbench_per_second).replace("req/s", "transactions/s"),
            bare.unwrap_or_default(),
            ceiling.rounds,
            ceiling.concurrency,
            ceiling.client
        )
    };
    let paragraphs: Vec<_> = evidence.ceilings.iter().map(sentence).collect();
    let any = !paragraphs.is_empty();
    Some(Section { title: "Against the database alone".into(), paragraphs, essential: true, ..Section::default() })
        .filter(|_| any)
}

fn checks(evidence: &Evidence) -> Option<Section> {
    // Met to the last one they are only long; the table of round trips shows each.
    let (as_counted, told): (Vec<_>, Vec<_>) =
        changes::other_checks(evidence).into_iter().partition(|check| check.met && check.is_of_round_trips());
    let rows = told.into_iter().map(|check| {
        let verdict = if check.met { "met" } else { "MISSED" };
        vec![check.what.clone(), check.required.clone(), check.measured.clone(), verdict.into()]
    });
    let rows: Vec<_> = rows.collect();
    let header = ["target or budget", "required", "measured", ""];
    Some(Section {
        title: "Targets and budgets".into(),
        paragraphs: match as_counted.len() {
            0 => Vec::new(),
            all => vec![format!("Besides, {all} budgets of round trips are met.")],
        },
        table: table(&header, rows),
        essential: true,
        ..Section::default()
    })
    .filter(|section| section.table.is_some() || !section.paragraphs.is_empty())
}

fn benches(evidence: &Evidence) -> Option<Section> {
    const NS_PER_MS: f64 = 1e6;
    let rows = evidence.benches.iter().map(|bench| {
        let [median, lower, upper] =
            [bench.median_ns.estimate, bench.median_ns.lower, bench.median_ns.upper].map(|ns| time(ns / NS_PER_MS));
        vec![bench.id.clone(), median, format!("{lower} – {upper}"), bench.samples.to_string()]
    });
    let rows: Vec<_> = rows.collect();
    let header = ["bench", "median", "95 % interval", "samples"];
    let plots = vec![medians(&evidence.benches)];
    Some(Section { title: "Benches".into(), table: table(&header, rows), plots, ..Section::default() })
        .filter(|section| section.table.is_some())
}

fn medians(benches: &[Bench]) -> Plot {
    let row = |bench: &Bench| {
        let Interval { estimate, lower, upper } = bench.median_ns;
        Row { name: bench.id.clone(), marks: vec![Mark::dot(0, estimate / 1e6, Some([lower / 1e6, upper / 1e6]))] }
    };
    Plot {
        title: "Median of each bench, and the interval it lies in with 95 % confidence".into(),
        description: "A dot for each bench, from nanoseconds to seconds; the table below has the figures.".into(),
        chart: Chart::Rows {
            x: Axis { name: "time of one iteration", unit: Unit::Time, scale: Scale::Logarithmic },
            series: vec![Series::new("this run", AFTER)],
            rows: benches.iter().map(row).collect(),
        },
    }
}

fn how(evidence: &Evidence) -> Option<Section> {
    let rows: Vec<_> =
        evidence.steps.iter().map(|step| vec![step.name.clone(), format!("{:.1} s", step.seconds)]).collect();
    let settings = evidence.postgres.as_ref().map(|postgres| {
        let settings: Vec<_> = postgres.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("PostgreSQL settings: {}.", settings.join(", "))
    });
    let machine = &evidence.machine;
    let machine = format!("{}, {} GiB of memory.", machine.system, machine.memory_bytes >> 30);
    Some(Section {
        title: "How it was measured".into(),
        paragraphs: [Some(machine), settings, noise(&evidence.benches)].into_iter().flatten().collect(),
        table: table(&["step", "took"], rows),
        ..Section::default()
    })
}

/// How sure the medians of benches are.
fn noise(benches: &[Bench]) -> Option<String> {
    let off = |bench: &Bench| {
        let Interval { estimate, lower, upper } = bench.median_ns;
        (upper - lower) / 2.0 / estimate
    };
    let mut all: Vec<_> =
        benches.iter().map(|bench| (off(bench), &*bench.id)).filter(|(off, _)| off.is_finite()).collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (usual, _) = all.get(all.len() / 2)?;
    let (most, id) = all.last()?;
    let shown = |share: f64| percent((share * 1e3).round() / 1e3);
    Some(format!(
        "Noise: the 95 % interval of a bench's median is ± {} in half of the benches, and at most ± {} ({id}).",
        shown(*usual),
        shown(*most)
    ))
}

pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Option<Table> {
    let header = header.iter().map(|&name| name.to_owned()).collect();
    (!rows.is_empty()).then_some(Table { header, rows })
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Machine, Run};

    use super::*;

    #[test]
    fn a_run_beside_others_says_so_in_its_verdict() {
        let told = |beside: &[&str]| {
            let beside = beside.iter().map(|other| (*other).to_owned()).collect();
            verdict_sentence(&Evidence::begun(Run { beside, ..Run::default() }, Machine::default()))
        };
        let alone = told(&[]);
        assert!(!alone.contains("measured on this machine"), "{alone}");
        let one =
            "Another run measured on this machine at the same time (process 7, perf): times of both are disturbed.";
        assert_eq!(told(&["process 7, perf"]), format!("{alone} {one}"));
        let two = told(&["process 7, perf", "process 8, bench --quick"]);
        assert!(two.contains("2 other runs") && two.contains("(process 7, perf; process 8, bench --quick)"), "{two}");
    }

    #[test]
    fn a_network_is_told_of_where_there_is_one() {
        let remote = Network { name: "remote".into(), round_trip_ms: 50.0, jitter_ms: 5.0, bandwidth_bps: None };
        let own = Network { name: "rtt=80ms".into(), round_trip_ms: 80.0, ..Network::default() };
        let told = [Network::default(), remote, own].map(|one| network(&one));
        assert_eq!(told, ["", " · network remote (50 ms, jitter 5 ms)", " · network rtt=80ms"]);
    }
}
