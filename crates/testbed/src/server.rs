//! A PostgreSQL that answers, and the templates that fixtures are copied from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::net::lookup_host;
use tokio::sync::Mutex as AsyncMutex;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::claim::{self, Claim};
use crate::notices::Notices;
use crate::provider::{self, Disk, Provider, Started, Tools};
use crate::{Error, Fixture, Login, fixture};

/// How long a server that was just started may take to answer.
const READY: Duration = Duration::from_secs(60);
/// How soon it is asked again.
pub(crate) const AGAIN: Duration = Duration::from_millis(25);

/// A PostgreSQL to measure against. When the last reference is dropped, what was started or created for it is gone.
pub struct Server {
    pub(crate) started: Started,
    tls: MakeRustlsConnect,
    /// Begins the names of all databases and roles made on it.
    pub(crate) prefix: String,
    version: String,
    settings: Vec<(String, String)>,
    fixtures: AtomicU32,
    /// Removes what was created, unless the server goes away as a whole or somebody else created it.
    cleans_up: bool,
    // Until all is dropped.
    claim: Option<Claim>,
}

impl Server {
    /// Takes the provider asked for, or the first that works, and prepares it. `say` gets a line for each that does not.
    pub async fn start(asked: Option<Provider>, say: &(dyn Fn(&str) + Sync)) -> Result<Arc<Self>, Error> {
        Self::start_on(Disk::Waited, asked, say).await
    }

    async fn start_on(disk: Disk, asked: Option<Provider>, say: &(dyn Fn(&str) + Sync)) -> Result<Arc<Self>, Error> {
        let started = provider::start(asked, disk, say).await?;
        let prefix = format!("{}{}", claim::PREFIX, &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let mut server = Self::connect(started, prefix).await?;
        if server.cleans_up {
            let (admin, tls) = server.reached_by();
            server.claim = Some(Claim::take(admin, tls, &server.prefix).await?);
            claim::clear_abandoned(&server, say).await?;
        }
        fixture::create_templates(&server).await?;
        Ok(Arc::new(server))
    }

    /// The server that other callers in this process use, or a new one when there are none: tests share it. One of ours does not
    /// wait for its disk.
    pub async fn shared() -> Result<Arc<Self>, Error> {
        static STARTING: AsyncMutex<()> = AsyncMutex::const_new(());
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let _one_at_a_time = STARTING.lock().await;
        let running = SHARED.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        match running {
            Some(server) => Ok(server),
            None => {
                let server = Self::start_on(Disk::NotWaited, None, &|line| eprintln!("{line}")).await?;
                *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&server);
                Ok(server)
            }
        }
    }

    /// A server that another process started and will stop.
    pub(crate) async fn attach(started: Started, prefix: String) -> Result<Arc<Self>, Error> {
        let mut server = Self::connect(started, prefix).await?;
        server.cleans_up = false;
        Ok(Arc::new(server))
    }

    async fn connect(started: Started, prefix: String) -> Result<Self, Error> {
        let tls = connector(started.root.as_deref())?;
        let client = connect(&started.admin, &tls).await?;
        let ask = |sql: &'static str| client.query_one(sql, &[]);
        let version: String = ask("show server_version").await.map_err(Error::database("tell its version"))?.get(0);
        let login = ask("select rolname::text, rolsuper or (rolcreatedb and rolcreaterole) from pg_roles where rolname = current_user")
            .await
            .map_err(Error::database("tell what this login may do"))?;
        if !login.get::<_, bool>(1) {
            return Err(Error::Powerless(login.get(0)));
        }
        let settings = client
            .query(
                "select name, current_setting(name) from pg_settings where name = any($1) order by name",
                &[&["fsync", "max_connections", "shared_buffers", "ssl", "synchronous_commit"].as_slice()],
            )
            .await
            .map_err(Error::database("tell its settings"))?;
        Ok(Self {
            settings: settings.iter().map(|row| (row.get(0), row.get(1))).collect(),
            cleans_up: started.provider == Provider::Url,
            version: version.split(' ').next().unwrap_or_default().to_owned(),
            fixtures: AtomicU32::new(0),
            claim: None,
            started,
            tls,
            prefix,
        })
    }

    /// Where it came from.
    pub fn provider(&self) -> Provider {
        self.started.provider
    }

    /// Whether it was started here and nobody else uses it.
    pub fn is_ours(&self) -> bool {
        self.started.provider != Provider::Url
    }

    /// Its version: `15.8`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The settings that matter for what is measured, by name.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Whether connections are encrypted; the certificate is then verified.
    pub fn has_tls(&self) -> bool {
        self.settings.iter().any(|(name, value)| name == "ssl" && value == "on")
            && self.started.admin.get_ssl_mode() != SslMode::Disable
    }

    /// The file of certificates to trust; the operating system's when there is none.
    pub fn root_certificate(&self) -> Option<&Path> {
        self.started.root.as_deref()
    }

    /// A connection to `database` as one who may do everything; for setting up and for counting afterwards.
    pub async fn admin(&self, database: &str) -> Result<Client, Error> {
        connect(self.started.admin.clone().dbname(database), &self.tls).await
    }

