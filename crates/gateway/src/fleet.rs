//! A fleet: instances that share one budget of connections.
//!
//! Each has a quota of it, and holds that by renewing it in the control database, where a function divides the budget evenly among
//! those that are there. An instance that comes has to wait until the others have closed what is its own; one that ends leaves its
//! quota to the others, one that is killed after [`FleetSettings::lease`], or to whoever begins under its name. One that cannot
//! renew its quota for so long closes all it has, since others count on that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config};
use uuid::Uuid;

use crate::connection::{Connections, Database};
use crate::{Busy, Error};

/// How often a quota is renewed.
const RENEWAL: Duration = Duration::from_millis(500);
/// The same while others wait for what is being closed, or there is no quota yet.
const SOON: Duration = Duration::from_millis(100);
/// How long one renewal may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what there still is may take to be gone when this process ends.
const FAREWELL: Duration = Duration::from_secs(2);

const RENEW: &str = "select quota, instances from control.renew_quota($1, $2, $3, $4, $5, $6)";
const LEAVE: &str = "select control.leave_fleet($1, $2, $3, $4)";

/// Who shares a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    /// The name of this instance: no other's, and the same when it begins again.
    pub instance: String,
    /// Instances at most. One connection of the budget is kept for each, by which it holds its quota.
    pub most: usize,
    /// How long an instance that is not heard of keeps its quota.
    pub lease: Duration,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { instance: String::new(), most: 8, lease: Duration::from_secs(30) }
    }
}

/// How a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetMetrics {
    /// Connections that this instance may have.
    pub quota: usize,
    /// Instances that there are; none as long as this one belongs to none.
    pub instances: usize,
}

/// This instance's place in a fleet.
pub(crate) struct Fleet {
    standing: Arc<Standing>,
    /// Has the task leave, and tells when it has.
    task: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

#[derive(Default)]
struct Standing {
    quota: AtomicUsize,
    instances: AtomicUsize,
}

impl Standing {
    fn set(&self, quota: usize, instances: usize) {
        self.quota.store(quota, Ordering::Relaxed);
        self.instances.store(instances, Ordering::Relaxed);
    }
}

impl Fleet {
    /// Joins the fleet whose control database is `control`: of `budget`, `connections` get this instance's quota, and none until it
    /// has one. Goes on trying.
    ///
    /// # Errors
    /// The budget leaves nothing to share.
    pub(crate) fn join(
        settings: FleetSettings,
        budget: usize,
        control: Config,
        connections: &Arc<Connections>,
    ) -> Result<Self, NothingToShare> {
        let shared = budget.checked_sub(settings.most).filter(|shared| *shared > 0);
        let shared = shared.ok_or(NothingToShare { budget, most: settings.most })?;
        connections.resize(0);
        let standing = Arc::<Standing>::default();
        let member = Member {
            settings,
            process: Uuid::now_v7(),
            shared,
            control: Database::new(control),
            connections: Arc::downgrade(connections),
            standing: standing.clone(),
        };
        let (leave, left) = oneshot::channel();
        let task = Mutex::new(Some((leave, tokio::spawn(member.stay(left)))));
        Ok(Self { standing, task })
    }

    /// Whether this instance has a quota.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.metrics().quota {
            0 => Err(Error::Busy(Busy::NoQuota)),
            _ => Ok(()),
        }
    }

    pub(crate) fn metrics(&self) -> FleetMetrics {
        let Standing { quota, instances } = &*self.standing;
        FleetMetrics { quota: quota.load(Ordering::Relaxed), instances: instances.load(Ordering::Relaxed) }
    }

    /// Leaves the quota to the others, but for the connections that there still are.
    pub(crate) async fn leave(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((leave, task)) = task {
            let _ = leave.send(());
            let _ = task.await;
        }
    }
}

/// A budget that leaves nothing when a connection is kept for each instance.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a budget of {budget} connections leaves nothing to share among up to {most} instances: one is kept for each")]
pub struct NothingToShare {
    /// Connections in all.
    pub budget: usize,
    /// Instances at most.
    pub most: usize,
}

