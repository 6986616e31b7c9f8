//! What each worker did of a pass that several made together.

use tare_evidence::units::{percent, time, whole};
use tare_evidence::{Evidence, Pass, PassPart};

use super::Section;
use crate::section::table;

/// A row for each worker.
pub(super) fn parts(evidence: &Evidence) -> Option<Section> {
    let passes: Vec<_> = evidence.passes.iter().filter(|pass| !pass.parts.is_empty()).collect();
    let header = ["worker", "began", "requests", "success", "P95", "P99", "total", "machine", "folder"];
    let rows = passes.iter().flat_map(|pass| pass.parts.iter().map(|part| row(pass, part)));
    let table = table(&header, rows.collect())?;
    Some(Section { title: "Each worker".into(), table: Some(table), ..Section::default() })
}

fn row(pass: &Pass, part: &PassPart) -> Vec<String> {
    let since = part.began_s - pass.start_s.or(pass.began_s).unwrap_or(part.began_s);
    vec![
        format!("{}{}", part.worker, if part.interrupted { " (interrupted)" } else { "" }),
        format!("{} {}", if since < 0.0 { '−' } else { '+' }, time(since.abs() * 1e3)),
        whole(part.requests as f64),
        percent(part.succeeded as f64 / part.requests.max(1) as f64),
        time(part.latency.p95_ms),
        time(part.latency.p99_ms),
        time(part.seconds * 1e3),
        part.machine.clone(),
        part.folder.clone(),
    ]
}

/// Within which time all began: by their own clocks, and as far as the service's clock tells, which is one for all of them.
pub(super) fn together(pass: &Pass, label: &str) -> Option<String> {
    if pass.parts.is_empty() {
        return None;
    }
    let own = spread(pass.parts.iter().map(|part| (part.began_s, part.began_s)));
    let seen: Vec<_> = pass.parts.iter().filter_map(|part| Some((part.began_s, part.ahead?))).collect();
    let service = match seen.len() == pass.parts.len() {
        true => {
            let seen =
                seen.iter().map(|(began, ahead)| (began + ahead.at_least_ms / 1e3, began + ahead.at_most_ms / 1e3));
            format!("and within {} by the service's, which the Date of its answers tells of", time(spread(seen) * 1e3))
        }
        false => "and whether those agree is not known: answers did not tell the service's time to all of them".into(),
    };
    let by = if pass.start_s.is_some() { "the agreed moment" } else { "the first of them" };
    Some(format!(
        "{label}: {} workers began within {} by their own clocks, {service}. When each began is counted from {by}.",
        pass.parts.len(),
        time(own * 1e3)
    ))
}

/// From the earliest to the latest that it may have been.
fn spread(began: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (from, to) = began.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), (earliest, latest)| {
        (from.min(earliest), to.max(latest))
    });
    to - from
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Ahead, Latency};

    use super::super::tests::evidence;
    use super::*;

    fn part(worker: u64, began_s: f64, ahead: Option<Ahead>) -> PassPart {
        let latency = Latency { p95_ms: 8.0, p99_ms: 9.0, ..Latency::default() };
        PassPart { worker, began_s, ahead, requests: 100, succeeded: 99, seconds: 2.0, latency, ..PassPart::default() }
    }

    #[test]
    fn each_worker_has_a_row_and_it_is_told_how_far_they_began_apart() {
        let ahead = Some(Ahead { at_least_ms: -5.0, at_most_ms: 15.0 });
        let of = |parts| evidence(vec![Pass { name: "url".into(), start_s: Some(100.0), parts, ..Pass::default() }]);
        let both = of(vec![part(1, 100.0, ahead), part(2, 100.01, ahead)]);
        let rows = parts(&both).unwrap().table.unwrap().rows;
        assert_eq!(rows[1][..4], ["2", "+ 10.0 ms", "100", "99 %"]);
        let said =
            "url: 2 workers began within 10.0 ms by their own clocks, and within 30.0 ms by the service's, which";
        let told = together(&both.passes[0], "url").unwrap();
        assert!(told.starts_with(said), "{told}");

        let unknown = of(vec![part(1, 100.0, ahead), part(2, 100.0, None)]);
        let told = together(&unknown.passes[0], "url").unwrap();
        assert!(told.contains("is not known"), "{told}");
        let alone = of(Vec::new());
        assert_eq!((parts(&alone), together(&alone.passes[0], "url")), (None, None));
    }
}
