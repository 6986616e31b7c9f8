//! The `Server-Timing` header of an answer.

use std::time::Duration;

use tare_evidence::server_timing as read;

/// Any value has entries or none, each with a name and a time, and they are the same when they are written again.
pub fn server_timing(bytes: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(bytes) else { return false };
    let entries: Vec<_> = read(value).collect();
    assert!(entries.len() <= value.split(',').count());
    for (name, _) in &entries {
        assert!(!name.is_empty() && !name.contains([',', ';']) && name.trim() == *name, "{name:?}");
    }
    let written: Vec<_> =
        entries.iter().map(|(name, time)| format!("{name};dur={}", time.as_secs_f64() * 1e3)).collect();
    let written = written.join(", ");
    let again: Vec<_> = read(&written).collect();
    assert_eq!(again.len(), entries.len(), "{written}");
    for ((name, time), (other_name, other)) in entries.iter().zip(again) {
        let apart = Duration::from_nanos(1) + *time / 1_000_000_000;
        assert!(*name == other_name && time.abs_diff(other) <= apart, "{name} {time:?} {other_name} {other:?}");
    }
    !entries.is_empty()
}
