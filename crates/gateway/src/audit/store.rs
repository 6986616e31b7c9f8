//! The durable queue: events in an embedded store (fjall) until they are in their tables.
//!
//! One thread writes. It takes all events that wait for it, stores them as one group under one key, syncs, and then tells
//! each request so: requests that come at a time share one sync. A group's key is removed once all its events are delivered;
//! that needs no sync, for an event that is delivered once more finds its row.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

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
    /// Nothing when it is closed.
    sender: Mutex<Option<UnboundedSender<Message>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Append {
        event: Event,
        place: OwnedSemaphorePermit,
        stored: oneshot::Sender<Result<(), Error>>,
    },
    /// All events of a group are delivered.
    Delivered(u64),
    /// No event is taken after this.
    Stop,
}

/// The group that an event is stored with.
#[derive(Clone)]
pub(super) struct Group(Arc<Stored>);

struct Stored {
    key: u64,
    /// Events that are not delivered yet.
    left: AtomicUsize,
    writer: UnboundedSender<Message>,
}

impl Group {
    fn new(key: u64, events: usize, writer: UnboundedSender<Message>) -> Self {
        Self(Arc::new(Stored { key, left: AtomicUsize::new(events), writer }))
    }

    /// One of its events is in its table. An event that is dropped without this stays in the store.
    pub(super) fn delivered(&self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A store that is closed finds the group at its next start, and its events find their rows.
            let _ = self.0.writer.send(Message::Delivered(self.0.key));
        }
    }
}

/// What the writing thread works with.
struct Writer {
    database: fjall::Database,
    groups: Keyspace,
    next: u64,
    messages: UnboundedReceiver<Message>,
    /// For groups to tell of their delivery.
    sender: WeakUnboundedSender<Message>,
    /// Where stored events go; nothing once no more are taken.
    delivery: Option<UnboundedSender<Queued>>,
}

impl Store {
    /// Opens the store in `folder`; what is stored from now on goes to `delivery`. Also returns what is left of earlier runs.
    pub(super) fn open(
        folder: &Path,
        delivery: UnboundedSender<Queued>,
    ) -> Result<(Self, Vec<(Event, Group)>), StoreError> {
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
        let (sender, messages) = unbounded_channel();
        let (mut left, mut next) = (Vec::new(), 0);
        for group in groups.iter() {
            let (key, rows) = group.into_inner().map_err(failed)?;
            let foreign = |source| StoreError::Foreign { folder: folder.to_owned(), source };
            let rows: Vec<Row> = serde_json::from_slice(&rows).map_err(foreign)?;
            let key = key.iter().fold(0, |key, byte| key << 8 | u64::from(*byte));
            next = key + 1;
            let group = Group::new(key, rows.len(), sender.clone());
            left.extend(rows.into_iter().map(|row| (Event { row, database: None }, group.clone())));
        }
        let writer = Writer { database, groups, next, messages, sender: sender.downgrade(), delivery: Some(delivery) };
        let writer = std::thread::Builder::new().name("audit-store".into()).spawn(move || writer.run());
        let writer = writer.map_err(|error| failed(error.into()))?;
        Ok((Self { sender: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) }, left))
    }

    /// Returns when `event` is on the disk.
    pub(super) async fn append(&self, event: Event, place: OwnedSemaphorePermit) -> Result<(), Error> {
        let (stored, wait) = oneshot::channel();
        let sent = {
            let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            sender.as_ref().is_some_and(|sender| sender.send(Message::Append { event, place, stored }).is_ok())
        };
        match sent {
            true => wait.await.unwrap_or(Err(Error::Stopping)),
            false => Err(Error::Stopping),
        }
    }

    /// Takes no more events; those appended before are on their way to the delivery.
    pub(super) fn stop(&self) {
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = sender.send(Message::Stop);
        }
    }

    /// Waits until the store is closed. All that was delivered is removed from it.
    pub(super) async fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
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
        let mut messages = Vec::with_capacity(GROUP);
        while self.messages.blocking_recv_many(&mut messages, GROUP) > 0 {
            let (mut events, mut waiting, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
            let mut stop = false;
            for message in messages.drain(..) {
                match message {
                    Message::Append { event, place, stored } if self.delivery.is_some() => {
                        events.push((event, place));
                        waiting.push(stored);
                    }
                    Message::Append { .. } => {}
                    Message::Delivered(key) => delivered.push(key),
                    Message::Stop => stop = true,
                }
            }
            let written = self.write(&events, &delivered);
            if let Err(error) = &written {
                tracing::error!(%error, events = events.len(), "the audit queue cannot be written to");
            }
            if let (Ok(key), Some(delivery), Some(sender)) = (&written, &self.delivery, self.sender.upgrade())
                && !events.is_empty()
            {
                let group = Group::new(*key, events.len(), sender);
                for (event, place) in events {
                    let _ = delivery.send(Queued { event, _place: Some(place), group: Some(group.clone()) });
                }
            }
            for stored in waiting {
                // Who has gone away is recorded all the same.
                let _ = stored.send(written.as_ref().map(drop).map_err(|error| Error::Store(error.to_string())));
            }
            if stop {
                self.delivery = None;
            }
        }
    }

    /// Stores `events` under one key, which is returned, and removes what was `delivered`.
    fn write(&mut self, events: &[(Event, OwnedSemaphorePermit)], delivered: &[u64]) -> Result<u64, fjall::Error> {
        let (key, mut batch) = (self.next, self.database.batch());
        for key in delivered {
            batch.remove(&self.groups, key.to_be_bytes());
        }
        if !events.is_empty() {
            self.next += 1;
            let rows: Vec<_> = events.iter().map(|(event, _)| &event.row).collect();
            let rows = serde_json::to_vec(&rows).expect("ids, times and strings serialise");
            batch.insert(&self.groups, key.to_be_bytes(), rows);
            batch = batch.durability(Some(PersistMode::SyncData));
        }
        batch.commit().map(|()| key)
    }
}
