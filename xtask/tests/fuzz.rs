//! What comes from outside: the targets of `fuzz/`, each with its seeds and with what chance makes of them.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::path::Path;

use fastrand::Rng;

/// Longer than any is asked to be.
const LONGEST: usize = 64 * 1024;
/// What is likely to be something special to whoever reads it.
const SPECIAL: [&str; 48] = [
    "0",
    "-0",
    "-1",
    "1e999",
    "5e-324",
    "1.7976931348623157e308",
    "-1.7976931348623157e308",
    "18446744073709551615",
    "9223372036854775808",
    "4294967296",
    "2147483647",
    "-2147483648",
    "65535",
    "0.1",
    "1e-9",
    "nan",
    "inf",
    "NaN",
    "true",
    "null",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\0",
    "\u{7f}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "\u{10ffff}",
    "\n",
    "\r\n",
    "\t",
    " ",
    ",",
    ";",
    ":",
    "=",
    ".",
    "-",
    "[",
    "]",
    "{",
    "}",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "#",
    "'''",
];

/// The first of them are numbers.
const NUMBERS: usize = 18;

/// Feeds `target` its seeds, and then `count` times what chance makes of them. At most `fixed` bytes of memory are used at a time, and
/// `times` the input's own.
fn feed(name: &str, target: fn(&[u8]) -> bool, count: usize, fixed: u64, times: u64) {
    let seeds = seeds(name);
    assert!(seeds.len() >= 7, "{name} has {} seeds", seeds.len());
    // What is made once is made before.
    target(&seeds[0]);
    let (mut most, mut understood) = (0, 0);
    // What the whole process dies of, as of memory that there is not, is told by nobody: it is found there.
    let last = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"))).unwrap();
    let mut feed = |bytes: &[u8], what: &dyn std::fmt::Display| {
        last.set_len(0).and_then(|()| last.write_all_at(bytes, 0)).unwrap();
        let mut done = None;
        let used = allocation_counter::measure(|| done = catch_unwind(|| target(bytes)).ok()).bytes_max;
        let shown = bytes.escape_ascii();
        understood += usize::from(done.unwrap_or_else(|| panic!("{name}, {what}: {shown}")));
        let bound = fixed + times * bytes.len() as u64;
        assert!(used <= bound, "{name}, {what}: {used} bytes of memory where {bound} are allowed for {shown}");
        most = most.max(used);
    };
    seeds.iter().for_each(|seed| feed(seed, &"a seed"));
    for nth in 0..count {
        feed(&changed(&seeds, &mut Rng::with_seed(nth as u64)), &format_args!("input {nth}"));
    }
    let inputs = seeds.len() + count;
    eprintln!("{name}: {understood} of {inputs} inputs are understood, {} KiB of memory at most", most / 1024);
    assert!((1..inputs).contains(&understood));
}

/// What is in `fuzz/seeds`, in the order of the names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One of `seeds` with some changes.
fn changed(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = seeds[random.usize(..seeds.len())].clone();
    // A single one is often still understood.
    for _ in 0..if random.bool() { 1 } else { random.usize(2..=4) } {
        let (from, to) = (random.usize(..=bytes.len()), random.usize(..=bytes.len()));
        let (from, to) = (from.min(to), from.max(to));
        match random.u8(..16) {
            0 if from < bytes.len() => bytes[from] ^= 1 << random.u8(..8),
            1 if from < bytes.len() => bytes[from] = random.u8(..),
            2 => bytes.truncate(to),
            3 => drop(bytes.drain(from..to.min(from + 16))),
            4 => drop(bytes.drain(from..to)),
            // Once more, or many times.
            5 => {
                let part = bytes[from..to].repeat(if random.bool() { 1 } else { random.usize(1..64) });
                drop(bytes.splice(from..from, part));
            }
            // The rest is another's.
            6 => {
                let other = &seeds[random.usize(..seeds.len())];
                let at = random.usize(..=other.len());
                bytes.truncate(from);
                bytes.extend_from_slice(&other[at..]);
            }
            // A number becomes another.
            7..13 => {
                let digits = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
                let Some(begin) = bytes[from..].iter().position(digits).map(|at| from + at) else { continue };
                let end = bytes[begin..].iter().position(|byte| !digits(byte)).map_or(bytes.len(), |at| begin + at);
                let number = match random.u8(..3) {
                    0 => SPECIAL[random.usize(..NUMBERS)].to_owned(),
                    1 => (random.u64(..) >> random.u32(..64)).to_string(),
                    _ => format!("{}.{}", random.u64(..) >> random.u32(..64), random.u16(..)),
                };
                drop(bytes.splice(begin..end, number.into_bytes()));
            }
            _ => drop(bytes.splice(from..from, SPECIAL[random.usize(..SPECIAL.len())].bytes())),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

#[test]
fn any_body_of_a_request_is_understood_or_refused() {
    feed("body", targets::body, 100_000, 8 << 10, 40);
}

#[test]
fn no_token_is_accepted_but_those_that_were_signed() {
    feed("token", targets::token, 20_000, 64 << 10, 40);
}

#[test]
fn any_perf_toml_is_understood_or_refused() {
    feed("config", targets::config, 40_000, 64 << 10, 400);
}

#[test]
fn any_evidence_is_read_and_shown_or_refused() {
    feed("evidence", targets::evidence, 10_000, 2 << 20, 100);
}

#[test]
fn any_server_timing_has_entries_with_a_time_or_none() {
    feed("server_timing", targets::server_timing, 100_000, 4 << 10, 40);
}

#[test]
fn any_network_makes_sense_or_is_refused() {
    feed("network", targets::network, 100_000, 4 << 10, 40);
}
