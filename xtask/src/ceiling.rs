//! The ceiling: what the database alone can do of the same work, how much of it is left through HTTP, and through a bare server.

use std::fmt::Display;
use std::io::{Error, ErrorKind::NotFound};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tare_evidence::{Ceiling, median};
use tare_stress::Extent;
use tare_testbed::{Fixture, Prepared, Template};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::bare::Bare;
use crate::guard::Guarded;
use crate::load::Sending;
use crate::progress::Progress;
use crate::service::Service;
use crate::stress::Amount;
use crate::wrk::Wrk;

/// The name of the step.
pub const CEILING: &str = "ceiling";
/// A read, so that neither side waits for the disk, and a mutation, for which both do.
const ACTIONS: [&str; 2] = ["view_part_details", "consume_part"];
/// Connections of both sides.
const CONNECTIONS: usize = 10;

/// Different requests, the same on both sides.
const VARIETY: usize = 16;

/// How long it is measured.
#[derive(Clone, Copy)]
pub struct Extents {
    pub rounds: usize,
    pub seconds: u64,
}

impl Extents {
    /// For a quick run, or a full one.
    pub fn of(quick: bool) -> Self {
        if quick { Self { rounds: 3, seconds: 2 } } else { Self { rounds: 7, seconds: 3 } }
    }

    /// How long the step usually takes.
    pub fn usual(self) -> Duration {
        Duration::from_secs(ACTIONS.len() as u64 * (self.rounds as u64 * 3 + 2) * self.seconds)
    }
}

