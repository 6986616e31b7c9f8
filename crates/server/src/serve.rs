//! Connections: taken in, served within their time-outs, and brought to an end.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tare_gateway::Gateway;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{self, Service};

/// Bytes of a request's head at most, and of what is read ahead.
const HEAD_LIMIT: usize = 64 * 1024;
/// How long nothing is taken in when there is no file left to be a connection.
const BREATHER: Duration = Duration::from_secs(1);

/// How long connections are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request: from the connection's beginning, or the answer before, to the head's end.
    pub head: Duration,
    /// For a client to take a part of its answer.
    pub write: Duration,
    /// Between the word to stop and the end of listening; the server is not ready then.
    pub notice: Duration,
    /// From the end of listening on: for requests under way, and then once more for what the audit queue holds.
    pub drain: Duration,
}

/// Serves what connects to `listener` until `stop` is over, and then brings everything to its end.
pub async fn run(
    listener: TcpListener,
    gateway: &Gateway,
    service: Arc<Service>,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    let connections = Connections {
        router: http::router(service.clone()),
        patience,
        open: TaskTracker::new(),
        draining: CancellationToken::new(),
    };
    let told = async {
        stop.await;
        service.stopping.cancel();
        sleep(patience.notice).await;
    };
    tokio::select! {
        () = connections.accept(&listener) => {}
        () = told => {}
    }
    drop(listener);

    connections.draining.cancel();
    connections.open.close();
    service.under_way.close();
    let drained = timeout(patience.drain, async {
        connections.open.wait().await;
        service.under_way.wait().await;
    });
    let seconds = patience.drain.as_secs_f64();
    if drained.await.is_err() {
        tracing::warn!("requests were still under way after {seconds} s and are given up");
    }
    if timeout(patience.drain, gateway.close()).await.is_err() {
        tracing::warn!("the audit queue was not written out after {seconds} s and is given up");
    }
}

/// The connections that there are, and what each new one is given.
struct Connections {
    router: Router,
    patience: Patience,
    open: TaskTracker,
    draining: CancellationToken,
}

impl Connections {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(self.open.spawn(self.serve(stream))),
                // That one connection is gone; the next may be well.
                Err(error) if is_of_the_connection(error.kind()) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be taken in for now; is the limit of open files reached?");
                    sleep(BREATHER).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let (router, draining, patience) = (self.router.clone(), self.draining.clone(), self.patience);
        async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::warn!(%error, "answers may be delayed");
            }
            let mut stream = TimeoutWriter::new(stream);
            stream.set_timeout(Some(patience.write));
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(patience.head)
                .max_buf_size(HEAD_LIMIT)
                .serve_connection(
                    TokioIo::new(Box::pin(stream)),
                    service_fn(move |request| http::respond(router.clone(), request)),
                );
            let mut serving = pin!(serving);
            let ended = tokio::select! {
                ended = serving.as_mut() => ended,
                () = draining.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

fn is_of_the_connection(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}
