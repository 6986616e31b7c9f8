//! A pass of load on a built-in server of its own, of which nothing but the figures is kept.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use tare_evidence::Pass;
use tare_gateway::Strategy;
use tare_testbed::Testbed;
use tokio_util::sync::CancellationToken;

use crate::load::{Sending, VARIETY};
use crate::progress::Progress;
use crate::service::{Service, Way};
use crate::stress::{ANY_PORT, Amount, expect_audit_rows};

/// What it is measured with.
pub struct Measuring<'a> {
    /// The server.
    pub program: &'a Path,
    pub testbed: &'a Testbed,
    pub progress: Progress,
    pub stop: CancellationToken,
    /// The folder for what servers complain about.
    pub logs: PathBuf,
}

impl Measuring<'_> {
    /// Sends so much of `action` under `strategy`. Every request has to be answered, and to leave its audit row.
    pub async fn pass(&self, strategy: Strategy, action: &str, amount: &Amount) -> Result<Pass> {
        let fixture = &self.testbed.fixture;
        let way = Way { strategy, workers: None };
        let service = Service::start(self.program, self.testbed, way, ANY_PORT).await?;
        let audited = fixture.audit_rows().await?;
        let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, &service).await?;
        let load = amount.load(sending, Some(strategy.to_string()));
        let pass = tare_stress::run(load, &self.stop, |_| ()).await?.pass;
        service.stop_into(&self.logs.join(format!("server-{strategy}.txt")), &self.progress).await?;
        ensure!(!pass.interrupted, "interrupted");
        if let Some(failure) = pass.failures.first() {
            let failed = pass.requests - pass.succeeded;
            bail!("{failed} of {} requests failed, the first: {}", pass.requests, failure.example);
        }
        expect_audit_rows(&pass, fixture.audit_rows().await? - audited)?;
        Ok(pass)
    }
}
