//! Plans: what they are made of, what is refused, and what comes out.

mod bed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bed::{Ended, folder, refused, run, text, xtask};
use serde_json::Value;

/// What one machine was measured to do.
fn calibration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/evidence/plan.json")
}

fn plan(arguments: &[&str]) -> Command {
    xtask(&[&["plan", "--calibration", text(&calibration()), "--requests", "2000"], arguments].concat())
}

fn planned(arguments: &[&str]) -> Value {
    let Ended { code, shown, said } = run(plan(&[arguments, &["--format", "json"]].concat()));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn what_is_no_calibration_is_refused_and_said_how_to_get_one() {
    let folder = folder();
    let whole = fs::read_to_string(calibration()).unwrap();
    let with = |content: &str| {
        let file = folder.path().join("given.json");
        fs::write(&file, content).unwrap();
        xtask(&["plan", "--rate", "100", "--calibration", text(&file)])
    };
    let how = "`cargo xtask plan measure` writes";
    refused(
        xtask(&["plan", "--rate", "100", "--calibration", "/nowhere.json"]),
        &["cannot read", "/nowhere.json", how],
    );
    refused(with(&whole[..whole.len() / 3]), &["given.json", "not whole", how]);
    refused(with(r#"{"version": 6, "run": {}, "passes": []}"#), &["something else than the calibration", how]);
    refused(with(&whole.replacen("\"version\": 1", "\"version\": 2", 1)), &["version 2, and this reads 1", how]);
    refused(with(&whole.replacen("\"budget\"", "\"budgets\"", 1)), &["unknown field `budgets`", how]);
    refused(with(&whole.replace("\"concurrency\": 1,", "\"concurrency\": 3,")), &["one request at a time", how]);
}

#[test]
fn what_lies_beyond_what_was_measured_is_refused_unless_it_is_asked_for_and_then_marked() {
    let fleet = ["--tenants", "50", "--rate", "300", "--instances", "3", "--distance", "40ms"];
    let expected = [
        "beyond what was measured",
        "tenants 50",
        "instances 3",
        "distance 40 ms",
        "machines of their own",
        "--extrapolate",
    ];
    refused(plan(&fleet), &expected);
    let Ended { code, shown, said } = run(plan(&[&fleet[..], &["--extrapolate"]].concat()));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    for sentence in ["* Not measured: tenants 50", "* Not measured: instances 3", "40 ms away, cores 1 + 2 *"] {
        assert!(shown.contains(sentence), "{sentence}: {shown}");
    }
    let within = run(plan(&["--rate", "100"]));
    assert!(within.code == Some(0) && !within.shown.contains('*'), "{}\n{}", within.shown, within.said);
    assert!(within.shown.contains("taken for granted"), "{}", within.shown);
}

#[test]
fn what_cannot_be_planned_is_refused() {
    refused(plan(&["--rate", "0"]), &["the load must be above zero"]);
    refused(plan(&["--rate", "100", "--pool-size", "0"]), &["the pool size must be above zero"]);
    refused(
        plan(&["--rate", "100", "--action", "sink"]),
        &["\"sink\" was not measured", "consume_part, view_part_details"],
    );
    let many = (1..=11).map(|rate| rate.to_string()).collect::<Vec<_>>().join(",");
    refused(plan(&["--rate", &many, "--pool-size", &many]), &["121 plans", "100"]);
    // These are for clap to refuse.
    for arguments in
        [&[][..], &["--rate", "1", "--callers", "1"], &["--rate", "fast"], &["--rate", "1", "--distance", "far"]]
    {
        let Ended { code, said, .. } = run(plan(arguments));
        assert!(code == Some(2) && said.contains("error:"), "{arguments:?}: {said}");
    }
}

#[test]
fn each_combination_is_planned_and_the_same_seed_comes_to_the_same() {
    let sweep = ["--callers", "2,8", "--pool-size", "1,4", "--distance", "5ms"];
    let told = planned(&sweep);
    let plans = told["plans"].as_array().unwrap();
    let asked = |plan: &Value| {
        let scenario = &plan["scenario"];
        (scenario["arrival"]["callers"]["callers"].as_u64().unwrap(), scenario["pool_size"].as_u64().unwrap())
    };
    assert_eq!(plans.iter().map(asked).collect::<Vec<_>>(), [(2, 1), (2, 4), (8, 1), (8, 4)]);
    let throughput = |plan: &Value| plan["outcome"]["throughput"].as_f64().unwrap();
    assert!(throughput(&plans[3]) > throughput(&plans[0]));
    assert!(plans.iter().all(|plan| plan["outcome"]["connections"]["peak"].as_f64().unwrap() <= 80.0));
    assert!(told["assumptions"].as_array().unwrap().iter().all(|all| all.as_array().unwrap().len() > 5));
    assert_eq!(planned(&sweep), told);
    assert_ne!(planned(&[&sweep[..], &["--seed", "2"]].concat()), told);
}

#[test]
fn it_is_a_page_and_a_picture_too_and_says_when_it_does_not_keep_up() {
    let folder = folder();
    let [page, picture] = ["plan.html", "plan.svg"].map(|name| folder.path().join(name));
    let both = ["--rate", "50,100", "--html", text(&page), "--chart", text(&picture), "--format", "markdown"];
    let Ended { code, shown, said } = run(plan(&both));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    assert!(shown.contains("| plan |") && shown.contains("first bottleneck"), "{shown}");
    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("requests per second"), "{svg}");
    assert!(fs::read_to_string(&page).unwrap().contains("P95 by load"));

    let too_much = run(plan(&["--rate", "20000", "--extrapolate"]));
    assert_eq!(too_much.code, Some(1), "{}", too_much.said);
    assert!(too_much.shown.contains("does not keep up"), "{}", too_much.shown);
}

#[test]
fn what_this_machine_does_is_measured_and_planned_from() {
    let output = folder();
    let file = output.path().join("plan.json");
    let measure = ["plan", "measure", "--quick", "--parts", "1000", "--calibration", text(&file)];
    let Ended { code, shown, said } = run(xtask(&[&measure[..], &["--output", text(output.path())]].concat()));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let calibration: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((calibration["tenants"].as_u64(), calibration["budget"].as_u64()), (Some(5), Some(80)));
    let passes = calibration["passes"].as_array().unwrap();
    for pass in passes {
        let used = |process: &str| pass["cpu_ms"][process].as_f64().unwrap();
        assert!(["load", "server", "postgres"].iter().all(|process| used(process) > 0.0), "{pass}");
        assert!(pass["requests"].as_u64().unwrap() > 0);
        let far = pass["sent"]["round_trip_ms"].as_f64().unwrap();
        // A tenth of the distance is jitter.
        assert!(pass["latency"]["min_ms"].as_f64().unwrap() >= far * 0.9, "{pass}");
        // Counted where there is a network to count at. A read's audit rows are written behind it, many in a trip.
        assert_eq!(pass["round_trips"].is_null(), far == 0.0, "{pass}");
        let reads = pass["sent"]["action"] == "view_part_details";
        assert_eq!(pass["audit"].is_null(), !reads, "{pass}");
    }
    let far_mutation = |pass: &&Value| pass["sent"]["action"] == "consume_part" && !pass["round_trips"].is_null();
    let pooled = passes.iter().filter(far_mutation).find(|pass| pass["sent"]["pooled"] == true).unwrap();
    assert_eq!(pooled["round_trips"].as_f64().unwrap().round(), 1.0, "{pooled}");
    let opening = passes.iter().filter(far_mutation).find(|pass| pass["sent"]["pooled"] == false).unwrap();
    assert!(opening["round_trips"].as_f64().unwrap() >= 7.0, "{opening}");

    let planned = run(xtask(&["plan", "--callers", "4", "--requests", "2000", "--calibration", text(&file)]));
    assert_eq!(planned.code, Some(0), "{}\n{}", planned.shown, planned.said);
    assert!(planned.shown.contains("first bottleneck"), "{}", planned.shown);
}
