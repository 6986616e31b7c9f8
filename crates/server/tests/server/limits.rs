//! What the server does not wait for, and what it does not let go.

use reqwest::StatusCode;
use tare_testbed::Fixture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{HOLD, PATIENCE, Service, fixture, receive, to_its_end, written_out};

const IN_FLIGHT: &str = "tare_http_requests_in_flight";

/// Movements of stock of the first tenant.
async fn movements(fixture: &Fixture) -> i64 {
    let client = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    client.query_one("select count(*) from app.stock_movements", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_too_many_is_refused_at_once_and_told_to_try_again() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--concurrency", "1"]);
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let request = receive(fixture.part(0, 0, 1).id);
    let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    holder.batch_execute(HOLD).await.unwrap();

    let refused = async {
        service.until(IN_FLIGHT, 1.0).await;
        let answer = service.send(&token, &request).await;
        assert_eq!(
            (answer.status(), answer.headers()["retry-after"].to_str().unwrap()),
            (StatusCode::SERVICE_UNAVAILABLE, "1")
        );
        assert!(answer.text().await.unwrap().contains(r#""code":"busy""#));
        for path in ["/health", "/ready", "/metrics"] {
            assert_eq!(service.get(path).await.status(), StatusCode::OK, "{path}");
        }
        assert_eq!(service.metric("tare_http_requests_shed_total").await, Some(1.0));
        holder.batch_execute("commit").await.unwrap();
    };
    let (answer, ()) = tokio::join!(service.post(&token, &request), refused);
    assert_eq!(answer.0, StatusCode::OK);
    assert_eq!(service.post(&token, &request).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_takes_too_long_is_answered_and_goes_on_to_its_end() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--timeout", "0.1"]);
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    holder.batch_execute(HOLD).await.unwrap();
    let before = movements(&fixture).await;
    let (status, body, _) = service.post(&token, receive(fixture.part(0, 0, 1).id)).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::GATEWAY_TIMEOUT, &"timeout".into()));
    assert_eq!(service.metric(IN_FLIGHT).await, Some(1.0));

    holder.batch_execute("commit").await.unwrap();
    service.until(IN_FLIGHT, 0.0).await;
    assert_eq!((movements(&fixture).await - before, fixture.audit_rows().await.unwrap()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_whose_client_hangs_up_goes_on_to_its_audit_row() {
    // Under `before` the change and its audit row are two statements, with the client gone between them.
    for strategy in ["before", "after"] {
        let fixture = fixture().await;
        let service = Service::start(&fixture, strategy).await;
        let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
        let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
        holder.batch_execute(HOLD).await.unwrap();
        let before = movements(&fixture).await;

        let client = service.raw(&written_out(&token, receive(fixture.part(0, 0, 1).id))).await;
        service.until(IN_FLIGHT, 1.0).await;
        drop(client);
        service.until("tare_http_requests_abandoned_total", 1.0).await;
        assert_eq!(service.metric(IN_FLIGHT).await, Some(1.0));

        holder.batch_execute("commit").await.unwrap();
        service.until(IN_FLIGHT, 0.0).await;
        assert_eq!((movements(&fixture).await - before, fixture.audit_rows().await.unwrap()), (1, 1), "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_slow_or_idle_is_cut_off() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--head-timeout", "0.5", "--body-timeout", "0.5"]);
    assert_eq!(to_its_end(service.raw("").await).await, "");
    assert_eq!(to_its_end(service.raw("POST /v1/actions/execute HTTP/1.1\r\nX-Slow:").await).await, "");

    let idle = to_its_end(service.raw("GET /health HTTP/1.1\r\nHost: tare\r\n\r\n").await).await;
    assert!(idle.starts_with("HTTP/1.1 200") && idle.ends_with(r#"{"status":"ok"}"#), "{idle}");

    let half = "POST /v1/actions/execute HTTP/1.1\r\nHost: tare\r\nContent-Length: 100\r\n\r\n{";
    let half = to_its_end(service.raw(half).await).await;
    assert!(half.starts_with("HTTP/1.1 408") && half.contains("the body did not arrive in time"), "{half}");
    assert_eq!(service.metric(IN_FLIGHT).await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_cut_off() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--write-timeout", "0.2"]);
    let mut client = service.raw("").await;
    let ask = "GET /metrics HTTP/1.1\r\nHost: tare\r\n\r\n".repeat(100);
    let cut_off = async { while client.write_all(ask.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, cut_off).await.expect("the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_waits_for_no_client_longer_than_it_is_told_to() {
    let fixture = fixture().await;
    let mut service = Service::with(&fixture, &["--drain", "0.2"]);
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    assert_eq!(service.post(&token, receive(fixture.part(0, 0, 1).id)).await.0, StatusCode::OK);
    // Idle: closed at once. Half of a head: given up.
    let mut idle = service.raw("GET /health HTTP/1.1\r\nHost: tare\r\n\r\n").await;
    let half = service.raw("POST /v1/").await;
    assert_eq!(idle.read_u8().await.unwrap(), b'H');
    service.signal("TERM");
    assert!(to_its_end(idle).await.starts_with("TTP/1.1 200"));
    assert!(service.process.wait().unwrap().success());
    assert_eq!((to_its_end(half).await.as_str(), fixture.audit_rows().await.unwrap()), ("", 1));
}
