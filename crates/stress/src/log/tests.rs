use super::*;

const STARTED: f64 = 1_700_000_000.25;

fn times(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut times = Histogram::new(3).unwrap();
    values.into_iter().for_each(|value| times.record(value).unwrap());
    times
}

fn entry(tag: Option<&str>, from_s: f64, seconds: f64, values: impl IntoIterator<Item = u64>) -> Entry {
    Entry { tag: tag.map(Into::into), from_s, seconds, times: times(values) }
}

/// All that can be told of a log.
type Told = (f64, Vec<(Option<String>, f64, f64, Vec<(u64, u64)>)>);

fn told(log: &Log) -> Told {
    let entry = |entry: &Entry| (entry.tag.clone(), entry.from_s, entry.seconds, counts(&entry.times).collect());
    (log.started, log.entries.iter().map(entry).collect())
}

fn counted(times: &Histogram<u64>) -> Vec<(u64, u64)> {
    counts(times).collect()
}

/// A machine's log and all latencies in it.
fn machine(random: &mut fastrand::Rng) -> (Log, Vec<u64>) {
    let mut all = Vec::new();
    let mut latencies = |random: &mut fastrand::Rng| {
        let count = random.usize(0..50);
        let latency = |_| {
            let magnitude = random.u32(1..40);
            random.u64(1..=1 << magnitude)
        };
        let values: Vec<_> = (0..count).map(latency).collect();
        all.extend_from_slice(&values);
        values
    };
    let mut entries: Vec<_> =
        (0..random.u32(1..6)).map(|nth| entry(None, f64::from(nth), 1.0, latencies(random))).collect();
    let length = entries.len() as f64;
    entries.push(entry(Some("action:view"), 0.0, length, all.iter().copied()));
    let started = STARTED + f64::from(random.u32(0..5_000)) / 1_000.0;
    (Log { started, entries }, all)
}

#[test]
fn what_is_written_is_read_back_exactly() {
    for seed in 0..30 {
        let (log, _) = machine(&mut fastrand::Rng::with_seed(seed));
        let log = Log::merge([log]);
        let read = Log::parse("a.hlog", &log.to_text().unwrap()).unwrap();
        assert_eq!(told(&read), told(&log), "seed {seed}");
    }
}

#[test]
fn the_text_is_the_standard_format() {
    let entries = vec![entry(None, 0.5, 1.0, [2_000_000]), entry(Some("my action, the 1st\n"), 0.0, 1.5, [1])];
    let text = Log { started: STARTED, entries }.to_text().unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("#[MaxValueDivisor")).collect();
    assert_eq!(lines[0], "#[Histogram log format version 1.3]");
    assert_eq!(lines[1], "#[StartTime: 1700000000.250 (seconds since epoch)]");
    assert_eq!(lines[2], "#[BaseTime: 1700000000.250 (seconds since epoch)]");
    assert!(lines[3].starts_with("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","), "{text}");
    assert!(lines[4].starts_with("0.500,1.000,2.001,HISTFAAA"), "{text}");
    assert!(lines[5].starts_with("Tag=my_action__the_1st_,0.000,1.500,0.000,HISTFAAA"), "{text}");
}

#[test]
fn merged_logs_hold_exactly_what_one_histogram_of_all_would() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut logs, mut all) = (Vec::new(), Vec::new());
        for _ in 0..random.usize(1..5) {
            let (log, latencies) = machine(&mut random);
            all.extend(latencies);
            // Some come from a file.
            logs.push(if random.bool() { Log::parse("a", &log.to_text().unwrap()).unwrap() } else { log });
        }
        let merged = Log::merge(logs.clone());
        let expected = times(all);
        assert_eq!(counted(&merged.whole()), counted(&expected), "seed {seed}");
        assert_eq!(merged.whole().len(), expected.len(), "seed {seed}");
        let tags = merged.tags();
        assert_eq!((tags.len(), tags[0].0, counted(tags[0].1)), (1, "action:view", counted(&expected)), "seed {seed}");

        random.shuffle(&mut logs);
        let (first, rest) = logs.split_at(logs.len() / 2);
        let halves = [Log::merge(first.to_vec()), Log::merge(rest.to_vec())];
        assert_eq!(told(&Log::merge(logs.clone())), told(&merged), "seed {seed}: another order");
        assert_eq!(told(&Log::merge(halves)), told(&merged), "seed {seed}: in two steps");
    }
}

