//! audit: outcome → recorded.
//!
//! Four ways, of which a request takes one:
//!
//! * **awaited**: written in a transaction of its own, and waited for, as published;
//! * **in the action's transaction**: see [`action`](crate::action). No added round trip, and neither can be without the other;
//! * **durable**: appended to a queue in a local store, and waited for until it is on the disk; written to its tenant's
//!   database in batches afterwards. `kill -9` loses nothing that was acknowledged, and writes nothing twice: an event's id is
//!   its row's key. What is left is written after the next start. A read is appended as done when it is sent to its database, and
//!   again when it turns out to be refused. One that was under way when the process was killed, or had just failed, stays in the
//!   log as done, for it may have been, though nobody has its answer. So does one that was dropped half-way;
//! * **in memory**: handed to a queue in this process. A crash loses what is in it: events of about 20 ms, or of as long as
//!   the database is away. So does a database that refuses an event's batch [`RETRIES`] times.

mod deliver;
mod pending;
mod store;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::action::{Action, Call, Outcome};
use crate::auth::Caller;
use crate::connection::{Connection, Connections, Database};
use crate::tenant::{Tenant, Tenants};
use crate::{Busy, Error};
use deliver::{Delivery, LINGER_IN_MEMORY, LINGER_IN_STORE, Patience, deliver};
use store::{Group, Store};

pub use deliver::RETRIES;
pub(crate) use pending::Begun;
pub use store::StoreError;

/// Where events wait until they are in their table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// In this process.
    Memory,
    /// In a store in this folder, which is made when there is none. No other process may use it.
    Durable(PathBuf),
}

/// Bounds of the audit queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where it is.
    pub queue: Queue,
    /// Events that may wait in it.
    pub capacity: usize,
    /// How long a request waits for room when it is full.
    pub wait: Duration,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { queue: Queue::Memory, capacity: 20_000, wait: Duration::from_secs(5) }
    }
}

/// How an action ended, as the audit log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trail {
    /// It was done.
    Done,
    /// It was refused, and nothing changed.
    Refused,
}

impl Trail {
    /// What the audit log should tell; nothing when it is not known how the action ended.
    pub fn of(acted: &Result<Outcome, Error>) -> Option<Self> {
        match acted {
            Ok(_) => Some(Self::Done),
            Err(Error::NoSuchPart(_) | Error::NotEnoughStock(_) | Error::TooMuchStock(_)) => Some(Self::Refused),
            Err(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// One row of the audit log to be.
#[derive(Debug)]
pub struct Event {
    row: Row,
    /// The tenant's database as it was known when this happened; nothing for one that was read from the store.
    database: Option<Arc<Database>>,
}

/// What is written, to the store as JSON and to the table.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    id: Uuid,
    tenant: Uuid,
    yacht: Uuid,
    user: Uuid,
    action: Action,
    payload: String,
    trail: Trail,
    at: SystemTime,
}

impl Event {
    /// The event that `caller` did `call` now, and how it ended.
    pub fn new(id: Uuid, caller: Caller, tenant: &Tenant, call: &Call, trail: Trail) -> Self {
        Self {
            row: Row {
                id,
                tenant: tenant.id,
                yacht: tenant.yacht,
                user: caller.user,
                action: call.action(),
                payload: call.payload_json(),
                trail,
                at: SystemTime::now(),
            },
            database: Some(tenant.database.clone()),
        }
    }
}

/// An event in the queue. Its place there is free when this is dropped.
struct Queued {
    event: Event,
    _place: Option<OwnedSemaphorePermit>,
    /// What it is stored with.
    group: Option<Group>,
}

impl Queued {
    /// It is in its table.
    fn delivered(self) {
        if let Some(group) = self.group {
            group.delivered();
        }
    }
}

/// Records events.
pub struct Audit(Way);

enum Way {
    Awaited,
    Queued(Queueing),
}

struct Queueing {
    settings: AuditSettings,
    places: Arc<Semaphore>,
    store: Option<Store>,
    /// To the delivery; nothing when this is closed.
    sender: Mutex<Option<UnboundedSender<Queued>>>,
    /// Ends the delivery's wait for company.
    hurry: Arc<Notify>,
    delivery: Mutex<Option<JoinHandle<()>>>,
}

/// A queue in which events can be begun before they have ended.
#[derive(Clone, Copy)]
pub(crate) struct Durable<'a> {
    queue: &'a Queueing,
    store: &'a Store,
}

/// A place in it.
pub(crate) struct Place<'a> {
    durable: Durable<'a>,
    permit: OwnedSemaphorePermit,
}

/// How the queue is.
#[derive(Clone, Copy, Debug)]
pub struct AuditMetrics {
    /// Events that may wait.
    pub capacity: usize,
    /// Events that wait, and of a durable queue those, too, whose requests are under way.
    pub waiting: usize,
}

impl Audit {
    /// Awaits each event when there are no settings for a queue. Starts the queue's delivery, with what its store still holds.
    ///
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn new(
        settings: Option<AuditSettings>,
        tenants: Arc<Tenants>,
        connections: Arc<Connections>,
    ) -> Result<Self, StoreError> {
        let Some(settings) = settings else { return Ok(Self(Way::Awaited)) };
        let places = Arc::new(Semaphore::new(settings.capacity.max(1)));
        let (sender, receiver) = unbounded_channel();
        let (store, patience, linger) = match &settings.queue {
            Queue::Memory => (None, Patience::Retries(RETRIES), LINGER_IN_MEMORY),
            Queue::Durable(folder) => {
                let (store, left) = Store::open(folder)?;
                for (event, group) in left {
                    let place = places.clone().try_acquire_owned().ok();
                    // The receiver is in this function.
                    let _ = sender.send(Queued { event, _place: place, group: Some(group) });
                }
                (Some(store), Patience::Endless, LINGER_IN_STORE)
            }
        };
        let hurry = Arc::new(Notify::new());
        let delivery =
            tokio::spawn(deliver(Delivery { receiver, hurry: hurry.clone(), tenants, connections, patience, linger }));
        Ok(Self(Way::Queued(Queueing {
            settings,
            places,
            store,
            sender: Mutex::new(Some(sender)),
            hurry,
            delivery: Mutex::new(Some(delivery)),
        })))
    }

