//! Services and requests that are not as they should be: counted or refused, never a hang, never a panic.

mod bed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::{any, post};
use bed::{counted, load, pass, sent, serve};
use tare_stress::{Error, Protocol, Target, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Lets `each` have every connection, with its number from 0.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    each: impl Fn(u64, TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(each(nth, stream));
        }
    });
    address
}

async fn kinds(load: tare_stress::Load) -> Vec<(String, u64)> {
    pass(load).await.failures.into_iter().map(|failure| (failure.kind, failure.count)).collect()
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
    let mut load = load(address, counted(4)).await;
    load.timeout = Duration::from_millis(200);
    let pass = pass(load).await;
    assert_eq!((pass.requests, pass.succeeded), (4, 0));
    assert_eq!((&*pass.failures[0].kind, pass.failures[0].count), ("timeout", 4));
    assert!(pass.statuses.is_empty());
}

#[tokio::test]
async fn what_waits_longer_than_its_timeout_is_not_sent_any_more() {
    let answer = async |State(nth): State<Arc<AtomicU64>>| {
        if nth.fetch_add(1, Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
        r#"{"ok":1}"#
    };
    let served = Arc::<AtomicU64>::default();
    let address = serve(Router::new().route("/", post(answer)).with_state(served.clone())).await;
    let mut load = load(address, counted(100)).await;
    (load.timeout, load.warmup, load.pace) = (Duration::from_millis(150), 0, Some("1000000".parse().unwrap()));
    let pass = pass(load).await;
    assert_eq!((pass.requests, &*pass.failures[0].kind, pass.failures[0].count), (100, "timeout", 100));
    // Four at a time: the others were late by then.
    assert!(served.load(Ordering::Relaxed) < 20, "{served:?}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_timeout_and_takes_no_memory() {
    let answer = async |State(nth): State<Arc<AtomicU64>>| match nth.fetch_add(1, Ordering::Relaxed) {
        0 => Body::from(r#"{"ok":1}"#),
        _ => Body::from_stream(futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65536]))
        })),
    };
    let address = serve(Router::new().route("/", post(answer)).with_state(Arc::default())).await;
    let mut load = load(address, counted(4)).await;
    (load.timeout, load.warmup) = (Duration::from_millis(200), 0);
    assert_eq!(kinds(load).await, [("timeout".to_owned(), 4)]);
}

#[tokio::test]
async fn a_body_that_is_too_long_to_be_looked_through_is_told_as_such() {
    let router = Router::new().route("/", post(async || " ".repeat(3 << 20) + r#"{"ok":1}"#));
    let address = serve(router).await;
    let told = pass(load(address, counted(2)).await).await;
    assert_eq!(told.failures[0].example, "its 3145736 bytes are too many to be looked through");
}

#[tokio::test]
async fn a_redirect_loop_is_not_followed() {
    let router = Router::new().route("/", any(async || Redirect::temporary("/")));
    let told = pass(load(serve(router).await, counted(8)).await).await;
    assert_eq!((told.succeeded, told.statuses.get(&307)), (0, Some(&8)));
    assert_eq!(told.failures[0].example, "307 to /: an empty body");
}

#[tokio::test]
async fn a_hundred_percent_of_errors_are_counted() {
    let router = Router::new().route("/", post(async || (StatusCode::SERVICE_UNAVAILABLE, "full")));
    let told = pass(load(serve(router).await, counted(50)).await).await;
    assert_eq!((told.requests, told.succeeded, told.server_errors()), (50, 0, 50));
    assert_eq!(told.failures[0].example, "503: full");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told_from_one_that_does_not_come() {
    let address = accept(|nth, mut stream| async move {
        let mut request = [0; 4096];
        while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
            match nth {
                0 => drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"ok\":1}").await),
                nth if nth % 2 == 0 => return,
                _ => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{").await;
                    return;
                }
            }
        }
    })
    .await;
    let mut load = load(address, counted(20)).await;
    (load.warmup, load.concurrency) = (0, 1);
    assert_eq!(kinds(load).await, [("body".to_owned(), 10), ("reset".to_owned(), 10)]);
}

#[tokio::test]
async fn a_service_that_goes_away_is_counted_as_refusing_connections() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"ok\":1}").await;
    });
    let mut load = load(address, counted(10)).await;
    load.warmup = 0;
    assert_eq!(kinds(load).await, [("connect".to_owned(), 10)]);
}

#[tokio::test]
async fn tls_that_is_not_to_be_had_is_told_as_such() {
    let address = serve(Router::new().route("/", post(async || r#"{"ok":1}"#))).await;
    let mut load = load(address, counted(10)).await;
    load.target = Target::resolve(&format!("https://{address}/"), false, None).await.unwrap();
    let error = run(load, &CancellationToken::new(), |_| ()).await.err().unwrap();
    assert!(matches!(error, Error::NoAnswer { .. }) && error.to_string().contains("check that"), "{error}");
}

#[tokio::test]
async fn http2_is_not_spoken_to_a_service_that_does_not() {
    let address = accept(|_, mut stream| async move {
        let mut request = [0; 4096];
        while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let mut load = load(address, counted(10)).await;
    load.target = load.target.over(Protocol::Http2);
    let error = run(load, &CancellationToken::new(), |_| ()).await.err().unwrap();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_host_is_told_with_its_name() {
    let error = Target::resolve("http://nowhere.invalid/", true, None).await.err().unwrap().to_string();
    assert!(error.contains("nowhere.invalid"), "{error}");
}

#[tokio::test]
async fn a_template_that_fails_at_one_request_loses_only_that_one() {
    let address = serve(Router::new().route("/", post(async || r#"{"ok":1}"#))).await;
    let mut load = load(address, counted(60)).await;
    load.warmup = 0;
    load.mix = sent(
        "[[actions]]\nname = 'order'\nbody = '''{\"nth\": {% if seq() == 37 %}{{ nothing }}{% endif %}1}'''\nexpect = ['/ok']\n",
    );
    let told = pass(load).await;
    assert_eq!((told.requests, told.succeeded), (60, 59));
    assert_eq!((&*told.failures[0].kind, told.failures[0].count), ("template", 1));
    assert!(told.failures[0].example.starts_with("request 37 of \"order\""), "{}", told.failures[0].example);
}
