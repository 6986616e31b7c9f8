//! Latency histograms in the HdrHistogram log format, which many tools read, and the logs of several machines in one.

mod text;

pub(crate) use text::text;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Histograms of a pass, or of several at the same time.
#[derive(Clone, Debug)]
pub struct Log {
    /// When it began, in seconds since 1970 (UTC).
    pub started: f64,
    /// In order of their start, those with a tag last. Kept so by [`Log::parse`] and [`Log::merge`].
    pub entries: Vec<Entry>,
}

/// A histogram and the time it covers.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is in it: `action:view`, `status:200`, `component:auth` or `lateness` of the whole pass; nothing for all
    /// latencies of an interval.
    pub tag: Option<String>,
    /// When it began, in seconds since the log did.
    pub from_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// In nanoseconds.
    pub times: Histogram<u64>,
}

/// Why a log cannot be read or written.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum LogError {
    /// The file is something else.
    #[error(
        "{name} is not a log of histograms: line {line} reads {text:?}; give a file in the HdrHistogram log format (.hlog)"
    )]
    NotALog {
        /// The file.
        name: String,
        /// The first line that such a log cannot have.
        line: usize,
        /// How it begins.
        text: String,
    },
    /// There is no histogram in it.
    #[error("{name} holds no histogram; leave it out, or write it again if its pass did send requests")]
    Empty {
        /// The file.
        name: String,
    },
    /// Its end is missing.
    #[error("{name} breaks off within line {line}: {reason}; copy the file again from the machine that wrote it")]
    Truncated {
        /// The file.
        name: String,
        /// Its last line.
        line: usize,
        /// What is wrong with that.
        reason: String,
    },
    /// A line that is no part of a log.
    #[error("line {line} of {name} cannot be read: {reason}; copy the file again from the machine that wrote it")]
    BadLine {
        /// The file.
        name: String,
        /// Where, the first is 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry, or the log's start, that the format cannot express.
    #[error("{what} cannot be written to a log of histograms: {reason}")]
    Unwritable {
        /// Which.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Log {
    /// One log of all that is in `logs`, on the time axis of the earliest. Intervals are kept as they are; entries with the
    /// same tag become one, which covers the time of them all. No count is lost, and the order of `logs` does not matter.
    pub fn merge(logs: impl IntoIterator<Item = Log>) -> Log {
        let logs: Vec<_> = logs.into_iter().filter(|log| !log.entries.is_empty()).collect();
        let started = logs.iter().map(|log| log.started).min_by(f64::total_cmp).unwrap_or_default();
        let (mut entries, mut tagged) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for log in logs {
            let shift = log.started - started;
            for mut entry in log.entries {
                entry.from_s = to_microseconds(entry.from_s + shift);
                match entry.tag.as_deref() {
                    None => entries.push(entry),
                    Some(tag) => tagged.entry(text::plain(tag)).or_default().push(entry),
                }
            }
        }
        entries.sort_by(in_order);
        entries.extend(tagged.into_iter().map(|(tag, entries)| one(Some(tag), &entries)));
        Log { started, entries }
    }

    /// The same with one interval for all those that follow one another and that `group` gives the same number.
    pub(crate) fn joined(self, group: impl Fn(&Entry) -> Option<usize>) -> Log {
        let (intervals, tagged): (Vec<_>, Vec<_>) = self.entries.into_iter().partition(|entry| entry.tag.is_none());
        let joined = intervals.chunk_by(|one, next| group(one) == group(next)).map(|entries| one(None, entries));
        Log { started: self.started, entries: joined.chain(tagged).collect() }
    }

    /// All latencies: the sum of what has no tag.
    pub fn whole(&self) -> Histogram<u64> {
        let untagged: Vec<_> =
            self.entries.iter().filter(|entry| entry.tag.is_none()).map(|entry| &entry.times).collect();
        sum(&untagged)
    }

    /// What has this tag.
    pub fn tagged(&self, tag: &str) -> Option<&Histogram<u64>> {
        let tag = text::plain(tag);
        self.entries.iter().find(|entry| entry.tag.as_deref() == Some(&*tag)).map(|entry| &entry.times)
    }

    /// What has a tag, in order of the entries.
    pub fn tags(&self) -> Vec<(&str, &Histogram<u64>)> {
        self.entries.iter().filter_map(|entry| Some((entry.tag.as_deref()?, &entry.times))).collect()
    }
}

/// By start. What follows decides between machines that began at the same moment, for the order of logs not to show.
fn in_order(one: &Entry, other: &Entry) -> Ordering {
    let by_time = one.from_s.total_cmp(&other.from_s).then(one.seconds.total_cmp(&other.seconds));
    by_time.then_with(|| counts(&one.times).cmp(counts(&other.times)))
}

/// Each value and how often it was met.
fn counts(times: &Histogram<u64>) -> impl Iterator<Item = (u64, u64)> {
    times.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()))
}

/// One entry for all `entries` of the same tag, or of none; there is at least one.
fn one(tag: Option<String>, entries: &[Entry]) -> Entry {
    let from_s = entries.iter().map(|entry| entry.from_s).fold(f64::INFINITY, f64::min);
    let to_s = entries.iter().map(|entry| entry.from_s + entry.seconds).fold(from_s, f64::max);
    let times: Vec<_> = entries.iter().map(|entry| &entry.times).collect();
    Entry { tag, from_s, seconds: to_microseconds(to_s - from_s), times: sum(&times) }
}

/// All counts in one histogram, as fine as the finest of `all`: logs of other tools may keep more or fewer digits.
fn sum(all: &[&Histogram<u64>]) -> Histogram<u64> {
    let digits = all.iter().map(|times| times.sigfig()).max().unwrap_or(3);
    let low = all.iter().map(|times| times.low()).min().unwrap_or(1);
    let mut whole =
        Histogram::new_with_bounds(low, 2 * low, digits).expect("as fine as one of them and no lower than another");
    whole.auto(true);
    for times in all {
        whole.add(*times).expect("a histogram that resizes itself takes any other");
    }
    whole
}

/// Seconds since 1970 leave a double some tenths of a microsecond, which would show in differences.
fn to_microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;