    /// Whether events go to a queue, and need no connection to be recorded.
    pub fn is_queued(&self) -> bool {
        matches!(self.0, Way::Queued(_))
    }

    /// The durable queue, where there is one.
    pub(crate) fn durable(&self) -> Option<Durable<'_>> {
        match &self.0 {
            Way::Queued(queue) => queue.store.as_ref().map(|store| Durable { queue, store }),
            Way::Awaited => None,
        }
    }

    /// Writes `event` in a transaction of its own on `connection`, and waits for it.
    ///
    /// # Errors
    /// [`Error::Database`] when the database refuses it.
    pub async fn write(connection: &mut Connection, event: &Event) -> Result<(), Error> {
        insert(connection, &event.row).await.map_err(Error::database("write the audit row"))
    }

    /// Hands `event` to the queue: when this returns, it is on the disk of a durable one, or in memory. Waits while it is full.
    ///
    /// # Errors
    /// [`Error::Busy`] when it stays full, [`Error::Stopping`] when it is closed or there is none, [`Error::Store`] when the
    /// store fails.
    pub async fn enqueue(&self, event: Event) -> Result<(), Error> {
        let Way::Queued(queue) = &self.0 else { return Err(Error::Stopping) };
        let place = queue.place().await?;
        match &queue.store {
            Some(store) => {
                let trail = event.row.trail;
                store.begin(event, Some(place), queue.sender()?.downgrade())?.end(Some(trail)).await
            }
            None => {
                let queued = Queued { event, _place: Some(place), group: None };
                queue.sender()?.send(queued).map_err(|_| Error::Stopping)
            }
        }
    }

    /// Waits until every event recorded so far is in its table, and with a durable queue until every read under way has ended and its
    /// event is there. Meanwhile others wait as with a full queue.
    pub async fn flush(&self) {
        if let Way::Queued(queue) = &self.0 {
            queue.hurry.notify_one();
            // Whoever has all places shares the queue with nobody.
            let all = queue.places.acquire_many(queue.settings.capacity.max(1) as u32).await;
            drop(all);
        }
    }

    /// Takes no more events, and waits until those taken are in their table. What a durable queue cannot deliver while this is
    /// waited for is delivered after the next start.
    pub async fn close(&self) {
        if let Way::Queued(queue) = &self.0 {
            queue.places.close();
            if let Some(store) = &queue.store {
                store.stop();
            }
            drop(queue.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
            queue.hurry.notify_one();
            let delivery = queue.delivery.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(delivery) = delivery {
                let _ = delivery.await;
            }
            if let Some(store) = &queue.store {
                store.close().await;
            }
        }
    }

    /// How the queue is; nothing when there is none.
    pub fn metrics(&self) -> Option<AuditMetrics> {
        match &self.0 {
            Way::Awaited => None,
            Way::Queued(queue) => {
                let capacity = queue.settings.capacity.max(1);
                Some(AuditMetrics { capacity, waiting: capacity - queue.places.available_permits() })
            }
        }
    }
}

impl<'a> Durable<'a> {
    /// A place for an event. Waits while it is full.
    ///
    /// # Errors
    /// [`Error::Busy`] when it stays full, [`Error::Stopping`] when it is closed.
    pub(crate) async fn place(self) -> Result<Place<'a>, Error> {
        Ok(Place { durable: self, permit: self.queue.place().await? })
    }
}

impl Place<'_> {
    /// Has the event of what is done next written, and does not wait for the disk.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the queue is closed.
    pub(crate) fn begin(self, event: Event) -> Result<Begun, Error> {
        let Self { durable: Durable { queue, store }, permit } = self;
        store.begin(event, Some(permit), queue.sender()?.downgrade())
    }
}

impl Drop for Queueing {
    /// Without [`Audit::close`] what is not delivered stays in a durable queue, and is lost from one in memory.
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.lock().unwrap_or_else(PoisonError::into_inner).take() {
            delivery.abort();
        }
    }
}

impl Queueing {
    /// To the delivery.
    fn sender(&self) -> Result<UnboundedSender<Queued>, Error> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Stopping)
    }

    /// A place in the queue, at once without setting a timer.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        self.hurry.notify_one();
        match timeout(self.settings.wait, self.places.clone().acquire_owned()).await {
            Ok(place) => place.map_err(|_| Error::Stopping),
            Err(_) => Err(Error::Busy(Busy::AuditFull(self.settings.wait))),
        }
    }
}

async fn insert(connection: &mut Connection, row: &Row) -> Result<(), tokio_postgres::Error> {
    let transaction = connection.transaction().await?;
    transaction.execute("select set_config('app.yacht_id', $1, true)", &[&row.yacht.to_string()]).await?;
    transaction
        .execute(
            "insert into app.audit_log (id, yacht_id, user_id, action, payload, outcome, created_at) \
             values ($1, $2, $3, $4, $5::text::jsonb, $6, $7)",
            &[&row.id, &row.yacht, &row.user, &row.action.name(), &row.payload, &row.trail.name(), &row.at],
        )
        .await?;
    transaction.commit().await
}
