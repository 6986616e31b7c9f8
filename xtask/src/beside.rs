//! What can be had instead of a fix, or on top of all of them: a PgBouncer, and answers to reads that are remembered.

use std::fmt;

use anyhow::{Context, Result};
use tare_gateway::{Fix, Strategy};
use tare_testbed::{Bouncer, PoolMode, Testbed};

use crate::progress::Progress;
use crate::service::Way;

/// Connections that a PgBouncer keeps for a login at most: for as many requests at a time as the matrix has, and some.
const KEPT: u32 = 16;

/// A strategy, which is tried with something besides its fixes or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    pub strategy: Strategy,
    pub beside: Option<Beside>,
}

/// What besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// A PgBouncer beside the service, which keeps connections in the place of its pools. By session: `before` prepares its
    /// statements.
    Pooler,
    /// A PgBouncer beside the service and its pools, by transaction.
    PoolerAndPools,
    /// Answers to reads, remembered for a second.
    CachedReads,
}

/// What is tried, and what it is held against.
pub const ALTERNATIVES: [(Tried, Strategy); 4] = [
    (Tried { strategy: Strategy::BEFORE, beside: Some(Beside::Pooler) }, Strategy::BEFORE),
    (Tried { strategy: Strategy::BEFORE, beside: Some(Beside::Pooler) }, Strategy::BEFORE.with(Fix::Pooling)),
    (Tried { strategy: Strategy::AFTER, beside: Some(Beside::PoolerAndPools) }, Strategy::AFTER),
    (Tried { strategy: Strategy::AFTER, beside: Some(Beside::CachedReads) }, Strategy::AFTER),
];

impl Beside {
    fn mode(self) -> Option<PoolMode> {
        match self {
            Self::Pooler => Some(PoolMode::Session),
            Self::PoolerAndPools => Some(PoolMode::Transaction),
            Self::CachedReads => None,
        }
    }

    /// Whether that takes a PgBouncer.
    pub fn needs_pgbouncer(self) -> bool {
        self.mode().is_some()
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Pooler => &[],
            Self::PoolerAndPools => &["--pooler"],
            Self::CachedReads => &["--cache-reads", "1"],
        }
    }
}

impl From<Strategy> for Tried {
    fn from(strategy: Strategy) -> Self {
        Self { strategy, beside: None }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.strategy)?;
        match self.beside {
            None => Ok(()),
            Some(Beside::Pooler | Beside::PoolerAndPools) => f.write_str(" through pgbouncer"),
            Some(Beside::CachedReads) => f.write_str(" with cached reads"),
        }
    }
}

impl Tried {
    /// Does `work` with a server's way to be that, while tenants' databases are where it is to look for them.
    pub async fn with<T>(
        self,
        testbed: &Testbed,
        progress: &Progress,
        work: impl AsyncFnOnce(Way<'_>) -> Result<T>,
    ) -> Result<T> {
        let usual = Way::of(self.strategy);
        let Some(beside) = self.beside else { return work(usual).await };
        let way = Way { options: beside.options(), ..usual };
        let Some(mode) = beside.mode() else { return work(way).await };
        let say = |line: &str| progress.say(line);
        let started = Bouncer::start_to(&testbed.fixture, testbed.address(), mode, KEPT, &say).await?;
        let bouncer = started.context("PgBouncer is not installed any more")?;
        testbed.fixture.route_through(bouncer.address()).await?;
        let done = work(Way { bouncer: Some(&bouncer), ..way }).await;
        testbed.fixture.route_through(testbed.address()).await?;
        done
    }
}
