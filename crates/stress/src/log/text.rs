//! The HdrHistogram log format, version 1.3: comments, a legend, and a line for each histogram.

use std::borrow::{Borrow, Cow};
use std::io::Read;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::{Entry, Log, LogError, to_microseconds};

const VERSION: &str = "[Histogram log format version 1.3]";
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
/// Latencies are in nanoseconds, and the largest of a line is for people, who read milliseconds.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;
/// What readers of the format go by: times that far before the log's start are counted from it.
const YEAR: f64 = 365.0 * 86_400.0;
/// Bytes before the counts of a histogram.
const HEADER: usize = 40;
/// The first bytes of a histogram whose rest is compressed.
const COMPRESSED: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
/// Bytes of a histogram, more than the finest one takes.
const LARGEST: u64 = 64 << 20;
/// Characters of a foreign file that are shown.
const EXCERPT: usize = 60;

impl Log {
    /// The log as the text of a file; times are kept to the millisecond.
    ///
    /// # Errors
    /// [`LogError::Unwritable`] when a time is negative or no number, or a count does not fit.
    pub fn to_text(&self) -> Result<String, LogError> {
        text(self.started, &self.entries)
    }

    /// Reads the log in `text`, the content of the file `name`. Of each tag there is one entry, as after [`Log::merge`].
    ///
    /// # Errors
    /// When it is no log, or empty, or broken: an incomplete log is not read in part, as nothing would tell its numbers
    /// from whole ones.
    pub fn parse(name: &str, text: &str) -> Result<Log, LogError> {
        let mut clock = Clock::default();
        // Each with the moment its start is counted from.
        let mut entries = Vec::new();
        let mut is_log = false;
        for (index, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = |reason: String| fault(name, index + 1, line, is_log, reason);
            match read(line).map_err(at)? {
                Line::Comment => is_log |= line.starts_with("#[Histogram log format version"),
                Line::Legend => is_log = true,
                Line::Start(seconds) => (clock.start, is_log) = (Some(seconds), true),
                Line::Base(seconds) => (clock.base, is_log) = (Some(seconds), true),
                Line::Entry(entry) => {
                    entries.push((clock.zero(entry.from_s), entry));
                    is_log = true;
                }
            }
            clock.earliest = clock.earliest.into_iter().chain(clock.start).reduce(f64::min);
        }
        if entries.is_empty() {
            return Err(LogError::Empty { name: name.into() });
        }
        let starts = entries.iter().map(|(zero, entry)| zero + entry.from_s);
        let started = starts.chain(clock.earliest).fold(f64::INFINITY, f64::min);
        let entries = entries.into_iter().map(|(zero, mut entry)| {
            entry.from_s = to_microseconds(entry.from_s + (zero - started));
            entry
        });
        Ok(Log::merge([Log { started, entries: entries.collect() }]))
    }
}

/// A log as the text of a file, from entries of which there need not be more than one at a time: they are large.
pub(crate) fn text(started: f64, entries: impl IntoIterator<Item = impl Borrow<Entry>>) -> Result<String, LogError> {
    let started = SystemTime::UNIX_EPOCH + duration("the start of the log", started)?;
    let mut serializer = V2DeflateSerializer::new();
    let mut text = Vec::new();
    IntervalLogWriterBuilder::new()
        .add_comment(VERSION)
        .with_start_time(started)
        .with_base_time(started)
        .begin_log_with(&mut text, &mut serializer)
        .map_err(|error| unwritable("the head", error))?;
    text.extend_from_slice(LEGEND.as_bytes());
    // Another writer, as the legend can only be written between the two.
    let mut lines = IntervalLogWriterBuilder::new();
    let mut lines = lines
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
        .begin_log_with(&mut text, &mut serializer)
        .map_err(|error| unwritable("the head", error))?;
    for entry in entries {
        let entry = entry.borrow();
        let what = format!("the entry {:?} from {} s", entry.tag.as_deref().unwrap_or_default(), entry.from_s);
        let (from, length) = (duration(&what, entry.from_s)?, duration(&what, entry.seconds)?);
        let tag = entry.tag.as_deref().map(plain);
        let tag = tag.as_deref().and_then(Tag::new);
        lines.write_histogram(&entry.times, from, length, tag).map_err(|error| unwritable(&what, error))?;
    }
    Ok(String::from_utf8(text).expect("nothing but text has been written"))
}

