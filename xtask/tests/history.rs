//! `cargo xtask history` over folders of evidence.

mod bed;

use std::fs;
use std::path::Path;

use bed::{Ended, folder, refused, run, text, xtask};
use tare_evidence::{Bench, Evidence, Interval, Machine, Run};

/// The run of a day: slower from the 11th on, with a round trip more.
fn evidence(day: u32) -> Evidence {
    let run = Run {
        command: "perf --quick".into(),
        started_at: format!("2026-10-{day:02}T12:00:00Z"),
        commit: Some(format!("{day:02}").repeat(20)),
        ..Run::default()
    };
    let slow = day > 10;
    let ns = (4_710.0 + f64::from(day * 7 % 5) * 40.0) * if slow { 1.2 } else { 1.0 };
    let bench = Bench {
        id: "auth/hs256".into(),
        median_ns: Interval { estimate: ns, lower: ns, upper: ns },
        round_trips: Some(if slow { 2 } else { 1 }),
        ..Bench::default()
    };
    let machine = Machine { cpu: "An Ordinary Processor".into(), cores: 2, ..Machine::default() };
    Evidence { benches: vec![bench], ..Evidence::begun(run, machine) }
}

fn write(folder: &Path, name: &str, evidence: &Evidence) {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("evidence.json"), serde_json::to_string(evidence).unwrap()).unwrap();
}

#[test]
fn figures_are_followed_over_runs_in_their_order_and_what_cannot_be_used_is_named() {
    let output = folder();
    // By name they are in another order than by time.
    for day in 1..=20 {
        write(output.path(), &format!("{}/run-{day}", day % 3), &evidence(day));
    }
    let mut interrupted = evidence(21);
    interrupted.run.interrupted = true;
    write(output.path(), "interrupted", &interrupted);
    write(output.path(), "copy", &evidence(3));
    let mut old = evidence(22);
    old.version = 1;
    write(output.path(), "old", &old);
    fs::create_dir(output.path().join("broken")).unwrap();
    fs::write(output.path().join("broken/evidence.json"), "{").unwrap();
    std::os::unix::fs::symlink(output.path(), output.path().join("circle")).unwrap();

    let Ended { code, shown, said } = run(xtask(&["history", text(output.path())]));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    for part in [
        "20 runs, 2026-10-01 to 2026-10-20, on 2 × An Ordinary Processor",
        "2026-10-11 111111111: auth/hs256 round trips 1 → 2; auth/hs256 time +",
        "See git log 101010101..111111111.",
        "2 of 2 figures changed over 20 runs, last at 111111111.",
    ] {
        assert!(shown.contains(part), "{part:?} is not in: {shown}");
    }
    for part in ["old/evidence.json has version 1", "broken/evidence.json is not evidence", "1 interrupted", "1 a copy"]
    {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let markdown = run(xtask(&["history", "--markdown", text(output.path())]));
    assert!(markdown.shown.starts_with("# History\n\n2 of 2 figures changed"), "{}", markdown.shown);
}

#[test]
fn a_folder_without_a_run_is_refused() {
    let output = folder();
    refused(xtask(&["history", text(output.path())]), &["no evidence.json", "cargo xtask perf"]);
    let absent = output.path().join("absent");
    refused(xtask(&["history", text(&absent)]), &["cannot look into", "absent"]);
}
