//! One connection, kept as long as the service lets it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::header::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{Request, Target};

/// A connection, opened when it is first needed and again after the service has closed it.
pub struct Connection {
    target: Target,
    open: Option<Open>,
}

/// An open connection and what drives it. Driven by whoever waits for an answer, and not by a task of its own: that would
/// take two more wake-ups for each request, which the service's processor would miss.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

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
        Self { target, open: None }
    }

    /// Sends `request` and reads the whole answer. A future dropped half-way leaves the connection unfit, and the next
    /// request opens another.
    pub async fn send(&mut self, request: &Request) -> Result<Answer, NoAnswer> {
        let kept = match self.open.take() {
            Some(mut kept) => kept.is_ready().await.then_some(kept),
            None => None,
        };
        let mut open = match kept {
            Some(open) => open,
            None => connect(&self.target).await?,
        };
        let Open { sender, driver } = &mut open;
        let answered = driven(driver, async {
            let (head, body) = sender.send_request(request.to(&self.target)).await?.into_parts();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.collect().await?.to_bytes() })
        });
        let answer = answered.await.map_err(|error: hyper::Error| NoAnswer::Io(chain(&error)))?;
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    /// Whether another request can be sent; if not, the service has closed the connection.
    async fn is_ready(&mut self) -> bool {
        driven(&mut self.driver, self.sender.ready()).await.is_ok()
    }
}

/// Awaits `work` and drives the connection it waits for.
async fn driven<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        // An error of the connection is told to whoever waits for its answer.
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            *driver = None;
        }
        work.as_mut().poll(context)
    })
    .await
}

async fn connect(target: &Target) -> Result<Open, NoAnswer> {
    let failed = |error: &dyn std::error::Error| NoAnswer::Connect(chain(error));
    let stream = TcpStream::connect(target.address).await.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    match &target.tls {
        None => open(stream).await,
        Some((connector, name)) => {
            open(connector.connect(name.clone(), stream).await.map_err(|error| failed(&error))?).await
        }
    }
}

async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Open, NoAnswer> {
    let opened = handshake(TokioIo::new(stream)).await;
    let (sender, driver) = opened.map_err(|error| NoAnswer::Connect(chain(&error)))?;
    Ok(Open { sender, driver: Some(Box::pin(driver)) })
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
