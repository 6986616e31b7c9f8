//! Opening one connection, and seeing to its end.
//!
//! The driver could connect by itself, but then nobody would know when the server has let go of a connection. Here whatever
//! is `kept` with it, a pool's permit, is dropped only after the server has closed its side: a bound on connections then
//! holds on the server, too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a host has to let us in, when the configuration does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server has to close its side.
const FAREWELL: Duration = Duration::from_secs(2);
/// After this an idle socket is probed, so that a peer that vanished is noticed within a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// What the driver has when nothing is asked for; nobody means it.
const DRIVERS_KEEPALIVE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long what was sent may stay unacknowledged, when the configuration does not say.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing can be reached there.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server or its TLS refused.
    #[error("{address} let nobody in: {source:?}")]
    Refused {
        /// Host and port.
        address: String,
        /// What the driver said.
        source: tokio_postgres::Error,
    },
    /// It took too long.
    #[error("{address} let nobody in for {} s", within.as_secs_f32())]
    TimedOut {
        /// Host and port.
        address: String,
        /// How long it had.
        within: Duration,
    },
    /// The configuration names no host.
    #[error("the configuration names no host")]
    NoHost,
}

type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// Connects and logs in; hosts are tried in their order. `heard` gets what the server notifies of. `kept` is dropped once the
/// connection is gone on both sides, or was never made. The task returned ends then.
pub(super) async fn open(
    database: &Config,
    tls: &MakeRustlsConnect,
    heard: Option<UnboundedSender<String>>,
    kept: impl Send + 'static,
) -> Result<(Client, JoinHandle<()>), OpenError> {
    let within = database.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let mut failed = OpenError::NoHost;
    for (nth, host) in database.get_hosts().iter().enumerate() {
        let port = database.get_ports().get(nth).or(database.get_ports().last()).copied().unwrap_or(5432);
        let (address, attempt): (_, Pin<Box<dyn Future<Output = _> + Send>>) = match host {
            Host::Tcp(name) if database.get_target_session_attrs() == TargetSessionAttrs::Any => {
                (format!("{name}:{port}"), Box::pin(over_tcp(database, tls, name, port, heard.clone())))
            }
            // The driver goes through all hosts itself.
            _ if nth > 0 => break,
            _ => (format!("{host:?}"), Box::pin(by_the_driver(database, tls, heard.clone()))),
        };
        match timeout(within, attempt).await {
            Ok(Ok((client, driver, socket))) => {
                return Ok((client, tokio::spawn(run(driver, socket, kept))));
            }
            Ok(Err(Failed::Dial(source))) => failed = OpenError::Unreachable { address, source },
            Ok(Err(Failed::Login(source))) => failed = OpenError::Refused { address, source },
            Err(_) => failed = OpenError::TimedOut { address, within },
        }
    }
    Err(failed)
}

enum Failed {
    Dial(io::Error),
    Login(tokio_postgres::Error),
}

type Opened = (Client, Driver, Option<std::net::TcpStream>);

/// Also returns the socket a second time, to watch its end.
async fn over_tcp(
    database: &Config,
    tls: &MakeRustlsConnect,
    name: &str,
    port: u16,
    heard: Option<UnboundedSender<String>>,
) -> Result<Opened, Failed> {
    let stream = TcpStream::connect((name, port)).await.map_err(Failed::Dial)?;
    let watched = prepare(&stream, database).map_err(Failed::Dial)?;
    let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls.clone(), name);
    let (client, connection) = database.connect_raw(stream, tls).await.map_err(Failed::Login)?;
    Ok((client, Box::pin(drive(connection, heard)), Some(watched.into())))
}

async fn by_the_driver(
    database: &Config,
    tls: &MakeRustlsConnect,
    heard: Option<UnboundedSender<String>>,
) -> Result<Opened, Failed> {
    let (client, connection) = database.connect(tls.clone()).await.map_err(Failed::Login)?;
    Ok((client, Box::pin(drive(connection, heard)), None))
}

async fn drive<S, T>(
    mut connection: Connection<S, T>,
    heard: Option<UnboundedSender<String>>,
) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let (AsyncMessage::Notification(notification), Some(heard)) = (message?, &heard) {
            // Whoever listened has gone; this connection ends next.
            let _ = heard.send(notification.payload().to_owned());
        }
    }
    Ok(())
}

fn prepare(stream: &TcpStream, database: &Config) -> io::Result<socket2::Socket> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if database.get_keepalives() {
        let idle = database.get_keepalives_idle();
        let keepalive = TcpKeepalive::new()
            .with_time(if idle == DRIVERS_KEEPALIVE { KEEPALIVE } else { idle })
            .with_interval(database.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL))
            .with_retries(database.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(database.get_tcp_user_timeout().copied().unwrap_or(USER_TIMEOUT)))?;
    socket.try_clone()
}

/// Drives the connection until its client is dropped, then waits until the server has gone, too.
async fn run(driver: Driver, socket: Option<std::net::TcpStream>, kept: impl Send) {
    if let Err(error) = driver.await {
        tracing::debug!(%error, "a connection broke");
    }
    if let Some(mut socket) = socket.and_then(|socket| TcpStream::from_std(socket).ok()) {
        let mut rest = [0; 256];
        let closed = async { while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
        let _ = timeout(FAREWELL, closed).await;
    }
    drop(kept);
}
