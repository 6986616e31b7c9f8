//! What is told of a run, in the order it is read.

mod comparison;
mod round_trips;

use tare_evidence::units::{percent, rate, time, whole};
use tare_evidence::{Ceiling, Evidence, Latency, LatencyReading, Network, Pass, SuccessReading, missed};

/// A title, sentences, and perhaps a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// Sentences above the table.
    pub paragraphs: Vec<String>,
    /// Figures.
    pub table: Option<Table>,
    /// Whether a summary has it, too.
    pub essential: bool,
}

/// A header and rows of as many cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Rows; the first cell says what the row is about.
    pub rows: Vec<Vec<String>>,
}

/// All that is told of `evidence`; what was not measured has no section. Times are predicted at the distances
/// `predict_ms`, each a round-trip time in milliseconds.
pub fn sections(evidence: &Evidence, predict_ms: &[f64]) -> Vec<Section> {
    [
        verdict(evidence),
        comparison::comparison(evidence),
        round_trips::round_trips(evidence, predict_ms),
        stress(evidence),
        components(evidence),
        profiles(evidence),
        ceilings(evidence),
        checks(evidence),
        benches(evidence),
        how(evidence),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One sentence: whether all was met, and what was not.
pub(crate) fn verdict_sentence(evidence: &Evidence) -> String {
    let missed: Vec<_> = missed(&evidence.checks).collect();
    match (evidence.checks.len(), missed.as_slice()) {
        _ if evidence.run.interrupted => {
            "Interrupted: what was measured until then is shown, and nothing is judged by it.".into()
        }
        (0, _) => "Nothing was measured that a target or budget asks for.".into(),
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

fn verdict(evidence: &Evidence) -> Option<Section> {
    Some(Section {
        title: format!("tare {}", evidence.run.command),
        paragraphs: vec![verdict_sentence(evidence), setting(evidence)],
        ..Section::default()
    })
}

/// When, on what, against what.
pub(crate) fn setting(evidence: &Evidence) -> String {
    let run = &evidence.run;
    let commit = run.commit.as_deref().map_or_else(String::new, |commit| {
        format!(" · commit {}{}", &commit[..commit.len().min(9)], if run.dirty { " with changes" } else { "" })
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

/// ` · network remote (50 ms, jitter 5 ms)`, or as it was given; nothing on loopback.
fn network(Network { name, round_trip_ms, jitter_ms, .. }: &Network) -> String {
    match &**name {
        Network::LOOPBACK => String::new(),
        given if given.contains('=') => format!(" · network {given}"),
        profile => format!(" · network {profile} ({round_trip_ms} ms, jitter {jitter_ms} ms)"),
    }
}

fn stress(evidence: &Evidence) -> Option<Section> {
    let header =
        ["pass", "requests", "success", "5xx", "min", "mean", "P50", "P95", "P99", "max", "throughput", "total"];
    let rows = evidence.passes.iter().map(|pass| {
        let Latency { min_ms, mean_ms, p50_ms, p95_ms, p99_ms, max_ms } = pass.latency;
        let latency = [min_ms, mean_ms, p50_ms, p95_ms, p99_ms, max_ms].map(time);
        let mut row = vec![
            label(pass, evidence),
            format!("{} × {}", whole(pass.requests as f64), pass.concurrency),
            percent(pass.success_rate()),
            pass.server_errors().to_string(),
        ];
        row.extend(latency);
        row.extend([rate(pass.throughput()), time(pass.seconds * 1e3)]);
        row
    });
    let rows: Vec<_> = rows.collect();
    let readings = evidence.passes.iter().flat_map(|pass| {
        let (success, latency) = (SuccessReading::of(pass.success_rate()), LatencyReading::of(pass.latency.p95_ms));
        let reading = format!(
            "{}: success {}: {}; P95 {}: {}.",
            label(pass, evidence),
            percent(pass.success_rate()),
            success.advice(),
            time(pass.latency.p95_ms),
            latency.advice()
        );
        let failures = pass.failures.iter().map(|failure| {
            format!(
                "{}: {} × {}, the first: {}",
                label(pass, evidence),
                whole(failure.count as f64),
                failure.kind,
                failure.example
            )
        });
        std::iter::once(reading).chain(failures).collect::<Vec<_>>()
    });
    let paragraphs = readings.collect();
    Some(Section { title: "Stress".into(), paragraphs, table: table(&header, rows), essential: true })
        .filter(|section| section.table.is_some())
}

fn label(pass: &Pass, evidence: &Evidence) -> String {
    let name = evidence.label(pass);
    if pass.interrupted { format!("{name} (interrupted)") } else { name }
}

fn components(evidence: &Evidence) -> Option<Section> {
    // Of each strategy the pass that is compared; the others would make the table wider than a screen.
    let is_compared = |pass: &&Pass| match &pass.strategy {
        Some(strategy) => evidence.pass(strategy) == Some(*pass),
        None => true,
    };
    let passes: Vec<_> =
        evidence.passes.iter().filter(is_compared).filter(|pass| !pass.components.is_empty()).collect();
    let mut header = vec!["component".to_owned()];
    header.extend(
        passes
            .iter()
            .flat_map(|pass| [format!("{} P50", label(pass, evidence)), format!("{} P95", label(pass, evidence))]),
    );
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in passes.iter().flat_map(|pass| &pass.components) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let rows = names.iter().map(|name| {
        let times = passes.iter().flat_map(|pass| {
            let latency = pass.components.iter().find(|(known, _)| known == name).map(|(_, latency)| latency);
            latency.map_or_else(Default::default, |latency| [time(latency.p50_ms), time(latency.p95_ms)])
        });
        std::iter::once((*name).to_owned()).chain(times).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    Some(Section {
        title: "Where the time went under load".into(),
        paragraphs: vec!["As the server told in Server-Timing; network is the rest of what the client saw.".into()],
        table: (!passes.is_empty()).then_some(Table { header, rows }),
        essential: true,
    })
    .filter(|section| section.table.is_some())
}

fn profiles(evidence: &Evidence) -> Option<Section> {
    let header = ["component", "strategy", "median", "share"];
    let rows = evidence.profiles.iter().flat_map(|profile| {
        let strategy = profile.strategy.as_deref().unwrap_or("");
        let request = profile.request_ms.estimate;
        let line = |name: &str, ms: f64| vec![name.into(), strategy.into(), time(ms), percent(ms / request)];
        let components = profile.components.iter().map(move |(name, ms)| line(name, *ms));
        components.chain([line("request", request)]).collect::<Vec<_>>()
    });
    let rows: Vec<_> = rows.collect();
    let paragraphs: Vec<_> = evidence.profiles.iter().map(|profile| profile.finding.clone()).collect();
    let any = !paragraphs.is_empty();
    Some(Section { title: "One request at a time".into(), paragraphs, table: table(&header, rows), essential: true })
        .filter(|_| any)
}

fn ceilings(evidence: &Evidence) -> Option<Section> {
    let sentence = |ceiling: &Ceiling| {
        format!(
            "{} through HTTP: {}; pgbench with the same SQL prepared: {}; share {} (medians of {} interleaved rounds, {} \
             connections each, sent by {}).",
            ceiling.action,
            rate(ceiling.http_per_second),
            rate(ceiling.pgbench_per_second).replace("req/s", "transactions/s"),
            percent(ceiling.share),
            ceiling.rounds,
            ceiling.concurrency,
            ceiling.client
        )
    };
    let paragraphs: Vec<_> = evidence.ceilings.iter().map(sentence).collect();
    let any = !paragraphs.is_empty();
    Some(Section { title: "Against the database alone".into(), paragraphs, table: None, essential: true })
        .filter(|_| any)
}

fn checks(evidence: &Evidence) -> Option<Section> {
    // Met to the last one they are only long; the table of round trips shows each.
    let (as_counted, told): (Vec<_>, Vec<_>) =
        evidence.checks.iter().partition(|check| check.met && check.is_of_round_trips());
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
    Some(Section { title: "Benches".into(), table: table(&header, rows), ..Section::default() })
        .filter(|section| section.table.is_some())
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
        paragraphs: [Some(machine), settings].into_iter().flatten().collect(),
        table: table(&["step", "took"], rows),
        essential: false,
    })
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> Option<Table> {
    let header = header.iter().map(|&name| name.to_owned()).collect();
    (!rows.is_empty()).then_some(Table { header, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_told_of_where_there_is_one() {
        let remote = Network { name: "remote".into(), round_trip_ms: 50.0, jitter_ms: 5.0, bandwidth_bps: None };
        let own = Network { name: "rtt=80ms".into(), round_trip_ms: 80.0, ..Network::default() };
        let told = [Network::default(), remote, own].map(|one| network(&one));
        assert_eq!(told, ["", " · network remote (50 ms, jitter 5 ms)", " · network rtt=80ms"]);
    }
}
