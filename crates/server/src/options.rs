//! What the server is told. Secrets come by the environment only: arguments can be read by every user of the machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tare_gateway::audit::{AuditSettings, Queue};
use tare_gateway::auth::{Keys, VerifierSettings};
use tare_gateway::connection::PoolSettings;
use tare_gateway::fleet::FleetSettings;
use tare_gateway::reads::ReadSettings;
use tare_gateway::tenant::TenantSettings;
use tare_gateway::{Settings, Strategy};

use crate::http::Limits;
use crate::log::Format;
use crate::serve::Patience;

/// Environment variable with the URL of the control database, password included.
const CONTROL_URL: &str = "TARE_CONTROL_URL";
/// Environment variable with the secret that tokens are signed with.
const JWT_SECRET: &str = "TARE_JWT_SECRET";

/// Answers POST /v1/actions/execute for many tenants, each with a database of its own.
///
/// Two secrets come by the environment: TARE_CONTROL_URL, the control database as
/// postgres://user:password@host:port/database?sslmode=require, and TARE_JWT_SECRET, the HS256 secret of the tokens, unless
/// their keys are in a file (--jwks).
#[derive(Debug, Parser)]
#[command(name = "tare-server", version)]
pub struct Options {
    /// Where to listen; port 0 takes a free one, told on standard output.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub address: SocketAddr,

    /// Which fixes are on: `before`, `after`, or fixes joined by `+`.
    #[arg(long, default_value = "after")]
    strategy: Strategy,

    /// The `iss` that tokens must carry.
    #[arg(long)]
    issuer: String,

    /// The `aud` that tokens must carry.
    #[arg(long)]
    audience: String,

    /// The keys that tokens may be signed with (HS256, RS256, ES256), a JSON Web Key Set, in the place of TARE_JWT_SECRET;
    /// read again within a second when it changed.
    #[arg(long, env = "TARE_JWKS", value_name = "FILE")]
    jwks: Option<PathBuf>,

    /// Certificates to trust for the databases, PEM; the operating system's when left out.
    #[arg(long, env = "TARE_ROOT_CERTIFICATE", value_name = "FILE")]
    root_certificate: Option<PathBuf>,

    /// Connections to all databases at most; with --fleet, of all its servers together.
    #[arg(long, default_value_t = 80, value_parser = at_least_one)]
    budget: usize,

    /// Share the budget with the other servers that are told so and have the same control database: so many of them at most. It is
    /// divided evenly among those that run; one connection of it is kept for each. Behind a balancer that asks GET /ready, for a
    /// server is ready when the others have made room for it.
    #[arg(long, value_name = "SERVERS", value_parser = at_least_one, requires = "instance")]
    fleet: Option<usize>,

    /// The name of this server in its fleet: no other's, and the same when it begins again, so that it has its place at once.
    #[arg(long, env = "TARE_INSTANCE", value_name = "NAME")]
    instance: Option<String>,

    /// Connections to one tenant's database at most.
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pool_size: usize,

    /// Connections opened in a second at most, once the first few are: a database that comes back is not met by all at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    openings_per_second: u32,

    /// Do not prepare statements under names: for a PgBouncer before 1.21 in transaction mode. Changes of tenants are not listened
    /// for then either, which such a pooler does not pass on.
    #[arg(long)]
    pooler: bool,

    /// Seconds after which a revoked user is refused at the latest, also when the control database is down.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    tenant_bound: f64,

    /// Remember answers to reads for so many seconds: they may be so old. What this server changes is seen at once on it, what others
    /// change within that time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    cache_reads: Option<f64>,

    /// The folder of the durable audit queue, of this server alone. Without it the queue is in memory, and a crash loses what is
    /// in it.
    #[arg(long, value_name = "FOLDER")]
    audit_queue: Option<PathBuf>,

    /// Audit events that may wait in the queue.
    #[arg(long, default_value_t = 20_000, value_parser = at_least_one)]
    audit_capacity: usize,

    /// Requests for actions in flight at most; one more is refused at once, to be tried again.
    #[arg(long, default_value_t = 1024, value_parser = at_least_one)]
    concurrency: usize,

    /// Requests for actions worked on at a time at most, as by so many blocking threads; without it there is no such limit. The
    /// others wait their turn in the order they came, and the wait counts for --concurrency and --timeout.
    #[arg(long, value_parser = at_least_one)]
    workers: Option<usize>,

