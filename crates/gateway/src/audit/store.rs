//! The durable queue: events in an embedded store (fjall) until they are in their tables.
//!
//! One thread writes. It takes all events that are [pending](super::pending), stores them as one group under one key, syncs, and
//! then gives each request its event back, which passes it on to the delivery when it has ended. A group's key is removed once all
//! its events are delivered; that needs no sync, for an event that is delivered once more finds its row.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::WeakUnboundedSender;

use super::pending::{Appended, Begun, Pending, Work};
use super::{Event, Queued, Row};
use crate::Error;

/// Events in one group at most.
const GROUP: usize = 256;
/// Bytes of what is not in the store's tables yet, in memory and (the least that it takes) in its journals; and of its cache,
/// which a queue has little use for.
const MEMTABLE: u64 = 4 * 1024 * 1024;
const JOURNAL: u64 = 64 * 1024 * 1024;
const CACHE: u64 = 1024 * 1024;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("the audit queue in {} cannot be opened; is another server using it?", folder.display())]
    Open {
        /// Its folder.
        folder: PathBuf,
        /// What the store said.
        source: fjall::Error,
    },
    /// It holds what no version of this has written.
    #[error("the audit queue in {} holds something that is not an event", folder.display())]
    Foreign {
        /// Its folder.
        folder: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
}

/// The store, and the thread that writes to it.
pub(super) struct Store {
    pending: Arc<Pending>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The group that an event is stored with.
#[derive(Clone)]
pub(super) struct Group(Arc<Stored>);

struct Stored {
    key: u64,
    /// Events that are not delivered yet.
    left: AtomicUsize,
    pending: Arc<Pending>,
}

impl Group {
    pub(super) fn new(key: u64, events: usize, pending: Arc<Pending>) -> Self {
        Self(Arc::new(Stored { key, left: AtomicUsize::new(events), pending }))
    }

    /// One of its events is in its table. An event that is dropped without this stays in the store.
    pub(super) fn delivered(&self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.pending.delivered(self.0.key);
        }
    }
}

/// What the writing thread works with.
struct Writer {
    database: fjall::Database,
    groups: Keyspace,
    next: u64,
    pending: Arc<Pending>,
}

impl Store {
    /// Opens the store in `folder`. Also returns what is left of earlier runs.
    pub(super) fn open(folder: &Path) -> Result<(Self, Vec<(Event, Group)>), StoreError> {
        let failed = |source: fjall::Error| StoreError::Open { folder: folder.to_owned(), source };
        // Payloads are in it.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(error.into()))?;
        let database = fjall::Database::builder(folder)
            .cache_size(CACHE)
            .max_journaling_size(JOURNAL)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let groups = database.keyspace("groups", options).map_err(failed)?;
        let pending = Arc::new(Pending::default());
        let (mut left, mut next) = (Vec::new(), 0);
        for group in groups.iter() {
            let (key, rows) = group.into_inner().map_err(failed)?;
            let foreign = |source| StoreError::Foreign { folder: folder.to_owned(), source };
            let rows: Vec<Row> = serde_json::from_slice(&rows).map_err(foreign)?;
            let key = key.iter().fold(0, |key, byte| key << 8 | u64::from(*byte));
            next = key + 1;
            let group = Group::new(key, rows.len(), pending.clone());
            left.extend(rows.into_iter().map(|row| (Event { row, database: None }, group.clone())));
        }
        // An event that was corrected may be there twice, and the first to come to its table counts.
        left.reverse();
        let writer = Writer { database, groups, next, pending: pending.clone() };
        let writer = std::thread::Builder::new().name("audit-store".into()).spawn(move || writer.run());
        let writer = writer.map_err(|error| failed(error.into()))?;
        Ok((Self { pending, writer: Mutex::new(Some(writer)) }, left))
    }

    /// Has `event` written, which goes to `delivery` when it has ended.
    pub(super) fn begin(
        &self,
        event: Event,
        place: Option<OwnedSemaphorePermit>,
        delivery: WeakUnboundedSender<Queued>,
    ) -> Result<Begun, Error> {
        self.pending.begin(event, place, delivery)
    }

    /// Takes no more events; those begun before are written.
    pub(super) fn stop(&self) {
        self.pending.stop();
    }

    /// Waits until the store is closed. All that was delivered is removed from it.
    pub(super) async fn close(&self) {
        self.pending.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A thread that panicked has said so.
            let _ = tokio::task::spawn_blocking(|| writer.join()).await;
        }
    }
}

impl Writer {
    /// Writes until the store is closed and all that was delivered has been told of.
    fn run(mut self) {
        while let Some(Work { appended, delivered }) = self.pending.next(GROUP) {
            match self.write(&appended, &delivered) {
                Ok(key) => {
                    let group = Group::new(key, appended.len(), self.pending.clone());
                    appended.into_iter().for_each(|appended| appended.stored(group.clone()));
                }
                Err(error) => {
                    tracing::error!(%error, events = appended.len(), "the audit queue cannot be written to");
                    appended.into_iter().for_each(|appended| appended.failed(&error));
                }
            }
        }
    }

    /// Stores `events` under one key, which is returned, and removes what was `delivered`.
    fn write(&mut self, events: &[Appended], delivered: &[u64]) -> Result<u64, fjall::Error> {
        let (key, mut batch) = (self.next, self.database.batch());
        for key in delivered {
            batch.remove(&self.groups, key.to_be_bytes());
        }
        if !events.is_empty() {
            self.next += 1;
            let rows: Vec<_> = events.iter().map(Appended::row).collect();
            let rows = serde_json::to_vec(&rows).expect("ids, times and strings serialise");
            batch.insert(&self.groups, key.to_be_bytes(), rows);
            batch = batch.durability(Some(PersistMode::SyncData));
        }
        batch.commit().map(|()| key)
    }
}

impl Drop for Store {
    /// Without [`close`](Store::close) what is not delivered is after the next start.
    fn drop(&mut self) {
        self.pending.close();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pending.abandon();
    }
}
