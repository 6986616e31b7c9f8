//! The request path of a multi-tenant API, as a library to embed: token in, bytes out, one module per component.
//!
//! [`Gateway::execute`] reads top to bottom as the list of components a request is made of. Each is one module, one timed
//! phase in [`Timings`], and has two ways: the one that was published as slow and the fix for it. Which way is taken is
//! chosen once, by [`Strategy`]. There is no HTTP here; `tare-server` adds it.
//!
//! ```no_run
//! use tare_gateway::auth::{Keys, VerifierSettings};
//! use tare_gateway::{Attributes, Gateway, Settings, Strategy};
//!
//! # async fn answer(token: &str, body: &[u8], key: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::new(Settings {
//!     strategy: Strategy::AFTER,
//!     control: "postgres://gateway@127.0.0.1/control?sslmode=require".parse()?,
//!     auth: VerifierSettings {
//!         keys: Keys::Jwks("/etc/tare/jwks.json".into()),
//!         issuer: "https://issuer.example".into(),
//!         audience: "actions".into(),
//!     },
//!     tls: tare_tls::client(None)?,
//!     pool: Default::default(),
//!     tenant: Default::default(),
//!     audit: Default::default(),
//!     fleet: None,
//!     reads: None,
//! })?;
//! let reply = gateway.execute(token, body, Attributes { idempotency_key: key }).await;
//! match reply.result {
//!     Ok(answer) => println!("{} bytes", answer.len()),
//!     Err(error) => println!("{error}"),
//! }
//! gateway.close().await;
//! # Ok(())
//! # }
//! ```

pub mod action;
pub mod audit;
pub mod auth;
pub mod connection;
mod error;
pub mod fleet;
pub mod reads;
pub mod response;
mod strategy;
pub mod tenant;
mod timing;

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Config;
use uuid::Uuid;

use action::{Call, Outcome, Record, Request, Shape};
use audit::{Audit, AuditMetrics, AuditSettings, Event, StoreError, Trail};
use auth::{Caller, KeysError, Verifier, VerifierSettings};
use connection::{Connection, Connections, PoolMetrics, PoolSettings};
use fleet::{Fleet, FleetMetrics, FleetSettings, NothingToShare};
use reads::{ReadMetrics, ReadSettings, Reads};
use tenant::{CacheMetrics, Tenant, TenantSettings, Tenants};

pub use error::{Busy, Error};
pub use strategy::{Fix, Strategy, UnknownFix};
pub use timing::{Component, Timings};

/// Bytes of an idempotency key at most.
const LONGEST_KEY: usize = 255;

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
    /// The audit queue and its bounds; used when [`Fix::AsyncAudit`] is on.
    pub audit: AuditSettings,
    /// With whom the budget is shared; used when [`Fix::Pooling`] is on.
    pub fleet: Option<FleetSettings>,
    /// Whether answers to reads are remembered.
    pub reads: Option<ReadSettings>,
}

/// The way of a request, from token to bytes.
pub struct Gateway {
    auth: Verifier,
    tenants: Arc<Tenants>,
    connections: Arc<Connections>,
    audit: Audit,
    fleet: Option<Fleet>,
    reads: Option<Reads>,
    strategy: Strategy,
}

/// An answer and where its time went.
pub struct Reply {
    /// The body of the answer, or why there is none.
    pub result: Result<Bytes, Error>,
    /// Time spent in each component; those that were not reached have none.
    pub timings: Timings,
}

/// What comes with a request besides its token and its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// The client's `Idempotency-Key`, 1 to 255 bytes: a mutation that is sent again under its key is not done again, and is
    /// answered as it was. Reads take no notice of it.
    pub idempotency_key: Option<&'a str>,
}

/// Why a gateway cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There are no keys to check tokens with, see [`Verifier::new`].
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The durable audit queue cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The budget leaves nothing to share.
    #[error(transparent)]
    Fleet(#[from] NothingToShare),
}