    /// The same to make databases and roles, which are not taken for left behind until this is closed.
    pub(crate) async fn maker(&self) -> Result<Client, Error> {
        let client = self.admin(self.maintenance_database()).await?;
        if self.is_claimed() {
            claim::making(&client, &self.prefix).await.map_err(Error::database("lock what is made on it"))?;
        }
        Ok(client)
    }

    /// Whether others can tell that what is made on it is in use. A server that goes away as a whole needs no claim.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }

    /// How one who may do everything reaches it.
    pub(crate) fn reached_by(&self) -> (&Config, &MakeRustlsConnect) {
        (&self.started.admin, &self.tls)
    }

    /// The same as [`admin`](Self::admin), with what the server tells it beside its answers.
    ///
    /// # Errors
    /// The server cannot be reached, or has no such database.
    pub async fn admin_with_notices(&self, database: &str) -> Result<(Client, Notices), Error> {
        connect_with_notices(self.started.admin.clone().dbname(database), &self.tls).await
    }

    /// The same by way of `address`, a host and port that stand for the server: a relay's.
    pub async fn admin_at(&self, database: &str, address: (String, u16)) -> Result<Client, Error> {
        connect(&self.admin_config(database, address), &self.tls).await
    }

    fn admin_config(&self, database: &str, (host, port): (String, u16)) -> Config {
        let (admin, mut config) = (&self.started.admin, Config::new());
        config.host(host).port(port).dbname(database).user(admin.get_user().unwrap_or_default());
        config.password(admin.get_password().unwrap_or_default()).ssl_mode(admin.get_ssl_mode());
        config
    }

    /// A connection to the database of `login`, as that login.
    pub async fn client(&self, login: &Login) -> Result<Client, Error> {
        self.client_with(&login.config(self)).await
    }

    /// A connection by way of something that stands for the server.
    pub(crate) async fn client_with(&self, config: &Config) -> Result<Client, Error> {
        connect(config, &self.tls).await
    }

    /// Connects to a host and port, and fails unless the certificate there is good for `name`.
    pub(crate) async fn prove_name(&self, name: &str, at: (&str, u16)) -> Result<(), Error> {
        let failed = || Error::io(format!("looking up {}", at.0));
        let nowhere = || std::io::Error::other("it has no address");
        let address = lookup_host(at).await.and_then(|mut found| found.next().ok_or_else(nowhere)).map_err(failed())?;
        let mut config = self.admin_config(self.maintenance_database(), (name.to_owned(), address.port()));
        config.hostaddr(address.ip()).ssl_mode(SslMode::Require);
        connect(&config, &self.tls).await.map(drop)
    }

    /// How to connect to it as one who may do everything, password included: for the environment of a process, never for its
    /// arguments.
    pub fn url(&self) -> String {
        let (admin, (host, port)) = (&self.started.admin, self.address());
        let mode = if self.has_tls() { "require" } else { "disable" };
        let mut url = url::Url::parse("postgres://server").expect("a URL");
        // Neither of these fails on a URL that has a host.
        let _ = url
            .set_host(Some(&host))
            .and_then(|()| url.set_port(Some(port)).map_err(|()| url::ParseError::InvalidPort));
        let _ = url.set_username(admin.get_user().unwrap_or_default());
        let _ = url.set_password(Some(&String::from_utf8_lossy(admin.get_password().unwrap_or_default())));
        url.set_path(self.maintenance_database());
        url.query_pairs_mut().append_pair("sslmode", mode);
        if let Some(root) = self.root_certificate() {
            url.query_pairs_mut().append_pair("sslrootcert", &root.to_string_lossy());
        }
        url.into()
    }

    /// How many connections there are to the databases of `fixture`, those of `admin` not counted.
    pub async fn connections(&self, fixture: &Fixture) -> Result<i64, Error> {
        let client = self.admin(self.maintenance_database()).await?;
        client
            .query_one(
                "select count(*) from pg_stat_activity where starts_with(datname, $1) and usename <> current_user",
                &[&format!("{}_", fixture.prefix)],
            )
            .await
            .map(|row| row.get(0))
            .map_err(Error::database("count connections"))
    }

