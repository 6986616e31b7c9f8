//! A typical request, drawn as its time goes by.

use tare_evidence::units::{percent, time};
use tare_evidence::{Component, Distance, Evidence, Profile};

use super::super::bar::bar;
use super::{Section, finding, name, with_interval};
use crate::plot::{Axis, Chart, Mark, Plot, Row, Scale, Series, Unit};

/// Characters of a whole request.
const WIDTH: usize = 48;

/// Every action taken apart, one below the other.
pub(super) fn waterfall(evidence: &Evidence) -> Option<Section> {
    let drawn: Vec<_> = evidence.profiles.iter().map(draw).collect();
    let sentences = evidence
        .profiles
        .iter()
        .flat_map(|profile| [Some(finding(profile, evidence)), distances(&profile.distances)].into_iter().flatten());
    (!drawn.is_empty()).then(|| Section {
        title: "One request at a time".into(),
        paragraphs: sentences.collect(),
        figure: Some(drawn.join("\n\n")),
        plots: plots(&evidence.profiles),
        essential: true,
        ..Section::default()
    })
}

/// One for each action, with the request under every strategy it was taken apart under.
fn plots(profiles: &[Profile]) -> Vec<Plot> {
    let mut actions: Vec<&str> = Vec::new();
    for profile in profiles {
        if !actions.contains(&&*profile.name) {
            actions.push(&profile.name);
        }
    }
    actions.iter().map(|action| plot(action, profiles.iter().filter(|profile| profile.name == *action))).collect()
}

fn plot<'a>(action: &str, profiles: impl Iterator<Item = &'a Profile>) -> Plot {
    let (mut series, mut rows) = (Vec::new(), Vec::new());
    for (nth, profile) in profiles.enumerate() {
        let strategy = profile.strategy.clone().unwrap_or_else(|| "as it is".into());
        let mut gone = 0.0;
        // What took no time is nowhere.
        for Component { name, ms, .. } in profile.components.iter().filter(|component| component.ms.estimate > 0.0) {
            let interval = (ms.lower < ms.upper).then_some([gone + ms.lower, gone + ms.upper]);
            let mark = Mark { series: nth, from: gone, to: gone + ms.estimate, interval };
            rows.push(Row { name: format!("{strategy}: {name}"), marks: vec![mark] });
            gone += ms.estimate;
        }
        series.push(Series::new(strategy, nth));
    }
    Plot {
        title: format!("{action}, a typical request as its time goes by"),
        description: format!(
            "A bar for each component of {action} under {}, beginning where the one before it ended.",
            series.iter().map(|one| &*one.name).collect::<Vec<_>>().join(" and under ")
        ),
        chart: Chart::Rows {
            x: Axis { name: "since the request was sent", unit: Unit::Time, scale: Scale::Linear },
            series,
            rows,
        },
    }
}

fn draw(profile: &Profile) -> String {
    let query = profile.database_ms.map_or_else(String::new, |ms| format!("; its query alone {}", with_interval(ms)));
    let samples = profile.samples;
    let head = format!("{}, {samples} requests: P50 {}{query}", name(profile), with_interval(profile.request_ms));
    let whole = profile.components.iter().map(|component| component.ms.estimate).sum::<f64>();
    // A name may be as long as whoever told it wants; the others are not pushed aside by it.
    let widest =
        profile.components.iter().map(|component| component.name.chars().count()).max().unwrap_or(0).min(WIDTH);
    let mut gone = 0.0;
    let lines = profile.components.iter().map(|component| {
        let line = line(component, gone, whole, widest);
        gone += component.ms.estimate;
        line
    });
    let lines: Vec<_> = lines.collect();
    [head].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// `  connection       ██████████        14.3 ms   38 %`, its bar beginning where the component before it ended.
fn line(Component { name, ms, estimated }: &Component, gone: f64, whole: f64, widest: usize) -> String {
    let from = (gone / whole * WIDTH as f64) as usize;
    let bar = bar(ms.estimate, whole, WIDTH);
    let drawn = format!("{}{bar}", " ".repeat(from.min(WIDTH.saturating_sub(bar.chars().count()))));
    let share = percent((ms.estimate / whole * 100.0).round() / 100.0);
    let took = time(ms.estimate);
    let more = match (estimated, ms.lower < ms.upper) {
        (true, _) => "  estimated".to_owned(),
        (false, true) => format!("  ({} to {})", time(ms.lower), time(ms.upper)),
        (false, false) => String::new(),
    };
    format!("  {name:<widest$}  {drawn:<WIDTH$}  {took:>7}  {share:>5}{more}")
}

/// How far away everything is, beside what the guide asks for.
fn distances(distances: &[Distance]) -> Option<String> {
    let told: Vec<_> = distances
        .iter()
        .map(|Distance { to, round_trip_ms, by }| format!("{to} {} ({by})", with_interval(*round_trip_ms)))
        .collect();
    (!told.is_empty()).then(|| format!("One round trip: {}. The guide asks for less than 100 ms.", told.join(", ")))
}
