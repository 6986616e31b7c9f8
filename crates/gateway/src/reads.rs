//! Answers to reads that are remembered, for those who would rather have an old one than wait.
//!
//! An answer may be as old as [`ReadSettings::bound`], on every instance of a fleet. A change of stock that this instance made is seen
//! by the next read on it: what was remembered of that yacht is forgotten. Refusals are not remembered, and who may ask is
//! looked at before.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::future::Cache;
use uuid::Uuid;

use crate::action::Call;
use crate::tenant::Tenant;

/// Yachts share these counters of changes: what is counted of one makes another forget, too, and no more than that.
const COUNTERS: usize = 4_096;
/// Bytes that an entry takes besides its key and its answer, about.
const OVERHEAD: usize = 200;

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadSettings {
    /// How old an answer may be.
    pub bound: Duration,
    /// Bytes of answers at most, about.
    pub capacity: u64,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { bound: Duration::from_secs(1), capacity: 64 * 1024 * 1024 }
    }
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMetrics {
    /// Reads answered with what was remembered.
    pub remembered: u64,
    /// Reads that the database answered.
    pub read: u64,
}

/// The answers.
pub struct Reads {
    bound: Duration,
    entries: Cache<Key, Entry>,
    changes: Box<[AtomicU64]>,
    hasher: RandomState,
    remembered: AtomicU64,
    read: AtomicU64,
}

/// What is asked: by a yacht, for row-level security goes by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: Uuid,
    yacht: Uuid,
    action: &'static str,
    payload: String,
}

#[derive(Clone)]
struct Entry {
    answer: Bytes,
    asked: Instant,
    changes: u64,
}

/// That there is no answer yet: what is needed to [keep](Reads::keep) the one to come.
#[derive(Debug)]
pub struct Missed {
    key: Key,
    asked: Instant,
    changes: u64,
}

impl Reads {
    /// Nothing remembered yet.
    pub fn new(settings: ReadSettings) -> Self {
        let weight = |key: &Key, entry: &Entry| {
            u32::try_from(OVERHEAD + key.payload.len() + entry.answer.len()).unwrap_or(u32::MAX)
        };
        Self {
            bound: settings.bound,
            entries: Cache::builder()
                .weigher(weight)
                .max_capacity(settings.capacity)
                .time_to_live(settings.bound)
                .build(),
            changes: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            remembered: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// The answer to `call` of one at `tenant`, if there is one that is not too old.
    ///
    /// # Errors
    /// There is none; see [`Missed`].
    pub async fn get(&self, tenant: &Tenant, call: &Call) -> Result<Bytes, Missed> {
        let key =
            Key { tenant: tenant.id, yacht: tenant.yacht, action: call.action().name(), payload: call.payload_json() };
        let (asked, changes) = (Instant::now(), self.counter(tenant).load(Ordering::Acquire));
        match self.entries.get(&key).await {
            Some(entry) if entry.changes == changes && asked.duration_since(entry.asked) < self.bound => {
                self.remembered.fetch_add(1, Ordering::Relaxed);
                Ok(entry.answer)
            }
            _ => {
                self.read.fetch_add(1, Ordering::Relaxed);
                Err(Missed { key, asked, changes })
            }
        }
    }

    /// Remembers `answer`. One read while something was changed is forgotten again: it may be what was before.
    pub async fn keep(&self, missed: Missed, answer: Bytes) {
        let Missed { key, asked, changes } = missed;
        self.entries.insert(key, Entry { answer, asked, changes }).await;
    }

    /// Forgets what is remembered of the yacht at `tenant`: after a change, also one of which nobody knows whether it was made.
    pub fn changed(&self, tenant: &Tenant) {
        self.counter(tenant).fetch_add(1, Ordering::Release);
    }

    /// What has been counted.
    pub fn metrics(&self) -> ReadMetrics {
        ReadMetrics { remembered: self.remembered.load(Ordering::Relaxed), read: self.read.load(Ordering::Relaxed) }
    }

    fn counter(&self, tenant: &Tenant) -> &AtomicU64 {
        &self.changes[self.hasher.hash_one((tenant.id, tenant.yacht)) as usize % COUNTERS]
    }
}
