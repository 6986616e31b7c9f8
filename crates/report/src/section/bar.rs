//! Bars of characters.

/// What is left of a bar beside its whole characters, in eighths of one.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// As long as `part` is of `whole`, of at most `width` characters, and never nothing where there is some.
pub(super) fn bar(part: f64, whole: f64, width: usize) -> String {
    if part <= 0.0 || whole <= 0.0 {
        return String::new();
    }
    // Not more than all of it, also where the product of two figures is beyond every number.
    let eighths = ((part.min(whole) * (width * 8) as f64 / whole).ceil() as usize).min(width * 8);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_longest() {
        assert_eq!(bar(1000.0, 1000.0, 40), "█".repeat(40));
        assert_eq!(bar(500.0, 1000.0, 40), "█".repeat(20));
        assert_eq!(bar(110.0, 320.0, 40), "█".repeat(13) + "▊");
        assert_eq!([bar(1.0, 320.0, 40), bar(7.0, 320.0, 40), bar(8.0, 320.0, 40)], ["▏", "▉", "█"]);
    }

    #[test]
    fn a_trace_is_seen_and_nothing_is_not() {
        assert_eq!([bar(1.0, 1e6, 40), bar(0.0, 1e6, 40), bar(0.0, 0.0, 40)], ["▏", "", ""]);
        assert_eq!(bar(1e308, 1.7e308, 40).chars().count(), 40, "it is no longer than it may be");
    }
}
