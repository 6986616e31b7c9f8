//! What is remembered of users, and for how long.
//!
//! An entry is believed until [`TenantSettings::bound`] after its look-up began, whatever happens. Before that it is looked up
//! again in the background, by whoever asks for it, and it goes at once when the control database tells of a change. A look-up
//! during which a change was told is not remembered: it may have read what was before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::listen::{Change, listen};
use super::{Control, Tenant, TenantSettings};
use crate::Error;

/// Lives are shortened by up to this share, at random.
const JITTER: f64 = 0.2;
/// After this share of its life an entry that is asked for is looked up again.
const REFRESH: f64 = 0.6;
/// A look-up in the background that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Look-ups begun anew because of changes before one is used without being remembered.
const ATTEMPTS: u32 = 3;

/// The cache.
pub(super) struct Remembered {
    memory: Arc<Memory>,
    listening: Option<JoinHandle<()>>,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// What it holds, shared with the task that listens and those that look up in the background.
pub(super) struct Memory {
    control: Arc<Control>,
    settings: TenantSettings,
    entries: Cache<Uuid, Entry>,
    /// Changes told of so far.
    epoch: AtomicU64,
    clock: Instant,
    looked_up: AtomicU64,
    refreshed: AtomicU64,
    listening: AtomicBool,
}

/// What is known of a user.
#[derive(Clone)]
enum Entry {
    Of(Arc<Tenant>),
    /// Belongs to no tenant; with the epoch and the end of this belief.
    OfNone(u64, Instant),
}

/// How the cache is, and what has been counted since the start.
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    /// Users remembered.
    pub entries: u64,
    /// Look-ups that a request waited for.
    pub looked_up: u64,
    /// Look-ups in the background.
    pub refreshed: u64,
    /// Changes told of, lost connections included.
    pub changes: u64,
    /// Whether changes are heard of at once.
    pub listening: bool,
}

impl Entry {
    fn believed_until(&self) -> Instant {
        match self {
            Self::Of(tenant) => tenant.believed_until,
            Self::OfNone(_, believed_until) => *believed_until,
        }
    }

    fn epoch(&self) -> u64 {
        match self {
            Self::Of(tenant) => tenant.epoch,
            Self::OfNone(epoch, _) => *epoch,
        }
    }

    fn tenant(self) -> Result<Arc<Tenant>, Error> {
        match self {
            Self::Of(tenant) => Ok(tenant),
            Self::OfNone(..) => Err(Error::NoTenant),
        }
    }
}

impl Remembered {
    pub(super) fn new(control: Arc<Control>, settings: TenantSettings) -> Self {
        // Without an expiry: each hit looks at the clock already, and what nobody asks for goes when there is no more room.
        let entries = Cache::builder().max_capacity(settings.capacity).support_invalidation_closures().build();
        let memory = Arc::new(Memory {
            control,
            settings,
            entries,
            epoch: AtomicU64::new(0),
            clock: Instant::now(),
            looked_up: AtomicU64::new(0),
            refreshed: AtomicU64::new(0),
            listening: AtomicBool::new(false),
        });
        let listening = settings.listen.then(|| tokio::spawn(listen(Arc::downgrade(&memory))));
        Self { memory, listening }
    }

    /// The tenant of `user`, remembered or looked up.
    pub(super) async fn of(&self, user: Uuid) -> Result<Arc<Tenant>, Error> {
        let memory = &self.memory;
        if let Some(entry) = memory.entries.get(&user).await {
            let now = Instant::now();
            if now < entry.believed_until() {
                if let Entry::Of(tenant) = &entry {
                    memory.refresh_when_due(user, tenant, now);
                }
                return entry.tenant();
            }
            memory.entries.invalidate(&user).await;
        }
        for _ in 0..ATTEMPTS {
            let looked_up = memory.entries.try_get_with(user, memory.look_up(user)).await.map_err(Error::Shared)?;
            if looked_up.epoch() == memory.epoch() {
                return looked_up.tenant();
            }
            memory.entries.invalidate(&user).await;
        }
        memory.look_up(user).await?.tenant()
    }

    pub(super) fn metrics(&self) -> CacheMetrics {
        let memory = &self.memory;
        CacheMetrics {
            entries: memory.entries.entry_count(),
            looked_up: memory.looked_up.load(Ordering::Relaxed),
            refreshed: memory.refreshed.load(Ordering::Relaxed),
            changes: memory.epoch(),
            listening: memory.listening.load(Ordering::Relaxed),
        }
    }
}

impl Memory {
    async fn look_up(&self, user: Uuid) -> Result<Entry, Error> {
        self.looked_up.fetch_add(1, Ordering::Relaxed);
        self.ask(user).await
    }

    async fn ask(&self, user: Uuid) -> Result<Entry, Error> {
        let (epoch, began) = (self.epoch(), Instant::now());
        let life = self.settings.bound.mul_f64(1.0 - JITTER * fastrand::f64());
        Ok(match self.control.look_up(user, began + life, epoch).await? {
            Some(tenant) => {
                let refresh = began.saturating_duration_since(self.clock) + life.mul_f64(REFRESH);
                tenant.refresh_at.store(refresh.as_nanos() as u64, Ordering::Relaxed);
                Entry::Of(tenant)
            }
            None => Entry::OfNone(epoch, began + self.settings.unknown.min(life)),
        })
    }

    /// Has an entry that is due looked up in the background: once, however many ask for it meanwhile.
    fn refresh_when_due(self: &Arc<Self>, user: Uuid, tenant: &Tenant, now: Instant) {
        let due = tenant.refresh_at.load(Ordering::Relaxed);
        let now = now.saturating_duration_since(self.clock).as_nanos() as u64;
        if now < due {
            return;
        }
        let retry = now + RETRY.as_nanos() as u64;
        if tenant.refresh_at.compare_exchange(due, retry, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let memory = self.clone();
            tokio::spawn(async move { memory.refresh(user).await });
        }
    }

    async fn refresh(&self, user: Uuid) {
        self.refreshed.fetch_add(1, Ordering::Relaxed);
        match self.ask(user).await {
            Ok(entry) => {
                let epoch = entry.epoch();
                self.entries.insert(user, entry).await;
                if epoch != self.epoch() {
                    self.entries.invalidate(&user).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a tenant could not be looked up again; what is known is used until it ends")
            }
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Forgets what a change makes untrue.
    pub(super) async fn forget(&self, change: Change) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        match change {
            Change::User(user) => self.entries.invalidate(&user).await,
            Change::Tenant(id) => {
                let of_tenant = move |_: &Uuid, entry: &Entry| match entry {
                    Entry::Of(tenant) => tenant.id == id,
                    Entry::OfNone(..) => true,
                };
                self.entries.invalidate_entries_if(of_tenant).expect("the cache was built to support it");
            }
            Change::Any => self.entries.invalidate_all(),
        }
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
    }

    pub(super) fn control(&self) -> &Control {
        &self.control
    }
}
