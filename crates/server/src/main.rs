//! The gateway behind HTTP, as a process of its own.

mod http;
mod options;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use clap::Parser;
use tare_gateway::Gateway;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::Options;

/// How long requests under way may take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build();
    match runtime.context("cannot start a runtime").and_then(|runtime| runtime.block_on(serve(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tare-server: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn serve(options: Options) -> Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let gateway = Arc::new(Gateway::new(options.settings()?)?);
    let listener = TcpListener::bind(options.address).await.with_context(|| {
        format!("cannot listen on {}; stop what listens there, or choose another with --address", options.address)
    })?;
    // Whoever started this waits for the line, and reads the port from it.
    println!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "answers may be delayed");
        }
    });

    let input_ended = CancellationToken::new();
    if options.until_stdin_ends {
        cancel_at_end_of_input(input_ended.clone());
    }
    let under_way = TaskTracker::new();
    let stopping = CancellationToken::new();
    let stopped = stopping.clone().cancelled_owned();
    let mut server = tokio::spawn(
        axum::serve(listener, http::router(gateway.clone(), under_way.clone()))
            .with_graceful_shutdown(stopped)
            .into_future(),
    );
    tokio::select! {
        ended = &mut server => ended??,
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = input_ended.cancelled() => {}
    }
    stopping.cancel();
    under_way.close();
    let drained = tokio::time::timeout(DRAIN, async {
        under_way.wait().await;
        gateway.close().await;
        if !server.is_finished() {
            let _ = (&mut server).await;
        }
    });
    if drained.await.is_err() {
        tracing::warn!("requests were still under way after {} s and are given up", DRAIN.as_secs());
    }
    Ok(())
}

/// Standard input ends when the process that holds its other end is gone. Read on a plain thread: a read that never returns
/// would keep the runtime from shutting down.
fn cancel_at_end_of_input(ended: CancellationToken) {
    std::thread::spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.cancel();
    });
}
