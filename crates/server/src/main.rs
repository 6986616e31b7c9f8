//! The gateway behind HTTP, as a process of its own.

mod exposition;
mod http;
mod log;
mod metrics;
mod options;
#[cfg(feature = "otlp")]
mod otlp;
mod serve;
mod trace;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use mimalloc::MiMalloc;
use tare_gateway::Gateway;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::http::Service;
use crate::options::Options;

/// A request is made of many small allocations, which the system's allocator takes more of the processor for.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tare-server: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> Result<()> {
    let _log = log::start(options.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(serve(options))
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

    let input_ended = CancellationToken::new();
    if options.until_stdin_ends {
        cancel_at_end_of_input(input_ended.clone());
    }
    let stop = async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            () = input_ended.cancelled() => {}
        }
    };
    let service = Service::new(gateway.clone(), options.limits());
    serve::run(listener, &gateway, service, options.patience(), stop).await;
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
