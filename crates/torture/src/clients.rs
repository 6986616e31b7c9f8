//! Clients that do not behave.

use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::Error;
use crate::bed::{Bed, CLIENT_SECONDS};
use crate::callers::Deed;

/// How long a well-behaved client may wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Slow clients of each kind.
const EACH: usize = 16;
/// How long one of them takes for a byte.
const BYTE: Duration = Duration::from_millis(100);
/// How long the server may let one go on: its patience and what it takes to look.
const CUT_OFF: Duration = Duration::from_secs(3 * CLIENT_SECONDS as u64 + 4);
/// Answers that a client asks for and does not take: more than the buffers in between hold.
const UNTAKEN: usize = 2_000;

/// Clients that take their time.
pub(crate) struct Slow(Vec<JoinHandle<bool>>);

impl Slow {
    /// Those whose head or body comes byte by byte, and those who take no answers.
    pub(crate) async fn start(bed: &Bed, random: &mut Rng) -> Result<Self, Error> {
        let mut clients = Vec::new();
        for _ in 0..EACH {
            let head = "POST /v1/actions/execute HTTP/1.1\r\nHost: tare\r\nX-Slow: ".to_owned();
            let body = "POST /v1/actions/execute HTTP/1.1\r\nHost: tare\r\nContent-Length: 1000\r\n\r\n{".to_owned();
            for begun in [head, body] {
                let stream = connect(bed).await?;
                let sent = random.usize(..=begun.len());
                clients.push(tokio::spawn(trickle(stream, begun, sent)));
            }
            clients.push(tokio::spawn(ask_and_take_nothing(connect(bed).await?)));
        }
        Ok(Self(clients))
    }

    /// Sentences about those that were not cut off.
    pub(crate) async fn expect_cut_off(self) -> Option<String> {
        let (all, mut left) = (self.0.len(), 0);
        for client in self.0 {
            left += usize::from(!client.await.unwrap_or(false));
        }
        (left > 0).then(|| format!("{left} of {all} slow clients were not cut off"))
    }
}

async fn connect(bed: &Bed) -> Result<TcpStream, Error> {
    let address = bed.url().trim_start_matches("http://");
    TcpStream::connect(address).await.map_err(Error::server(format!("connecting to {address}")))
}

/// Sends some of `begun` at once, the rest and more byte by byte; whether the server ended the connection in time.
async fn trickle(mut stream: TcpStream, begun: String, sent: usize) -> bool {
    let (at_once, slowly) = begun.split_at(sent);
    let cut_off = async {
        if stream.write_all(at_once.as_bytes()).await.is_err() {
            return;
        }
        let (mut read, mut write) = stream.split();
        let send = async {
            for byte in slowly.bytes().chain(std::iter::repeat(b'x')) {
                sleep(BYTE).await;
                if write.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = send => {}
            _ = read.read_to_end(&mut answer) => {}
        }
    };
    timeout(CUT_OFF, cut_off).await.is_ok()
}

async fn ask_and_take_nothing(mut stream: TcpStream) -> bool {
    let ask = "GET /metrics HTTP/1.1\r\nHost: tare\r\n\r\n".repeat(UNTAKEN);
    let cut_off = async { while stream.write_all(ask.as_bytes()).await.is_ok() {} };
    timeout(CUT_OFF, cut_off).await.is_ok()
}

/// Sends a request for `deed`, or a part of it, and hangs up: at once, or when a part of the answer may have come.
pub(crate) async fn hang_up(bed: &Bed, token: &str, deed: &Deed, random: &mut Rng) {
    // The server may be at its limit; whoever hangs up anyway has lost nothing.
    let Ok(mut stream) = connect(bed).await else { return };
    let body = deed.body().to_string();
    let request = format!(
        "POST /v1/actions/execute HTTP/1.1\r\nHost: tare\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        deed.mark,
        body.len()
    );
    let sent = if random.bool() { request.len() } else { random.usize(..request.len()) };
    let _ = stream.write_all(&request.as_bytes()[..sent]).await;
    sleep(Duration::from_micros(random.u64(..3_000))).await;
}
