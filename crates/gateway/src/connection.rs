//! connection: [`Tenant`](crate::tenant::Tenant) → [`Connection`].
//!
//! Opened for this request and closed after it, as published, or taken from a pool kept for the tenant.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, RecyclingMethod, Runtime, TimeoutType, Timeouts,
};
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use crate::Error;

/// Bounds of each tenant's pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Connections to one tenant's database at most.
    pub size: usize,
    /// How long a request waits for a connection, and for a new one to be opened.
    pub wait: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { size: 16, wait: Duration::from_secs(5) }
    }
}

/// Where connections come from.
pub struct Connections {
    tls: MakeRustlsConnect,
    pools: Option<Pools>,
}

struct Pools {
    settings: PoolSettings,
    by_tenant: RwLock<HashMap<Uuid, Pool>>,
}

impl Connections {
    /// Connections from pools, or opened one by one. Opens none yet.
    pub fn new(pooled: bool, tls: tare_tls::ClientConfig, settings: PoolSettings) -> Self {
        Self {
            tls: MakeRustlsConnect::new(tls),
            pools: pooled.then(|| Pools { settings, by_tenant: RwLock::default() }),
        }
    }

    /// A connection to `database`, which belongs to `tenant`.
    ///
    /// # Errors
    /// [`Error::Database`] when it cannot be opened, [`Error::Busy`] when the pool has none to give in time.
    pub async fn get(&self, tenant: Uuid, database: &Config) -> Result<Connection, Error> {
        match &self.pools {
            None => Own::open(database, self.tls.clone()).await.map(Connection::Own),
            Some(pools) => {
                let pool = pools.of(tenant, database, &self.tls);
                pools.take(&pool).await.map(Connection::Pooled).map_err(pool_error)
            }
        }
    }

    /// Closes every pool: who waits for a connection gets an error, and those in use are closed when they come back.
    pub fn close(&self) {
        if let Some(pools) = &self.pools {
            let mut by_tenant = pools.by_tenant.write().unwrap_or_else(PoisonError::into_inner);
            by_tenant.drain().for_each(|(_, pool)| pool.close());
        }
    }
}

impl Pools {
    fn of(&self, tenant: Uuid, database: &Config, tls: &MakeRustlsConnect) -> Pool {
        if let Some(pool) = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return pool.clone();
        }
        let mut by_tenant = self.by_tenant.write().unwrap_or_else(PoisonError::into_inner);
        by_tenant.entry(tenant).or_insert_with(|| self.open(database, tls)).clone()
    }

    /// An idle connection is had without setting a timer for a wait that does not happen.
    async fn take(&self, pool: &Pool) -> Result<Object, PoolError> {
        let bounds = |wait| Timeouts { wait: Some(wait), create: Some(self.settings.wait), recycle: None };
        match pool.timeout_get(&bounds(Duration::ZERO)).await {
            Err(PoolError::Timeout(TimeoutType::Wait)) => pool.timeout_get(&bounds(self.settings.wait)).await,
            got => got,
        }
    }

    fn open(&self, database: &Config, tls: &MakeRustlsConnect) -> Pool {
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        Pool::builder(Manager::from_config(database.clone(), tls.clone(), fast))
            .max_size(self.settings.size)
            // The connection that came back last: its backend's memory is still in the processor's caches.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool without hooks and time-outs of its own builds")
    }
}

fn pool_error(error: PoolError) -> Error {
    match error {
        PoolError::Backend(source) => Error::Database { attempted: "be reached", source },
        PoolError::Closed => Error::Stopping,
        busy => Error::Busy(busy),
    }
}

/// A connection for one request.
pub enum Connection {
    /// Opened for this request.
    Own(Own),
    /// Goes back to its pool when dropped.
    Pooled(Object),
}

/// A connection of one's own: closes when dropped.
pub struct Own {
    client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Own {
    /// Connects and authenticates.
    pub async fn open(database: &Config, tls: MakeRustlsConnect) -> Result<Self, Error> {
        let (client, connection) = database.connect(tls).await.map_err(Error::database("be reached"))?;
        Ok(Self { client, driver: tokio::spawn(connection) })
    }

    /// Closes the connection and waits until it is gone from this side.
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

    /// `sql` prepared: one round trip, or none when this pooled connection has prepared it before.
    pub(crate) async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        match self {
            Self::Own(own) => own.client.prepare(sql).await,
            Self::Pooled(object) => object.prepare_cached(sql).await,
        }
    }

    /// The one row of `sql` in one round trip: prepared once on a pooled connection, typed in place on one's own.
    pub(crate) async fn row(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Row, tokio_postgres::Error> {
        match self {
            Self::Own(own) => own.client.query_typed(sql, params).await.map(|mut rows| rows.remove(0)),
            Self::Pooled(object) => {
                let types: Vec<Type> = params.iter().map(|(_, r#type)| r#type.clone()).collect();
                let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| *value).collect();
                let statement = object.prepare_typed_cached(sql, &types).await?;
                object.query_one(&statement, &values).await
            }
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        match self {
            Self::Own(own) => &own.client,
            Self::Pooled(object) => object,
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        match self {
            Self::Own(own) => &mut own.client,
            Self::Pooled(object) => object,
        }
    }
}
