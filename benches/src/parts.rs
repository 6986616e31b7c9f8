//! A connection opened in its parts: what each of them waits for.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tare_testbed::Relay;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::Config;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Mark;

/// The parts, in their order.
pub const PARTS: [&str; 4] = ["tcp", "tls", "startup", "authentication"];

/// Moments while a connection is opened: its begin, then the end of each part.
type Marks = Arc<Mutex<Vec<Mark>>>;

/// Opens a connection and closes it again: when it began, and when each of [`PARTS`] was done. TLS includes asking for it;
/// `startup` ends when the server says how it wants us to authenticate.
///
/// # Panics
/// When the server does not let us in.
pub async fn open(
    database: &Config,
    tls: &MakeRustlsConnect,
    address: (String, u16),
    relay: Option<Arc<Relay>>,
) -> Vec<Mark> {
    let marks = Marks::default();
    let watch = Watch { marks: marks.clone(), relay: relay.clone() };
    watch.mark();
    let stream = TcpStream::connect(&address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP connection");
    let stream = stream.into_std().expect("a TCP connection");
    let mut end = TcpStream::from_std(stream.try_clone().expect("the socket again")).expect("the socket again");
    let stream = TcpStream::from_std(stream).expect("a TCP connection");
    if let Some(relay) = &relay {
        let client = stream.local_addr().expect("a TCP connection");
        let established = relay.established(client).await.expect("the relay took the connection");
        tokio::time::sleep_until(established.into()).await;
    }
    watch.mark();
    let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls.clone(), &address.0);
    let watched = Watched { inner: tls, watch: Some(watch.clone()) };
    let (client, connection) = database.connect_raw(stream, watched).await.expect("the server lets us in");
    watch.mark();
    let driving = tokio::spawn(connection);
    drop(client);
    let _ = driving.await;
    // Until the server has taken its leave, it may still answer the last word, which is no part of the next connection.
    let _ = tokio::io::copy(&mut end, &mut tokio::io::sink()).await;
    std::mem::take(&mut *marks.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Clone)]
struct Watch {
    marks: Marks,
    relay: Option<Arc<Relay>>,
}

impl Watch {
    fn mark(&self) {
        let mark = Mark::now(self.relay.as_deref());
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
    }
}

/// TLS, or a connection in it, that marks its end or its first answer.
struct Watched<T> {
    inner: T,
    watch: Option<Watch>,
}

impl<T> TlsConnect<TcpStream> for Watched<T>
where
    T: TlsConnect<TcpStream>,
    T::Future: Send + 'static,
    T::Stream: 'static,
{
    type Stream = Watched<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        let (connecting, watch) = (self.inner.connect(stream), self.watch);
        Box::pin(async move {
            let inner = connecting.await?;
            watch.iter().for_each(Watch::mark);
            Ok(Watched { inner, watch })
        })
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.watch.take().iter().for_each(Watch::mark);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
