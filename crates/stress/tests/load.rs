//! Load on real services: what is sent, what is counted, and when it ends.

mod bed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use bed::{counted, load, pass, sent, serve, serve_counted};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tare_stress::{Error, Extent, Log, Pace, Protocol, Request, Target, run};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn every_request_is_sent_once_and_the_warm_up_is_not_counted() {
    let served = Arc::new(AtomicU64::new(0));
    let answer = async |State(served): State<Arc<AtomicU64>>, headers: HeaderMap| {
        served.fetch_add(1, Ordering::Relaxed);
        assert_eq!(headers["authorization"], "Bearer token");
        ([("server-timing", "auth;dur=0.001")], r#"{"ok":true}"#)
    };
    let address = serve(Router::new().route("/", post(answer)).with_state(served.clone())).await;
    let pass = pass(load(address, counted(100)).await).await;
    assert_eq!((pass.requests, pass.succeeded, pass.warmup), (100, 100, 11));
    assert_eq!(served.load(Ordering::Relaxed), 111);
    assert_eq!(pass.components.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["auth", "network"]);
    assert!(pass.latency.min_ms > 0.0 && pass.latency.max_ms >= pass.latency.p95_ms && !pass.interrupted);
    assert_eq!(pass.histogram.iter().map(|bar| bar.requests).sum::<u64>(), 100);
    assert_eq!(pass.timeline.iter().map(|span| span.requests).sum::<u64>(), 100);
}

#[tokio::test]
async fn every_thread_has_its_part_of_the_workers() {
    let router = Router::new().route("/", post(async || r#"{"ok":1}"#));
    let (address, accepted) = serve_counted(router).await;
    let mut load = load(address, counted(200)).await;
    (load.threads, load.concurrency, load.warmup) = (3, 5, 100);
    let pass = pass(load).await;
    assert_eq!((pass.requests, pass.succeeded), (200, 200));
    // The first request of all has one of its own.
    assert!((2..=6).contains(&accepted.load(Ordering::Relaxed)));
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
    let pass = pass(load(address, counted(40)).await).await;
    assert_eq!((pass.requests, pass.succeeded, pass.server_errors()), (40, 10, 10));
    let failures: Vec<_> = pass.failures.iter().map(|failure| (&*failure.kind, failure.count)).collect();
    assert_eq!(failures, [("body", 20), ("status", 10)]);
    assert_eq!(pass.failures[1].example, "500: broken");
    let by_status: Vec<_> = pass.latency_by_status.keys().copied().collect();
    assert_eq!(by_status, [200, 204, 500]);
}

#[tokio::test]
async fn connections_are_kept_and_opened_again_when_the_service_closes_them() {
    for (close, connections) in [(false, 4), (true, 51)] {
        let header = if close { "close" } else { "keep-alive" };
        let router = Router::new().route("/", post(move || async move { ([("connection", header)], r#"{"ok":1}"#) }));
        let (address, accepted) = serve_counted(router).await;
        let pass = pass(load(address, counted(40)).await).await;
        assert_eq!(pass.succeeded, 40, "{:?}", pass.failures);
        let accepted = accepted.load(Ordering::Relaxed);
        // And one for the first request of all.
        assert!(if close { accepted == connections } else { accepted <= connections + 1 }, "{accepted}");
        assert_eq!(pass.connections == 40, close, "{}", pass.connections);
    }
}

#[tokio::test]
async fn without_reuse_each_request_has_a_connection_of_its_own() {
    let router = Router::new().route("/", post(async || r#"{"ok":1}"#));
    let (address, accepted) = serve_counted(router).await;
    let mut load = load(address, counted(20)).await;
    load.target = load.target.without_reuse();
    let pass = pass(load).await;
    assert_eq!((pass.succeeded, pass.connections, accepted.load(Ordering::Relaxed)), (20, 20, 31));
}

/// Serves HTTP/2 and nothing else, over TLS where there is some; and how many connections it has accepted.
async fn serve_http2(tls: Option<TlsAcceptor>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, accepted) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counts = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counts.fetch_add(1, Ordering::Relaxed);
            let answer = service_fn(async |request: http::Request<Incoming>| {
                assert_eq!(request.version(), http::Version::HTTP_2);
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from_static(br#"{"ok":1}"#))))
            });
            let (connection, tls) = (http2::Builder::new(TokioExecutor::new()), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => drop(connection.serve_connection(TokioIo::new(stream), answer).await),
                    // A client that does not trust it goes away.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            drop(connection.serve_connection(TokioIo::new(stream), answer).await);
                        }
                    }
                }
            });
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn over_http2_requests_share_connections() {
    let (address, accepted) = serve_http2(None).await;
    let mut load = load(address, counted(100)).await;
    load.target = load.target.over(Protocol::Http2);
    (load.concurrency, load.streams) = (8, 4);
    let pass = pass(load).await;
    assert_eq!((pass.requests, pass.succeeded), (100, 100), "{:?}", pass.failures);
    // Two, and one for the first request of all.
    assert_eq!(accepted.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn over_tls_http2_is_agreed_on_with_a_service_that_is_trusted() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (address, _) = serve_http2(Some(TlsAcceptor::from(Arc::new(config)))).await;

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, made.cert.pem()).unwrap();
    let url = format!("https://{address}/");
    let mut load = load(address, counted(50)).await;
    load.target = Target::resolve(&url, false, Some(&root)).await.unwrap().over(Protocol::Http2);
    let pass = pass(load).await;
    assert_eq!((pass.requests, pass.succeeded), (50, 50), "{:?}", pass.failures);

    let mut load = bed::load(address, counted(50)).await;
    load.target = Target::resolve(&url, false, None).await.unwrap().over(Protocol::Http2);
    let error = run(load, &CancellationToken::new(), |_| ()).await.err().unwrap();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn at_a_rate_requests_are_due_by_the_clock_and_a_stall_makes_them_late() {
    // All that is asked in the first 100 ms is answered after them, and 30 requests are due in the first 30.
    let due = 30;
    let answer = async |State(nth): State<Arc<AtomicU64>>| {
        if (1..=4).contains(&nth.fetch_add(1, Ordering::Relaxed)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        r#"{"ok":1}"#
    };
    let address = serve(Router::new().route("/", post(answer)).with_state(Arc::default())).await;
    let mut load = load(address, counted(due)).await;
    (load.pace, load.warmup) = (Some(Pace::constant(1000.0)), 0);
    let pass = pass(load).await;
    assert_eq!((pass.requests, pass.succeeded, pass.rate.as_deref()), (due, due, Some("1000")));
    // Four are under way; the others cannot be sent when they are due, and are not counted from when they are sent.
    assert!(pass.latency.min_ms >= 50.0, "{:?}", pass.latency);
    let lateness = pass.lateness.unwrap();
    assert!(lateness.max_ms >= 50.0 && lateness.min_ms < 50.0, "{lateness:?}");
}

#[tokio::test]
async fn a_pace_that_ends_ends_the_pass() {
    let router = Router::new().route("/", post(async || r#"{"ok":1}"#));
    let address = serve(router).await;
    let mut load = load(address, Extent { requests: u64::MAX, time: Duration::MAX }).await;
    load.pace = Some("1000:50ms,0..2000:50ms".parse().unwrap());
    assert_eq!(pass(load).await.requests, 100);
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
    let load = load(serve(router).await, Extent { requests: u64::MAX, time: Duration::MAX }).await;
    let pass = run(load, &stop, |_| ()).await.unwrap().pass;
    assert!(pass.interrupted);
    assert!((10..=30).contains(&pass.requests) && pass.succeeded == pass.requests, "{pass:?}");
}

#[tokio::test]
async fn every_request_is_told_of_where_that_is_asked_for() {
    let nth = Arc::new(AtomicUsize::new(0));
    let answer = async |State(nth): State<Arc<AtomicUsize>>| match nth.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => (StatusCode::OK, r#"{"ok":1}"#),
        _ => (StatusCode::CONFLICT, ""),
    };
    let mut load = load(serve(Router::new().route("/", post(answer)).with_state(nth)).await, counted(20)).await;
    load.every = true;
    let mut lines = Vec::new();
    run(load, &CancellationToken::new(), |live| lines.extend(live.lines.clone())).await.unwrap();
    lines.sort_by_key(|line| line.nth);
    assert_eq!(lines.iter().map(|line| line.nth).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert_eq!(lines.iter().filter(|line| line.failure == Some("status") && line.status == Some(409)).count(), 10);
}

#[tokio::test]
async fn actions_are_counted_apart_and_share_the_load_by_weight() {
    let router = Router::new()
        .route("/a", get(async || "a"))
        .route("/b/{nth}", post(async || (StatusCode::CREATED, r#"{"id":1}"#)));
    let address = serve(router).await;
    let mut load = load(address, counted(400)).await;
    load.mix = sent(
        "[[actions]]\nname = 'a'\nweight = 3\npath = '/a'\n\
         [[actions]]\nname = 'b'\npath = '/b/{{ seq() }}'\nbody = '{}'\nexpect = ['/id']\n",
    );
    let measured = run(load, &CancellationToken::new(), |_| ()).await.unwrap();
    let actions = &measured.pass.actions;
    assert_eq!((&*actions[0].name, &*actions[1].name, measured.pass.succeeded), ("a", "b", 400));
    assert_eq!(actions.iter().map(|action| action.requests).sum::<u64>(), 400);
    assert!((250..350).contains(&actions[0].requests), "{actions:?}");
    // The log has the same numbers.
    let log = Log::parse("log", &measured.log).unwrap();
    let tags: Vec<_> = log.tags().into_iter().map(|(tag, times)| (tag.to_owned(), times.len())).collect();
    assert!(tags.contains(&("action:a".into(), actions[0].requests)), "{tags:?}");
    assert!(tags.contains(&("status:201".into(), actions[1].requests)), "{tags:?}");
    assert_eq!(log.whole().len(), 400);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told_from_one_that_fails() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let error = run(load(address, counted(10)).await, &CancellationToken::new(), |_| ()).await.err().unwrap();
    assert!(matches!(error, Error::NoAnswer { .. }));
    assert!(error.to_string().contains("refused") && error.to_string().contains("check that"), "{error}");
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    for token in ["", "two words", "line\nend", "ümlaut"] {
        assert!(matches!(Request::new(Some(token), "{}"), Err(Error::BadToken)), "{token:?}");
    }
}
