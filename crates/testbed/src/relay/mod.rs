//! A relay between a service and its PostgreSQL, which stands for the network between them, counts what passes and breaks on
//! demand.
//!
//! It works below TLS, on bytes it cannot read, and on a thread of its own: what it counts does not depend on how busy the
//! service is, and it can be dropped anywhere. On that one thread nothing passes between an order and its effect.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::{select, try_join};

use self::counts::{Entry, Ledger};
use self::passage::{Dice, Link, Passage};
use crate::{Error, Network, Server};

mod counts;
mod passage;

pub use self::counts::Counts;

/// Where it listens, and the name the server's certificate must have for it.
const HOST: &str = "127.0.0.1";
/// How many may have connected before the relay has taken them.
const BACKLOG: u32 = 1024;
/// How long to wait when the system has no socket left for another connection.
const EXHAUSTED: Duration = Duration::from_millis(10);

/// A relay on a port of this machine. Its connections end, its port is free and its thread is gone when it is dropped.
pub struct Relay {
    port: u16,
    ledger: Ledger,
    // Taken when dropped, which is what ends the thread.
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What to do, and where to say that it is done.
type Order = (Verb, oneshot::Sender<io::Result<()>>);

enum Verb {
    Refuse,
    Stall,
    CutAfter(usize),
    Recover,
    DropConnections,
    Stretch(Network),
    TakeWaiting,
}

impl Relay {
    /// A relay to `server`, without a distance.
    ///
    /// # Errors
    /// The server's certificate is not good for 127.0.0.1, or no port can be listened on.
    pub async fn start(server: &Server) -> Result<Self, Error> {
        let (host, port) = server.address();
        let relay = Self::to((&host, port)).await?;
        if server.has_tls() && host != HOST {
            server.prove_name(HOST, (&host, port)).await.map_err(|error| {
                Error::Relay(format!(
                    "the server's certificate must be good for {HOST} too, where the relay is: {error}"
                ))
            })?;
        }
        Ok(relay)
    }

