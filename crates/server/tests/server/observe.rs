//! What the server tells of itself: metrics, readiness, ids in answers and logs.

use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::bed::{PATIENCE, Service, command, fixture, receive, view};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_asked_and_what_it_took() {
    let fixture = fixture().await;
    let service = Service::start(&fixture, "after").await;
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let part = fixture.part(0, 0, 1).id;
    // What was remembered before is looked up again once changes are heard of.
    service.until("tare_tenant_listening", 1.0).await;
    for request in [view(part), view(part), receive(part)] {
        assert_eq!(service.post(&token, request).await.0, StatusCode::OK);
    }
    assert_eq!(service.post("forged", view(part)).await.0, StatusCode::UNAUTHORIZED);

    for (line, value) in [
        (r#"tare_http_requests_total{status="200"}"#, 3.0),
        (r#"tare_http_requests_total{status="401"}"#, 1.0),
        ("tare_http_requests_in_flight", 0.0),
        ("tare_http_requests_waiting", 0.0),
        ("tare_http_requests_allowed", 1024.0),
        ("tare_http_requests_shed_total", 0.0),
        ("tare_http_requests_abandoned_total", 0.0),
        ("tare_http_request_duration_seconds_count", 4.0),
        (r#"tare_http_request_duration_seconds_bucket{le="+Inf"}"#, 4.0),
        ("tare_connections_budget", 80.0),
        ("tare_connections_failed_total", 0.0),
        (r#"tare_connections_closed_total{reason="broken"}"#, 0.0),
        ("tare_tenant_lookups_total", 1.0),
        ("tare_audit_queue_capacity", 20_000.0),
    ] {
        service.until(line, value).await;
    }
    let text = service.get("/metrics").await.text().await.unwrap();
    for name in [
        "pools",
        "tenant_cache_entries",
        "connections",
        "connections_idle",
        "connections_opened_total",
        "connection_wait_seconds_count",
    ] {
        assert!(service.metric(&format!("tare_{name}")).await.is_some(), "{name} in {text}");
    }
    assert!(text.lines().filter(|line| line.starts_with("# TYPE")).count() > 20 && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_without_pools_cache_and_queue_has_no_metrics_of_them() {
    let fixture = fixture().await;
    let service = Service::start(&fixture, "before").await;
    let text = service.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("tare_http_requests_in_flight 0"), "{text}");
    assert!(["tare_connections", "tare_tenant", "tare_audit"].iter().all(|name| !text.contains(name)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_while_the_control_database_is_there_and_it_is_not_to_stop() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--notice", "30"]);
    assert_eq!(service.get("/ready").await.status(), StatusCode::OK);
    service.signal("TERM");
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let answer = service.get("/ready").await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        assert!(Instant::now() < deadline, "it is ready although it is to stop");
    };
    assert_eq!(
        (refused.status(), refused.headers()["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "1")
    );
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    assert_eq!(service.post(&token, view(fixture.part(0, 0, 1).id)).await.0, StatusCode::OK);

    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let mut cut_off = command(&fixture);
    cut_off.env("TARE_CONTROL_URL", format!("postgres://a:b@127.0.0.1:{port}/control?sslmode=disable"));
    let cut_off = Service::run(cut_off, "after");
    let refused = cut_off.get("/ready").await;
    assert_eq!(
        (refused.status(), refused.headers()["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "1")
    );
    assert_eq!(cut_off.get("/health").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_which_is_the_clients_when_it_gave_one() {
    let fixture = fixture().await;
    let service = Service::start(&fixture, "after").await;
    let given = service.client.get(format!("{}/nothing", service.url)).header("x-request-id", "order-7");
    assert_eq!(given.send().await.unwrap().headers()["x-request-id"], "order-7");
    let new = service.get("/health").await.headers()["x-request-id"].to_str().unwrap().parse::<Uuid>().unwrap();
    assert_eq!(new.get_version_num(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_logged_with_its_ids() {
    let fixture = fixture().await;
    let ids = [("x-request-id", "order-7".to_owned()), ("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))];
    let said = async |format: &str| {
        let mut server = command(&fixture);
        server.env("TARE_CONTROL_URL", "postgres://a:b@127.0.0.1:1/control?sslmode=disable").env_remove("RUST_LOG");
        server.args(["--log", format]).stderr(Stdio::piped());
        let mut service = Service::run(server, "after");
        let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
        let mut request = service.client.post(format!("{}/v1/actions/execute", service.url)).bearer_auth(&token);
        for (name, value) in &ids {
            request = request.header(*name, value);
        }
        let answer = request.body(view(Uuid::nil()).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        service.signal("TERM");
        let mut said = String::new();
        service.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said.lines().find(|line| line.contains("a request failed")).expect(&said).to_owned()
    };
    let text = said("text").await;
    assert!(["order-7", TRACE, "ERROR"].iter().all(|part| text.contains(part)), "{text}");
    let line = said("json").await;
    let json: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&json["request_id"], &json["trace_id"]), (&"order-7".into(), &TRACE.into()), "{line}");
}
