//! Load on real services: what is sent, what is counted, and when it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tare_stress::{Error, Extent, Load, Request, Target, run};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `router` on a port of its own.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

async fn load(address: SocketAddr, extent: Extent) -> Load {
    Load {
        name: "test".into(),
        strategy: None,
        target: Target::resolve(&format!("http://{address}/"), false, None).await.unwrap(),
        requests: vec![Request::new(Some("token"), "{}").unwrap()],
        promises: vec!["/ok".into()],
        concurrency: 4,
        warmup: 10,
        extent,
        timeout: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn every_request_is_sent_once_and_the_warm_up_is_not_counted() {
    let served = Arc::new(AtomicU64::new(0));
    let answer = async |State(served): State<Arc<AtomicU64>>, headers: HeaderMap| {
        served.fetch_add(1, Ordering::Relaxed);
        assert_eq!(headers["authorization"], "Bearer token");
        ([("server-timing", "auth;dur=0.001")], r#"{"ok":true}"#)
    };
    let address = serve(Router::new().route("/", post(answer)).with_state(served.clone())).await;
    let pass = run(load(address, Extent::Requests(100)).await, &CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!((pass.requests, pass.succeeded, pass.warmup), (100, 100, 11));
    assert_eq!(served.load(Ordering::Relaxed), 111);
    assert_eq!(pass.components.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["auth", "network"]);
    assert!(pass.latency.min_ms > 0.0 && pass.latency.max_ms >= pass.latency.p95_ms && !pass.interrupted);
}

#[tokio::test]
async fn an_error_and_an_empty_answer_are_failures_with_an_example() {
    let nth = Arc::new(AtomicU64::new(0));
    let answer = async |State(nth): State<Arc<AtomicU64>>| match nth.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
        1 => (StatusCode::NO_CONTENT, ""),
        2 => (StatusCode::OK, r#"{"ok":null}"#),
        _ => (StatusCode::OK, r#"{"ok":1}"#),
    };
    let address = serve(Router::new().route("/", post(answer)).with_state(nth)).await;
    let pass = run(load(address, Extent::Requests(40)).await, &CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!((pass.requests, pass.succeeded, pass.server_errors()), (40, 10, 10));
    let failures: Vec<_> = pass.failures.iter().map(|failure| (&*failure.kind, failure.count)).collect();
    assert_eq!(failures, [("status", 20), ("body", 10)]);
    assert!(pass.failures[0].example.starts_with("500: broken") || pass.failures[0].example.starts_with("204"));
}

#[tokio::test]
async fn connections_are_kept_and_opened_again_when_the_service_closes_them() {
    for (close, connections) in [(false, 4), (true, 51)] {
        let accepted = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let header = if close { "close" } else { "keep-alive" };
        let router = Router::new().route("/", post(move || async move { ([("connection", header)], r#"{"ok":1}"#) }));
        let listener = axum::serve::ListenerExt::tap_io(listener, {
            let accepted = accepted.clone();
            move |_| {
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        });
        tokio::spawn(async { axum::serve(listener, router).await });
        let pass = run(load(address, Extent::Requests(40)).await, &CancellationToken::new(), |_| ()).await.unwrap();
        assert_eq!(pass.succeeded, 40, "{:?}", pass.failures);
        let accepted = accepted.load(Ordering::Relaxed);
        assert!(if close { accepted == connections } else { accepted <= connections }, "{accepted}");
    }
}

#[tokio::test]
async fn a_pass_that_is_stopped_tells_what_it_has() {
    let stop = CancellationToken::new();
    let answer = async |State((nth, stop)): State<(Arc<AtomicU64>, CancellationToken)>| {
        // The warm-up and its probe are 11; some requests then succeed, and one is never answered.
        if nth.fetch_add(1, Ordering::Relaxed) == 30 {
            stop.cancel();
            std::future::pending::<()>().await;
        }
        r#"{"ok":1}"#
    };
    let router = Router::new().route("/", post(answer)).with_state((Arc::default(), stop.clone()));
    let address = serve(router).await;
    let pass = run(load(address, Extent::Time(Duration::MAX)).await, &stop, |_| ()).await.unwrap();
    assert!(pass.interrupted);
    assert!((10..=30).contains(&pass.requests) && pass.succeeded == pass.requests, "{pass:?}");
}

#[tokio::test]
async fn a_request_without_an_answer_is_given_up() {
    let answer = async |State(nth): State<Arc<AtomicU64>>| {
        if nth.fetch_add(1, Ordering::Relaxed) >= 11 {
            std::future::pending::<()>().await;
        }
        r#"{"ok":1}"#
    };
    let address = serve(Router::new().route("/", post(answer)).with_state(Arc::default())).await;
    let mut load = load(address, Extent::Requests(4)).await;
    load.timeout = Duration::from_millis(200);
    let pass = run(load, &CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!((pass.requests, pass.succeeded), (4, 0));
    assert_eq!((&*pass.failures[0].kind, pass.failures[0].count), ("timeout", 4));
    assert!(pass.statuses.is_empty());
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told_from_one_that_fails() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let error = run(load(address, Extent::Requests(10)).await, &CancellationToken::new(), |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }));
    assert!(error.to_string().contains("refused") && error.to_string().contains("check that"), "{error}");
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    for token in ["", "two words", "line\nend", "ümlaut"] {
        assert!(matches!(Request::new(Some(token), "{}"), Err(Error::BadToken)), "{token:?}");
    }
}
