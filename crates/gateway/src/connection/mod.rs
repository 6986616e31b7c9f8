//! connection: [`Tenant`](crate::tenant::Tenant) → [`Connection`].
//!
//! Opened for this request and closed after it, as published, or taken from a pool kept for the tenant.
//!
//! All pools share one [budget](PoolSettings::budget): `pools` keeps them, `pool` is one tenant's, `budget` decides who gets the
//! next connection, `open` opens it and sees to its end.

mod budget;
mod metrics;
mod open;
mod pace;
mod pool;
mod pools;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use crate::Error;
use pools::Pools;

pub use metrics::{CloseReason, PoolMetrics, WAIT_BOUNDS_MS, WaitHistogram};
pub use open::OpenError;
pub use pool::Pooled;

/// Connections that listen, at most.
const LISTENING: usize = 1;

/// Bounds of the pools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolSettings {
    /// Connections of this process to all databases at most, the control database's included. In a fleet, of all its processes.
    pub budget: usize,
    /// Connections to one tenant's database at most.
    pub cap: usize,
    /// Connections to one tenant's database that are kept while it is in use: they do not end for being idle, are opened again
    /// when their lifetime is over, and go to nobody but a tenant that has none.
    pub floor: usize,
    /// How long a request waits for a connection, and for a new one to be opened.
    pub wait: Duration,
    /// Requests of one tenant that may wait; one more is refused at once.
    pub queue: usize,
    /// How long a connection lives; it ends when it is idle after that, to the second. Each lives up to a fifth shorter, by chance.
    pub lifetime: Duration,
    /// How long a connection beyond the floor may be idle. For each up to a fifth shorter, by chance.
    pub idle: Duration,
    /// A connection that was idle for so long is asked whether it still works before it is used: one round trip. To the second;
    /// zero asks before each use.
    pub check_after: Duration,
    /// A tenant that is not heard of for so long loses its pool.
    pub unused: Duration,
    /// Connections opened in a second at most, once the first few are.
    pub openings_per_second: u32,
    /// Whether statements are prepared under names, once for each connection. Not behind a PgBouncer before 1.21 in transaction
    /// mode: there each call parses anew, in the same round trip.
    pub prepare: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            budget: 80,
            cap: 16,
            floor: 1,
            wait: Duration::from_secs(5),
            queue: 1_000,
            lifetime: Duration::from_secs(30 * 60),
            idle: Duration::from_secs(60),
            check_after: Duration::from_secs(30),
            unused: Duration::from_secs(10 * 60),
            openings_per_second: 100,
            prepare: true,
        }
    }
}

/// Where a database is and how to log in, as it was known at one time.
#[derive(Clone, Debug)]
pub struct Database {
    config: Config,
    fingerprint: u64,
    known_at: Instant,
}

impl Database {
    /// A database as it is known now.
    pub fn new(config: Config) -> Self {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", (config.get_hosts(), config.get_ports(), config.get_dbname(), config.get_user()))
            .hash(&mut hasher);
        config.get_password().hash(&mut hasher);
        Self { config, fingerprint: hasher.finish(), known_at: Instant::now() }
    }

    /// Host, port, login and all else of it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this is another than `other`, and known later.
    fn replaces(&self, other: &Self) -> bool {
        self.fingerprint != other.fingerprint && self.known_at > other.known_at
    }
}

/// Where connections come from.
pub struct Connections {
    tls: MakeRustlsConnect,
    pools: Option<Pools>,
    closed: AtomicBool,
}

impl Connections {
    /// Connections from pools, or opened one by one. Opens none yet.
    ///
    /// Must be called within a Tokio runtime, in which pools are looked after.
    pub fn new(pooled: bool, mut tls: tare_tls::ClientConfig, settings: PoolSettings) -> Self {
        // A server that takes TLS without being asked first insists on it; others take no notice.
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
        let tls = MakeRustlsConnect::new(tls);
        Self { pools: pooled.then(|| Pools::new(settings, tls.clone())), tls, closed: AtomicBool::new(false) }
    }

