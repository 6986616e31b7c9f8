//! Evidence of a run, as a file.

use serde_json::Value;
use tare_evidence::{Compare, Evidence, OLDEST, Recorded, VERSION, Versioned, history};

/// How far apart two readings of a number may be, as a share of it: JSON is read to the last digit but one.
const CLOSE: f64 = 1e-15;

/// A file is refused, or understood; then it is the same when it is written and read again, and every report of it can be made.
pub fn evidence(bytes: &[u8]) -> bool {
    let Ok(Versioned { version }) = serde_json::from_slice(bytes) else { return false };
    let Ok(evidence) = serde_json::from_slice::<Evidence>(bytes) else { return false };
    let written = serde_json::to_value(&evidence).expect("evidence can be written");
    let again: Evidence = serde_json::from_str(&written.to_string()).expect("what was written is read");
    let again = serde_json::to_value(again).expect("evidence can be written");
    assert!(alike(&written, &again), "{written}\n{again}");

    // What is of another version is not shown.
    if !(OLDEST..=VERSION).contains(&version) {
        return false;
    }
    for text in [
        tare_report::terminal(&evidence, &[80.0]),
        tare_report::markdown(&evidence, &[80.0]),
        tare_report::html(&evidence, &[80.0], &[]).expect("a page can be made"),
        tare_report::improvements(&evidence),
        tare_report::pull_request(&evidence),
        tare_report::junit(&evidence),
    ] {
        assert!(!text.is_empty());
    }
    drop(tare_report::annotations(&evidence));
    let groups = history(vec![Recorded::of(&evidence), Recorded::of(&evidence)], &Compare::default());
    assert!(!tare_report::history(&groups, true).is_empty());
    assert!(!tare_report::side_by_side(&[evidence.clone(), evidence]).is_empty());
    true
}

fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let [one, other] = [one, other].map(|number| number.as_f64().unwrap_or(f64::NAN));
            // What is too small to have all its digits is read to its last one.
            (one - other).abs() <= CLOSE * one.abs() + f64::from_bits(4)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| alike(one, other)))
        }
        (one, other) => one == other,
    }
}
