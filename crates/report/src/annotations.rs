//! Evidence as workflow commands, which GitHub shows above a job.

use std::fmt::Write;

use tare_evidence::{Change, Changes, Check, Evidence, Verdict};

use crate::section::changes;

/// GitHub shows ten of a kind for each step.
const MOST: usize = 10;

/// A line for each thing worth saying: an error for what is missed or slower, a warning for what makes the run less certain, a
/// notice for what is faster. Nothing is judged by a run that was interrupted.
pub fn annotations(evidence: &Evidence) -> String {
    if evidence.run.interrupted {
        return command("warning", "tare", "Interrupted: nothing is judged by this run.");
    }
    let compared = evidence.changes.as_ref();
    let beside = |changes: &Changes, change: &Change| {
        (change.what(), format!("{} beside {}", change.difference(), changes.base.name))
    };
    let slower = compared
        .into_iter()
        .flat_map(|changes| changes::slower(changes).into_iter().map(move |change| beside(changes, change)));
    let missed = changes::other_checks(evidence).into_iter().filter(|check| !check.met).map(
        |Check { what, measured, required, .. }| (what.clone(), format!("measured {measured}, required {required}")),
    );
    let faster = compared
        .into_iter()
        .flat_map(|changes| changes.with(Verdict::Faster).map(move |change| beside(changes, change)));
    let remarks = compared.into_iter().flat_map(|changes| &changes.remarks);
    let remarks = remarks.map(|remark| ("tare".to_owned(), remark.clone()));
    [
        lines("error", slower.chain(missed).collect()),
        lines("warning", remarks.collect()),
        lines("notice", faster.collect()),
    ]
    .concat()
}

/// As many as are shown, the last of them saying how many are not.
fn lines(kind: &str, told: Vec<(String, String)>) -> String {
    let shown = if told.len() > MOST { MOST - 1 } else { told.len() };
    let mut text: String = told[..shown].iter().map(|(title, message)| command(kind, title, message)).collect();
    if told.len() > shown {
        text += &command(kind, "tare", &format!("And {} more; the summary names each.", told.len() - shown));
    }
    text
}

/// `::error title=auth/hs256 time::+5.2 % beside main`.
fn command(kind: &str, title: &str, message: &str) -> String {
    let message = message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = title.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = title.replace(':', "%3A").replace(',', "%2C");
    let mut line = String::new();
    let _ = writeln!(line, "::{kind} title={title}::{message}");
    line
}

#[cfg(test)]
mod tests {
    use tare_evidence::Figure;

    use super::*;
    use crate::section::changes::tests::{compared_evidence, every_verdict};

    #[test]
    fn what_is_slower_is_an_error_and_what_is_faster_a_notice() {
        let mut evidence = every_verdict();
        evidence.checks.push(Check {
            what: "a against b".into(),
            measured: "3 ×".into(),
            required: "≤ 2 ×".into(),
            met: false,
        });
        assert_eq!(
            annotations(&evidence).lines().collect::<Vec<_>>(),
            [
                "::error title=request/after round trips::1 → 2 beside main",
                "::error title=auth/hs256 time::+5.2 %25 (+4.1 to +6.3) beside main",
                "::error title=a against b::measured 3 ×, required ≤ 2 ×",
                "::warning title=tare::auth/es256 is not in main.",
                "::notice title=tenant/cached time::-9.0 %25 (-10.1 to -7.9) beside main",
                "::notice title=request/before allocations::1,300 → 1,250 beside main",
            ]
        );
        evidence.run.interrupted = true;
        assert_eq!(annotations(&evidence), "::warning title=tare::Interrupted: nothing is judged by this run.\n");
        assert_eq!(annotations(&Evidence { changes: None, checks: vec![], ..every_verdict() }), "");
    }

    #[test]
    fn hostile_names_make_no_command_of_their_own() {
        assert_eq!(
            command("error", "a:b,c%\r\n::set-env", "50 %\r\n::error::x"),
            "::error title=a%3Ab%2Cc%25%0D%0A%3A%3Aset-env::50 %25%0D%0A::error::x\n"
        );
    }

    #[test]
    fn the_last_that_is_shown_says_how_many_are_not() {
        let more = |count| {
            let changes = (0..count).map(|nth| Change::counted(&format!("a/{nth}"), Figure::RoundTrips, 1, 2));
            let mut evidence = compared_evidence(changes.collect());
            evidence.changes.as_mut().unwrap().remarks.clear();
            annotations(&evidence)
        };
        assert_eq!(more(10).lines().count(), 10);
        assert!(!more(10).contains("And"));
        let many = more(30);
        assert_eq!(many.lines().count(), 10);
        assert_eq!(many.lines().last(), Some("::error title=tare::And 21 more; the summary names each."));
    }
}
