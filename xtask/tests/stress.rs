//! `cargo xtask stress` against somebody else's service.

mod bed;

use std::fs;
use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use bed::{Ended, evidence, folder, refused, run, text, xtask};
use serde_json::Value;
use tempfile::TempDir;

/// Serves what the tests ask for, on a port of its own.
async fn serve() -> SocketAddr {
    let echo = async |headers: HeaderMap| {
        let sent: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        (StatusCode::BAD_REQUEST, sent.join("\n"))
    };
    let router = Router::new()
        .route("/fine", get(async || ([("server-timing", "action;dur=0.01")], r#"{"ok":1}"#)))
        .route("/order", post(async |body: String| body))
        .route("/full", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .route("/echo", get(echo));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

/// Runs `stress` with `more`, its evidence in `output`.
async fn stress(url: String, output: &TempDir, more: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = xtask(&["stress", "--url", &url, "--output", text(output.path())]);
    command.args(more).envs(variables.iter().copied());
    tokio::task::spawn_blocking(|| run(command)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_told_as_json_and_kept_in_files_that_merge_exactly() {
    let (address, output) = (serve().await, folder());
    let rate = ["--rate", "400", "-d", "500ms", "--format", "json"];
    let Ended { code, shown, said } = stress(format!("http://{address}/fine"), &output, &rate, &[]).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let told: Value = serde_json::from_str(&shown).unwrap();
    let pass = &told["passes"][0];
    assert_eq!((&pass["rate"], &pass["requests"], &pass["succeeded"]), (&"400".into(), &200.into(), &200.into()));
    assert!(pass["seconds"].as_f64().unwrap() >= 0.497, "the last request is due then: {pass}");

    let (run_folder, kept) = evidence(&output);
    assert_eq!(kept, told);
    let csv = fs::read_to_string(run_folder.join("url.csv")).unwrap();
    assert!(csv.starts_with("from_s,seconds,requests,failed"), "{csv}");
    let log = run_folder.join("url.hlog");
    let merged = output.path().join("merged.hlog");
    let Ended { code, shown, .. } = run(xtask(&["stress", "merge", text(&log), text(&log), "--output", text(&merged)]));
    assert_eq!(code, Some(0));
    let all = shown.lines().find(|line| line.contains(" all ")).unwrap();
    assert!(all.contains(" 400 ") && shown.contains("component:action") && shown.contains("status:200"), "{shown}");
    assert_eq!(run(xtask(&["stress", "merge", text(&merged)])).shown, shown);
    refused(xtask(&["stress", "merge", text(&run_folder.join("url.csv"))]), &["url.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_told_of_and_what_failed_is_named() {
    let (address, output) = (serve().await, folder());
    let url = format!("http://{address}/full");
    let Ended { code, shown, said } = stress(url, &output, &["-n", "20", "-v", "--warmup", "0"], &[]).await;
    assert_eq!(code, Some(1), "{shown}\n{said}");
    assert_eq!(said.lines().filter(|line| line.contains("  503  ") && line.ends_with("status")).count(), 20, "{said}");
    assert!(shown.contains("20 × status, the first: 503: an empty body"), "{shown}");
    assert!(shown.lines().last().unwrap().starts_with("Missed"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_systems_are_told_what_was_missed_in_their_own_ways() {
    let (address, output) = (serve().await, folder());
    let (url, summary) = (format!("http://{address}/full"), output.path().join("summary"));
    let variables = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", text(&summary))];
    let Ended { code, shown, said } = stress(url.clone(), &output, &["-n", "20"], &variables).await;
    assert_eq!(code, Some(1), "{shown}\n{said}");
    let annotations: Vec<_> = shown.lines().filter(|line| line.starts_with("::")).collect();
    assert!(annotations[0].starts_with("::error title=stress/"), "{shown}");
    assert!(annotations[0].ends_with(" success::measured 0 %25, required > 99 %25"), "{shown}");
    let (run_folder, _) = evidence(&output);
    let read = |name: &str| fs::read_to_string(run_folder.join(name)).unwrap();
    assert_eq!(fs::read_to_string(&summary).unwrap(), read("summary.md"));
    assert!(read("junit.xml").contains(r#"<failure message="measured 0 %, required &gt; 99 %" type="missed">"#));
    assert!(!run_folder.join("pull-request.md").exists(), "nothing was compared");

    // Whoever reads JSON finds nothing else in it.
    let json = stress(url, &folder(), &["-n", "20", "--format", "json"], &variables).await;
    assert!(
        serde_json::from_str::<Value>(&json.shown).is_ok() && json.said.contains("::error title="),
        "{}",
        json.said
    );
    assert!(!stress(format!("http://{address}/full"), &folder(), &["-n", "20"], &[]).await.shown.contains("::error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_nothing_that_is_shown_or_kept() {
    let (address, output) = (serve().await, folder());
    let header = ["-H", "X-Api-Key: {{ env('TARE_TEST_KEY') }}", "-n", "5", "-v"];
    let secrets = [("TARE_TEST_KEY", "not-to-be-seen"), ("TEST_JWT", "nor-to-be-read")];
    let Ended { code, shown, said } = stress(format!("http://{address}/echo"), &output, &header, &secrets).await;
    assert_eq!(code, Some(1), "{shown}\n{said}");
    assert!(shown.contains("x-api-key: \"•••\"") && shown.contains("Bearer •••"), "the service echoed them: {shown}");
    let (run_folder, _) = evidence(&output);
    for file in fs::read_dir(run_folder).unwrap() {
        let kept = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!secrets.iter().any(|(_, secret)| [&kept, &shown, &said].iter().any(|text| text.contains(secret))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_is_sent_by_weight_and_its_actions_told_apart() {
    let (address, output) = (serve().await, folder());
    let mix = output.path().join("mix.toml");
    let actions = "[[actions]]\nname = 'look'\nweight = 3\npath = '/fine'\nexpect = ['/ok']\n\
                   [[actions]]\nname = 'order'\npath = '/order'\nbody = '{\"id\": \"{{ uuid() }}\"}'\nexpect = ['/id']\n";
    fs::write(&mix, actions).unwrap();
    let url = format!("http://{address}");
    let Ended { code, shown, said } = stress(url, &output, &["--mix", text(&mix), "-n", "200"], &[]).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let (_, kept) = evidence(&output);
    let told = kept["passes"][0]["actions"].as_array().unwrap();
    let requests: u64 = told.iter().map(|action| action["requests"].as_u64().unwrap()).sum();
    assert_eq!((told.len(), requests), (2, 200));
    assert!(shown.contains("look") && shown.contains("order"), "{shown}");

    fs::write(&mix, "[[actions]]\nname = 'a'\nbody = '{{ pick(\"nowhere.txt\") }}'\n").unwrap();
    refused(
        xtask(&["stress", "--url", &format!("http://{address}"), "--mix", text(&mix)]),
        &["mix.toml", "nowhere.txt"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_a_rate_that_holds_or_there_is_none() {
    let (address, output) = (serve().await, folder());
    let search = ["--find-limit", "-d", "150ms", "-c", "4", "--warmup", "0"];
    let Ended { code, shown, said } = stress(format!("http://{address}/fine"), &output, &search, &[]).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let limit = evidence(&output).1["limits"][0].clone();
    let held = limit["held"].as_f64().unwrap();
    assert!(limit["failed"].as_f64().is_none_or(|failed| failed > held), "{limit}");

    let nothing = folder();
    let Ended { code, shown, said } = stress(format!("http://{address}/full"), &nothing, &search, &[]).await;
    assert_eq!(code, Some(1), "{shown}\n{said}");
    assert!(evidence(&nothing).1["limits"][0]["held"].is_null());
}

#[test]
fn what_cannot_be_sent_is_refused_with_what_can() {
    let url = ["stress", "--url", "http://127.0.0.1:9"];
    let with = |more: &[&str]| xtask(&[&url[..], more].concat());
    refused(with(&["--rate", "fast"]), &["fast", "100..1000:60s"]);
    refused(with(&["-d", "10 parsecs"]), &["10s, 500ms or 2m"]);
    refused(with(&["-H", "no colon"]), &["Name: value"]);
    refused(with(&["--body", "{oops"]), &["--body is not JSON", "Content-Type: text/plain"]);
    refused(with(&["--body", "{{ 1 + }}"]), &["syntax error"]);
    refused(with(&["-H", "X: {{ env('TARE_NO_SUCH') }}"]), &["TARE_NO_SUCH is not set"]);
    refused(with(&["--expect", "id"]), &["no JSON pointer", "/result/id"]);
    refused(with(&["--mix", "nowhere.toml"]), &["nowhere.toml"]);
    refused(with(&["--find-limit", "--rate", "5"]), &["--find-limit", "--rate"]);
    refused(with(&["--streams", "4"]), &["--http2"]);
    refused(xtask(&["stress", "--mix", "mix.toml"]), &["--url"]);
}
