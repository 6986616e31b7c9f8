//! The pools of all tenants under one budget.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{Metrics, Object, PoolError, QueueMode, TimeoutType, Timeouts};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::budget::{Budget, Grant, Share};
use super::metrics::{CloseReason, Counters, PoolMetrics};
use super::open::open;
use super::pace::Pace;
use super::pool::{Held, NoConnection, Pool, Pooled, Source};
use super::{Database, PoolSettings};
use crate::{Busy, Error};

/// How often pools are looked after.
const UPKEEP: Duration = Duration::from_secs(1);
/// Connections opened at once after a rest, before the rate holds.
const OPENING_BURST: u32 = 8;

/// An idle connection is had without setting a timer for a wait that does not happen. Opening has its own bound.
const AT_ONCE: Timeouts = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };

/// Hashes ids, which are random already.
#[derive(Default)]
struct OfId(u64);

impl Hasher for OfId {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = self.0.rotate_left(32) ^ u64::from_ne_bytes(word);
        }
    }

    fn finish(&self) -> u64 {
        // A map goes by the highest bits, too; some kinds of ids begin with the time.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// All pools.
pub(super) struct Pools(Arc<Shared>);

/// What pools have in common.
pub(super) struct Shared {
    pub(super) settings: PoolSettings,
    pub(super) tls: MakeRustlsConnect,
    pub(super) budget: Arc<Budget<Box<Held>>>,
    pub(super) counters: Arc<Counters>,
    pub(super) pace: Pace,
    by_tenant: RwLock<HashMap<Uuid, Arc<TenantPool>, BuildHasherDefault<OfId>>>,
}

struct TenantPool {
    pool: Pool,
    /// Set by each use, cleared by each upkeep.
    used: AtomicBool,
    unused_since: Mutex<Instant>,
}

impl Pools {
    /// No pool yet; a task looks after those to come until this is dropped.
    pub(super) fn new(settings: PoolSettings, tls: MakeRustlsConnect) -> Self {
        let shared = Arc::new(Shared {
            settings,
            tls,
            budget: Budget::new(settings.budget.max(1)),
            counters: Arc::default(),
            pace: Pace::new(settings.openings_per_second, OPENING_BURST),
            by_tenant: RwLock::default(),
        });
        tokio::spawn(look_after(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// A connection of `tenant`, idle or opened, at once or after a wait.
    pub(super) async fn get(&self, tenant: Uuid, database: &Database) -> Result<Pooled, Error> {
        let pool = self.of(tenant, database);
        pool.used.store(true, Ordering::Relaxed);
        let pool = &pool.pool;
        let had = match pool.timeout_get(&AT_ONCE).await {
            Err(PoolError::Timeout(TimeoutType::Wait)) => self.wait(pool).await,
            Ok(object) => {
                // It was opened, or handed over, for this request.
                if Object::metrics(&object).recycle_count == 0 {
                    self.0.counters.waited(object.waited);
                }
                Ok(object)
            }
            failed => failed,
        };
        had.map(Pooled::new).map_err(|error| self.0.explain(error))
    }

    async fn wait(&self, pool: &Pool) -> Result<Object<Source>, PoolError<NoConnection>> {
        let PoolSettings { wait, queue, .. } = self.0.settings;
        if pool.status().waiting >= queue {
            return Err(PoolError::Backend(NoConnection::QueueFull));
        }
        let start = Instant::now();
        let had = pool.timeout_get(&Timeouts { wait: Some(wait), ..AT_ONCE }).await;
        self.0.counters.waited(start.elapsed());
        had
    }

    fn of(&self, tenant: Uuid, database: &Database) -> Arc<TenantPool> {
        let current = |pool: &Arc<TenantPool>| !database.replaces(pool.pool.manager().database());
        let by_tenant = self.0.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = by_tenant.get(&tenant).filter(|pool| current(pool)) {
            return pool.clone();
        }
        drop(by_tenant);
        let mut by_tenant = self.0.by_tenant.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = by_tenant.get(&tenant).filter(|pool| current(pool)) {
            return pool.clone();
        }
        let pool = Arc::new(TenantPool {
            pool: Pool::builder(Source::new(database.clone(), &self.0))
                .max_size(self.0.settings.cap.clamp(1, self.0.settings.budget.max(1)))
                // The connection that came back last: its backend's memory is still in the processor's caches.
                .queue_mode(QueueMode::Lifo)
                .runtime(Runtime::Tokio1)
                .build()
                .expect("a pool with a runtime builds"),
            used: AtomicBool::new(true),
            unused_since: Mutex::new(Instant::now()),
        });
        if let Some(replaced) = by_tenant.insert(tenant, pool.clone()) {
            replaced.pool.close();
        }
        pool
    }

    /// Has other connections at most from now on. Idle ones are closed for it, those used longest ago first, and then those in use
    /// as they come back.
    pub(super) fn resize(&self, budget: usize) {
        for _ in 0..self.0.budget.resize(budget) {
            if !self.0.close_oldest(|_| true) {
                break;
            }
        }
    }

    /// Connections that there are or may be at this moment: the budget, or more while it is being reached.
    pub(super) fn reserved(&self) -> usize {
        self.0.budget.size().max(self.0.budget.held())
    }

    /// Connections that there are, those being opened or closed included.
    pub(super) fn held(&self) -> usize {
        self.0.budget.held()
    }

    /// A connection of no pool, but of the budget, that sends `heard` what the server notifies of.
    pub(super) async fn listen(&self, database: &Database, heard: UnboundedSender<String>) -> Result<Client, Error> {
        let (shared, share) = (&self.0, Arc::default());
        let wait = shared.settings.wait;
        let granted = timeout(wait, shared.budget.take(&share, || shared.make_room(&share))).await;
        match granted {
            Ok(Grant::Permit(permit)) => {
                let opened = open(&database.config, &shared.tls, Some(heard), permit).await;
                opened.map(|(client, _)| client).map_err(Error::Unreachable)
            }
            _ => Err(Error::Busy(Busy::TimedOut(wait))),
        }
    }

    /// Closes every pool: who waits gets an error, and connections in use are closed when they come back.
    pub(super) fn close(&self) {
        let mut by_tenant = self.0.by_tenant.write().unwrap_or_else(PoisonError::into_inner);
        by_tenant.drain().for_each(|(_, pool)| pool.pool.close());
    }

    /// What there is at this moment, and what has been counted.
    pub(super) fn metrics(&self) -> PoolMetrics {
        self.0.metrics()
    }
}

impl Shared {
    /// Closes the idle connection, of any tenant but `needy`'s, that was used longest ago. A tenant's floor is kept, unless the
    /// one in need has none.
    pub(super) fn make_room(&self, needy: &Arc<Share>) {
        let floor = if needy.held() == 0 { 0 } else { self.settings.floor };
        self.close_oldest(|share| !Arc::ptr_eq(share, needy) && share.held() > floor);
    }

    /// Closes the idle connection that was used longest ago, of tenants whose `share` is as asked; whether there was one.
    fn close_oldest(&self, share: impl Fn(&Arc<Share>) -> bool) -> bool {
        let pools: Vec<_> = self.pools().into_iter().filter(|pool| share(pool.source().share())).collect();
        if let Some(spare) = pools.iter().find_map(|pool| pool.source().take_spare()) {
            self.budget.closing();
            spare.close(CloseReason::GivenWay);
            return true;
        }
        let oldest = pools.iter().filter_map(|pool| Some((pool.idle_longest()?, pool))).min_by_key(|(since, _)| *since);
        let Some((since, pool)) = oldest else { return false };
        let mut found = false;
        let removed = pool.pool.retain(|_, metrics| {
            let keep = found || last_used(&metrics) != since;
            found |= !keep;
            keep
        });
        for held in removed.removed {
            self.budget.closing();
            held.close(CloseReason::GivenWay);
        }
        found
    }

    fn pools(&self) -> Vec<Arc<TenantPool>> {
        self.by_tenant.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn explain(&self, error: PoolError<NoConnection>) -> Error {
        match error {
            PoolError::Backend(NoConnection::Open(source)) => Error::Unreachable(source),
            PoolError::Backend(NoConnection::QueueFull) => Error::Busy(Busy::QueueFull(self.settings.queue)),
            PoolError::Closed | PoolError::Backend(NoConnection::Closed) => Error::Stopping,
            _ => Error::Busy(Busy::TimedOut(self.settings.wait)),
        }
    }

    fn metrics(&self) -> PoolMetrics {
        let pools = self.pools();
        let idle = |pool: &Arc<TenantPool>| pool.pool.status().available + pool.source().count_spares();
        PoolMetrics {
            budget: self.budget.size(),
            size: self.budget.held(),
            idle: pools.iter().map(idle).sum(),
            waiting: pools.iter().map(|pool| pool.pool.status().waiting).sum(),
            pools: pools.len(),
            opened: self.counters.opened.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            closed: self.counters.closed_by_reason(),
            wait: self.counters.waits(),
        }
    }

    /// Forgets pools that nobody has used for long; in the others closes what has outlived its time, and fills up to the floor.
    fn upkeep(self: &Arc<Self>) {
        let now = Instant::now();
        self.by_tenant
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, pool| pool.unused_for(now) < self.settings.unused);
        for pool in self.pools() {
            let source = pool.source();
            let spared = |going: usize| source.share().held().saturating_sub(going) <= self.settings.floor;
            let mut reasons = Vec::new();
            let retired = pool.pool.retain(|held, metrics| {
                let idle = now.saturating_duration_since(last_used(&metrics));
                held.suspect_if_idle(idle);
                let reason = held.outlived(now, idle, spared(reasons.len()));
                reasons.extend(reason);
                reason.is_none()
            });
            retired.removed.into_iter().zip(reasons).for_each(|(held, reason)| held.close(reason));
            source.retire_spares(|held, since| held.outlived(now, now.saturating_duration_since(since), spared(0)));
            source.fill_up(self);
        }
    }
}

async fn look_after(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        match shared.upgrade() {
            Some(shared) => shared.upkeep(),
            None => return,
        }
    }
}

/// When it was taken out last.
fn last_used(metrics: &Metrics) -> Instant {
    metrics.recycled.unwrap_or(metrics.created)
}

impl TenantPool {
    fn source(&self) -> &Source {
        self.pool.manager()
    }

    /// Since when its least recently used idle connection is idle.
    fn idle_longest(&self) -> Option<Instant> {
        let mut oldest: Option<Instant> = None;
        self.pool.retain(|_, metrics| {
            let since = last_used(&metrics);
            oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
            true
        });
        oldest
    }

    /// How long nobody has asked it for anything, to the precision of the upkeep.
    fn unused_for(&self, now: Instant) -> Duration {
        let mut since = self.unused_since.lock().unwrap_or_else(PoisonError::into_inner);
        if self.used.swap(false, Ordering::Relaxed) {
            *since = now;
        }
        now.saturating_duration_since(*since)
    }
}
