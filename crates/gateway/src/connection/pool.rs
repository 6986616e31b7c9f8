//! One tenant's pool: deadpool's, with connections that the budget allows.
//!
//! deadpool keeps the idle ones, bounds a tenant to its cap and lets its requests wait in order. What it has not is here:
//! a connection is opened in a task of its own, so that one whose request went away is not lost but kept as a spare; it has
//! a lifetime, jittered so that a fleet does not reconnect in lockstep; one that was idle for long is checked before use.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Database;
use super::budget::{Budget, Grant, Permit, Placement, Share};
use super::metrics::{CloseReason, Counters};
use super::open::{OpenError, open};
use super::pools::Shared;

/// How long the check of a connection that was idle for long may take.
const CHECK: Duration = Duration::from_secs(2);
/// Lifetimes and idle times are shortened by up to this share, at random.
const JITTER: f64 = 0.2;

pub(super) type Pool = managed::Pool<Source>;

/// One pooled connection.
pub struct Held {
    client: ClientWrapper,
    budget: Arc<Budget<Box<Held>>>,
    counters: Arc<Counters>,
    opened: Instant,
    expires: Instant,
    idle_limit: Duration,
    check_after: Duration,
    checked_always: bool,
    /// Has been idle for long, and is to be asked whether it still works.
    suspect: AtomicBool,
    prepares: bool,
    floor: usize,
    /// How long the request that had it opened, or handed over, waited for it.
    pub(super) waited: Duration,
    closing: CloseReason,
}

impl Held {
    fn new(client: tokio_postgres::Client, shared: &Shared) -> Box<Self> {
        let (settings, opened) = (shared.settings, Instant::now());
        let shortened = 1.0 - JITTER * fastrand::f64();
        Box::new(Self {
            // Not the driver's own task: deadpool aborts it, and the server would never be told goodbye.
            client: ClientWrapper::new(client, tokio::spawn(async {})),
            budget: shared.budget.clone(),
            counters: shared.counters.clone(),
            opened,
            expires: opened + settings.lifetime.mul_f64(shortened),
            idle_limit: settings.idle.mul_f64(shortened),
            check_after: settings.check_after,
            checked_always: settings.check_after.is_zero(),
            suspect: AtomicBool::new(false),
            prepares: settings.prepare,
            floor: settings.floor,
            waited: Duration::ZERO,
            closing: CloseReason::PoolClosed,
        })
    }

    /// The driver's client, with its statements.
    pub(super) fn client(&self) -> &ClientWrapper {
        &self.client
    }