    /// A command for one of PostgreSQL's own client programs, run where it can reach the server at the second value's host
    /// and port. The password is the caller's to pass on, as PGPASSWORD in the environment.
    pub fn client_program(&self, name: &str) -> (Command, (String, u16)) {
        match &self.started.tools {
            Tools::InContainer(container) => {
                let mut docker = Command::new("docker");
                docker.args([
                    "exec",
                    "--interactive",
                    "--env",
                    "PGPASSWORD",
                    "--env",
                    "PGSSLMODE",
                    container,
                    "sh",
                    "-c",
                ]);
                docker.arg(r#"PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"; exec "$0" "$@""#).arg(name);
                (docker, ("127.0.0.1".into(), 5432))
            }
            Tools::InFolder(folder) => {
                let program = folder.as_ref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
                (Command::new(program), self.address())
            }
        }
    }

    /// The host and port it listens on.
    pub fn address(&self) -> (String, u16) {
        let host = match self.started.admin.get_hosts() {
            [tokio_postgres::config::Host::Tcp(host), ..] => host.clone(),
            _ => "localhost".into(),
        };
        (host, self.started.admin.get_ports().first().copied().unwrap_or(5432))
    }

    /// The database that exists before any of ours does.
    pub fn maintenance_database(&self) -> &str {
        self.started.admin.get_dbname().unwrap_or("postgres")
    }

    pub(crate) fn next_fixture(&self) -> String {
        format!("{}_{}", self.prefix, self.fixtures.fetch_add(1, Ordering::Relaxed))
    }

    /// Drops at once whatever was created here on a server that stays; for a process that is about to end without
    /// dropping anything. Blocks.
    pub fn clear(&self) {
        self.clean_up(&self.prefix);
    }

    /// Drops every database and role whose name begins with `prefix`, on a server that stays. Blocks; for `Drop`.
    pub(crate) fn clean_up(&self, prefix: &str) {
        if !self.cleans_up {
            return;
        }
        let (config, tls, prefix) = (self.started.admin.clone(), self.tls.clone(), prefix.to_owned());
        // A runtime of its own: the caller's may be the one that is shutting down.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(Error::io("starting a runtime"))?.block_on(drop_all(&config, &tls, &prefix))
        });
        match cleaned.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("databases and roles named {}* could not be dropped: {error}", self.prefix),
            Err(_) => eprintln!("databases and roles named {}* could not be dropped", self.prefix),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Drops every database and role whose name begins with `prefix`; the role that was made first is the last.
pub(crate) async fn drop_all(admin: &Config, tls: &MakeRustlsConnect, prefix: &str) -> Result<(), Error> {
    let client = connect(admin, tls).await?;
    claim::end_making(&client, prefix).await.map_err(Error::database("end what is being made on it"))?;
    let failed = || Error::database("list what is to be dropped");
    let databases = client
        .query("select datname::text from pg_database where starts_with(datname, $1)", &[&prefix])
        .await
        .map_err(failed())?;
    for name in databases.iter().map(|row| row.get::<_, &str>(0)) {
        client
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .await
            .map_err(Error::database(format!("drop database {name}")))?;
    }
    // Members before the groups they are in; of these the tenants' comes before the first.
    let roles = client
        .query(
            "select rolname::text from pg_roles where starts_with(rolname, $1) order by rolcanlogin desc, rolname desc",
            &[&prefix],
        )
        .await
        .map_err(failed())?;
    for name in roles.iter().map(|row| row.get::<_, &str>(0)) {
        client
            .batch_execute(&format!("drop role if exists {name}"))
            .await
            .map_err(Error::database(format!("drop role {name}")))?;
    }
    Ok(())
}

/// A connection to the server of `DATABASE_URL` as its login; to that of `given` when there is one, a URL without a password,
/// which is then taken from `PGPASSWORD`.
///
/// # Errors
/// The URL is not set or not understood, `given` has a password in it, or the server cannot be reached.
pub async fn connect_to_url(given: Option<&str>) -> Result<Client, Error> {
    connect_to_url_with_notices(given).await.map(|(client, _)| client)
}

/// The same as [`connect_to_url`], with what the server tells it beside its answers.
///
/// # Errors
/// As those of [`connect_to_url`].
pub async fn connect_to_url_with_notices(given: Option<&str>) -> Result<(Client, Notices), Error> {
    let started = given.map_or_else(provider::of_url, Started::at)?;
    connect_with_notices(&started.admin, &connector(started.root.as_deref())?).await
}

fn connector(root: Option<&Path>) -> Result<MakeRustlsConnect, Error> {
    tare_tls::client(root).map(MakeRustlsConnect::new).map_err(Error::io("preparing TLS"))
}

pub(crate) async fn connect(config: &Config, tls: &MakeRustlsConnect) -> Result<Client, Error> {
    connect_with_notices(config, tls).await.map(|(client, _)| client)
}

async fn connect_with_notices(config: &Config, tls: &MakeRustlsConnect) -> Result<(Client, Notices), Error> {
    let (client, connection) =
        config.clone().application_name("tare-testbed").connect(tls.clone()).await.map_err(|error| {
            let [host, ..] = config.get_hosts() else { return Error::database("be reached")(error) };
            let host = match host {
                tokio_postgres::config::Host::Tcp(host) => host.clone(),
                other => format!("{other:?}"),
            };
            let port = config.get_ports().first().copied().unwrap_or(5432);
            Error::database(format!("be reached at {host}:{port}"))(error)
        })?;
    let notices = Notices::default();
    tokio::spawn(notices.clone().collect(connection));
    Ok((client, notices))
}

/// Waits until a server that was just started lets us in; `has_ended` tells that it never will.
pub(crate) async fn wait_until_ready(
    admin: &Config,
    root: Option<&Path>,
    mut has_ended: impl FnMut() -> bool,
) -> Result<(), Error> {
    let tls = connector(root)?;
    let deadline = Instant::now() + READY;
    loop {
        match connect(admin, &tls).await {
            Ok(_) => return Ok(()),
            Err(error) if has_ended() || Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