/// Measures all sides in turns. Nothing when there is no pgbench to be run.
pub async fn measure(
    fixture: &Fixture,
    service: &Service,
    extents: Extents,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Vec<Ceiling>> {
    let mut ceilings = Vec::new();
    for action in ACTIONS {
        let client = Client::new(fixture, service, action).await?;
        let bare_server = Bare::start(fixture, sql(action, ["$1", "$2", "$3"]), CONNECTIONS).await?;
        let to_bare = client.to(&bare_server).await?;
        progress.at(format!("{action}, warming up"));
        client.requests_per_second(extents.seconds, stop).await?;
        if let Some(wrk) = &to_bare {
            wrk.requests_per_second(CONNECTIONS, extents.seconds).await?;
        }
        let (mut http, mut alone, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=extents.rounds {
            let at = |what| progress.at(format!("{action}, round {round} of {}, {what}", extents.rounds));
            at("pgbench");
            let Some(transactions) = pgbench(fixture, action, extents.seconds).await? else {
                progress.say("ceiling: left out, there is no pgbench to be run; PostgreSQL's client programs bring it");
                return Ok(Vec::new());
            };
            alone.push(transactions);
            at("HTTP");
            http.push(client.requests_per_second(extents.seconds, stop).await?);
            if let Some(wrk) = &to_bare {
                at("bare HTTP");
                bare.push(wrk.requests_per_second(CONNECTIONS, extents.seconds).await?);
            }
        }
        let of_pgbench =
            |these: &[f64]| median(these.iter().zip(&alone).map(|(one, alone)| one / alone).collect()).estimate;
        ceilings.push(Ceiling {
            action: action.to_owned(),
            client: client.name().to_owned(),
            concurrency: CONNECTIONS,
            rounds: extents.rounds,
            share: of_pgbench(&http),
            bare: to_bare.map(|_| tare_evidence::Bare { share: of_pgbench(&bare), per_second: median(bare).estimate }),
            http_per_second: median(http).estimate,
            pgbench_per_second: median(alone).estimate,
        });
    }
    Ok(ceilings)
}

/// Who sends the requests, all from the one tenant whose database pgbench is at. wrk where it is installed, for it costs the
/// least, and what it costs is missing from the service; else our own load.
enum Client<'a> {
    Wrk { wrk: Wrk, requests: Vec<Prepared> },
    Own { fixture: &'a Fixture, service: &'a Service, action: &'a str },
}

impl<'a> Client<'a> {
    async fn new(fixture: &'a Fixture, service: &'a Service, action: &'a str) -> Result<Self> {
        let requests = Template::named(action)?.requests(fixture, &fixture.tenants()[..1], VARIETY);
        Ok(match Wrk::find(&service.url(), &requests).await? {
            Some(wrk) => Self::Wrk { wrk, requests },
            None => Self::Own { fixture, service, action },
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Wrk { .. } => "wrk",
            Self::Own { .. } => "tare",
        }
    }

    /// The same requests to a bare server. Nothing where it is our own load, which sends to a service alone.
    async fn to(&self, bare: &Bare) -> Result<Option<Wrk>> {
        match self {
            Self::Wrk { requests, .. } => Wrk::find(&bare.url(), requests).await,
            Self::Own { .. } => Ok(None),
        }
    }

    async fn requests_per_second(&self, seconds: u64, stop: &CancellationToken) -> Result<f64> {
        match self {
            Self::Wrk { wrk, .. } => wrk.requests_per_second(CONNECTIONS, seconds).await,
            Self::Own { fixture, service, action } => {
                let sending = Sending::action(fixture, &fixture.tenants()[..1], action, VARIETY, service).await?;
                requests_per_second(sending, seconds, stop).await
            }
        }
    }
}

async fn requests_per_second(sending: Sending, seconds: u64, stop: &CancellationToken) -> Result<f64> {
    let amount = Amount {
        warmup: 200,
        extent: Extent { requests: u64::MAX, time: Duration::from_secs(seconds) },
        ..Amount::published(CONNECTIONS)
    };
    let pass = tare_stress::run(amount.load(sending, None), stop, |_| ()).await?.pass;
    if let Some(failure) = pass.failures.first() {
        bail!(
            "{} of {} requests failed, the first: {}",
            pass.requests - pass.succeeded,
            pass.requests,
            failure.example
        );
    }
    Ok(pass.throughput())
}

/// Transactions per second of pgbench; nothing when it cannot be run here.
async fn pgbench(fixture: &Fixture, action: &str, seconds: u64) -> Result<Option<f64>> {
    let server = fixture.server();
    let [tenant, ..] = fixture.tenants() else { bail!("the fixture has no tenant") };
    let (command, (host, port)) = server.client_program("pgbench");
    let mut command = Command::from(command);
    command
        .args(["--no-vacuum", "--protocol=prepared", "--file=/dev/stdin", "--jobs=2"])
        .arg(format!("--client={CONNECTIONS}"))
        .arg(format!("--time={seconds}"))
        .args([format!("--host={host}"), format!("--port={port}"), format!("--username={}", tenant.login.role)])
        .args(variables(fixture, action)?)
        .arg(&tenant.login.database)
        .env("PGPASSWORD", tenant.login.password())
        .env("PGSSLMODE", if server.has_tls() { "require" } else { "disable" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let is_missing =
        |error: &anyhow::Error| error.downcast_ref::<Error>().is_some_and(|error| error.kind() == NotFound);
    let mut process = match Guarded::spawn(&mut command) {
        Err(error) if is_missing(&error) => return Ok(None),
        process => process?,
    };
    let mut input = process.child.stdin.take().context("pgbench's input")?;
    input.write_all(script(action).as_bytes()).await.context("cannot tell pgbench what to run")?;
    drop(input);
    let output = process.said().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    // 127: the shell inside the container found no such program.
    if output.status.code() == Some(127) {
        return Ok(None);
    }
    let transactions = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    match transactions {
        Some(transactions) if output.status.success() => Ok(Some(transactions)),
        _ => bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}

/// The query that the gateway sends for `action` under `one-call`, of a yacht, a user and a payload.
fn sql(action: &str, [yacht, user, payload]: [impl Display; 3]) -> String {
    // As the gateway does it: a mutation takes its audit row along, a read's goes to the queue.
    let audit = if action == "view_part_details" { "null" } else { "gen_random_uuid()" };
    format!("select status, body::text from app.execute({yacht}, {user}, '{action}', {payload}, {audit}, false)")
}

/// One of the requests at random, with variables for its parameters. pgbench prepares each branch once on each connection.
fn script(action: &str) -> String {
    let branches = (0..VARIETY).map(|nth| {
        let branch = if nth == 0 { "\\if" } else { "\\elif" };
        let sql = sql(action, ["yacht", "user", "payload"].map(|name| format!(":{name}{nth}")));
        format!("{branch} :request = {nth}\n{sql};\n")
    });
    format!("\\set request random(0, {})\n{}\\endif\n", VARIETY - 1, branches.collect::<String>())
}

/// The parameters of each request.
fn variables(fixture: &Fixture, action: &str) -> Result<Vec<String>> {
    let tenant = &fixture.tenants()[0];
    let requests = Template::named(action)?.requests(fixture, &fixture.tenants()[..1], VARIETY);
    let mut variables = Vec::new();
    for (nth, request) in requests.iter().enumerate() {
        let body: serde_json::Value = serde_json::from_str(&request.body)?;
        // Requests take the crew in turn.
        let user = &tenant.crew[nth % tenant.crew.len()];
        variables.push(format!("--define=yacht{nth}={}", tenant.yachts[user.yacht]));
        variables.push(format!("--define=user{nth}={}", user.id));
        variables.push(format!("--define=payload{nth}={}", body["payload"]));
    }
    Ok(variables)
}
