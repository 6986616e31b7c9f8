//! Evidence as JUnit XML, which CI systems read as tests.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use tare_evidence::{Change, Check, Evidence, Verdict};

use crate::section::{changes, setting};

/// A suite of the changes and a suite of the targets and budgets, a case for each. What is undecided is skipped: it neither passed
/// nor failed, and every CI system counts and lists what is.
pub fn junit(evidence: &Evidence) -> String {
    let mut report = Report::new(sane(&format!("tare {}", evidence.run.command)));
    if let Some(changes) = &evidence.changes {
        // In their order, as `checks` gives them.
        let cases = changes.changes.iter().zip(changes.checks()).map(|(change, check)| of_change(change, &check));
        report.add_test_suite(suite("changes", evidence, cases.collect()));
    }
    let checks: Vec<_> = changes::other_checks(evidence).into_iter().map(of_check).collect();
    if !checks.is_empty() {
        report.add_test_suite(suite("targets and budgets", evidence, checks));
    }
    report.to_string().expect("text is written to memory")
}

fn suite(name: &str, evidence: &Evidence, cases: Vec<TestCase>) -> TestSuite {
    let mut suite = TestSuite::new(name);
    suite.add_property(("setting", &*sane(&setting(evidence))));
    suite.add_test_cases(cases);
    suite
}

fn of_change(change: &Change, check: &Check) -> TestCase {
    let status = match change.verdict {
        Verdict::Undecided => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(sane(&format!("undecided: {}", check.measured)));
            skipped
        }
        _ => status(check),
    };
    case(&check.what, &change.id, status, check)
}

fn of_check(check: &Check) -> TestCase {
    case(&check.what, &check.what, status(check), check)
}

fn case(name: &str, id: &str, status: TestCaseStatus, check: &Check) -> TestCase {
    let mut case = TestCase::new(sane(name), status);
    // The component: what comes before the way.
    case.set_classname(sane(id.split('/').next().unwrap_or(id)));
    case.set_system_out(sane(&told(check)));
    case
}

fn status(check: &Check) -> TestCaseStatus {
    if check.met {
        return TestCaseStatus::success();
    }
    let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
    failure.set_type("missed").set_message(sane(&told(check))).set_description(sane(&told(check)));
    failure
}

fn told(check: &Check) -> String {
    format!("measured {}, required {}", check.measured, check.required)
}

/// Without what XML 1.0 cannot hold, escaped or not.
fn sane(text: &str) -> String {
    let illegal = |character: char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|character| if illegal(character) { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use tare_evidence::Figure;

    use super::*;
    use crate::section::changes::tests::{compared_evidence, every_verdict};

    #[test]
    fn each_change_and_each_check_is_a_case() {
        let mut evidence = every_verdict();
        let check =
            |what: &str, met| Check { what: what.into(), measured: "3 ×".into(), required: "≤ 2 ×".into(), met };
        evidence.checks.extend([check("a/b against a/c", false), check("a/d against a/c", true)]);
        let report = Report::deserialize_from_str(&junit(&evidence)).unwrap();
        let skipped = |suite: &TestSuite| {
            suite.test_cases.iter().filter(|case| matches!(case.status, TestCaseStatus::Skipped { .. })).count()
        };
        let counts: Vec<_> = report
            .test_suites
            .iter()
            .map(|suite| (suite.name.as_str(), suite.tests, suite.failures, skipped(suite)))
            .collect();
        assert_eq!(counts, [("changes", 8, 2, 1), ("targets and budgets", 2, 1, 0)]);
        let text = junit(&evidence);
        for part in [
            r#"<testcase name="auth/hs256 time beside main" classname="auth""#,
            r#"<failure message="measured +5.2 % (+4.1 to +6.3), required not 5 % more" type="missed">"#,
            r#"<skipped message="undecided: +4.0 % (+2.9 to +5.1)"/>"#,
            r#"<failure message="measured 3 ×, required ≤ 2 ×" type="missed">"#,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_xml_cannot_hold_is_left_out_and_the_rest_is_escaped() {
        let id = "a\"b<c>&d]]>\u{0}\u{1b}[31m\u{ffff}e\n";
        let text = junit(&compared_evidence(vec![Change::counted(id, Figure::RoundTrips, 1, 2)]));
        let report = Report::deserialize_from_str(&text).unwrap();
        let name = report.test_suites[0].test_cases[0].name.as_str();
        assert_eq!(name, "a\"b<c>&d]]>  [31m e  round trips beside main");
        assert!(!text.contains(['\u{0}', '\u{1b}', '\u{ffff}']), "{text}");
    }
}
