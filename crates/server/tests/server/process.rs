//! The server as a process, on a real PostgreSQL: statuses, timings, and how it starts and stops.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tare_testbed::TokenKey;
use uuid::Uuid;

use crate::bed::{Service, command, fixture, view};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_json_with_the_status_that_tells_what_went_wrong() {
    let fixture = fixture().await;
    let service = Service::start(&fixture, "after").await;
    let [tenant, ..] = fixture.tenants() else { panic!("a tenant") };
    let token = fixture.secret().mint(tenant.crew[0].id);
    let part = fixture.part(0, 0, 1).id;

    let (status, body, timing) = service.post(&token, view(part)).await;
    assert_eq!((status, &body["result"]["part_id"]), (StatusCode::OK, &json!(part)));
    for component in ["auth", "tenant", "connection", "action", "audit", "response"] {
        assert!(timing.contains(&format!("{component};dur=")), "{timing}");
    }

    let stranger = fixture.secret().mint(Uuid::nil());
    let too_much = json!({"action": "consume_part", "payload": {"part_id": part, "quantity": 1_000_000}});
    for (token, body, expected, code) in [
        (&*token, "{".into(), StatusCode::BAD_REQUEST, "malformed"),
        ("forged", view(part).to_string(), StatusCode::UNAUTHORIZED, "token"),
        (&stranger, view(part).to_string(), StatusCode::FORBIDDEN, "no_tenant"),
        (&token, view(Uuid::nil()).to_string(), StatusCode::NOT_FOUND, "no_such_part"),
        (&token, json!({"action": "sink", "payload": {}}).to_string(), StatusCode::NOT_FOUND, "no_such_action"),
        (&token, too_much.to_string(), StatusCode::CONFLICT, "not_enough_stock"),
        (&token, "x".repeat(100_000), StatusCode::PAYLOAD_TOO_LARGE, "body"),
    ] {
        let (status, body, _) = service.post(token, body).await;
        assert_eq!((status, &body["error"]["code"]), (expected, &json!(code)), "{body}");
    }

    let ask = async |method: reqwest::Method, path: &str| {
        let answer = service.client.request(method, format!("{}{path}", service.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(ask(reqwest::Method::GET, "/health").await, (200, json!({"status": "ok"})));
    assert_eq!(ask(reqwest::Method::GET, "/nothing").await.0, 404);
    assert_eq!(ask(reqwest::Method::GET, "/v1/actions/execute").await.0, 405);
    assert_eq!(ask(reqwest::Method::POST, "/v1/actions/execute").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_a_running_server() {
    let fixture = fixture().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let (old, new) = (TokenKey::rs256("old"), TokenKey::es256("new"));
    std::fs::write(&file, TokenKey::jwks(&[&old])).unwrap();
    let mut server = command(&fixture);
    server.env_remove("TARE_JWT_SECRET").arg("--jwks").arg(&file);
    let service = Service::run(server, "after");
    let user = fixture.tenants()[0].crew[0].id;
    let part = fixture.part(0, 0, 1).id;
    let (old, new) = (&(old.mint(user), old), &(new.mint(user), new));
    let status = async |token: &str| service.post(token, view(part)).await.0;
    assert_eq!((status(&old.0).await, status(&new.0).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    assert_eq!(status(&fixture.secret().mint(user)).await, StatusCode::UNAUTHORIZED);

    for (kept, gone) in [(new, old), (old, new)] {
        let next = folder.path().join("next.json");
        std::fs::write(&next, TokenKey::jwks(&[&kept.1])).unwrap();
        std::fs::rename(next, &file).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while (status(&kept.0).await, status(&gone.0).await) != (StatusCode::OK, StatusCode::UNAUTHORIZED) {
            assert!(Instant::now() < deadline, "the keys were not read again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_actions_finish_and_writes_what_is_queued() {
    for signal in ["TERM", "INT"] {
        let fixture = fixture().await;
        let mut service = Service::start(&fixture, "after").await;
        let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
        let request = view(fixture.part(0, 0, 1).id);
        let answers = (0..50).map(|_| service.post(&token, &request));
        let answered = futures_util::future::join_all(answers).await.len() as i64;
        service.signal(signal);
        assert!(service.process.wait().unwrap().success());
        assert_eq!(fixture.audit_rows().await.unwrap(), answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_with_the_process_that_started_it() {
    let fixture = fixture().await;
    let mut service = Service::start(&fixture, "before").await;
    drop(service.process.stdin.take());
    assert!(service.process.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_said_once_and_exits_with_2() {
    let fixture = fixture().await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = |change: &dyn for<'a> Fn(&'a mut Command) -> &'a mut Command, expected: &[&str]| {
        let mut command = command(&fixture);
        change(&mut command);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{said}");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        assert!(!said.contains(fixture.control().password()) && !said.contains("panicked"), "{said}");
    };
    refused(&|server| server.args(["--address", &address]), &[&address, "choose another with --address"]);
    refused(&|server| server.args(["--strategy", "turbo"]), &["turbo", "tenant-cache"]);
    refused(&|server| server.env_remove("TARE_JWT_SECRET"), &["TARE_JWT_SECRET is not set", "--jwks"]);
    refused(&|server| server.env("TARE_JWT_SECRET", ""), &["TARE_JWT_SECRET is not set"]);
    refused(&|server| server.env("TARE_JWT_SECRET", "k".repeat(31)), &["has 31 bytes and must have 32"]);
    refused(&|server| server.args(["--jwks", "keys.json"]), &["TARE_JWT_SECRET is set", "--jwks", "keys.json"]);
    refused(&|server| server.env("TARE_JWKS", "keys.json"), &["TARE_JWT_SECRET is set", "TARE_JWKS", "keys.json"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, r#"{"keys": [{"kty": "oct", "kid": "short", "k": "c2VjcmV0"}]}"#).unwrap();
    for (path, expected) in
        [(file.path(), "key \"short\" has 6 bytes"), ("/nowhere/keys.json".as_ref(), "No such file")]
    {
        refused(
            &|server| server.env_remove("TARE_JWT_SECRET").env("TARE_JWKS", path),
            &[path.to_str().unwrap(), expected],
        );
    }
    refused(&|server| server.env("TARE_CONTROL_URL", "postgres://a:b@c:notaport/d"), &["TARE_CONTROL_URL"]);
    refused(&|server| server.args(["--root-certificate", "/nowhere/ca.pem"]), &["/nowhere/ca.pem"]);
}