#[test]
fn machines_share_the_time_axis_of_the_earliest() {
    let late = Log { started: STARTED + 1.5, entries: vec![entry(None, 0.0, 1.0, [3]), entry(None, 1.0, 1.0, [4])] };
    let early = Log { started: STARTED, entries: vec![entry(None, 0.0, 2.0, [1]), entry(None, 2.0, 2.0, [2])] };
    let merged = Log::merge([late, early]);
    let starts: Vec<_> = merged.entries.iter().map(|entry| (entry.from_s, entry.times.min())).collect();
    assert_eq!((merged.started, starts), (STARTED, vec![(0.0, 1), (1.5, 3), (2.0, 2), (2.5, 4)]));
}

#[test]
fn a_tag_of_several_logs_covers_them_all() {
    let log = |started, tags: &[(&str, u64)]| Log {
        started,
        entries: tags.iter().map(|&(tag, value)| entry(Some(tag), 0.0, 10.0, [value])).collect(),
    };
    let one = log(STARTED, &[("status:200", 5), ("status:500", 6)]);
    let two = log(STARTED + 4.0, &[("status:200", 7), ("lateness", 8)]);
    let merged = Log::merge([one, two]);
    let tags: Vec<_> = merged.tags().into_iter().map(|(tag, times)| (tag, counted(times))).collect();
    let expected =
        [("lateness", vec![(8, 1)]), ("status:200", vec![(5, 1), (7, 1)]), ("status:500", vec![(6, 1)])].to_vec();
    assert_eq!(tags, expected);
    assert_eq!((merged.entries[1].from_s, merged.entries[1].seconds), (0.0, 14.0));
    assert!(merged.whole().is_empty(), "what has a tag is no part of the whole");
}

#[test]
fn nothing_merged_is_nothing() {
    let merged = Log::merge([]);
    assert!(merged.entries.is_empty() && merged.whole().is_empty());
}

#[test]
fn histograms_of_other_precision_lose_no_count() {
    let mut fine = Histogram::new(5).unwrap();
    fine.record(123_457).unwrap();
    let mut coarse = Histogram::new_with_bounds(1_000, 100_000_000_000, 2).unwrap();
    coarse.record_n(90_000_000_000, 3).unwrap();
    let entry = |times| Entry { tag: None, from_s: 0.0, seconds: 1.0, times };
    let whole = Log { started: STARTED, entries: vec![entry(coarse), entry(fine)] }.whole();
    assert_eq!((whole.len(), whole.count_at(123_457), whole.sigfig()), (4, 1, 5));
}

#[test]
fn times_are_read_as_other_tools_mean_them() {
    let log = Log { started: STARTED, entries: vec![entry(None, 2.0, 1.0, [1])] };
    let text = log.to_text().unwrap();
    let head = text.lines().next().unwrap();
    let line = text.lines().last().unwrap();
    let since_epoch = line.replacen("2.000", "1700000002.250", 1);
    let start = "#[StartTime: 1700000000.250 (seconds since epoch), Tue Nov 14 22:13:20 UTC 2023]";
    for (what, text) in [
        ("no base, from the start", format!("{head}\n{start}\n{line}\n")),
        ("no base, since the epoch", format!("{head}\n{start}\n{since_epoch}\n")),
        ("lines end as on Windows", text.replace('\n', "\r\n")),
        ("no end of the last line", text.trim_end().to_owned()),
        ("a blank line", text.replace("#[BaseTime", "\n#[BaseTime")),
    ] {
        assert_eq!(told(&Log::parse("a", &text).unwrap()), told(&log), "{what}");
    }
    let read = Log::parse("no start", &format!("{since_epoch}\n")).unwrap();
    assert_eq!((read.started, read.entries[0].from_s), (1_700_000_002.25, 0.0));
}

