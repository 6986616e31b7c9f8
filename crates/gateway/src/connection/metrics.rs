//! What pools tell of themselves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes of [`WaitHistogram`], in milliseconds.
pub const WAIT_BOUNDS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500];

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its lifetime was over.
    Expired,
    /// Nobody had use for it for long.
    Idle,
    /// Another tenant had need of it, and the budget was spent.
    GivenWay,
    /// The server or the network closed it.
    Broken,
    /// Its pool was closed.
    PoolClosed,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Expired, Self::Idle, Self::GivenWay, Self::Broken, Self::PoolClosed];

    /// The name used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::GivenWay => "given_way",
            Self::Broken => "broken",
            Self::PoolClosed => "pool_closed",
        }
    }
}

/// All pools together, at one moment.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    /// Connections that there may be.
    pub budget: usize,
    /// Connections that there are, those being opened or closed included.
    pub size: usize,
    /// Connections that nobody uses.
    pub idle: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Databases that have a pool: tenants', and the control database.
    pub pools: usize,
    /// Connections opened since the start.
    pub opened: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Connections closed, by [`CloseReason`] in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// How long those waited that had to, until they had a connection.
    pub wait: WaitHistogram,
}

/// Waits by how long they were.
#[derive(Clone, Debug, Default)]
pub struct WaitHistogram {
    /// Waits in each class of [`WAIT_BOUNDS_MS`], and last those beyond.
    pub counts: [u64; WAIT_BOUNDS_MS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) opened: AtomicU64,
    pub(super) failed: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    waits: [AtomicU64; WAIT_BOUNDS_MS.len() + 1],
    waited_micros: AtomicU64,
}

impl Counters {
    pub(super) fn closed(&self, reason: CloseReason) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waited(&self, wait: Duration) {
        let class = WAIT_BOUNDS_MS.iter().position(|bound| wait <= Duration::from_millis(*bound));
        self.waits[class.unwrap_or(WAIT_BOUNDS_MS.len())].fetch_add(1, Ordering::Relaxed);
        self.waited_micros.fetch_add(wait.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn closed_by_reason(&self) -> [u64; CloseReason::ALL.len()] {
        self.closed.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn waits(&self) -> WaitHistogram {
        WaitHistogram {
            counts: self.waits.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum: Duration::from_micros(self.waited_micros.load(Ordering::Relaxed)),
        }
    }
}
