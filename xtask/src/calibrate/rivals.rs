//! The load beside what else one would take for it: oha and wrk, where they are installed.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::sys::resource::UsageWho;
use tare_evidence::{Check, median};
use tare_testbed::{Prepared, PrivateFolder, Template, Testbed};
use tokio::process::Command;

use crate::calibrate::{Plan, cpu};
use crate::guard::Guarded;
use crate::progress::Progress;
use crate::service::Service;
use crate::stress::PUBLISHED_ACTION;
use crate::wrk::Wrk;

/// Requests at a time.
pub const CONNECTIONS: [usize; 3] = [10, 64, 512];
/// The clients of a round.
pub const CLIENTS: usize = 3;

/// What a client came to.
#[derive(Clone, Copy)]
struct Sent {
    per_second: f64,
    /// Seconds of processor time.
    cpu_per_request: f64,
}

/// One request, known to every client.
struct Subject {
    url: String,
    request: Prepared,
    folder: PrivateFolder,
    seconds: u64,
}

/// Lets the clients send the same request to the same server, in turns.
pub async fn measure(testbed: &Testbed, service: &Service, plan: &Plan, progress: &Progress) -> Result<Vec<Check>> {
    let fixture = &testbed.fixture;
    let request = Template::named(PUBLISHED_ACTION)?.requests(fixture, &fixture.tenants()[..1], 1).remove(0);
    let folder = PrivateFolder::new()?;
    std::fs::write(folder.path().join("body.json"), &request.body)?;
    let subject = Subject { url: service.url(), request, folder, seconds: plan.round.as_secs() };
    let with_oha = is_installed("oha").await;
    if !with_oha {
        progress.say("oha is not installed, so there is no comparison with it: cargo install oha");
    }
    let mut checks = Vec::new();
    for connections in CONNECTIONS {
        let (mut own, mut oha, mut wrk) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            // Each is first in turn.
            for client in (0..CLIENTS).map(|nth| (nth + round) % CLIENTS) {
                progress.at(format!("{connections} connections, round {} of {}", round + 1, plan.rounds));
                match client {
                    0 => own.push(subject.own(connections).await?),
                    1 if with_oha => oha.push(subject.oha(connections).await?),
                    2 => wrk.extend(subject.wrk(connections).await?),
                    _ => {}
                }
            }
        }
        for (name, theirs) in [("oha", &oha), ("wrk", &wrk)] {
            if theirs.is_empty() {
                continue;
            }
            let ratio = |of: fn(&Sent) -> f64| {
                median(own.iter().zip(theirs).map(|(own, theirs)| of(own) / of(theirs)).collect()).estimate
            };
            let (rate, cpu) = (ratio(|sent| sent.per_second), ratio(|sent| sent.cpu_per_request));
            let micros = |all: &[Sent]| median(all.iter().map(|sent| sent.cpu_per_request * 1e6).collect()).estimate;
            progress.say(&format!(
                "{connections} connections: {rate:.2} × the requests per second of {name}, {cpu:.2} × its CPU time per request \
                 ({:.1} against {:.1} µs)",
                micros(&own),
                micros(theirs)
            ));
            // wrk is held up as a mark; oha is what is to be beaten.
            if name == "oha" {
                checks.push(check(
                    format!("req/s against oha, {connections} connections"),
                    rate,
                    "≥ 1.00 ×",
                    rate >= 1.0,
                ));
                checks.push(check(format!("CPU per request against oha, {connections}"), cpu, "≤ 1.00 ×", cpu <= 1.0));
            }
        }
    }
    Ok(checks)
}

fn check(what: String, ratio: f64, required: &str, met: bool) -> Check {
    Check { what, measured: format!("{ratio:.2} ×"), required: required.into(), met }
}

async fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok()
}

impl Subject {
    async fn own(&self, connections: usize) -> Result<Sent> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["stress", "--format", "json", "--url", &self.url, "--warmup", "1000"])
            .args([format!("--duration={}s", self.seconds), format!("--concurrency={connections}")])
            .arg(format!("--body=@{}", self.folder.path().join("body.json").display()))
            .args(["--output".as_ref(), self.folder.path().join("perf").as_os_str()])
            .env("TEST_JWT", &self.request.token);
        let (said, cpu) = run(command).await?;
        let evidence: tare_evidence::Evidence = serde_json::from_str(&said).context("cannot read our own evidence")?;
        let pass = evidence.passes.first().context("there was no pass")?;
        if pass.succeeded < pass.requests {
            bail!("{} of {} requests failed", pass.requests - pass.succeeded, pass.requests);
        }
        Ok(Sent { per_second: pass.throughput(), cpu_per_request: cpu / (pass.requests + pass.warmup) as f64 })
    }

    async fn oha(&self, connections: usize) -> Result<Sent> {
        let mut command = Command::new("oha");
        command
            .args(["--no-tui", "--output-format", "json", "-m", "POST", "-T", "application/json"])
            .args(["-z", &format!("{}s", self.seconds), "-c", &connections.to_string(), "-D"])
            .arg(self.folder.path().join("body.json"))
            // oha takes headers as arguments alone. The token is good for this run's server only.
            .args(["-H", &format!("Authorization: Bearer {}", self.request.token)])
            .arg(&self.url);
        let (said, cpu) = run(command).await?;
        let told: serde_json::Value = serde_json::from_str(&said).context("cannot read what oha tells")?;
        let statuses = told["statusCodeDistribution"].as_object().context("oha tells of no statuses")?;
        let requests: f64 = statuses.values().filter_map(serde_json::Value::as_f64).sum();
        if statuses.keys().any(|status| status != "200") {
            bail!("oha's requests failed: {statuses:?}");
        }
        let per_second = told["summary"]["requestsPerSec"].as_f64().context("oha tells no rate")?;
        Ok(Sent { per_second, cpu_per_request: cpu / requests })
    }

    async fn wrk(&self, connections: usize) -> Result<Option<Sent>> {
        let Some(wrk) = Wrk::find(&self.url, std::slice::from_ref(&self.request)).await? else { return Ok(None) };
        let before = cpu(UsageWho::RUSAGE_CHILDREN)?;
        let per_second = wrk.requests_per_second(connections, self.seconds).await?;
        let cpu = (cpu(UsageWho::RUSAGE_CHILDREN)? - before).as_secs_f64();
        Ok(Some(Sent { per_second, cpu_per_request: cpu / (per_second * self.seconds as f64) }))
    }
}

/// Runs a client to its end: what it said, and the processor time it took in seconds.
async fn run(mut command: Command) -> Result<(String, f64)> {
    let before = cpu(UsageWho::RUSAGE_CHILDREN)?;
    let program = Path::new(command.as_std().get_program()).display().to_string();
    let output = Guarded::output(&mut command).await?;
    let cpu = (cpu(UsageWho::RUSAGE_CHILDREN)? - before).as_secs_f64();
    // 1: measured, and a target was missed, which is not the point here.
    match output.status.code() {
        Some(0 | 1) => Ok((String::from_utf8_lossy(&output.stdout).into_owned(), cpu)),
        _ => bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}