#[test]
fn logs_one_after_another_are_one_log() {
    let one =
        Log { started: STARTED + 60.0, entries: vec![entry(None, 0.0, 1.0, [1]), entry(Some("a"), 0.0, 1.0, [1])] };
    let two = Log { started: STARTED, entries: vec![entry(None, 0.5, 1.0, [2]), entry(Some("a"), 0.5, 1.0, [2])] };
    let text = one.to_text().unwrap() + &two.to_text().unwrap();
    assert_eq!(told(&Log::parse("a", &text).unwrap()), told(&Log::merge([one, two])));
}

#[test]
fn a_log_cut_anywhere_is_refused_or_read_in_whole_lines() {
    let log = Log { started: STARTED, entries: (0..3).map(|nth| entry(None, nth.into(), 1.0, 1..99)).collect() };
    let text = log.to_text().unwrap();
    for end in 0..text.len() - 1 {
        let whole = text[..=end].lines().filter(|line| text.lines().any(|known| known == *line));
        let entries = whole.filter(|line| line.contains("HIST")).count();
        match Log::parse("cut", &text[..end]) {
            Ok(read) => assert!(read.entries.len() <= entries && read.whole().len() == 98 * read.entries.len() as u64),
            Err(error) => assert!(
                matches!(error, LogError::Truncated { .. } | LogError::Empty { .. } | LogError::NotALog { .. }),
                "{end}: {error}"
            ),
        }
    }
    let error = Log::parse("cut.hlog", &text[..text.len() - 10]).unwrap_err();
    let last = text.lines().count();
    assert!(matches!(error, LogError::Truncated { line, .. } if line == last), "{error}");
    assert!(
        error.to_string().starts_with(&format!("cut.hlog breaks off within line {last}: its histogram")),
        "{error}"
    );
}

#[test]
fn a_changed_histogram_is_refused() {
    let log = Log { started: STARTED, entries: vec![entry(None, 0.0, 1.0, (1..500).map(|nth| nth * nth))] };
    let text = log.to_text().unwrap();
    let encoded = text.find("HIST").unwrap()..text.len() - 1;
    for at in encoded {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        match Log::parse("changed.hlog", &changed) {
            Err(LogError::BadLine { line, .. }) => assert_eq!(line, text.lines().count()),
            other => panic!("at {at}: {other:?}"),
        }
    }
}

#[test]
fn files_that_are_no_logs_are_refused_with_the_reason() {
    let log = Log { started: STARTED, entries: vec![entry(None, 0.0, 1.0, [1])] };
    let text = log.to_text().unwrap();
    let head: String = text.lines().take(4).map(|line| format!("{line}\n")).collect();
    for (what, text, expected) in [
        ("nothing", String::new(), "a.hlog holds no histogram"),
        ("blanks", "\n \n".into(), "a.hlog holds no histogram"),
        ("a head", head, "a.hlog holds no histogram"),
        ("JSON", "{\"runs\": []}".into(), "a.hlog is not a log of histograms: line 1 reads \"{\\\"runs\\\": []}\""),
        ("a script", "#!/bin/sh\nls\n".into(), "a.hlog is not a log of histograms: line 2 reads \"ls\""),
        (
            "a foreign line",
            text.replace("\"StartT", "what\n\"StartT"),
            "line 4 of a.hlog cannot be read: it is neither",
        ),
        (
            "a foreign time",
            text.replace("Time: 1700000000.250", "Time: now"),
            "line 2 of a.hlog cannot be read: its time",
        ),
        ("no Base64", text.replace("HIST", "H*ST"), "line 6 of a.hlog cannot be read: its histogram is not Base64"),
        ("an older format", text.replace("HISTF", "HISTE"), "line 6 of a.hlog cannot be read: its histogram"),
    ] {
        let error = Log::parse("a.hlog", &text).expect_err(what).to_string();
        assert!(error.starts_with(expected), "{what}: {error}");
    }
}

#[test]
fn what_the_format_cannot_express_is_not_written() {
    for (started, from_s) in [(f64::NAN, 0.0), (STARTED, -1.0)] {
        let log = Log { started, entries: vec![entry(Some("a"), from_s, 1.0, [1])] };
        assert!(matches!(log.to_text(), Err(LogError::Unwritable { .. })));
    }
}
