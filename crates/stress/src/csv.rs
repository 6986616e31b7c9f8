//! A pass as a table.

use std::fmt::Write;

use tare_evidence::Pass;

/// What happened when in `pass`, as comma-separated values with a header: a row for each span of its timeline.
pub fn csv(pass: &Pass) -> String {
    let mut table = String::from("from_s,seconds,requests,failed,requests_per_second,p50_ms,p95_ms,p99_ms\n");
    for span in &pass.timeline {
        let rate = match span.seconds > 0.0 {
            true => span.requests as f64 / span.seconds,
            // A quotient by nothing would be written as text, which a spreadsheet cannot add up.
            false => 0.0,
        };
        let (from, seconds, requests, failed) = (span.from_s, span.seconds, span.requests, span.failed);
        let (p50, p95, p99) = (span.p50_ms, span.p95_ms, span.p99_ms);
        writeln!(table, "{from:.3},{seconds:.3},{requests},{failed},{rate:.3},{p50},{p95},{p99}")
            .expect("a String takes all that is written");
    }
    table
}

#[cfg(test)]
mod tests {
    use tare_evidence::Span;

    use super::*;

    #[test]
    fn every_span_is_a_row_of_plain_numbers() {
        let span = Span {
            from_s: 0.1 + 0.2,
            seconds: 0.5,
            requests: 1_234_567,
            failed: 2,
            p50_ms: 0.012_34,
            p95_ms: 4.0,
            p99_ms: 30_000.5,
        };
        let pass = Pass { timeline: vec![span, Span::default()], ..Pass::default() };
        let table = csv(&pass);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines,
            [
                "from_s,seconds,requests,failed,requests_per_second,p50_ms,p95_ms,p99_ms",
                "0.300,0.500,1234567,2,2469134.000,0.01234,4,30000.5",
                "0.000,0.000,0,0,0.000,0,0,0",
            ]
        );
    }

    #[test]
    fn a_pass_without_a_timeline_is_a_header() {
        assert_eq!(csv(&Pass::default()).lines().count(), 1);
    }
}
