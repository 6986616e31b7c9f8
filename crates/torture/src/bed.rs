//! The server, its databases, and what can be broken between them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Client;
use tare_testbed::{Fixture, PrivateFolder, Provider, Relay, Server, Size};

use crate::callers::client;
use crate::service::{Leftovers, Service, Way};
use crate::{Error, Fault};

mod clock;
mod disk;

pub(crate) use self::clock::Clock;
pub(crate) use self::disk::SmallDisk;

/// Connections to tenants' databases at most; fewer than callers come to while a pool is spent.
pub(crate) const BUDGET: usize = 24;
/// Seconds that clients have for a head, for a body, and to take an answer.
pub(crate) const CLIENT_SECONDS: u32 = 2;
/// How long the server may take to become quiet, and how soon it is looked at again.
const QUIET: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(20);

const SIZE: Size = Size { tenants: 3, yachts: 2, parts: 40 };

/// Where audit events of reads and refusals wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// On the disk.
    Durable,
    /// In memory, which a killed server loses.
    Memory,
}

/// The server, its databases, and a relay to each.
pub struct Bed {
    program: PathBuf,
    queue: Queue,
    pub(crate) fixture: Fixture,
    pub(crate) control: Relay,
    /// One for each tenant.
    pub(crate) tenants: Vec<Relay>,
    service: Option<Service>,
    pub(crate) client: Client,
    /// What the running server held after its first round.
    settled: Option<Leftovers>,
    pub(crate) clock: Option<Clock>,
    pub(crate) disk: Option<SmallDisk>,
    folder: PrivateFolder,
}

impl Bed {
    /// Starts a private PostgreSQL with `say` told of it, and `program`, the server, on it.
    ///
    /// # Errors
    /// There are no server binaries of PostgreSQL, or the server does not start.
    pub async fn start(program: &Path, queue: Queue, say: &(dyn Fn(&str) + Sync)) -> Result<Self, Error> {
        // Only such a one can be taken away.
        let fixture = Fixture::create(Server::start(Some(Provider::System), say).await?, SIZE).await?;
        let control = Relay::start(fixture.server()).await?;
        let mut tenants = Vec::new();
        for tenant in fixture.tenants() {
            let relay = Relay::start(fixture.server()).await?;
            fixture.route(std::slice::from_ref(tenant), relay.address()).await?;
            tenants.push(relay);
        }
        let mut bed = Self {
            program: program.to_owned(),
            queue,
            fixture,
            control,
            tenants,
            service: None,
            // One connection: of more the server would hold one or the other by chance.
            client: client(QUIET, 1)?,
            settled: None,
            clock: None,
            disk: None,
            folder: PrivateFolder::new()?,
        };
        bed.start_server().await?;
        Ok(bed)
    }

    /// Where the server is asked.
    pub(crate) fn url(&self) -> &str {
        self.service.as_ref().map_or("", |service| &service.url)
    }

    /// Has what `fault` needs at hand: a server whose clock can be set, or one whose audit queue is on a small disk.
    pub(crate) async fn prepare(&mut self, fault: Fault) -> Result<(), Error> {
        match fault {
            Fault::ClockJumps => self.clock = Some(Clock::new(self.folder.path())?),
            Fault::QueueFull => self.disk = Some(SmallDisk::mount(self.folder.path())?),
            _ => return Ok(()),
        }
        self.replace_server().await
    }

    /// Takes away what [`prepare`](Self::prepare) has made.
    pub(crate) async fn restore(&mut self) -> Result<(), Error> {
        if self.clock.is_none() && self.disk.is_none() {
            return Ok(());
        }
        self.stop().await?;
        (self.clock, self.disk) = (None, None);
        self.start_server().await
    }

    async fn replace_server(&mut self) -> Result<(), Error> {
        self.stop().await?;
        self.start_server().await
    }

    /// Ends the server in an orderly way.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn stop(&mut self) -> Result<(), Error> {
        match self.service.take() {
            Some(service) => service.stop().await,
            None => Ok(()),
        }
    }

    /// Kills the server with `-9`.
    pub(crate) async fn kill_server(&mut self) -> Result<(), Error> {
        match self.service.take() {
            Some(mut service) => service.kill().await,
            None => Ok(()),
        }
    }

    pub(crate) async fn start_server(&mut self) -> Result<(), Error> {
        let (fixture, mut way) = (&self.fixture, Way::default());
        let numbers = [
            ("--budget", BUDGET as u32),
            ("--pool-size", BUDGET as u32 / 3),
            ("--head-timeout", CLIENT_SECONDS),
            ("--body-timeout", CLIENT_SECONDS),
            ("--write-timeout", CLIENT_SECONDS),
        ];
        for (name, number) in numbers {
            way.arguments.extend([name.into(), number.to_string().into()]);
        }
        if self.queue == Queue::Durable {
            let folder = self.disk.as_ref().map_or(self.folder.path(), SmallDisk::path);
            way.arguments.extend(["--audit-queue".into(), folder.join("queue").into()]);
        }
        let control = fixture.control().url_at(fixture.server(), self.control.address());
        way.environment.push(("TARE_CONTROL_URL".into(), control.into()));
        way.environment.push(("TARE_JWT_SECRET".into(), fixture.secret().expose().into()));
        if let Some(root) = fixture.server().root_certificate() {
            way.environment.push(("TARE_ROOT_CERTIFICATE".into(), root.into()));
        }
        way.environment.extend(self.clock.iter().flat_map(Clock::environment));
        self.service = Some(Service::start(&self.program, &way).await?);
        self.settled = None;
        Ok(())
    }

    /// What the server holds once nothing is under way, its audit queue is empty, it hears of changes of tenants again and the
    /// connections of clients that have gone are closed; nothing when that does not come about.
    pub(crate) async fn quiet(&self) -> Option<Leftovers> {
        let service = self.service.as_ref()?;
        let (deadline, mut last) = (Instant::now() + QUIET, None);
        while Instant::now() < deadline {
            let metrics = service.metrics(&self.client).await;
            let is = |name: &str, value: i64| metrics.get(name) == Some(value);
            let idle = is("tare_http_requests_in_flight", 0) && is("tare_audit_queue_waiting", 0);
            if idle && is("tare_tenant_listening", 1) {
                let now = service.leftovers(&metrics)?;
                if last.replace((now.sockets, now.tasks)) == Some((now.sockets, now.tasks)) {
                    return Some(now);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        None
    }

    /// Sentences about what the server holds beyond what it held: `before` this round, and after its first one. What is closed
    /// takes a moment to be gone.
    pub(crate) async fn leaked(&mut self, before: Option<Leftovers>) -> Vec<String> {
        let deadline = Instant::now() + QUIET;
        loop {
            let Some(now) = self.quiet().await else {
                return vec![format!("requests or audit events are under way {} s later", QUIET.as_secs())];
            };
            let leaked = before.map(|before| now.beyond(before, self.settled)).unwrap_or_default();
            if leaked.is_empty() || Instant::now() > deadline {
                self.settled.get_or_insert(now);
                return leaked;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
