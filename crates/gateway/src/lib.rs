//! The request path of a multi-tenant API, as a library to embed: token in, bytes out, one module per component.
//!
//! [`Gateway::execute`] reads top to bottom as the list of components a request is made of. Each is one module, one timed
//! phase in [`Timings`], and has two ways: the one that was published as slow and the fix for it. Which way is taken is
//! chosen once, by [`Strategy`]. There is no HTTP here; `tare-server` adds it.

pub mod action;
pub mod audit;
pub mod auth;
pub mod connection;
mod error;
pub mod response;
mod strategy;
pub mod tenant;
mod timing;

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Config;
use uuid::Uuid;

use action::{Call, Shape};
use audit::{Audit, Event, Trail};
use auth::{KeysError, Verifier, VerifierSettings};
use connection::{Connections, PoolSettings};
use tenant::{TenantSettings, Tenants};

pub use error::Error;
pub use strategy::{Fix, Strategy, UnknownFix};
pub use timing::{Component, Timings};

/// What a gateway needs to know before its first request.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which fixes are on.
    pub strategy: Strategy,
    /// The control database: users, their tenants, and where each tenant's database is.
    pub control: Config,
    /// How tokens are checked.
    pub auth: VerifierSettings,
    /// TLS for the control database and for every tenant's.
    pub tls: tare_tls::ClientConfig,
    /// Bounds of each tenant's pool; used when [`Fix::Pooling`] is on.
    pub pool: PoolSettings,
    /// Bounds of the tenant cache; used when [`Fix::TenantCache`] is on.
    pub tenant: TenantSettings,
    /// Audit events that may wait in memory; used when [`Fix::AsyncAudit`] is on. A full queue makes requests wait.
    pub audit_capacity: usize,
}

/// The way of a request, from token to bytes.
pub struct Gateway {
    auth: Verifier,
    tenants: Tenants,
    connections: Arc<Connections>,
    audit: Audit,
    strategy: Strategy,
}

/// An answer and where its time went.
pub struct Reply {
    /// The body of the answer, or why there is none.
    pub result: Result<Bytes, Error>,
    /// Time spent in each component; those that were not reached have none.
    pub timings: Timings,
}

impl Gateway {
    /// Prepares every component. Opens no connection: a tenant's first request does.
    ///
    /// Must be called within a Tokio runtime, which drains the audit queue.
    ///
    /// # Errors
    /// There are no keys to check tokens with, see [`Verifier::new`].
    pub fn new(settings: Settings) -> Result<Self, KeysError> {
        let auth = Verifier::new(settings.auth)?;
        let strategy = settings.strategy;
        let connections = Arc::new(Connections::new(strategy.has(Fix::Pooling), settings.tls, settings.pool));
        Ok(Self {
            auth,
            tenants: Tenants::new(
                settings.control,
                connections.clone(),
                strategy.has(Fix::TenantCache).then_some(settings.tenant),
            ),
            audit: Audit::new(strategy.has(Fix::AsyncAudit).then_some(settings.audit_capacity), connections.clone()),
            connections,
            strategy,
        })
    }

    /// Answers one request: `token` is the bearer token alone, `body` the JSON `{action, context, payload}`.
    pub async fn execute(&self, token: &str, body: &[u8]) -> Reply {
        let mut timings = Timings::default();
        let result = self.run(token, body, &mut timings).await;
        Reply { result, timings }
    }

    async fn run(&self, token: &str, body: &[u8], timings: &mut Timings) -> Result<Bytes, Error> {
        let caller = timings.time(Component::Auth, || self.auth.verify(token))?;
        let call = timings.time(Component::Action, || Call::parse(body))?;
        let tenant = timings.time_async(Component::Tenant, self.tenants.of(&caller)).await?;
        tenant.permits(&call)?;
        let mut connection =
            timings.time_async(Component::Connection, self.connections.get(tenant.id, &tenant.database)).await?;

        let audit_id = Uuid::now_v7();
        let in_transaction = self.audited_in_transaction(&call);
        let shape = Shape::of(self.strategy);
        let acted = timings
            .time_async(Component::Action, async {
                match self.strategy.has(Fix::OneCall) {
                    true => {
                        let audited = in_transaction.then_some(audit_id);
                        action::one_call(&connection, &caller, &tenant, &call, shape, audited).await
                    }
                    false => action::statements(&mut connection, &caller, &tenant, &call, shape).await,
                }
            })
            .await;

        if let Some(trail) = Trail::of(&acted)
            && !(in_transaction && trail == Trail::Done)
        {
            let event = Event::new(audit_id, caller, tenant, &call, trail);
            timings.time_async(Component::Audit, self.audit.record(&mut connection, event)).await?;
        }
        let outcome = acted?;
        connection.release();
        Ok(timings.time(Component::Response, || response::body(call.action(), &outcome)))
    }

    /// A mutation done in one call takes its audit row along: no added round trip, and neither can be without the other.
    fn audited_in_transaction(&self, call: &Call) -> bool {
        self.strategy.has(Fix::OneCall) && self.strategy.has(Fix::AsyncAudit) && call.action().mutates()
    }

    /// Waits until every audit event taken so far is in its table.
    pub async fn flush(&self) {
        self.audit.flush().await;
    }

    /// Writes what the audit queue still holds, then closes every connection. Requests after it are refused.
    pub async fn close(&self) {
        self.audit.close().await;
        self.connections.close();
    }
}
