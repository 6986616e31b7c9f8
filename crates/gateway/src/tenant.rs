//! tenant: [`Caller`] → [`Tenant`].
//!
//! Looked up in the control database — on a connection of its own, as published, or a pooled one — or remembered.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio_postgres::Config;
use uuid::Uuid;

use crate::Error;
use crate::action::Call;
use crate::auth::Caller;
use crate::connection::Connections;

/// Which pool the control database's connections are kept in.
const CONTROL: Uuid = Uuid::nil();

const LOOKUP: &str = "\
    select t.id, u.yacht_id, u.role, t.host, t.port, t.dbname, t.login, t.password \
    from control.users u join control.tenants t on t.id = u.tenant_id \
    where u.id = $1 and u.active";

/// Bounds of the tenant cache.
#[derive(Clone, Copy, Debug)]
pub struct TenantSettings {
    /// Users remembered at most.
    pub capacity: u64,
    /// How long an entry is believed: the bound within which a revoked user stops working.
    pub ttl: Duration,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self { capacity: 100_000, ttl: Duration::from_secs(30) }
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
    pub database: Config,
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
    control: Config,
    connections: Arc<Connections>,
    cache: Option<Cache<Uuid, Arc<Tenant>>>,
}

impl Tenants {
    /// Looks tenants up in `control` over `connections`, and remembers them if there are bounds for that.
    pub fn new(control: Config, connections: Arc<Connections>, remember: Option<TenantSettings>) -> Self {
        let cache =
            remember.map(|bounds| Cache::builder().max_capacity(bounds.capacity).time_to_live(bounds.ttl).build());
        Self { control, connections, cache }
    }

    /// The tenant of `caller`. Any number of callers that miss the cache for one user make one look-up.
    ///
    /// # Errors
    /// [`Error::NoTenant`] when the control database knows no active user of that id; those of a failed look-up.
    pub async fn of(&self, caller: &Caller) -> Result<Arc<Tenant>, Error> {
        let Some(cache) = &self.cache else { return self.look_up(caller).await };
        if let Some(tenant) = cache.get(&caller.user).await {
            return Ok(tenant);
        }
        cache.try_get_with(caller.user, self.look_up(caller)).await.map_err(Error::Shared)
    }

    async fn look_up(&self, caller: &Caller) -> Result<Arc<Tenant>, Error> {
        let connection = self.connections.get(CONTROL, &self.control).await?;
        let rows = async {
            let statement = connection.statement(LOOKUP).await?;
            connection.query(&statement, &[&caller.user]).await
        }
        .await;
        connection.close().await;
        let rows = rows.map_err(Error::database("look the tenant up"))?;
        let row = rows.first().ok_or(Error::NoTenant)?;
        let mut database = Config::new();
        database
            .host(row.get::<_, &str>("host"))
            .port(row.get::<_, i32>("port") as u16)
            .dbname(row.get::<_, &str>("dbname"))
            .user(row.get::<_, &str>("login"))
            .password(row.get::<_, &str>("password"))
            .ssl_mode(self.control.get_ssl_mode())
            .application_name("tare-gateway");
        Ok(Arc::new(Tenant {
            id: row.get("id"),
            yacht: row.get("yacht_id"),
            role: match row.get("role") {
                "crew" => Role::Crew,
                _ => Role::Guest,
            },
            database,
        }))
    }
}