    /// Seconds until the client of an action is told that it took too long; the action goes on.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,

    /// Seconds that a client has for the head of a request, and that a connection may be idle.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    head_timeout: f64,

    /// Seconds that a client has for the body of a request.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    body_timeout: f64,

    /// Seconds that a client has to take a part of its answer.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    write_timeout: f64,

    /// Seconds to go on listening once told to stop, while GET /ready says so: until whoever sends requests has heard of it.
    #[arg(long, value_parser = seconds)]
    notice: Option<f64>,

    /// Seconds for requests under way to end once told to stop, and as many again to write what the audit queue holds.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    drain: f64,

    /// How lines on standard error look; RUST_LOG selects which there are.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log: Format,

    /// Threads; half of the processors when left out, for the database and whoever asks are on this machine, too.
    #[arg(long, default_value_t = threads(), hide_default_value = true, value_parser = at_least_one)]
    pub threads: usize,

    /// Stop when standard input ends, so as not to outlive the process that holds it.
    #[arg(long)]
    pub until_stdin_ends: bool,
}

impl Options {
    /// The gateway's settings, secrets included.
    pub fn settings(&self) -> Result<Settings> {
        let control = secret(CONTROL_URL, "the control database, as postgres://user:password@host:port/database")?;
        // The driver's message may repeat the URL, and with it the password.
        let control = control.parse().ok().with_context(|| {
            format!("{CONTROL_URL} is not a URL like postgres://user:password@host:port/database?sslmode=require")
        })?;
        Ok(Settings {
            strategy: self.strategy,
            control,
            auth: VerifierSettings { keys: self.keys()?, issuer: self.issuer.clone(), audience: self.audience.clone() },
            tls: tare_tls::client(self.root_certificate.as_deref())?,
            pool: PoolSettings {
                budget: self.budget,
                cap: self.pool_size,
                openings_per_second: self.openings_per_second,
                prepare: !self.pooler,
                ..PoolSettings::default()
            },
            tenant: TenantSettings {
                bound: Duration::from_secs_f64(self.tenant_bound),
                listen: !self.pooler,
                ..TenantSettings::default()
            },
            audit: AuditSettings {
                queue: self.audit_queue.clone().map_or(Queue::Memory, Queue::Durable),
                capacity: self.audit_capacity,
                ..AuditSettings::default()
            },
            reads: self
                .cache_reads
                .map(|seconds| ReadSettings { bound: Duration::from_secs_f64(seconds), ..ReadSettings::default() }),
            fleet: self.fleet.zip(self.instance.clone()).map(|(most, instance)| FleetSettings {
                instance,
                most,
                ..FleetSettings::default()
            }),
        })
    }

    /// What requests are given.
    pub fn limits(&self) -> Limits {
        Limits {
            concurrency: self.concurrency,
            workers: self.workers,
            body: Duration::from_secs_f64(self.body_timeout),
            action: Duration::from_secs_f64(self.timeout),
        }
    }

    /// How long connections are waited for.
    pub fn patience(&self) -> Patience {
        Patience {
            head: Duration::from_secs_f64(self.head_timeout),
            write: Duration::from_secs_f64(self.write_timeout),
            notice: self.notice.map_or(Duration::ZERO, Duration::from_secs_f64),
            drain: Duration::from_secs_f64(self.drain),
        }
    }

    fn keys(&self) -> Result<Keys> {
        match (&self.jwks, given(JWT_SECRET)) {
            (Some(file), None) => Ok(Keys::Jwks(file.clone())),
            (None, Some(secret)) => Ok(Keys::Secret(secret)),
            (None, None) => bail!(
                "{JWT_SECRET} is not set, nor is --jwks given; one of them gives what tokens are checked with: \
                 an HS256 secret, or a file of keys"
            ),
            (Some(file), Some(_)) => bail!(
                "{JWT_SECRET} is set and --jwks (TARE_JWKS) gives {}; tokens are checked with one of them: take the other away",
                file.display()
            ),
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

fn at_least_one(given: &str) -> Result<usize, String> {
    given.parse().ok().filter(|number| *number > 0).ok_or_else(|| "must be a whole number from 1 on".into())
}

fn seconds(given: &str) -> Result<f64, String> {
    let seconds = given.parse().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "must be a number of seconds from 0.001 to 86400".into())
}

fn secret(variable: &str, what: &str) -> Result<String> {
    given(variable).with_context(|| format!("{variable} is not set; it gives {what}"))
}

fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