    pub(super) fn client_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }

    /// Whether statements are prepared under names.
    pub(super) fn prepares(&self) -> bool {
        self.prepares
    }

    pub(super) fn close(mut self: Box<Self>, reason: CloseReason) {
        self.closing = reason;
    }

    /// Has it checked before its next use when it has been idle for long.
    pub(super) fn suspect_if_idle(&self, idle: Duration) {
        if idle >= self.check_after {
            self.suspect.store(true, Ordering::Relaxed);
        }
    }

    /// Why this one, idle since `idle`, should be closed though nobody needs it; `spared` when its tenant's floor does.
    pub(super) fn outlived(&self, now: Instant, idle: Duration, spared: bool) -> Option<CloseReason> {
        match () {
            () if self.client.is_closed() => Some(CloseReason::Broken),
            () if now >= self.expires => Some(CloseReason::Expired),
            () if idle >= self.idle_limit && !spared => Some(CloseReason::Idle),
            () => None,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.closed(self.closing);
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    Open(OpenError),
    QueueFull,
    TimedOut,
    Closed,
}

/// Where a tenant's connections come from.
#[derive(Clone)]
pub(super) struct Source(Arc<Tenancy>);

struct Tenancy {
    database: Database,
    share: Arc<Share>,
    /// Opened for requests that have gone away.
    spares: Mutex<Vec<(Box<Held>, Instant)>>,
    shared: Weak<Shared>,
}

impl managed::Manager for Source {
    // Boxed: it is passed on by each acquire, and a pointer is less to copy.
    type Type = Box<Held>;
    type Error = NoConnection;

    async fn create(&self) -> Result<Box<Held>, NoConnection> {
        while let Some(spare) = self.take_spare() {
            match spare.client.is_closed() {
                false => return Ok(spare),
                true => spare.close(CloseReason::Broken),
            }
        }
        let shared = self.0.shared.upgrade().ok_or(NoConnection::Closed)?;
        let start = Instant::now();
        let had = timeout(shared.settings.wait, async {
            match shared.budget.take(&self.0.share, || shared.make_room(self.share())).await {
                Grant::Connection(held) => Ok(held),
                Grant::Permit(permit) => self.open(permit, &shared).await.map_err(|_| NoConnection::Closed)?,
            }
        });
        let mut held = had.await.map_err(|_| NoConnection::TimedOut)??;
        held.waited = start.elapsed();
        Ok(held)
    }

    async fn recycle(&self, held: &mut Box<Held>, _: &Metrics) -> RecycleResult<NoConnection> {
        if held.client.is_closed() {
            held.closing = CloseReason::Broken;
            return Err(RecycleError::message("closed"));
        }
        // No look at the clock here: the upkeep sees who has been idle for long.
        if held.checked_always || held.suspect.load(Ordering::Relaxed) {
            held.suspect.store(false, Ordering::Relaxed);
            let checked = timeout(CHECK, held.client.simple_query("")).await;
            if !matches!(checked, Ok(Ok(_))) {
                held.closing = CloseReason::Broken;
                return Err(RecycleError::message("broken while it was idle"));
            }
        }
        Ok(())
    }
}

impl Source {
    pub(super) fn new(database: Database, shared: &Arc<Shared>) -> Self {
        let (share, spares) = (Arc::default(), Mutex::default());
        Self(Arc::new(Tenancy { database, share, spares, shared: Arc::downgrade(shared) }))
    }

    pub(super) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(super) fn share(&self) -> &Arc<Share> {
        &self.0.share
    }

    /// Opens a connection in a task of its own: it goes on when whoever waits here goes away, and the connection is then placed
    /// like one that was returned.
    fn open(
        &self,
        permit: Permit<Box<Held>>,
        shared: &Arc<Shared>,
    ) -> oneshot::Receiver<Result<Box<Held>, NoConnection>> {
        let (deliver, delivered) = oneshot::channel();
        let (source, shared) = (self.clone(), shared.clone());
        tokio::spawn(async move {
            shared.pace.turn().await;
            let opened = open(&source.0.database.config, &shared.tls, None, permit).await;
            let counted = if opened.is_ok() { &shared.counters.opened } else { &shared.counters.failed };
            counted.fetch_add(1, Ordering::Relaxed);
            let opened = opened.map(|(client, _)| Held::new(client, &shared)).map_err(NoConnection::Open);
            if let Err(Ok(abandoned)) = deliver.send(opened) {
                source.place_abandoned(abandoned, &shared);
            }
        });
        delivered
    }

    /// Has a spare opened when the tenant has fewer than its floor and nobody waits for what is free.
    pub(super) fn fill_up(&self, shared: &Arc<Shared>) {
        if self.share().held() < shared.settings.floor
            && let Some(permit) = shared.budget.try_take(self.share())
        {
            drop(self.open(permit, shared));
        }
    }

    /// Finds a place for a connection whose request went away before it was opened.
    fn place_abandoned(&self, held: Box<Held>, shared: &Shared) {
        match shared.budget.place(self.share(), 0, shared.settings.floor, held.opened.elapsed()) {
            Placement::Keep => self.keep(held),
            Placement::Close => held.close(CloseReason::GivenWay),
            Placement::Give(grant) => self.give(grant, held),
        }
    }

    fn give(&self, grant: oneshot::Sender<Grant<Box<Held>>>, held: Box<Held>) {
        if let Err(Grant::Connection(held)) = grant.send(Grant::Connection(held)) {
            self.keep(held);
        }
    }

    fn keep(&self, held: Box<Held>) {
        self.spares().push((held, Instant::now()));
    }

    /// A spare, if there is one.
    pub(super) fn take_spare(&self) -> Option<Box<Held>> {
        self.spares().pop().map(|(held, _)| held)
    }

    /// How many spares there are.
    pub(super) fn count_spares(&self) -> usize {
        self.spares().len()
    }

    /// Closes the spares that `outlived` has a reason for.
    pub(super) fn retire_spares(&self, mut outlived: impl FnMut(&Held, Instant) -> Option<CloseReason>) {
        self.spares().retain_mut(|(held, since)| match outlived(held, *since) {
            Some(reason) => {
                held.closing = reason;
                false
            }
            None => true,
        });
    }

    fn spares(&self) -> MutexGuard<'_, Vec<(Box<Held>, Instant)>> {
        self.0.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pooled connection in use: goes back to its pool when dropped, or to who has more need of it.
pub struct Pooled(Option<Object<Source>>);

impl Pooled {
    pub(super) fn new(object: Object<Source>) -> Self {
        Self(Some(object))
    }

    fn object(&self) -> &Object<Source> {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl Deref for Pooled {
    type Target = Held;

    fn deref(&self) -> &Held {
        self.object()
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Held {
        self.0.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(object) = self.0.take().filter(|object| object.budget.is_wanted() && !object.client.is_closed())
        else {
            return;
        };
        let Some(pool) = Object::pool(&object) else { return };
        let (source, others) = (pool.manager(), pool.status().waiting);
        match object.budget.place(source.share(), others, object.floor, object.opened.elapsed()) {
            Placement::Keep => {}
            Placement::Close => Object::take(object).close(CloseReason::GivenWay),
            Placement::Give(grant) => source.give(grant, Object::take(object)),
        }
    }
}
