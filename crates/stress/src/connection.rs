//! One connection, kept as long as the service lets it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::target::{HTTP2, Protocol};
use crate::{Request, Target};

/// Bytes kept of a body, which may never end; what is beyond them is read and thrown away.
const KEPT: usize = 1 << 20;

/// A connection, opened when it is first needed and again after the service has closed it.
pub struct Connection {
    target: Target,
    open: Open,
    opened: u64,
}

enum Open {
    None,
    Http1(Http1),
    /// Shared by those whose requests go over it at the same time.
    Http2(Arc<Mutex<Option<http2::SendRequest<Full<Bytes>>>>>),
}

/// An open connection and what drives it. Driven by whoever waits for an answer, and not by a task of its own: that would
/// take two more wake-ups for each request, which the service's processor would miss.
struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// What the service answered.
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; of a long one the first mebibyte.
    pub body: Bytes,
    /// Bytes that its body had.
    pub length: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection could be opened.
    #[error("{0}")]
    Connect(String),
    /// A connection was there, and TLS on it was not to be had.
    #[error("{0}")]
    Tls(String),
    /// The connection broke before the answer.
    #[error("{0}")]
    Reset(String),
    /// The connection broke within the answer's body.
    #[error("the answer broke off: {0}")]
    Body(String),
}

impl Connection {
    /// A connection to `target`; opens nothing yet.
    pub fn new(target: Target) -> Self {
        let open = match target.protocol {
            Protocol::Http1 => Open::None,
            Protocol::Http2 => Open::Http2(Arc::default()),
        };
        Self { target, open, opened: 0 }
    }

    /// Another user of the same HTTP/2 connection; of HTTP/1.1, which has one request at a time, a connection of its own.
    pub fn shared(&self) -> Self {
        let open = match &self.open {
            Open::Http2(connection) => Open::Http2(connection.clone()),
            Open::None | Open::Http1(_) => Open::None,
        };
        Self { target: self.target.clone(), open, opened: 0 }
    }

    /// How often it has been opened, by this user.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Sends `request` and reads the whole answer. A future dropped half-way leaves the connection unfit, and the next
    /// request opens another.
    pub async fn send(&mut self, request: &Request) -> Result<Answer, NoAnswer> {
        let request = request.to(&self.target);
        if let Open::Http2(connection) = &self.open {
            let mut sender = http2_sender(connection, &self.target, &mut self.opened).await?;
            return answer(sender.send_request(request).await).await;
        }
        match std::mem::replace(&mut self.open, Open::None) {
            Open::Http1(http1) => self.send_http1(Some(http1), request).await,
            _ => self.send_http1(None, request).await,
        }
    }

    async fn send_http1(
        &mut self,
        kept: Option<Http1>,
        mut request: http::Request<Full<Bytes>>,
    ) -> Result<Answer, NoAnswer> {
        let kept = match kept {
            Some(mut kept) => kept.is_ready().await.then_some(kept),
            None => None,
        };
        let mut http1 = match kept {
            Some(open) => open,
            None => {
                self.opened += 1;
                connect(&self.target).await?
            }
        };
        if !self.target.keep {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let Http1 { sender, driver } = &mut http1;
        let answer = driven(driver, async { answer(sender.send_request(request).await).await }).await?;
        if self.target.keep {
            self.open = Open::Http1(http1);
        }
        Ok(answer)
    }
}

/// The sender of a shared connection, which whoever comes first opens.
async fn http2_sender(
    connection: &Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
    target: &Target,
    opened: &mut u64,
) -> Result<http2::SendRequest<Full<Bytes>>, NoAnswer> {
    let mut connection = connection.lock().await;
    if let Some(sender) = connection.as_ref().filter(|sender| target.keep && !sender.is_closed()) {
        return Ok(sender.clone());
    }
    *opened += 1;
    let stream = stream(target).await?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, driver) = handshake.map_err(|error| NoAnswer::Connect(chain(&error)))?;
    // Its streams are independent of each other, so nobody who waits for one of them may be the one who drives.
    tokio::spawn(driver);
    Ok(connection.insert(sender).clone())
}

/// Reads the whole answer.
async fn answer(answer: hyper::Result<Response<Incoming>>) -> Result<Answer, NoAnswer> {
    let (head, mut incoming) = answer.map_err(|error| NoAnswer::Reset(chain(&error)))?.into_parts();
    let (mut first, mut more, mut length) = (Bytes::new(), Vec::new(), 0);
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| NoAnswer::Body(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        // Most answers are in one piece, which is then kept as it is.
        match length {
            0 => first = data.slice(..data.len().min(KEPT)),
            _ => {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data[..data.len().min(KEPT - more.len())]);
            }
        }
        length += data.len() as u64;
    }
    let body = if more.is_empty() { first } else { more.into() };
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, length })
}

impl Http1 {
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

async fn connect(target: &Target) -> Result<Http1, NoAnswer> {
    let opened = http1::handshake(TokioIo::new(stream(target).await?)).await;
    let (sender, driver) = opened.map_err(|error| NoAnswer::Connect(chain(&error)))?;
    Ok(Http1 { sender, driver: Some(Box::pin(driver)) })
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn stream(target: &Target) -> Result<Box<dyn Stream>, NoAnswer> {
    let failed = |error: &dyn std::error::Error| NoAnswer::Connect(chain(error));
    let stream = TcpStream::connect(target.address()).await.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let Some((connector, name)) = &target.tls else { return Ok(Box::new(stream)) };
    let stream = connector.connect(name.clone(), stream).await.map_err(|error| NoAnswer::Tls(chain(&error)))?;
    let agreed = stream.get_ref().1.alpn_protocol();
    match target.protocol {
        Protocol::Http2 if agreed != Some(HTTP2) => Err(NoAnswer::Tls("the service does not offer HTTP/2".into())),
        _ => Ok(Box::new(stream)),
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