struct Member {
    settings: FleetSettings,
    /// Tells the processes apart that have this instance's name, and which of them began last.
    process: Uuid,
    shared: usize,
    control: Database,
    connections: Weak<Connections>,
    standing: Arc<Standing>,
}

impl Member {
    /// Until it is told to leave, or nobody needs connections any more.
    async fn stay(self, mut left: oneshot::Receiver<()>) {
        let (mut until, mut said) = (None, String::new());
        loop {
            let Err(error) = self.session(&mut until, &mut left).await else { return };
            let says = format!("{error}: {:?}", std::error::Error::source(&error));
            if says != said {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error), "the quota of connections is not renewed");
                said = says;
            }
            if error.is_in_use() || until.is_some_and(|until| until <= Instant::now()) {
                if until.is_some() {
                    tracing::error!(
                        "the quota of connections is given up: it is another's, or could not be renewed in time"
                    );
                }
                until = None;
                self.standing.set(0, 0);
                if let Some(connections) = self.connections.upgrade() {
                    connections.resize(0);
                }
            }
            tokio::select! {
                () = sleep_until(before(until, RENEWAL)) => {}
                // The others wait for the end of the lease.
                _ = &mut left => return,
            }
        }
    }

    /// Renews the quota over one connection, which is what each instance has one of besides. `until` is when it ends unless it is
    /// renewed again; nothing while there is none.
    async fn session(&self, until: &mut Option<Instant>, left: &mut oneshot::Receiver<()>) -> Result<(), Error> {
        let Some(connections) = self.connections.upgrade() else { return Ok(()) };
        let client = timeout_at(before(*until, PATIENCE), connections.apart(&self.control));
        let client = client.await.map_err(|_| Error::Silent)??;
        drop(connections);
        loop {
            let Some(connections) = self.connections.upgrade() else { return Ok(()) };
            let asked = Instant::now();
            let renewed = timeout_at(before(*until, PATIENCE), self.renew(&client, connections.reserved()));
            let (quota, instances) = renewed.await.map_err(|_| Error::Silent)??;
            *until = Some(asked + self.settings.lease);
            connections.resize(quota);
            self.standing.set(quota, instances);
            let others_wait = connections.reserved() > quota;
            drop(connections);
            tokio::select! {
                () = sleep(if others_wait || quota == 0 { SOON } else { RENEWAL }) => {}
                _ = &mut *left => return timeout(PATIENCE, self.leave(&client)).await.map_err(|_| Error::Silent)?,
            }
        }
    }

    /// The quota, and how many instances there are.
    async fn renew(&self, client: &Client, reserved: usize) -> Result<(usize, usize), Error> {
        let FleetSettings { instance, most, lease } = &self.settings;
        let [shared, most, reserved] = [self.shared, *most, reserved].map(|number| number as i32);
        let seconds = lease.as_secs_f64();
        let params: [(&(dyn ToSql + Sync), Type); 6] = [
            (instance, Type::TEXT),
            (&self.process, Type::UUID),
            (&shared, Type::INT4),
            (&most, Type::INT4),
            (&reserved, Type::INT4),
            (&seconds, Type::FLOAT8),
        ];
        let rows = client.query_typed(RENEW, &params);
        let failed = || Error::database("renew the quota of connections");
        let rows = rows.await.map_err(failed())?;
        let number = |name| rows.first().map_or(Ok(0), |row| row.try_get::<_, i32>(name)).map_err(failed());
        Ok((number("quota")? as usize, number("instances")? as usize))
    }

    async fn leave(&self, client: &Client) -> Result<(), Error> {
        let Some(connections) = self.connections.upgrade() else { return Ok(()) };
        let reserved = connections.held_at_last(FAREWELL / 2).await as i32;
        let seconds = FAREWELL.as_secs_f64();
        let params: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.settings.instance, Type::TEXT),
            (&self.process, Type::UUID),
            (&reserved, Type::INT4),
            (&seconds, Type::FLOAT8),
        ];
        let left = client.query_typed(LEAVE, &params);
        left.await.map(drop).map_err(Error::database("give the quota of connections back"))
    }
}

/// So long from now, but not after `until`.
fn before(until: Option<Instant>, time: Duration) -> Instant {
    let end = Instant::now() + time;
    until.map_or(end, |until| until.min(end))
}
