//! Services to send load to, and load to send.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tare_evidence::Pass;
use tare_stress::{Extent, Load, Mix, Request, Share, Target, run};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `router` on a port of its own.
pub async fn serve(router: Router) -> SocketAddr {
    serve_counted(router).await.0
}

/// The same, and how many connections it has accepted.
pub async fn serve_counted(router: Router) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, accepted) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let listener = listener.tap_io({
        let accepted = accepted.clone();
        move |_| {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::spawn(async { axum::serve(listener, router).await });
    (address, accepted)
}

/// So many requests.
pub fn counted(requests: u64) -> Extent {
    Extent { requests, time: Duration::MAX }
}

/// Four requests at a time, POSTs with a token, whose answers are to be `ok`.
pub async fn load(address: SocketAddr, extent: Extent) -> Load {
    let request = Request::new(Some("token"), "{}").unwrap();
    Load {
        name: "test".into(),
        strategy: None,
        target: Target::resolve(&format!("http://{address}/"), false, None).await.unwrap(),
        mix: Arc::new(Mix::prepared("test", vec![request], vec!["/ok".into()])),
        pace: None,
        concurrency: 4,
        streams: 1,
        threads: 1,
        warmup: 10,
        extent,
        timeout: Duration::from_secs(30),
        every: false,
        share: Share::WHOLE,
        start: None,
    }
}

/// The mix that is written so.
pub fn sent(toml: &str) -> Arc<Mix> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.toml");
    std::fs::write(&file, toml).unwrap();
    Arc::new(Mix::read(&file, None, 1).unwrap_or_else(|error| panic!("{error}")))
}

/// Sends it to its end.
pub async fn pass(load: Load) -> Pass {
    run(load, &CancellationToken::new(), |_| ()).await.unwrap().pass
}
