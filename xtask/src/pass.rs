//! Passes of load on a built-in server, of which nothing but the figures is kept.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use tare_evidence::Pass;
use tare_gateway::Strategy;
use tare_testbed::Testbed;
use tokio_util::sync::CancellationToken;

use crate::load::{Sending, VARIETY};
use crate::progress::Progress;
use crate::service::{Service, Way};
use crate::stress::{ANY_PORT, Amount};

/// A server, and what it is sent.
pub struct Running {
    strategy: Strategy,
    service: Service,
    sending: Sending,
}

impl Running {
    /// Starts `program` in that way, to be sent `action`.
    pub async fn start(program: &Path, testbed: &Testbed, way: Way<'_>, action: &str) -> Result<Self> {
        let (fixture, strategy) = (&testbed.fixture, way.strategy);
        let service = Service::start(program, testbed, way, ANY_PORT).await?;
        let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, &service).await?;
        Ok(Self { strategy, service, sending })
    }

    /// Sends so much. Every request has to be answered.
    pub async fn pass(&self, amount: Amount, stop: &CancellationToken) -> Result<Pass> {
        let load = amount.load(self.sending.clone(), Some(self.strategy.to_string()));
        let pass = tare_stress::run(load, stop, |_| ()).await?.pass;
        ensure!(!pass.interrupted, "interrupted");
        if let Some(failure) = pass.failures.first() {
            let failed = pass.requests - pass.succeeded;
            bail!("{failed} of {} requests failed, the first: {}", pass.requests, failure.example);
        }
        Ok(pass)
    }

    /// Stops it, with what it complained about in a file in the folder `logs`.
    pub async fn end(self, logs: &Path, progress: &Progress) -> Result<()> {
        self.service.stop_into(&logs.join(format!("server-{}.txt", self.strategy)), progress).await
    }
}