    /// A relay to whatever listens at a host and port.
    ///
    /// # Errors
    /// The host is not known, or no port can be listened on.
    pub async fn to((host, port): (&str, u16)) -> Result<Self, Error> {
        let upstream = lookup_host((host, port)).await.map_err(Error::io(format!("looking up {host}")))?.collect();
        let failed = || Error::io(format!("starting a relay on {HOST}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let listening = {
            let _its_own = runtime.enter();
            listen(0).and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
        };
        let (port, listener) = match listening {
            Ok(listening) => listening,
            Err(error) => {
                // Simply dropped, it would wait, which a caller that is itself on a runtime must not.
                runtime.shutdown_background();
                return Err(failed()(error));
            }
        };
        let ledger = Ledger::default();
        let (orders, received) = mpsc::unbounded_channel();
        let desk = Desk {
            port,
            upstream,
            ledger: ledger.clone(),
            listener: Some(listener),
            state: watch::Sender::new(State { stalled: false, cut: None, resets: 0, network: Network::LOOPBACK }),
            links: Links::default(),
            connections: JoinSet::new(),
        };
        let thread = std::thread::spawn(move || runtime.block_on(desk.serve(received)));
        Ok(Self { port, ledger, orders: Some(orders), thread: Some(thread) })
    }

    /// The host and port it listens on.
    pub fn address(&self) -> (String, u16) {
        (HOST.into(), self.port)
    }

    /// What has passed in all.
    pub fn counts(&self) -> Counts {
        self.ledger.total()
    }

    /// What has passed on each connection, in the order they were taken; those that have ended included.
    pub fn connections(&self) -> Vec<Counts> {
        self.ledger.each()
    }

    /// When the connection of `client`, one's own address, is or was established: the system says so at once, and cannot know
    /// of a distance. Until then nothing that is sent on it is under way. Nothing for whoever did not connect.
    pub async fn established(&self, client: SocketAddr) -> Option<Instant> {
        self.order(Verb::TakeWaiting).await.ok()?;
        self.ledger.established(client)
    }

    /// Puts the server at another distance: for what is sent from now on, also on connections that are open.
    pub async fn stretch(&self, network: Network) {
        let _ = self.order(Verb::Stretch(network)).await;
    }

    /// Resets every open connection, and closes the listening socket: whoever connects is refused.
    pub async fn refuse(&self) {
        let _ = self.order(Verb::Refuse).await;
    }

    /// Passes nothing on, either way. Connections stay open, and new ones are taken, as by a server that hangs.
    pub async fn stall(&self) {
        let _ = self.order(Verb::Stall).await;
    }

    /// Resets each connection, open or to come, once this many bytes more have passed on it in one direction: in the middle of a
    /// message.
    pub async fn cut_after(&self, bytes: usize) {
        let _ = self.order(Verb::CutAfter(bytes)).await;
    }

    /// Takes connections again, on the same port, passes on what has been waiting, and cuts none any more.
    ///
    /// # Errors
    /// Somebody else has taken the port since it was closed.
    pub async fn recover(&self) -> Result<(), Error> {
        let attempted = format!("listening on {HOST}:{} again, which the relay had left", self.port);
        self.order(Verb::Recover).await.map_err(Error::io(attempted))
    }

    /// Resets every open connection. New ones are served.
    pub async fn drop_connections(&self) {
        let _ = self.order(Verb::DropConnections).await;
    }

    /// Has an order carried out: when this returns, it has been.
    async fn order(&self, verb: Verb) -> io::Result<()> {
        let (done, carried_out) = oneshot::channel();
        let gone = || io::Error::other("the relay's thread is gone");
        self.orders.as_ref().ok_or_else(gone)?.send((verb, done)).map_err(|_| gone())?;
        carried_out.await.map_err(|_| gone())?
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What all connections heed.
#[derive(Clone, Copy)]
struct State {
    stalled: bool,
    /// Bytes in one direction after which a connection is reset.
    cut: Option<usize>,
    /// How often all connections were reset: those that began before the last time must go.
    resets: u64,
    network: Network,
}

/// What all connections share, one each way.
#[derive(Clone, Default)]
struct Links {
    up: Link,
    down: Link,
}

/// What the thread has at hand.
struct Desk {
    port: u16,
    upstream: Arc<[SocketAddr]>,
    ledger: Ledger,
    listener: Option<TcpListener>,
    state: watch::Sender<State>,
    links: Links,
    connections: JoinSet<()>,
}

impl Desk {
    async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            select! {
                order = orders.recv() => {
                    let Some((verb, done)) = order else { return };
                    let _ = done.send(self.obey(verb).await);
                }
                client = accept(self.listener.as_ref()) => self.take(client),
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    async fn obey(&mut self, verb: Verb) -> io::Result<()> {
        match verb {
            Verb::Refuse => {
                // The system resets those that have not been taken yet.
                self.listener = None;
                self.reset().await;
            }
            Verb::Stall => self.state.send_modify(|state| state.stalled = true),
            Verb::Recover => {
                if self.listener.is_none() {
                    self.listener = Some(listen(self.port)?);
                }
                self.state.send_modify(|state| (state.stalled, state.cut) = (false, None));
            }
            Verb::CutAfter(bytes) => self.state.send_modify(|state| state.cut = Some(bytes)),
            Verb::Stretch(network) => self.state.send_modify(|state| state.network = network),
            Verb::TakeWaiting => self.take_waiting()?,
            Verb::DropConnections => {
                let taken = self.take_waiting();
                self.reset().await;
                taken?;
            }
        }
        Ok(())
    }

    fn take(&mut self, client: TcpStream) {
        let state = self.state.subscribe();
        let State { resets, network, .. } = *state.borrow();
        // Each draws from a seed of its own, so that what it meets does not depend on the others.
        let seed = 3 * self.ledger.len() as u64;
        let mut handshake = Dice::seeded(seed);
        let (there, back) = (handshake.one_way(network), handshake.one_way(network));
        let established = Instant::now() + there + back;
        let entry = self.ledger.open(client.peer_addr().ok(), established);
        let passage = |seed, link: &Link, opens| {
            let (state, link) = (state.clone(), link.clone());
            Passage { state, link, dice: Dice::seeded(seed), opens }
        };
        let up = passage(seed + 1, &self.links.up, established);
        // The server hears of it when the client's acknowledgement arrives, which is on its way from then on.
        let down = passage(seed + 2, &self.links.down, established + there);
        self.connections.spawn(connection(client, self.upstream.clone(), entry, (up, down), state, resets));
    }

    /// Takes those that have connected. Asks the system itself, as the runtime may not have heard of the latest.
    fn take_waiting(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let listener = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
        while let Ok((client, _)) = listener.accept() {
            client.set_nonblocking(true)?;
            self.take(TcpStream::from_std(client)?);
        }
        Ok(())
    }

    async fn reset(&mut self) {
        self.state.send_modify(|state| state.resets += 1);
        while self.connections.join_next().await.is_some() {}
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections that ended a moment ago do not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

/// One connection, from taken to closed. What ends the one side in an orderly way ends the other so; else both are reset.
async fn connection(
    mut client: TcpStream,
    upstream: Arc<[SocketAddr]>,
    entry: Entry,
    (up, down): (Passage, Passage),
    mut state: watch::Receiver<State>,
    resets: u64,
) {
    let mut server = None;
    let passed = heeding(&mut state, resets, async {
        let server = server.insert(TcpStream::connect(&*upstream).await?);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        // The client's first: of what has come from both, it was asked before it was answered.
        let up = up.pass(from_client, to_server, |bytes| entry.client_spoke(bytes), |_| ());
        let down = down.pass(from_server, to_client, |_| (), |bytes| entry.server_spoke(bytes));
        try_join!(biased; up, down)
    });
    if passed.await.is_err() {
        for socket in [Some(&client), server.as_ref()].into_iter().flatten() {
            let _ = socket.set_zero_linger();
        }
    }
    entry.close();
}

/// Does `work`, but none of it while stalled; an error once all connections of its time are reset.
async fn heeding<T>(
    state: &mut watch::Receiver<State>,
    resets: u64,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut work = pin!(work);
    loop {
        let now = *state.borrow_and_update();
        if now.resets != resets {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        select! {
            biased;
            _ = state.changed() => {}
            done = &mut work, if !now.stalled => return done,
        }
    }
}
