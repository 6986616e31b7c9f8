//! Stress passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tare_evidence::Pass;
use tare_gateway::Strategy;
use tare_stress::{Extent, Load};
use tare_testbed::{Network, Template, Testbed};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli;
use crate::load::{Sending, VARIETY, warn_of_unused_token};
use crate::progress::Progress;
use crate::service::{Service, Way};
use crate::session::{Begin, POSTGRES, Session};

/// The action that was published.
pub const PUBLISHED_ACTION: &str = "view_part_details";
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
    let cli::Stress { subject, requests, concurrency, warmup, timeout, workers, postgres, judged } = options;
    let amount = Amount { requests, concurrency, warmup, timeout };
    match subject.url.clone() {
        Some(url) => {
            refuse_network(postgres.network)?;
            let plan = [("stress url".to_owned(), Duration::from_secs(requests / 20))];
            let sending = Sending::own(&subject, &url).await?;
            let begin = Begin { command: "stress --url", network: postgres.network, quick: false };
            let mut session = Session::begin(begin, &judged, &plan, stop)?;
            let (progress, stop) = (session.progress.clone(), session.stop.clone());
            let measured = session.step("stress url", send(sending, None, amount, &progress, &stop)).await;
            let measured = measured.map(|pass| session.evidence.passes.push(pass));
            session.finish(measured)
        }
        None => {
            warn_of_unused_token();
            Template::named(&subject.action)?;
            let way = Way { strategy: subject.strategy, workers };
            let name = step(way.strategy, &subject.action);
            let plan = [
                (POSTGRES.to_owned(), Duration::from_secs(6)),
                (BUILD.to_owned(), Duration::from_secs(5)),
                (name, usual(way, amount, postgres.network)),
            ];
            let workers = way.workers.map_or_else(String::new, |workers| format!(" --workers {workers}"));
            let command = format!("stress --strategy {}{workers}", way.strategy);
            let begin = Begin { command: &command, network: postgres.network, quick: false };
            let mut session = Session::begin(begin, &judged, &plan, stop)?;
            let measured = async {
                let progress = session.progress.clone();
                let mut testbed = session.testbed(postgres).await?;
                testbed.put_at(postgres.network).await?;
                let built = session.step(BUILD, build::build(&progress, false)).await?;
                pass(&mut session, &built.server, &testbed, &subject.action, way, amount).await
            };
            let measured = measured.await;
            session.finish(measured)
        }
    }
}

/// A network is ours to choose only where the service is.
pub fn refuse_network(network: Network) -> Result<()> {
    match network {
        Network::LOOPBACK => Ok(()),
        _ => bail!("--network is between the built-in server and its database; a service at --url is where it is"),
    }
}

/// The name of a pass's step.
pub fn step(strategy: Strategy, action: &str) -> String {
    match action {
        PUBLISHED_ACTION => format!("stress {strategy}"),
        other => format!("stress {strategy} {other}"),
    }
}

/// How long a pass usually takes, for telling it beforehand.
pub fn usual(way: Way, amount: Amount, network: Network) -> Duration {
    let (work, round_trips) = match way.strategy {
        Strategy::BEFORE => (Duration::from_millis(20), 30),
        _ => (Duration::from_micros(500), 1),
    };
    let at_a_time = way.workers.map_or(amount.concurrency, |workers| amount.concurrency.min(workers.into()));
    let waiting = network.round_trip * round_trips / at_a_time as u32;
    Duration::from_millis(500) + (work + waiting) * (amount.requests + amount.warmup) as u32
}

/// One pass on a built-in server of its own, into the evidence; and proof that the server did what it was asked.
pub async fn pass(
    session: &mut Session,
    program: &Path,
    testbed: &Testbed,
    action: &str,
    way: Way,
    amount: Amount,
) -> Result<()> {
    let (fixture, strategy) = (&testbed.fixture, way.strategy);
    let service = Service::start(program, testbed, way, ANY_PORT).await?;
    let audited = fixture.audit_rows().await?;
    let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, &service).await?;
    let (progress, stop) = (session.progress.clone(), session.stop.clone());
    let sent = send(sending, Some(strategy.to_string()), amount, &progress, &stop);
    let pass = session.step(&step(strategy, action), sent).await?;
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
