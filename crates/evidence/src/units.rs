//! Figures with their units, short enough for a table.

use crate::Range;

/// A time: `312 ns`, `4.71 µs`, `9.02 ms`, `191.9 s`.
pub fn time(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 0.001 => format!("{:.0} ns", ms * 1e6),
        ms if ms < 1.0 => format!("{} µs", three_digits(ms * 1e3)),
        ms if ms < 10_000.0 => format!("{} ms", three_digits(ms)),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

/// A share: `100 %`, `99.4 %`.
pub fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// A whole number with its thousands apart: `31,904`.
pub fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: `2.6 req/s`, `15,919 req/s`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        slow if slow < 100.0 => format!("{slow:.1} req/s"),
        fast => format!("{} req/s", whole(fast)),
    }
}

/// How many times better: `1.8 ×`, `31,904 ×`.
pub fn times(ratio: f64) -> String {
    match ratio {
        few if few < 10.0 => format!("{few:.1} ×"),
        many => format!("{} ×", whole(many)),
    }
}

/// From the lowest to the highest: `280–980 ms`; from zero it is a bound: `≤ 1 ms`.
pub fn range([lowest, highest]: Range, unit: &str) -> String {
    match lowest {
        0.0 => format!("≤ {highest} {unit}"),
        lowest => format!("{lowest}–{highest} {unit}"),
    }
}

fn three_digits(number: f64) -> String {
    match number {
        small if small < 9.995 => format!("{small:.2}"),
        medium if medium < 99.95 => format!("{medium:.1}"),
        large => whole(large),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits_and_their_unit() {
        let shown = [0.000_312, 0.004_71, 0.999, 9.02, 99.96, 4926.4, 191_900.0].map(time);
        assert_eq!(shown, ["312 ns", "4.71 µs", "999 µs", "9.02 ms", "100 ms", "4,926 ms", "191.9 s"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(whole), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([2.6, 15_919.4].map(rate), ["2.6 req/s", "15,919 req/s"]);
        assert_eq!([1.84, 31_904.0].map(times), ["1.8 ×", "31,904 ×"]);
        assert_eq!([1.0, 0.9944].map(percent), ["100 %", "99.4 %"]);
    }

    #[test]
    fn a_range_from_zero_is_a_bound() {
        assert_eq!([[280.0, 980.0], [0.0, 1.0]].map(|ms| range(ms, "ms")), ["280–980 ms", "≤ 1 ms"]);
    }
}
