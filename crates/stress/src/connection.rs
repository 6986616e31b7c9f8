//! One connection, kept as long as the service lets it.

use bytes::Bytes;
use http::header::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Request, Target};

/// A connection, opened when it is first needed and again after the service has closed it.
pub struct Connection {
    target: Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What the service answered.
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection could be opened.
    #[error("{0}")]
    Connect(String),
    /// The connection broke.
    #[error("{0}")]
    Io(String),
}

impl Connection {
    /// A connection to `target`; opens nothing yet.
    pub fn new(target: Target) -> Self {
        Self { target, sender: None }
    }

    /// Sends `request` and reads the whole answer. A future dropped half-way leaves the connection unfit, and the next
    /// request opens another.
    pub async fn send(&mut self, request: &Request) -> Result<Answer, NoAnswer> {
        let mut sender = match self.sender.take() {
            Some(sender) if sender.is_ready() => sender,
            _ => open(&self.target).await?,
        };
        let broken = |error: hyper::Error| NoAnswer::Io(chain(&error));
        let (head, body) = sender.send_request(request.to(&self.target)).await.map_err(broken)?.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        // The connection is ready again a moment after the body has been read; if it is closed instead, a new one is opened.
        if sender.ready().await.is_ok() {
            self.sender = Some(sender);
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

async fn open(target: &Target) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
    let failed = |error: &dyn std::error::Error| NoAnswer::Connect(chain(error));
    let stream = TcpStream::connect(target.address).await.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    match &target.tls {
        None => {
            let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
            tokio::spawn(driver);
            Ok(sender)
        }
        Some((connector, name)) => {
            let stream = connector.connect(name.clone(), stream).await.map_err(|error| failed(&error))?;
            let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
            tokio::spawn(driver);
            Ok(sender)
        }
    }
}

/// An error with its causes: hyper's own messages leave them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
