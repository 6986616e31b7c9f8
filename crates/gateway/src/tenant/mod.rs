//! tenant: [`Caller`] → [`Tenant`].
//!
//! Looked up in the control database — on a connection of its own, as published, or a pooled one — or remembered.

mod cache;
mod listen;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Row};
use uuid::Uuid;

use crate::Error;
use crate::action::Call;
use crate::auth::Caller;
use crate::connection::{Connections, Database};
use cache::Remembered;

pub use cache::CacheMetrics;

/// Which pool the control database's connections are kept in.
const CONTROL: Uuid = Uuid::nil();

const OF_USER: &str = "\
    select t.id, u.yacht_id, u.role, t.host, t.port, t.dbname, t.login, t.password \
    from control.users u join control.tenants t on t.id = u.tenant_id \
    where u.id = $1 and u.active";

const OF_TENANT: &str = "select host, port, dbname, login, password from control.tenants where id = $1";

/// Bounds of the tenant cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TenantSettings {
    /// Users remembered at most.
    pub capacity: u64,
    /// How long what was looked up is believed at most, also when the control database is down: the bound within which a
    /// revoked user stops working. Each entry lives up to a fifth shorter, by chance, and is looked up again before it ends.
    pub bound: Duration,
    /// How long it is remembered that a user belongs to no tenant.
    pub unknown: Duration,
    /// Whether to listen for changes, which then are known at once. Needs a connection of its own to the control database, and
    /// not through a pooler in transaction mode.
    pub listen: bool,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self { capacity: 100_000, bound: Duration::from_secs(30), unknown: Duration::from_secs(2), listen: true }
    }
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads.
    Guest,
    /// Reads, and changes stock.
    Crew,
}

/// Where a caller belongs.
#[derive(Debug)]
pub struct Tenant {
    /// The tenant; its pool is kept under this.
    pub id: Uuid,
    /// The caller's yacht, which row-level security goes by.
    pub yacht: Uuid,
    /// What the caller may do there.
    pub role: Role,
    /// The tenant's database.
    pub database: Arc<Database>,
    /// When the cache looks this up again, in nanoseconds of its own clock.
    refresh_at: AtomicU64,
    /// What the cache knew of changes when this was looked up.
    epoch: u64,
    /// Until when this is believed.
    believed_until: Instant,
}

impl Tenant {
    /// Refuses what the caller's role does not allow, and a context that names another yacht.
    pub fn permits(&self, call: &Call) -> Result<(), Error> {
        let other_yacht = call.context.yacht_id.is_some_and(|yacht| yacht != self.yacht);
        match other_yacht || (self.role == Role::Guest && call.action().mutates()) {
            true => Err(Error::Forbidden),
            false => Ok(()),
        }
    }
}

/// Finds tenants.
pub struct Tenants {
    control: Arc<Control>,
    remembered: Option<Remembered>,
}

impl Tenants {
    /// Looks tenants up in `control` over `connections`, and remembers them if there are bounds for that.
    ///
    /// Must be called within a Tokio runtime, in which the cache listens for changes.
    pub fn new(control: Config, connections: Arc<Connections>, remember: Option<TenantSettings>) -> Self {
        let control = Arc::new(Control { database: Database::new(control), connections });
        Self { remembered: remember.map(|settings| Remembered::new(control.clone(), settings)), control }
    }

    /// The tenant of `caller`. Any number of callers that miss the cache for one user make one look-up.
    ///
    /// # Errors
    /// [`Error::NoTenant`] when the control database knows no active user of that id; those of a failed look-up.
    pub async fn of(&self, caller: &Caller) -> Result<Arc<Tenant>, Error> {
        match &self.remembered {
            Some(remembered) => remembered.of(caller.user).await,
            None => self.control.look_up(caller.user, Instant::now(), 0).await?.ok_or(Error::NoTenant),
        }
    }

    /// The database of the tenant `id` as the control database knows it now; nothing when there is no such tenant.
    pub(crate) async fn database(&self, id: Uuid) -> Result<Option<Arc<Database>>, Error> {
        let rows = self.control.query(OF_TENANT, id).await?;
        Ok(rows.first().map(|row| Arc::new(self.control.database_of(row))))
    }

    /// Whether the control database answers.
    ///
    /// # Errors
    /// Those of a failed look-up.
    pub async fn check(&self) -> Result<(), Error> {
        self.control.query(OF_TENANT, Uuid::nil()).await.map(drop)
    }

    /// How the cache is; nothing when there is none.
    pub fn metrics(&self) -> Option<CacheMetrics> {
        self.remembered.as_ref().map(Remembered::metrics)
    }
}

/// The control database.
struct Control {
    database: Database,
    connections: Arc<Connections>,
}

impl Control {
    async fn look_up(&self, user: Uuid, believed_until: Instant, epoch: u64) -> Result<Option<Arc<Tenant>>, Error> {
        let rows = self.query(OF_USER, user).await?;
        Ok(rows.first().map(|row| {
            Arc::new(Tenant {
                id: row.get("id"),
                yacht: row.get("yacht_id"),
                role: match row.get("role") {
                    "crew" => Role::Crew,
                    _ => Role::Guest,
                },
                database: Arc::new(self.database_of(row)),
                refresh_at: AtomicU64::new(u64::MAX),
                epoch,
                believed_until,
            })
        }))
    }

    /// A connection that sends `heard` what is told on it.
    async fn listen(&self, heard: UnboundedSender<String>) -> Result<Client, Error> {
        self.connections.listen(&self.database, heard).await
    }

    async fn query(&self, sql: &str, id: Uuid) -> Result<Vec<Row>, Error> {
        let connection = self.connections.get(CONTROL, &self.database).await?;
        let rows = connection.query_alone(sql, &[(&id, Type::UUID)]).await;
        connection.close().await;
        rows.map_err(Error::database("look the tenant up"))
    }

    /// A tenant's database is connected to as the control database is.
    fn database_of(&self, row: &Row) -> Database {
        let control = self.database.config();
        let mut config = Config::new();
        config
            .host(row.get::<_, &str>("host"))
            .port(row.get::<_, i32>("port") as u16)
            .dbname(row.get::<_, &str>("dbname"))
            .user(row.get::<_, &str>("login"))
            .password(row.get::<_, &str>("password"))
            .ssl_mode(control.get_ssl_mode())
            .ssl_negotiation(control.get_ssl_negotiation())
            .application_name(control.get_application_name().unwrap_or("tare-gateway"));
        Database::new(config)
    }
}
