//! Where the time went, as the service told.

use tare_evidence::Evidence;
use tare_evidence::units::time;

use super::{Section, Table, compared, label};

/// P50 and P95 of each component, of the passes that are compared.
pub(super) fn components(evidence: &Evidence) -> Option<Section> {
    let passes: Vec<_> = compared(evidence).filter(|pass| !pass.components.is_empty()).collect();
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
    (!passes.is_empty()).then(|| Section {
        title: "Where the time went under load".into(),
        paragraphs: vec!["As the server told in Server-Timing; network is the rest of what the client saw.".into()],
        table: Some(Table { header, rows }),
        essential: true,
        ..Section::default()
    })
}
