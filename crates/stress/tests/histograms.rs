//! What holds of histograms whatever was counted: nothing is lost on the way from many machines to one log.

use hdrhistogram::Histogram;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use tare_evidence::Latency;
use tare_stress::{Entry, Log, summary};

/// When logs begin, in seconds since 1970.
const STARTED: f64 = 1_700_000_000.0;

/// The same histograms each time.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

/// Nanoseconds from one to hours.
fn latencies() -> impl Strategy<Value = Vec<u64>> {
    vec((0_u32..44).prop_flat_map(|power| 1_u64..=1 << power), 0..60)
}

fn counted(digits: u8, latencies: &[u64]) -> Histogram<u64> {
    let mut times = Histogram::new(digits).unwrap();
    latencies.iter().for_each(|latency| times.record(*latency).unwrap());
    times
}

/// What is in an entry: its tag, its start and length in milliseconds, its latencies.
type Told = (Option<&'static str>, u32, u32, Vec<u64>);

fn told() -> impl Strategy<Value = Told> {
    let tag = option::of(select(&["action:view", "status:200", "component:auth", "lateness"]));
    (tag, 0_u32..100_000, 0_u32..5_000, latencies())
}

/// Logs of machines that began some milliseconds apart.
fn machines() -> impl Strategy<Value = Vec<(u32, Vec<Told>)>> {
    vec((0_u32..100_000, vec(told(), 0..6)), 0..5)
}

fn log((started, entries): &(u32, Vec<Told>), digits: u8) -> Log {
    let entry = |(tag, from, length, latencies): &Told| Entry {
        tag: tag.map(Into::into),
        from_s: f64::from(*from) / 1e3,
        seconds: f64::from(*length) / 1e3,
        times: counted(digits, latencies),
    };
    Log { started: STARTED + f64::from(*started) / 1e3, entries: entries.iter().map(entry).collect() }
}

/// Each value and how often it was met.
fn counts(times: &Histogram<u64>) -> Vec<(u64, u64)> {
    times.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
}

/// All that can be told of a log.
fn shown(log: &Log) -> String {
    let entry = |Entry { tag, from_s, seconds, times }: &Entry| {
        // To the microsecond: seconds as a double are not quite what they were written as.
        format!("{tag:?} {from_s:.6} {seconds:.6} {:?}", counts(times))
    };
    format!("{} {:#?}", log.started, log.entries.iter().map(entry).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn merged_machines_are_one_histogram_that_was_fed_all(machines in machines(), apart in 0_usize..5) {
        let logs: Vec<_> = machines.iter().map(|machine| log(machine, 3)).collect();
        let merged = Log::merge(logs.clone());
        let of = |wanted: Option<&str>| {
            let entries = machines.iter().flat_map(|(_, entries)| entries).filter(|entry| entry.0 == wanted);
            counted(3, &entries.flat_map(|entry| entry.3.iter().copied()).collect::<Vec<_>>())
        };
        prop_assert_eq!(counts(&merged.whole()), counts(&of(None)));
        for (tag, times) in merged.tags() {
            prop_assert_eq!(counts(times), counts(&of(Some(tag))), "{}", tag);
        }
        let tags = machines.iter().flat_map(|(_, entries)| entries).filter_map(|entry| entry.0);
        prop_assert_eq!(merged.tags().len(), tags.collect::<std::collections::BTreeSet<_>>().len());

        // Whoever comes first, and whoever was merged before.
        let mut reversed = logs.clone();
        reversed.reverse();
        prop_assert_eq!(shown(&Log::merge(reversed)), shown(&merged));
        let (some, others) = logs.split_at(apart.min(logs.len()));
        let halves = [Log::merge(some.to_vec()), Log::merge(others.to_vec())];
        prop_assert_eq!(shown(&Log::merge(halves)), shown(&merged));
    }

    #[test]
    fn what_is_written_is_read_as_it_was(machine in (0_u32..100_000, vec(told(), 1..6)), digits in 1_u8..=3) {
        let log = Log::merge([log(&machine, digits)]);
        let read = Log::parse("a.hlog", &log.to_text().unwrap()).unwrap();
        // A log begins when it is said to, or with its first entry where that is all there is to go by.
        prop_assert_eq!(shown(&read), shown(&log));
        prop_assert_eq!(read.entries.iter().map(|entry| entry.times.sigfig()).max(), Some(digits));
    }

    #[test]
    fn a_changed_file_is_refused_or_loses_no_count_unsaid(
        machine in (0_u32..100_000, vec(told(), 1..4)), at in 0.0_f64..1.0, byte in 0_u8..0x80,
    ) {
        let text = log(&machine, 3).to_text().unwrap();
        let mut bytes = text.into_bytes();
        let at = (bytes.len() as f64 * at) as usize;
        bytes[at] = byte;
        // Whatever it is now: what is read can be written, and is then read the same.
        if let Ok(read) = Log::parse("changed.hlog", &String::from_utf8(bytes).unwrap())
            && let Ok(text) = read.to_text()
        {
            let again = Log::parse("again.hlog", &text).unwrap();
            prop_assert_eq!(counts(&again.whole()), counts(&read.whole()));
        }
    }

    #[test]
    fn percentiles_ascend_between_the_least_and_the_most(latencies in latencies()) {
        let times = counted(3, &latencies);
        let latency = summary(&times);
        let Some((least, most)) = latencies.iter().min().zip(latencies.iter().max()) else {
            prop_assert_eq!(latency, Latency::default());
            return Ok(());
        };
        let Latency { min_ms, mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms } = latency;
        let ascending = [min_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms];
        prop_assert!(ascending.is_sorted(), "{latency:?}");
        prop_assert!((min_ms..=max_ms).contains(&mean_ms), "{latency:?}");
        // To three digits.
        let close = |told_ms: f64, nanoseconds: u64| (told_ms * 1e6 - nanoseconds as f64).abs() <= nanoseconds as f64 / 1e3;
        prop_assert!(close(min_ms, *least) && close(max_ms, *most), "{latency:?} {least} {most}");
        let mut sorted = latencies.clone();
        sorted.sort_unstable();
        for (told_ms, quantile) in [(p50_ms, 0.5), (p95_ms, 0.95), (p99_ms, 0.99)] {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            prop_assert!(close(told_ms, sorted[rank.max(1) - 1]), "{quantile}: {told_ms} {sorted:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(30))]

    /// Whoever reads the workers' logs knows as much as whoever had counted every request: to the last bit, and through text.
    #[test]
    fn percentiles_of_eight_workers_are_those_of_one_histogram(
        latencies in vec((0_u32..44).prop_flat_map(|power| 1_u64..=1 << power), 1..400),
        worker in vec(0_usize..8, 400),
        entries in 1_usize..5,
    ) {
        let mut logs = Vec::new();
        for nth in 0..8 {
            let mine = latencies.iter().zip(&worker).filter(|(_, worker)| **worker == nth).map(|(latency, _)| *latency);
            let mine: Vec<_> = mine.collect();
            let windows = mine.chunks(mine.len().div_ceil(entries).max(1)).map(|window| counted(3, window));
            let entry = |(at, times)| Entry { tag: None, from_s: at as f64, seconds: 1.0, times };
            let entries: Vec<_> = windows.enumerate().map(entry).collect();
            if !entries.is_empty() {
                let text = Log { started: STARTED + nth as f64, entries }.to_text().unwrap();
                logs.push(Log::parse("worker.hlog", &text).unwrap());
            }
        }
        let merged = Log::merge(logs);
        let again = Log::parse("merged.hlog", &merged.to_text().unwrap()).unwrap();
        let one = counted(3, &latencies);
        for whole in [merged.whole(), again.whole()] {
            prop_assert_eq!(bits(&summary(&whole)), bits(&summary(&one)));
            prop_assert!(whole == one);
            for quantile in (0..=100).map(|percent| f64::from(percent) / 100.0).chain([0.999, 0.9999]) {
                prop_assert_eq!(whole.value_at_quantile(quantile), one.value_at_quantile(quantile), "{}", quantile);
            }
            prop_assert_eq!(whole.len(), latencies.len() as u64);
        }
    }
}

fn bits(latency: &Latency) -> [u64; 7] {
    let Latency { min_ms, mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms } = *latency;
    [min_ms, mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms].map(f64::to_bits)
}
