//! Where a PostgreSQL comes from.

mod container;
mod system;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use tokio_postgres::Config;

pub(crate) use self::system::Cluster;
use crate::Error;
use crate::certificate::Certificate;

/// Where a PostgreSQL comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// A server of the user's, named by `DATABASE_URL`.
    Url,
    /// A container, where a Docker engine has or can get the image.
    Container,
    /// A private cluster from the system's own binaries, in a temporary folder.
    System,
}

impl Provider {
    /// Every provider, in the order they are tried.
    pub const ALL: [Self; 3] = [Self::Url, Self::Container, Self::System];

    /// The name used on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Container => "container",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let named = Self::ALL.into_iter().find(|provider| provider.name() == given);
        named.ok_or_else(|| format!("unknown provider {given:?}; there are {}", known()))
    }
}

/// A server that answers.
pub(crate) struct Started {
    pub(crate) provider: Provider,
    /// How to log in as one who may create databases and roles; names one TCP host and port.
    pub(crate) admin: Config,
    /// The certificates to trust; the operating system's when there is none.
    pub(crate) root: Option<PathBuf>,
    /// What it proves itself with, when that was made here; others on this machine may stand in for it.
    pub(crate) certificate: Option<Certificate>,
    /// The container, or the folder of the binaries, that pgbench can be run from.
    pub(crate) tools: Tools,
    pub(crate) owned: Owned,
}

/// What was started, and stops when this is dropped.
pub(crate) enum Owned {
    /// Nothing: somebody else did.
    Nothing,
    Container(#[expect(dead_code, reason = "kept to be dropped")] Box<dyn std::any::Any + Send + Sync>),
    Cluster(Arc<Mutex<Cluster>>),
}

/// Where the server's own client programs are.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Tools {
    /// In this container.
    InContainer(String),
    /// In this folder, or on the PATH when there is none.
    InFolder(Option<PathBuf>),
}

/// The server of `DATABASE_URL`.
pub(crate) fn of_url() -> Result<Started, Error> {
    url::find()
}

/// Starts the provider asked for; when none is, the first that works.
pub(crate) async fn start(asked: Option<Provider>, disk: Disk, say: &(dyn Fn(&str) + Sync)) -> Result<Started, Error> {
    match asked {
        Some(Provider::Url) => url::find(),
        Some(Provider::Container) => container::start(disk, say).await,
        Some(Provider::System) => system::start(disk).await,
        None if url::is_set() => url::find(),
        None => {
            let container = match container::start(disk, say).await {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            say(&format!("{container}; trying the system's PostgreSQL binaries"));
            system::start(disk).await.map_err(|system| Error::None {
                image: container::image(),
                container: Box::new(container),
                system: Box::new(system),
            })
        }
    }
}

/// Whether a server of ours waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// As in production.
    Waited,
    /// For tests, of which none takes the power away: most of their time would be making databases.
    NotWaited,
}

impl Disk {
    const fn fsync(self) -> &'static str {
        match self {
            Self::Waited => "on",
            Self::NotWaited => "off",
        }
    }
}

/// Settings of every server that is ours, besides fsync: durable as in production. Statements can be counted, and nothing is until
/// somebody sets it for a database.
const SETTINGS: [(&str, &str); 9] = [
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("password_encryption", "scram-sha-256"),
    ("max_connections", "200"),
    ("shared_buffers", "256MB"),
    ("shared_preload_libraries", "pg_stat_statements"),
    ("compute_query_id", "off"),
    ("pg_stat_statements.track", "none"),
    ("max_wal_size", "4GB"),
];

/// A random password of 32 hexadecimal digits, which needs no quoting.
pub fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
