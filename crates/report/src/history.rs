//! The history of many runs: what changed when, and the course of everything.

use tare_evidence::units::{percent, whole};
use tare_evidence::{Group, Occasion, Setting, Trend, Turn, median};

use crate::markdown::write_section;
use crate::section::{Section, Table, short};
use crate::terminal::section_text;

/// Heights of a course, the lowest first.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Characters of a course; of more values each is the median of several.
const WIDTH: usize = 20;
/// A course that spans less than this, as a ratio, is drawn as if it did: noise is not to look like mountains.
const LEAST_SPAN: f64 = 1.25;
/// Figures that a sentence names.
const NAMED: usize = 8;

/// As text for a terminal: the group with the latest run, or `all`.
pub fn history(groups: &[Group], all: bool) -> String {
    let (sections, last) = told(groups, all);
    let blocks = sections.iter().map(section_text).chain(last);
    blocks.collect::<Vec<_>>().join("\n\n")
}

/// The same as GitHub-flavoured Markdown.
pub fn history_markdown(groups: &[Group], all: bool) -> String {
    let (sections, last) = told(groups, all);
    let mut text = String::new();
    write_section(&mut text, &Section { title: "History".into(), paragraphs: last, ..Section::default() }, "#");
    for section in &sections {
        write_section(&mut text, section, "##");
    }
    text
}

/// Sections, and the sentences that sum them up.
fn told(groups: &[Group], all: bool) -> (Vec<Section>, Vec<String>) {
    let shown = if all { groups } else { &groups[groups.len().saturating_sub(1)..] };
    let mut sentences: Vec<_> = shown.last().map(summary).into_iter().collect();
    let hidden = groups.len() - shown.len();
    if hidden > 0 {
        let runs: usize = groups[..hidden].iter().map(|group| group.runs.len()).sum();
        let settings = if hidden == 1 { "another setting".into() } else { format!("{hidden} other settings") };
        sentences.push(format!(
            "{} on {settings} {} not shown, for figures of another machine, PostgreSQL, network or depth are not comparable; --all \
             shows them.",
            plural(runs, "run"),
            if runs == 1 { "is" } else { "are" },
        ));
    }
    (shown.iter().flat_map(of_group).collect(), sentences)
}

/// `2 of 160 figures changed over 24 runs, last at 1a2b3c4d5.`
fn summary(group: &Group) -> String {
    let (changed, runs) = (changed(group), plural(group.runs.len(), "run"));
    let all = plural(group.trends.len(), "figure");
    match changed.first().and_then(|trend| trend.turns.last()) {
        Some(turn) => {
            format!("{} of {all} changed over {runs}, last at {}.", changed.len(), name(&group.runs[turn.run]))
        }
        None => format!("None of {all} changed over {runs}."),
    }
}

fn of_group(group: &Group) -> Vec<Section> {
    let (first, last) = (&group.runs[0], &group.runs[group.runs.len() - 1]);
    let title =
        format!("{}, {} to {}, on {}", plural(group.runs.len(), "run"), day(first), day(last), setting(&group.setting));
    let changed = changed(group);
    let row = |trend: &&Trend| [common(trend), vec![latest(group, trend)]].concat();
    let what_changed = Section {
        title,
        paragraphs: if changed.is_empty() { vec!["Nothing changed.".into()] } else { by_run(group, &changed) },
        table: table(&["changed", "first", "last", "course", "latest change"], changed.iter().map(row).collect()),
        ..Section::default()
    };

    let (constant, unchanged): (Vec<_>, Vec<_>) =
        group.trends.iter().filter(|trend| trend.turns.is_empty()).partition(|trend| trend.figure.is_exact());
    let rest = Section {
        title: "Unchanged".into(),
        paragraphs: match constant.len() {
            0 => Vec::new(),
            all => vec![format!("Besides, {} never changed.", plural(all, "count"))],
        },
        table: table(&["", "first", "last", "course"], unchanged.into_iter().map(common).collect()),
        ..Section::default()
    };
    let any = rest.table.is_some() || !rest.paragraphs.is_empty();
    [what_changed].into_iter().chain([rest].into_iter().filter(|_| any)).collect()
}

/// The figures that changed, first those that did last, and of them the worst.
fn changed(group: &Group) -> Vec<&Trend> {
    let mut changed: Vec<_> = group.trends.iter().filter(|trend| !trend.turns.is_empty()).collect();
    let worst = |trend: &Trend| trend.turns.last().map_or(0.0, |turn| trend.figure.times_worse(turn.from, turn.to));
    changed.sort_by(|one, other| {
        let run = |trend: &Trend| trend.turns.last().map(|turn| turn.run);
        run(other).cmp(&run(one)).then(worst(other).total_cmp(&worst(one)))
    });
    changed
}

