//! Stress passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tare_evidence::Pass;
use tare_gateway::Strategy;
use tare_stress::{Extent, Load};
use tare_testbed::{Fixture, Template};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli;
use crate::load::{Sending, VARIETY, warn_of_unused_token};
use crate::progress::Progress;
use crate::service::Service;
use crate::session::{POSTGRES, Session};

/// A free port of this machine's own.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How much load.
#[derive(Clone, Copy)]
pub struct Amount {
    pub requests: u64,
    pub concurrency: usize,
    pub warmup: u64,
    pub timeout: Duration,
}

/// `cargo xtask stress`.
pub async fn run(options: cli::Stress, stop: CancellationToken) -> Result<Ending> {
    let cli::Stress { subject, requests, concurrency, warmup, timeout, postgres, judged } = options;
    let amount = Amount { requests, concurrency, warmup, timeout };
    match subject.url.clone() {
        Some(url) => {
            let plan = [("stress url".to_owned(), Duration::from_secs(requests / 20))];
            let sending = Sending::own(&subject, &url).await?;
            let mut session = Session::begin("stress --url", false, &judged, &plan, stop)?;
            let (progress, stop) = (session.progress.clone(), session.stop.clone());
            let measured = session.step("stress url", send(sending, None, amount, &progress, &stop)).await;
            let measured = measured.map(|pass| session.evidence.passes.push(pass));
            session.finish(measured)
        }
        None => {
            warn_of_unused_token();
            Template::named(&subject.action)?;
            let name = step(subject.strategy);
            let plan = [
                (POSTGRES.to_owned(), Duration::from_secs(6)),
                (BUILD.to_owned(), Duration::from_secs(5)),
                (name, usual(subject.strategy, requests)),
            ];
            let command = format!("stress --strategy {}", subject.strategy);
            let mut session = Session::begin(&command, false, &judged, &plan, stop)?;
            let measured = async {
                let progress = session.progress.clone();
                let testbed = session.testbed(postgres).await?;
                let built = session.step(BUILD, build::build(&progress, false)).await?;
                pass(&mut session, &built.server, &testbed.fixture, &subject.action, subject.strategy, amount).await
            };
            let measured = measured.await;
            session.finish(measured)
        }
    }
}

/// The name of a pass's step.
pub fn step(strategy: Strategy) -> String {
    format!("stress {strategy}")
}

/// How long a pass usually takes, for telling it beforehand.
pub fn usual(strategy: Strategy, requests: u64) -> Duration {
    let per_second = if strategy == Strategy::BEFORE { 50 } else { 2_000 };
    Duration::from_millis(500) + Duration::from_secs(1) * (requests / per_second) as u32
}

/// One pass on a built-in server of its own, into the evidence; and proof that the server did what it was asked.
pub async fn pass(
    session: &mut Session,
    program: &Path,
    fixture: &Fixture,
    action: &str,
    strategy: Strategy,
    amount: Amount,
) -> Result<()> {
    let service = Service::start(program, fixture, strategy, ANY_PORT).await?;
    let audited = fixture.audit_rows().await?;
    let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, &service).await?;
    let (progress, stop) = (session.progress.clone(), session.stop.clone());
    let sent = send(sending, Some(strategy.to_string()), amount, &progress, &stop);
    let pass = session.step(&step(strategy), sent).await?;
    session.evidence.passes.push(pass.clone());
    session.save()?;
    let complaints = service.stop().await?;
    if !complaints.is_empty() {
        let log = session.beside(&format!("server-{strategy}.txt"));
        std::fs::write(&log, complaints).with_context(|| format!("cannot write {}", log.display()))?;
        session.progress.say(&format!("the server complained; what it said is in {}", log.display()));
    }
    expect_audit_rows(&pass, fixture.audit_rows().await? - audited)
}

/// Sends the load and counts it.
async fn send(
    sending: Sending,
    strategy: Option<String>,
    amount: Amount,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Pass> {
    let Sending { name, target, requests, promises } = sending;
    let load = Load {
        name,
        strategy,
        target,
        requests,
        promises,
        concurrency: amount.concurrency,
        warmup: amount.warmup,
        extent: Extent::Requests(amount.requests),
        timeout: amount.timeout,
    };
    Ok(tare_stress::run(load, stop, |done| progress.at(format!("{done} of {}", amount.requests))).await?)
}

/// An audited service has one row for each request that succeeded, and may have one for each that did not, or the pass measured
/// something else than it says. The server has been stopped, and so has written what it had queued.
fn expect_audit_rows(pass: &Pass, written: i64) -> Result<()> {
    let sent = (pass.requests + pass.warmup) as i64;
    let least = if pass.succeeded == pass.requests { sent } else { pass.succeeded as i64 };
    match pass.interrupted || (least..=sent).contains(&written) {
        true => Ok(()),
        false => bail!("{sent} requests left {written} audit rows; what the service did is not what it was asked"),
    }
}
