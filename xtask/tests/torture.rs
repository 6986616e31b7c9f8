//! `cargo xtask torture`: every fault once, and that what is lost is found.

mod bed;

use bed::{Ended, refused, run, xtask};
use serde_json::Value;

/// Set where every fault must be played: what two of them need is installed, and this is root's.
const REQUIRED: &str = "TARE_REQUIRE_FAULTS";
/// These need a library, and to mount a disk.
const DEMANDING: [&str; 2] = ["clock-jumps", "queue-full"];

fn torture(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = xtask(&["torture", "--once", "--format", "json"]);
    command.args(arguments);
    let Ended { code, shown, said } = run(command);
    let told = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}\n{said}"));
    (code, told, said)
}

#[test]
fn under_every_fault_what_was_acknowledged_is_there_once() {
    let (code, told, said) = torture(&["--seed", "7", "--hold", "400ms"]);
    let faults = told["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 16);
    let mut not_played = 0;
    for fault in faults {
        let name = fault["fault"].as_str().unwrap();
        let rounds = fault["rounds"].as_array().unwrap();
        if rounds.is_empty() && DEMANDING.contains(&name) && std::env::var_os(REQUIRED).is_none() {
            assert!(said.contains(fault["not_played"].as_str().unwrap()), "{said}");
            not_played += 1;
            continue;
        }
        let [round] = rounds.as_slice() else { panic!("{name}: {said}") };
        assert!(round["broken"].as_array().unwrap().is_empty(), "{name}: {said}");
        assert_eq!([&round["lost"], &round["doubled"], &round["unbalanced"]], [0, 0, 0], "{name}");
        assert!(round["acknowledged"].as_u64().unwrap() >= 200, "{name}: {round}");
    }
    assert_eq!(code, Some(if not_played > 0 { 2 } else { 0 }), "{said}");
}

#[test]
fn what_a_queue_in_memory_loses_is_found() {
    let arguments = ["--only", "server-killed", "--seed", "1", "--hold", "2s", "--queue-in-memory"];
    let (code, told, said) = torture(&arguments);
    let round = &told["faults"][0]["rounds"][0];
    assert!(round["lost"].as_u64().unwrap() > 0, "{said}");
    assert_eq!((code, &round["doubled"], &round["unbalanced"]), (Some(1), &0.into(), &0.into()), "{said}");
    assert!(
        said.contains("acknowledged and not there; again: cargo xtask torture --once --only server-killed --seed 1")
    );
}

#[test]
fn a_fault_that_is_not_known_is_refused() {
    let Ended { code, said, .. } = run(xtask(&["torture", "--only", "earthquake"]));
    assert_eq!(code, Some(2));
    assert!(said.contains("earthquake") && said.contains("postgres-killed"), "{said}");
    let mut nowhere = xtask(&["torture", "--once", "--only", "postgres-killed"]);
    nowhere.env("POSTGRES_BIN", "/nowhere");
    refused(nowhere, &["POSTGRES_BIN is /nowhere"]);
}