    /// A connection to `database`, which belongs to `tenant`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when it cannot be opened, [`Error::Busy`] when there is none to be had in time,
    /// [`Error::Stopping`] after [`close`](Self::close).
    pub async fn get(&self, tenant: Uuid, database: &Database) -> Result<Connection, Error> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::Stopping);
        }
        match &self.pools {
            None => Own::open(&database.config, self.tls.clone()).await.map(Connection::Own),
            Some(pools) => pools.get(tenant, database).await.map(Connection::Pooled),
        }
    }

    /// A connection of its own to `database` that sends `heard` what the server notifies of. It counts in the budget.
    pub(crate) async fn listen(&self, database: &Database, heard: UnboundedSender<String>) -> Result<Client, Error> {
        match &self.pools {
            Some(pools) => pools.listen(database, heard).await,
            None => self.alone(database, Some(heard)).await,
        }
    }

    /// A connection of its own to `database` that does not count in the budget.
    pub(crate) async fn apart(&self, database: &Database) -> Result<Client, Error> {
        self.alone(database, None).await
    }

    async fn alone(&self, database: &Database, heard: Option<UnboundedSender<String>>) -> Result<Client, Error> {
        let opened = open::open(&database.config, &self.tls, heard, ()).await;
        opened.map(|(client, _)| client).map_err(Error::Unreachable)
    }

    /// Has the pools have other connections at most from now on.
    pub(crate) fn resize(&self, budget: usize) {
        if let Some(pools) = &self.pools {
            pools.resize(budget);
        }
    }

    /// Connections of the pools that there are or may be at this moment.
    pub(crate) fn reserved(&self) -> usize {
        self.pools.as_ref().map_or(0, Pools::reserved)
    }

    /// Connections that there still are after [`close`](Self::close), once they are few or `at_most` is over: those that listen
    /// end with this process.
    pub(crate) async fn held_at_last(&self, at_most: Duration) -> usize {
        let held = || self.pools.as_ref().map_or(0, Pools::held);
        let few = async {
            while held() > LISTENING {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(at_most, few).await;
        held()
    }

    /// How the pools are; nothing when there are none.
    pub fn metrics(&self) -> Option<PoolMetrics> {
        self.pools.as_ref().map(Pools::metrics)
    }

    /// Gives no connection any more, and closes every pool: who waits for a connection gets an error, and those in use are closed
    /// when they come back.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(pools) = &self.pools {
            pools.close();
        }
    }
}

/// A connection for one request.
pub enum Connection {
    /// Opened for this request.
    Own(Own),
    /// Goes back to its pool when dropped.
    Pooled(Pooled),
}

/// A connection of one's own: closes when dropped.
pub struct Own {
    client: Client,
    driver: JoinHandle<()>,
}

impl Own {
    /// Connects and authenticates.
    pub async fn open(database: &Config, tls: MakeRustlsConnect) -> Result<Self, Error> {
        let (client, driver) = open::open(database, &tls, None, ()).await.map_err(Error::Unreachable)?;
        Ok(Self { client, driver })
    }

    /// Closes the connection and waits until it is gone, from the server, too.
    pub async fn close(self) {
        drop(self.client);
        // An error while closing changes nothing for a connection that is given up anyway.
        let _ = self.driver.await;
    }
}

impl Connection {
    /// Gives the connection up without waiting: a pooled one goes back, one's own is closed.
    pub fn release(self) {}

    /// Gives the connection up and waits until one's own is closed.
    pub async fn close(self) {
        if let Self::Own(own) = self {
            own.close().await;
        }
    }

    /// The rows of `sql` in one round trip: prepared once on a pooled connection that may, parsed with its types otherwise.
    pub(crate) async fn query_in_one_trip(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match self {
            Self::Pooled(held) if held.prepares() => {
                let types: Vec<Type> = params.iter().map(|(_, r#type)| r#type.clone()).collect();
                let statement = held.client().prepare_typed_cached(sql, &types).await?;
                held.client().query(&statement, &values(params)).await
            }
            _ => self.query_typed(sql, params).await,
        }
    }

    /// The rows of `sql`: on one's own connection prepared first, as published, in two round trips; else in one.
    pub(crate) async fn query_alone(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match self {
            Self::Own(own) => own.client.query(sql, &values(params)).await,
            Self::Pooled(_) => self.query_in_one_trip(sql, params).await,
        }
    }
}

fn values<'a>(params: &[(&'a (dyn ToSql + Sync), Type)]) -> Vec<&'a (dyn ToSql + Sync)> {
    params.iter().map(|(value, _)| *value).collect()
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        match self {
            Self::Own(own) => &own.client,
            Self::Pooled(held) => held.client(),
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        match self {
            Self::Own(own) => &mut own.client,
            Self::Pooled(held) => held.client_mut(),
        }
    }
}
