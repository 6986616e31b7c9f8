//! audit: outcome → recorded.
//!
//! Written and awaited in a transaction of its own, as published, or handed to a queue in memory that writes in batches.
//!
//! **What the queue can lose:** events wait in this process until they are written. [`Audit::close`] writes what is left;
//! a crash, or a database that stays away longer than [`RETRIES`] attempts, loses what has not been written. The one-call
//! way keeps mutations out of it: their audit row is part of the action's own transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::Error;
use crate::action::{Action, Call, Outcome};
use crate::auth::Caller;
use crate::connection::{Connection, Connections};
use crate::tenant::Tenant;

/// Events written at a time at most.
const BATCH: usize = 512;
/// How long the first event of a batch waits for others. A commit for each row would cost the database more than the
/// requests do.
const LINGER: Duration = Duration::from_millis(10);
/// Attempts to write a batch before it is given up and logged.
pub const RETRIES: u32 = 5;

/// How an action ended, as the audit log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Err(Error::NoSuchPart(_) | Error::NotEnoughStock(_)) => Some(Self::Refused),
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
    id: Uuid,
    caller: Caller,
    tenant: Arc<Tenant>,
    action: Action,
    payload: String,
    trail: Trail,
    at: SystemTime,
}

impl Event {
    /// The event that `caller` did `call` now, and how it ended.
    pub fn new(id: Uuid, caller: Caller, tenant: Arc<Tenant>, call: &Call, trail: Trail) -> Self {
        let (action, payload) = (call.action(), call.payload_json());
        Self { id, caller, tenant, action, payload, trail, at: SystemTime::now() }
    }
}

/// Records events.
pub struct Audit(Way);

enum Way {
    Awaited,
    Queued(Queue),
}

struct Queue {
    sender: Mutex<Option<mpsc::Sender<Message>>>,
    /// Ends the wait for company.
    hurry: Arc<Notify>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Event(Event),
    Flush(oneshot::Sender<()>),
}

impl Audit {
    /// Writes and awaits each event, or queues up to `capacity` of them. Starts the queue's writer.
    pub fn new(capacity: Option<usize>, connections: Arc<Connections>) -> Self {
        Self(match capacity {
            None => Way::Awaited,
            Some(capacity) => {
                let (sender, receiver) = mpsc::channel(capacity.max(1));
                let hurry = Arc::new(Notify::new());
                let writer = tokio::spawn(write_batches(receiver, hurry.clone(), connections));
                Way::Queued(Queue { sender: Mutex::new(Some(sender)), hurry, writer: Mutex::new(Some(writer)) })
            }
        })
    }

    /// Records `event`: in its table when this returns, or in the queue. Waits while the queue is full.
    pub async fn record(&self, connection: &mut Connection, event: Event) -> Result<(), Error> {
        match &self.0 {
            Way::Awaited => insert(connection, &event).await.map_err(Error::database("write the audit row")),
            Way::Queued(queue) => queue.send(Message::Event(event)).await,
        }
    }

    /// Waits until every event recorded so far is in its table.
    pub async fn flush(&self) {
        if let Way::Queued(queue) = &self.0 {
            let (done, wait) = oneshot::channel();
            // A queue that is closed has been written out.
            if queue.send(Message::Flush(done)).await.is_ok() {
                queue.hurry.notify_one();
                let _ = wait.await;
            }
        }
    }

    /// Writes what the queue holds and takes no more.
    pub async fn close(&self) {
        if let Way::Queued(queue) = &self.0 {
            drop(queue.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
            queue.hurry.notify_one();
            let writer = queue.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(writer) = writer {
                let _ = writer.await;
            }
        }
    }
}

impl Queue {
    async fn send(&self, message: Message) -> Result<(), Error> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match sender {
            Some(sender) => sender.send(message).await.map_err(|_| Error::Stopping),
            None => Err(Error::Stopping),
        }
    }
}

async fn insert(connection: &mut Connection, event: &Event) -> Result<(), tokio_postgres::Error> {
    let transaction = connection.transaction().await?;
    transaction.execute("select set_config('app.yacht_id', $1, true)", &[&event.tenant.yacht.to_string()]).await?;
    transaction
        .execute(
            "insert into app.audit_log (id, yacht_id, user_id, action, payload, outcome, created_at) \
             values ($1, $2, $3, $4, $5::text::jsonb, $6, $7)",
            &[
                &event.id,
                &event.tenant.yacht,
                &event.caller.user,
                &event.action.name(),
                &event.payload,
                &event.trail.name(),
                &event.at,
            ],
        )
        .await?;
    transaction.commit().await
}

/// Takes what has come within [`LINGER`] of the first, up to [`BATCH`], and writes it with one statement for each tenant.
async fn write_batches(mut receiver: mpsc::Receiver<Message>, hurry: Arc<Notify>, connections: Arc<Connections>) {
    let mut messages = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut messages, BATCH).await > 0 {
        if messages.len() < BATCH {
            // Asleep, and not in `recv`: there each event would wake this task.
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = hurry.notified() => {}
            }
            while messages.len() < BATCH
                && let Ok(message) = receiver.try_recv()
            {
                messages.push(message);
            }
        }
        let mut by_tenant: HashMap<Uuid, Vec<Event>> = HashMap::new();
        let mut flushed = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Event(event) => by_tenant.entry(event.tenant.id).or_default().push(event),
                Message::Flush(done) => flushed.push(done),
            }
        }
        for events in by_tenant.into_values() {
            write_or_log(&connections, &events).await;
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

async fn write_or_log(connections: &Connections, events: &[Event]) {
    for attempt in 1..=RETRIES {
        match write(connections, events).await {
            Ok(()) => return,
            Err(error) if attempt == RETRIES => {
                tracing::error!(tenant = %events[0].tenant.id, lost = events.len(), %error, "audit events are lost");
            }
            Err(error) => {
                tracing::warn!(tenant = %events[0].tenant.id, waiting = events.len(), attempt, %error, "audit events wait");
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
        }
    }
}

/// Writes events of one tenant in one round trip; one that is there already is left alone.
async fn write(connections: &Connections, events: &[Event]) -> Result<(), Error> {
    let tenant = &events[0].tenant;
    let connection = connections.get(tenant.id, &tenant.database).await?;
    let written = async {
        let statement = connection.statement("select app.record_audit($1, $2, $3, $4, $5, $6, $7)").await?;
        let column = |text: fn(&Event) -> &str| events.iter().map(text).collect::<Vec<_>>();
        connection
            .execute(
                &statement,
                &[
                    &events.iter().map(|event| event.tenant.yacht).collect::<Vec<_>>(),
                    &events.iter().map(|event| event.id).collect::<Vec<_>>(),
                    &events.iter().map(|event| event.caller.user).collect::<Vec<_>>(),
                    &column(|event| event.action.name()),
                    &column(|event| &event.payload),
                    &column(|event| event.trail.name()),
                    &events.iter().map(|event| event.at).collect::<Vec<_>>(),
                ],
            )
            .await
    }
    .await;
    connection.close().await;
    written.map(drop).map_err(Error::database("write the audit rows"))
}