/// What the times of the lines that follow are counted from.
#[derive(Default)]
struct Clock {
    start: Option<f64>,
    base: Option<f64>,
    /// Of all starts: a file may be several logs, one after another.
    earliest: Option<f64>,
}

impl Clock {
    fn zero(&self, from_s: f64) -> f64 {
        let start = self.start.filter(|start| from_s + YEAR < *start);
        self.base.or(start).unwrap_or_default()
    }
}

enum Line {
    Comment,
    Legend,
    Start(f64),
    Base(f64),
    Entry(Entry),
}

/// Reads one line, or tells what is wrong with it.
fn read(line: &str) -> Result<Line, String> {
    let whole = match line.ends_with('\n') {
        true => Cow::Borrowed(line),
        false => Cow::Owned(format!("{line}\n")),
    };
    // Line by line, as the reader of a whole log tells neither the line of a fault nor a comment it takes for one.
    match IntervalLogIterator::new(whole.as_bytes()).next() {
        Some(Ok(LogEntry::StartTime(since))) => Ok(Line::Start(since.as_secs_f64())),
        Some(Ok(LogEntry::BaseTime(since))) => Ok(Line::Base(since.as_secs_f64())),
        Some(Ok(LogEntry::Interval(interval))) => Ok(Line::Entry(Entry {
            tag: interval.tag().map(|tag| tag.as_str().to_owned()),
            from_s: interval.start_timestamp().as_secs_f64(),
            seconds: interval.duration().as_secs_f64(),
            times: decode(interval.encoded_histogram())?,
        })),
        Some(Err(_)) => Err("it is neither a comment nor start, length, maximum and histogram".into()),
        None if line.starts_with("#[StartTime") || line.starts_with("#[BaseTime") => {
            Err("its time is not in seconds with decimals, as 1700000000.000".into())
        }
        None if line.starts_with('#') => Ok(Line::Comment),
        None => Ok(Line::Legend),
    }
}

/// Reads a histogram. Its lengths are checked here: the library takes what it is told for true, allocates that much, and
/// does not look at the checksum behind the counts.
fn decode(encoded: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("its histogram is not Base64 ({error})"))?;
    let bytes = match bytes.strip_prefix(&COMPRESSED) {
        None => bytes,
        Some(rest) => {
            let packed = after_length(rest, 0)?;
            let mut plain = Vec::new();
            let read = ZlibDecoder::new(packed).take(LARGEST).read_to_end(&mut plain);
            read.map_err(|error| format!("its histogram cannot be unpacked ({error})"))?;
            plain
        }
    };
    after_length(bytes.get(4..).unwrap_or_default(), HEADER - 8)?;
    Deserializer::new().deserialize(&mut &bytes[..]).map_err(|error| format!("its histogram is not valid ({error})"))
}

/// What comes after the length that `bytes` begin with, if it is that long besides the `other` bytes that are not counted.
fn after_length(bytes: &[u8], other: usize) -> Result<&[u8], String> {
    let (length, rest) = bytes.split_first_chunk().ok_or("its histogram lacks its end")?;
    match (u32::from_be_bytes(*length) as usize).checked_add(other) {
        Some(length) if length == rest.len() => Ok(rest),
        _ => Err("its histogram is not as long as it says".into()),
    }
}

fn fault(name: &str, line: usize, text: &str, is_log: bool, reason: String) -> LogError {
    let name = name.into();
    match is_log {
        false => LogError::NotALog { name, line, text: text.trim_end().chars().take(EXCERPT).collect() },
        // Only the last line can be without an end.
        true if !text.ends_with('\n') => LogError::Truncated { name, line, reason },
        true => LogError::BadLine { name, line, reason },
    }
}

/// `tag` without what would end it in the format, and never nothing.
pub(super) fn plain(tag: &str) -> String {
    match tag {
        "" => "_".into(),
        tag => tag.replace(|character: char| character == ',' || character.is_whitespace(), "_"),
    }
}

fn duration(what: &str, seconds: f64) -> Result<Duration, LogError> {
    Duration::try_from_secs_f64(seconds).map_err(|error| unwritable(what, error))
}

fn unwritable(what: &str, error: impl std::fmt::Display) -> LogError {
    LogError::Unwritable { what: what.into(), reason: error.to_string() }
}
