//! From the queue to the tenants' tables.
//!
//! Each tenant has a lane: one batch is under way at a time, and what comes meanwhile is the next. A tenant whose database is
//! away waits in its lane, and keeps no other from theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Queued;
use crate::Error;
use crate::connection::{Connections, Database};
use crate::tenant::Tenants;

/// Events in one statement at most.
const BATCH: usize = 1024;
/// How long the first event waits for others: in memory, where it can be lost meanwhile, and in a store. A commit for each row
/// would cost the database more than the requests do.
pub(super) const LINGER_IN_MEMORY: Duration = Duration::from_millis(10);
pub(super) const LINGER_IN_STORE: Duration = Duration::from_millis(50);
/// Batches written at a time at most: connections are for requests first.
const WRITERS: usize = 4;
/// Attempts to write a batch that is only in memory before it is given up, and logged.
pub const RETRIES: u32 = 5;
/// The wait after a failed attempt doubles from the first to the second of these.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// When a batch that cannot be written is given up.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    Retries(u32),
    Endless,
}

/// What the delivery works with.
pub(super) struct Delivery {
    pub(super) receiver: UnboundedReceiver<Queued>,
    pub(super) hurry: Arc<Notify>,
    pub(super) tenants: Arc<Tenants>,
    pub(super) connections: Arc<Connections>,
    pub(super) patience: Patience,
    pub(super) linger: Duration,
}

/// One tenant's events.
#[derive(Default)]
struct Lane {
    waiting: Vec<Queued>,
    under_way: bool,
}

/// Delivers until the queue is closed and empty.
pub(super) async fn deliver(delivery: Delivery) {
    let Delivery { mut receiver, hurry, tenants, connections, patience, linger } = delivery;
    let writer = Arc::new(Writer { tenants, connections, patience, slots: Semaphore::new(WRITERS) });
    let mut lanes: HashMap<Uuid, Lane> = HashMap::new();
    let (mut writing, mut taken, mut open) = (JoinSet::new(), Vec::new(), true);
    while open || !writing.is_empty() {
        tokio::select! {
            some = receiver.recv_many(&mut taken, BATCH), if open => {
                open = some > 0;
                if open && some < BATCH {
                    // Asleep, and not in `recv_many`: there each event would wake this task.
                    tokio::select! {
                        () = sleep(linger) => {}
                        () = hurry.notified() => {}
                    }
                    while let Ok(queued) = receiver.try_recv() {
                        taken.push(queued);
                    }
                }
            }
            Some(written) = writing.join_next() => {
                if let Ok(tenant) = written {
                    lanes.entry(tenant).or_default().under_way = false;
                    next_batch(tenant, &mut lanes, &mut writing, &writer);
                }
            }
        }
        let mut touched: Vec<Uuid> = Vec::new();
        for queued in taken.drain(..) {
            let tenant = queued.event.row.tenant;
            let lane = lanes.entry(tenant).or_default();
            if lane.waiting.is_empty() {
                touched.push(tenant);
            }
            lane.waiting.push(queued);
        }
        for tenant in touched {
            next_batch(tenant, &mut lanes, &mut writing, &writer);
        }
    }
}

/// Begins the next batch of a lane that has one and none under way; a lane with neither is forgotten.
fn next_batch(tenant: Uuid, lanes: &mut HashMap<Uuid, Lane>, writing: &mut JoinSet<Uuid>, writer: &Arc<Writer>) {
    let Some(lane) = lanes.get_mut(&tenant).filter(|lane| !lane.under_way) else { return };
    if lane.waiting.is_empty() {
        lanes.remove(&tenant);
        return;
    }
    let rest = lane.waiting.split_off(lane.waiting.len().min(BATCH));
    let batch = std::mem::replace(&mut lane.waiting, rest);
    lane.under_way = true;
    let writer = writer.clone();
    writing.spawn(async move {
        writer.write_out(tenant, batch).await;
        tenant
    });
}

struct Writer {
    tenants: Arc<Tenants>,
    connections: Arc<Connections>,
    patience: Patience,
    slots: Semaphore,
}

impl Writer {
    /// Writes a batch, however many attempts it takes. Its places in the queue are free afterwards.
    async fn write_out(&self, tenant: Uuid, batch: Vec<Queued>) {
        let mut database = batch.last().and_then(|queued| queued.event.database.clone());
        let [mut pause, longest] = PAUSES;
        for attempt in 1.. {
            match self.attempt(tenant, &mut database, &batch).await {
                Ok(()) => return batch.into_iter().for_each(Queued::delivered),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|cause| format!("{cause:?}"));
                    let (waiting, cause) = (batch.len(), cause.unwrap_or_default());
                    match self.patience {
                        Patience::Retries(most) if attempt >= most => {
                            tracing::error!(%tenant, lost = waiting, %error, cause, "audit events are lost");
                            return;
                        }
                        _ => tracing::warn!(%tenant, waiting, attempt, %error, cause, "audit events wait"),
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                    // Perhaps the database has moved, or its login has changed.
                    database = None;
                }
            }
        }
    }

    async fn attempt(&self, tenant: Uuid, known: &mut Option<Arc<Database>>, batch: &[Queued]) -> Result<(), Error> {
        let _slot = self.slots.acquire().await;
        let database = match known {
            Some(database) => database,
            None => known.insert(self.tenants.database(tenant).await?.ok_or(Error::NoTenant)?),
        };
        let connection = self.connections.get(tenant, database).await?;
        let rows = || batch.iter().map(|queued| &queued.event.row);
        let yachts: Vec<_> = rows().map(|row| row.yacht).collect();
        let ids: Vec<_> = rows().map(|row| row.id).collect();
        let users: Vec<_> = rows().map(|row| row.user).collect();
        let actions: Vec<_> = rows().map(|row| row.action.name()).collect();
        let payloads: Vec<_> = rows().map(|row| &*row.payload).collect();
        let outcomes: Vec<_> = rows().map(|row| row.trail.name()).collect();
        let times: Vec<_> = rows().map(|row| row.at).collect();
        let written = connection
            .query_in_one_trip(
                "select app.record_audit($1, $2, $3, $4, $5, $6, $7)",
                &[
                    (&yachts, Type::UUID_ARRAY),
                    (&ids, Type::UUID_ARRAY),
                    (&users, Type::UUID_ARRAY),
                    (&actions, Type::TEXT_ARRAY),
                    (&payloads, Type::TEXT_ARRAY),
                    (&outcomes, Type::TEXT_ARRAY),
                    (&times, Type::TIMESTAMPTZ_ARRAY),
                ],
            )
            .await;
        connection.close().await;
        written.map(drop).map_err(Error::database("write the audit rows"))
    }
}
