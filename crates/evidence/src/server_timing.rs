//! The `Server-Timing` header, in which a server tells where a request's time went.

use std::time::Duration;

/// The entries of a header's value that have a duration, in the order they stand: `auth;dur=0.021, tenant;dur=…`.
pub fn server_timing(value: &str) -> impl Iterator<Item = (&str, Duration)> {
    value.split(',').filter_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let milliseconds: f64 = parts.find_map(|part| part.strip_prefix("dur="))?.trim_matches('"').parse().ok()?;
        Some((name, Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_a_duration_are_passed_over() {
        let value = r#"auth;dur=0.25, cache, action;desc="x";dur="2.5", bad;dur=x, worse;dur=-1, ;dur=1"#;
        let expected = [("auth", Duration::from_micros(250)), ("action", Duration::from_micros(2500))];
        assert_eq!(server_timing(value).collect::<Vec<_>>(), expected);
    }
}