fn common(trend: &Trend) -> Vec<String> {
    let shown = |place: usize| trend.figure.shown(trend.values[place].1);
    let what = format!("{} {}", trend.id, trend.figure.name());
    vec![what, shown(0), shown(trend.values.len() - 1), course(trend)]
}

fn latest(group: &Group, trend: &Trend) -> String {
    let Some(turn) = trend.turns.last() else { return String::new() };
    let before = match trend.turns.len() {
        1 => String::new(),
        all => format!(", {} before", all - 1),
    };
    format!("{} at {}{before}", difference(trend, turn), name(&group.runs[turn.run]))
}

/// For each run with changes a sentence, the latest first: when, what, and between which commits.
fn by_run(group: &Group, changed: &[&Trend]) -> Vec<String> {
    let turns = |trend: &&Trend| trend.turns.iter().map(|turn| turn.run).collect::<Vec<_>>();
    let mut runs: Vec<_> = changed.iter().flat_map(turns).collect();
    runs.sort_unstable_by(|one, other| other.cmp(one));
    runs.dedup();
    let sentence = |run: usize| {
        let here = changed.iter().flat_map(|trend| trend.turns.iter().map(move |turn| (trend, turn)));
        let mut here: Vec<_> = here.filter(|(_, turn)| turn.run == run).collect();
        here.sort_by(|(one, a), (other, b)| {
            other.figure.times_worse(b.from, b.to).total_cmp(&one.figure.times_worse(a.from, a.to))
        });
        let named = here
            .iter()
            .take(NAMED)
            .map(|(trend, turn)| format!("{} {} {}", trend.id, trend.figure.name(), difference(trend, turn)));
        let mut named: Vec<_> = named.collect();
        if here.len() > NAMED {
            named.push(format!("and {} more", here.len() - NAMED));
        }
        // Some figures may be missing of the runs just before; the widest range holds for all.
        let after = here.iter().map(|(_, turn)| turn.after).min().unwrap_or(0);
        let at = &group.runs[run];
        format!("{} {}: {}.{}", day(at), name(at), named.join("; "), between(&group.runs[after], at))
    };
    runs.into_iter().map(sentence).collect()
}

/// What came in between, where both commits are known.
fn between(before: &Occasion, at: &Occasion) -> String {
    match (&before.commit, &at.commit) {
        (Some(before), Some(at)) if before != at => format!(" See git log {}..{}.", short(before), short(at)),
        (Some(_), Some(_)) => " The commit is the same as before.".into(),
        _ => String::new(),
    }
}

/// `+5.2 %`, or `6 → 7` of a count.
fn difference(trend: &Trend, turn: &Turn) -> String {
    match trend.figure.is_exact() {
        true => format!("{} → {}", trend.figure.shown(turn.from), trend.figure.shown(turn.to)),
        false => {
            let more = percent(turn.to / turn.from - 1.0);
            if more.starts_with('-') { more } else { format!("+{more}") }
        }
    }
}

/// Its commit, `+` where there were changes beyond it; the time where no commit is known.
fn name(run: &Occasion) -> String {
    match &run.commit {
        Some(commit) => format!("{}{}", short(commit), if run.dirty { "+" } else { "" }),
        None => run.started_at.clone(),
    }
}

/// `2026-11-27`.
fn day(run: &Occasion) -> String {
    run.started_at.chars().take_while(|character| *character != 'T').collect()
}

fn setting(Setting { cpu, cores, postgres, network, quick }: &Setting) -> String {
    let postgres = postgres.as_ref().map_or_else(String::new, |(provider, version, parts)| {
        format!(", PostgreSQL {version} ({provider}), {} parts", whole(*parts as f64))
    });
    let network = match &**network {
        tare_evidence::Network::LOOPBACK => String::new(),
        other => format!(", network {other}"),
    };
    format!("{cores} × {cpu}{postgres}{network}{}", if *quick { ", quick" } else { "" })
}

/// The values as heights, each the median of as many where there are more than fit.
fn course(trend: &Trend) -> String {
    let values: Vec<_> = trend.values.iter().map(|(_, value)| *value).collect();
    let width = values.len().min(WIDTH);
    let part = |nth: usize| &values[nth * values.len() / width..(nth + 1) * values.len() / width];
    let drawn: Vec<_> = (0..width).map(|nth| median(part(nth).to_vec()).estimate).collect();
    let (mut least, mut greatest) =
        drawn.iter().fold((f64::MAX, 0.0_f64), |(a, b), &value| (a.min(value), b.max(value)));
    if greatest < least * LEAST_SPAN {
        let middle = (least * greatest).sqrt();
        (least, greatest) = (middle / LEAST_SPAN.sqrt(), middle * LEAST_SPAN.sqrt());
    }
    let height = |value: &f64| {
        let share = if greatest > least { (value - least) / (greatest - least) } else { 0.0 };
        HEIGHTS[((share * (HEIGHTS.len() - 1) as f64).round() as usize).min(HEIGHTS.len() - 1)]
    };
    drawn.iter().map(height).collect()
}

