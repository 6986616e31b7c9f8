//! From the queue to the tenants' tables.
//!
//! Each tenant has a lane: one batch is under way at a time, and what comes meanwhile is the next. A tenant whose database is
//! away waits in its lane, and keeps no other from theirs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
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
pub(super) const LINGER_IN_STORE: Duration = Duration::from_millis(200);
/// How often it is looked meanwhile whether there is a batch of them.
const LOOK: Duration = Duration::from_millis(5);
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
    let mut lanes = Lanes { lanes: HashMap::new(), writing: JoinSet::new(), writer };
    let (mut due, mut taken) = (Due::new(Instant::now()), Vec::new());
    // Since when, and the next look; nothing while there is nothing to collect.
    let (mut collecting, mut open): (Option<[Instant; 2]>, _) = (None, true);
    let look = linger.min(LOOK);
    while open || !due.tenants.is_empty() || !lanes.writing.is_empty() {
        let over = tokio::select! {
            // While it collects it sleeps, and is not in `recv_many`: there each event would wake this task.
            some = receiver.recv_many(&mut taken, BATCH), if open && collecting.is_none() => {
                open = some > 0;
                if open && some < BATCH {
                    let now = Instant::now();
                    collecting = Some([now, now + look]);
                    continue;
                }
                Duration::ZERO
            }
            () = at(collecting.map(|[_, next]| next)) => {
                let so_far = collecting.map_or(linger, |[since, _]| since.elapsed());
                if so_far < linger && receiver.len() < BATCH {
                    collecting = collecting.map(|[since, next]| [since, next + look]);
                    continue;
                }
                so_far.min(linger)
            }
            () = hurry.notified() => Duration::ZERO,
            () = at(due.next()) => {
                let now = Instant::now();
                while let Some(tenant) = due.pop(now) {
                    lanes.next_batch(tenant);
                }
                continue;
            }
            Some(written) = lanes.writing.join_next() => {
                if let Ok(tenant) = written {
                    lanes.written(tenant);
                }
                continue;
            }
        };
        collecting = None;
        while let Ok(queued) = receiver.try_recv() {
            taken.push(queued);
        }
        due.add(Instant::now(), lanes.sort(taken.drain(..)), over);
    }
}

/// Returns at a moment, or never where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Tenants whose events have been collected. Their batches begin evenly spread over the time in which the next are collected: all
/// at once they would keep every processor from the requests of that moment.
struct Due {
    tenants: VecDeque<Uuid>,
    first: Instant,
    gap: Duration,
}

impl Due {
    fn new(now: Instant) -> Self {
        Self { tenants: VecDeque::new(), first: now, gap: Duration::ZERO }
    }

    /// From `now` on all begin within `over`, those included that are due already.
    fn add(&mut self, now: Instant, tenants: Vec<Uuid>, over: Duration) {
        self.tenants.extend(tenants);
        self.first = now;
        self.gap = over / self.tenants.len().max(1) as u32;
    }

    /// When the next begins.
    fn next(&self) -> Option<Instant> {
        (!self.tenants.is_empty()).then_some(self.first)
    }

    /// One that begins now or should have begun.
    fn pop(&mut self, now: Instant) -> Option<Uuid> {
        let tenant = self.tenants.pop_front_if(|_| self.first <= now)?;
        self.first += self.gap;
        Some(tenant)
    }
}

/// All tenants' events, and the batches under way.
struct Lanes {
    lanes: HashMap<Uuid, Lane>,
    writing: JoinSet<Uuid>,
    writer: Arc<Writer>,
}

impl Lanes {
    /// Each event goes to its tenant's lane. Returns the tenants that had none waiting.
    fn sort(&mut self, events: impl Iterator<Item = Queued>) -> Vec<Uuid> {
        let mut touched = Vec::new();
        for queued in events {
            let tenant = queued.event.row.tenant;
            let lane = self.lanes.entry(tenant).or_default();
            if lane.waiting.is_empty() {
                touched.push(tenant);
            }
            lane.waiting.push(queued);
        }
        touched
    }

    /// Begins the next batch of a lane that has one and none under way; a lane with neither is forgotten.
    fn next_batch(&mut self, tenant: Uuid) {
        let Some(lane) = self.lanes.get_mut(&tenant).filter(|lane| !lane.under_way) else { return };
        if lane.waiting.is_empty() {
            self.lanes.remove(&tenant);
            return;
        }
        let rest = lane.waiting.split_off(lane.waiting.len().min(BATCH));
        let batch = std::mem::replace(&mut lane.waiting, rest);
        lane.under_way = true;
        let writer = self.writer.clone();
        self.writing.spawn(async move {
            writer.write_out(tenant, batch).await;
            tenant
        });
    }

    /// A batch of a lane is in its table, and the next may begin.
    fn written(&mut self, tenant: Uuid) {
        if let Some(lane) = self.lanes.get_mut(&tenant) {
            lane.under_way = false;
        }
        self.next_batch(tenant);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_begin_evenly_while_the_next_are_collected() {
        let now = Instant::now();
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        let tenants: Vec<_> = (0..5).map(Uuid::from_u128).collect();
        let mut due = Due::new(now);
        due.add(now, tenants.clone(), Duration::from_millis(50));
        let mut begun = Vec::new();
        while let Some(moment) = due.next() {
            assert_eq!(due.pop(moment - Duration::from_nanos(1)), None);
            begun.push((moment, due.pop(moment).unwrap()));
        }
        let expected: Vec<_> = tenants.iter().zip(0..).map(|(tenant, nth)| (after(nth * 10), *tenant)).collect();
        assert_eq!(begun, expected);
    }

    #[test]
    fn in_a_hurry_all_begin_at_once_and_who_is_late_catches_up() {
        let now = Instant::now();
        let mut due = Due::new(now);
        due.add(now, (0..100).map(Uuid::from_u128).collect(), Duration::from_millis(50));
        let late = std::iter::from_fn(|| due.pop(now + Duration::from_millis(25)));
        assert_eq!(late.count(), 51);
        due.add(now, vec![Uuid::nil()], Duration::ZERO);
        assert_eq!(std::iter::from_fn(|| due.pop(now)).count(), 50);
        assert_eq!(due.next(), None);
    }
}