/// How a gateway is, and what has been counted since its start. Of what is not there, nothing.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The pools.
    pub pools: Option<PoolMetrics>,
    /// The tenant cache.
    pub tenants: Option<CacheMetrics>,
    /// The audit queue.
    pub audit: Option<AuditMetrics>,
    /// The fleet.
    pub fleet: Option<FleetMetrics>,
    /// Remembered reads.
    pub reads: Option<ReadMetrics>,
}

impl Gateway {
    /// Prepares every component, and delivers what an earlier run has left in a durable audit queue. Opens no connection to a
    /// tenant's database: its first request does.
    ///
    /// Must be called within a Tokio runtime, in which changes of tenants are listened for and audit events delivered.
    ///
    /// # Errors
    /// There are no keys to check tokens with, the audit queue's store cannot be opened, or a fleet's budget leaves nothing to share.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let strategy = settings.strategy;
        let auth = Verifier::new(settings.auth)?;
        let connections = Arc::new(Connections::new(strategy.has(Fix::Pooling), settings.tls, settings.pool));
        let fleet = settings
            .fleet
            .filter(|_| strategy.has(Fix::Pooling))
            .map(|fleet| Fleet::join(fleet, settings.pool.budget, settings.control.clone(), &connections));
        let fleet = fleet.transpose()?;
        let remember = strategy.has(Fix::TenantCache).then_some(settings.tenant);
        let tenants = Arc::new(Tenants::new(settings.control, connections.clone(), remember));
        let queue = strategy.has(Fix::AsyncAudit).then_some(settings.audit);
        let audit = Audit::new(queue, tenants.clone(), connections.clone())?;
        let reads = settings.reads.map(Reads::new);
        Ok(Self { auth, tenants, connections, audit, fleet, reads, strategy })
    }

    /// Answers one request: `token` is the bearer token alone, `body` the JSON `{action, context, payload}`.
    pub async fn execute(&self, token: &str, body: &[u8], attributes: Attributes<'_>) -> Reply {
        let mut timings = Timings::default();
        let result = self.run(token, body, attributes, &mut timings).await;
        Reply { result, timings }
    }

    async fn run(
        &self,
        token: &str,
        body: &[u8],
        attributes: Attributes<'_>,
        timings: &mut Timings,
    ) -> Result<Bytes, Error> {
        let caller = timings.time(Component::Auth, || self.auth.verify(token))?;
        let call = timings.time(Component::Action, || Call::parse(body))?;
        let tenant = timings.time_async(Component::Tenant, self.tenants.of(&caller)).await?;
        tenant.permits(&call)?;
        let record = self.record(&call, &caller, attributes)?;
        let missed = match self.reads.as_ref().filter(|_| !call.action().mutates()) {
            Some(reads) => match timings.time_async(Component::Action, reads.get(&tenant, &call)).await {
                Ok(answer) => {
                    let event = Event::new(Uuid::now_v7(), caller, &tenant, &call, Trail::Done);
                    timings.time_async(Component::Audit, self.audit_remembered(&tenant, event)).await?;
                    return Ok(answer);
                }
                Err(missed) => Some((reads, missed)),
            },
            None => None,
        };
        // Asked for first: who waits for a place should keep no connection from the queue.
        let place = match self.audit.durable().filter(|_| !call.action().mutates()) {
            Some(queue) => Some(timings.time_async(Component::Audit, queue.place()).await?),
            None => None,
        };
        let mut connection =
            timings.time_async(Component::Connection, self.connections.get(tenant.id, &tenant.database)).await?;

        // A read is recorded while it is done.
        let event = |trail| Event::new(Uuid::now_v7(), caller, &tenant, &call, trail);
        let begun = place.map(|place| place.begin(event(Trail::Done))).transpose()?;
        let request =
            Request { caller: &caller, tenant: &tenant, call: &call, shape: Shape::of(self.strategy), record };
        let acted = timings.time_async(Component::Action, self.act(&mut connection, &request)).await;

        if let Some(reads) = self.reads.as_ref().filter(|_| call.action().mutates()) {
            reads.changed(&tenant);
        }
        let recorded_along = record != Record::Apart && acted.is_ok();
        match (begun, Trail::of(&acted).filter(|_| !recorded_along)) {
            (Some(begun), trail) => {
                connection.release();
                timings.time_async(Component::Audit, begun.end(trail)).await?;
            }
            (None, Some(trail)) => {
                timings.time_async(Component::Audit, self.audit(connection, event(trail))).await?;
            }
            (None, None) => connection.release(),
        }
        let outcome = acted?;
        let answer = timings.time(Component::Response, || response::body(call.action(), &outcome));
        if let Some((reads, missed)) = missed {
            timings.time_async(Component::Action, reads.keep(missed, answer.clone())).await;
        }
        Ok(answer)
    }

    /// A mutation done in one call takes its audit row along: no added round trip, and neither can be without the other. One
    /// with an idempotency key does under every strategy: there is no other way to know that it was done.
    fn record(&self, call: &Call, caller: &Caller, attributes: Attributes<'_>) -> Result<Record, Error> {
        let along = self.strategy.has(Fix::OneCall) && self.strategy.has(Fix::AsyncAudit);
        match attributes.idempotency_key {
            Some(key) if key.is_empty() || key.len() > LONGEST_KEY => {
                Err(Error::Malformed(format!("an idempotency key has 1 to {LONGEST_KEY} bytes")))
            }
            _ if !call.action().mutates() => Ok(Record::Apart),
            Some(key) => Ok(Record::Once(Uuid::new_v5(&caller.user, key.as_bytes()))),
            None if along => Ok(Record::Along(Uuid::now_v7())),
            None => Ok(Record::Apart),
        }
    }

    async fn act(&self, connection: &mut Connection, request: &Request<'_>) -> Result<Outcome, Error> {
        let once = async |connection: &mut Connection| match self.strategy.has(Fix::OneCall) {
            true => action::one_call(connection, request).await,
            false => action::statements(connection, request).await,
        };
        match once(connection).await {
            // The same request was under way at the same time. It is done now, and its answer there.
            Err(error) if error.is_duplicate() && matches!(request.record, Record::Once(_)) => once(connection).await,
            acted => acted,
        }
    }

    /// Records `event`. The queue needs no connection, and who waits for a place in it should not keep one from it.
    async fn audit(&self, mut connection: Connection, event: Event) -> Result<(), Error> {
        match self.audit.is_queued() {
            true => {
                connection.release();
                self.audit.enqueue(event).await
            }
            false => Audit::write(&mut connection, &event).await,
        }
    }

    /// The same of a read that was answered without a connection.
    async fn audit_remembered(&self, tenant: &Tenant, event: Event) -> Result<(), Error> {
        match self.audit.is_queued() {
            true => self.audit.enqueue(event).await,
            false => Audit::write(&mut self.connections.get(tenant.id, &tenant.database).await?, &event).await,
        }
    }

    /// Whether requests can be answered: the control database answers, and a fleet has left this instance connections.
    ///
    /// # Errors
    /// Why they cannot.
    pub async fn check(&self) -> Result<(), Error> {
        self.fleet.as_ref().map_or(Ok(()), Fleet::check)?;
        self.tenants.check().await
    }

    /// How it is, and what has been counted.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            pools: self.connections.metrics(),
            tenants: self.tenants.metrics(),
            audit: self.audit.metrics(),
            fleet: self.fleet.as_ref().map(Fleet::metrics),
            reads: self.reads.as_ref().map(Reads::metrics),
        }
    }

    /// Waits until every audit event taken so far is in its table.
    pub async fn flush(&self) {
        self.audit.flush().await;
    }

    /// Writes what the audit queue still holds, then closes every connection. Requests after it are refused.
    pub async fn close(&self) {
        self.audit.close().await;
        self.connections.close();
        if let Some(fleet) = &self.fleet {
            fleet.leave().await;
        }
    }
}