fn plural(count: usize, one: &str) -> String {
    format!("{} {one}{}", whole(count as f64), if count == 1 { "" } else { "s" })
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> Option<Table> {
    let header = header.iter().map(|&name| name.to_owned()).collect();
    (!rows.is_empty()).then_some(Table { header, rows })
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Compare, Figure, Recorded, Recording};

    use super::*;

    fn recorded(day: u32, cpu: &str, figures: &[(&str, Figure, f64)]) -> Recorded {
        let setting = Setting {
            cpu: cpu.into(),
            cores: 2,
            postgres: Some(("system".into(), "15.8".into(), 100_000)),
            network: "loopback".into(),
            quick: true,
        };
        let recording = |&(id, figure, value): &(&str, Figure, f64)| Recording { id: id.into(), figure, value };
        Recorded {
            started_at: format!("2026-10-{day:02}T12:00:00Z"),
            command: "perf --quick".into(),
            commit: Some(format!("{day:x}").repeat(40)),
            dirty: false,
            setting,
            figures: figures.iter().map(recording).collect(),
        }
    }

    fn groups() -> Vec<Group> {
        let run = |day: u32| {
            let noise = 1.0 + f64::from(day * 7 % 5) / 100.0;
            let slow = if day > 10 { 1.2 } else { 1.0 };
            let figures = [
                ("auth/hs256", Figure::Time, 4_710.0 * noise * slow),
                ("auth/hs256", Figure::RoundTrips, 0.0),
                ("connection/acquire-p95-beside-flood", Figure::Time, 9.2e6 * noise),
                ("request/after", Figure::RoundTrips, if day > 10 { 2.0 } else { 1.0 }),
                ("stress/after 500 × 10", Figure::P95, 14.0 / slow / noise),
            ];
            recorded(day, "An Ordinary Processor", &figures)
        };
        let other = recorded(1, "Another", &[("auth/hs256", Figure::Time, 100.0)]);
        tare_evidence::history((1..=24).map(run).chain([other]).collect(), &Compare::default())
    }

    #[test]
    fn what_changed_is_told_with_its_commit_and_drawn() {
        let text = history(&groups(), false);
        let widest = text.lines().filter(|line| line.starts_with('│')).map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 120), "{text}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "24 runs, 2026-10-01 to 2026-10-24, on 2 × An Ordinary Processor, PostgreSQL 15.8 (system), 100,000 parts, quick"
        );
        for part in ["+20 % at bbbbbbbbb", "1 → 2 at bbbbbbbbb", "▁▁▁▁▁▁▁▁▁███████████", "-16.7 % at bbbbbbbbb"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(
            text.contains("2026-10-11 bbbbbbbbb: request/after round trips 1 → 2; auth/hs256 time +20 %; stress/after"),
            "{text}"
        );
        assert!(text.contains(" See git log aaaaaaaaa..bbbbbbbbb."), "{text}");
        assert!(text.contains("Besides, 1 count never changed."), "{text}");
        assert!(lines.last().unwrap().starts_with("1 run on another setting is not shown"), "{text}");
        assert!(text.contains("3 of 5 figures changed over 24 runs, last at bbbbbbbbb."), "{text}");
    }

    #[test]
    fn every_setting_is_shown_when_asked_for_and_markdown_says_the_same() {
        let all = history(&groups(), true);
        assert!(
            all.contains("on 2 × Another") && all.contains("Nothing changed.") && !all.contains("not shown"),
            "{all}"
        );
        let markdown = history_markdown(&groups(), false);
        assert!(markdown.starts_with("# History\n\n3 of 5 figures changed"), "{markdown}");
        assert!(
            markdown.contains("\n## 24 runs, 2026-10-01") && markdown.contains("| request/after round trips | 1 | 2 |")
        );
    }

    #[test]
    fn noise_is_drawn_low_and_many_values_together() {
        let trend = |values: &[f64]| Trend {
            id: "a/b".into(),
            figure: Figure::Time,
            values: values.iter().copied().enumerate().collect(),
            turns: Vec::new(),
        };
        assert_eq!(course(&trend(&[100.0, 101.0, 100.0, 102.0])), "▄▄▄▅");
        assert_eq!(course(&trend(&[100.0, 200.0, 800.0])), "▁▂█");
        assert_eq!(course(&trend(&[0.0, 0.0])), "▁▁");
        let many: Vec<_> = (0..50).map(|nth| if nth < 25 { 1.0 } else { 2.0 }).collect();
        assert_eq!(course(&trend(&many)).chars().count(), WIDTH);
    }
}
