//! A PgBouncer between a service and its PostgreSQL: what many have there already, to measure with.
//!
//! It pools by transaction or by session, with a pool for each login and database. It logs in to the server as the clients do, SCRAM over
//! verified TLS, and has its clients do the same: it proves itself with the server's own certificate, which the fixture's
//! clients trust. With a server of `DATABASE_URL` there is no key to that, so its clients speak to it without TLS.
//!
//! Before version 1.21 a client cannot use named prepared statements through it.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::program::{self, User};
use crate::{Error, Fixture, Login, PrivateFolder, Reaper, Server};

const HOST: &str = "127.0.0.1";

/// How long it may take until it listens, and then until a client is let in.
const READY: Duration = Duration::from_secs(10);

/// Between whose clients a connection to the server changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// From one transaction to the next: no state of a session outlives one, named statements included.
    Transaction,
    /// From one client to the next.
    Session,
}

/// A running PgBouncer; stops and vanishes when dropped, and when this process ends without dropping it.
pub struct Bouncer {
    server: Arc<Server>,
    port: u16,
    tls: bool,
    process: Process,
    // After the process, which logs to it.
    _folder: PrivateFolder,
}

/// A process that does not outlive this one.
struct Process {
    child: Child,
    reaper: Reaper,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.reaper.release();
        let _ = self.child.wait();
    }
}

impl Bouncer {
    /// A PgBouncer for the logins of `fixture`, with at most `pool_size` server connections for each. `None`, and a line to
    /// `say`, when the program is not installed.
    ///
    /// # Errors
    /// It is installed and does not start, or does not let the fixture's clients through to the server.
    pub async fn start(fixture: &Fixture, pool_size: u32, say: &(dyn Fn(&str) + Sync)) -> Result<Option<Self>, Error> {
        Self::start_to(fixture, fixture.server().address(), PoolMode::Transaction, pool_size, say).await
    }

    /// The same, which reaches the server at `address`: by a relay, and so at a distance.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub async fn start_to(
        fixture: &Fixture,
        address: (String, u16),
        mode: PoolMode,
        pool_size: u32,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Option<Self>, Error> {
        let Some(program) = find_program() else {
            say(
                "no PgBouncer: the program pgbouncer is not installed (Debian and Fedora: pgbouncer, macOS: brew install pgbouncer)",
            );
            return Ok(None);
        };
        let user = program::other_than_root().map_err(Error::Bouncer)?;
        // Another port is tried when somebody takes the free one before PgBouncer does.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            let folder = PrivateFolder::new()?;
            let port = program::free_port().map_err(Error::io(format!("looking for a free port on {HOST}")))?;
            write_files(folder.path(), user, fixture, &address, mode, port, pool_size)?;
            let process = launch(&program, folder.path(), user)?;
            folder.kills(process.child.id())?;
            let log = folder.path().join("log");
            let mut bouncer = Self {
                server: fixture.server().clone(),
                port,
                tls: fixture.server().started.certificate.is_some(),
                process,
                _folder: folder,
            };
            match bouncer.wait_until_ready(fixture.control()).await {
                Ok(()) => return Ok(Some(bouncer)),
                Err(_) if attempts > 0 && has_logged(&log, "Address already in use") => {}
                Err(reason) => {
                    let log = program::end_of_log(&log);
                    return Err(Error::Bouncer(format!("{} {reason}; it said: {log}", program.display())));
                }
            }
        }
    }

    /// The host and port it listens on.
    pub fn address(&self) -> (String, u16) {
        (HOST.into(), self.port)
    }

    /// How to connect to the database of `login` through it.
    pub fn config(&self, login: &Login) -> Config {
        login.config_with(self.address(), if self.tls { SslMode::Require } else { SslMode::Disable })
    }

    /// The same as a URL, password included: for the environment of a process, never for its arguments.
    pub fn url(&self, login: &Login) -> String {
        login.url_with(self.address(), self.tls)
    }

    /// Waits until it listens, then lets a client through to the server; the error ends a sentence about the program.
    async fn wait_until_ready(&mut self, login: &Login) -> Result<(), String> {
        let listens = timeout(READY, async {
            while TcpStream::connect(self.address()).await.is_err() {
                if !matches!(self.process.child.try_wait(), Ok(None)) {
                    return Err("ended at once".to_owned());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        });
        let in_time = |what| format!("did not {what} within {} s", READY.as_secs());
        listens.await.map_err(|_| in_time("listen"))??;
        let config = self.config(login);
        let client = timeout(READY, self.server.client_with(&config)).await;
        let client = client.map_err(|_| in_time("let a client through"))?;
        client.map(drop).map_err(|error| format!("let no client through: {error}"))
    }
}

/// The logins of `fixture`, as PgBouncer reads them.
pub fn pgbouncer_logins(fixture: &Fixture) -> String {
    let tenants = fixture.tenants().iter().map(|tenant| &tenant.login);
    let line = |login: &Login| format!("\"{}\" \"{}\"\n", login.role, login.password());
    std::iter::once(fixture.control()).chain(tenants).map(line).collect()
}

/// Whether there is a PgBouncer to start.
pub fn has_pgbouncer() -> bool {
    find_program().is_some()
}

/// On the PATH, or where packages put it that an ordinary user's PATH leaves out.
fn find_program() -> Option<PathBuf> {
    let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    program::folders()
        .into_iter()
        .chain(sbin)
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program::exists(program))
}

/// Its settings, and the certificates and logins they name, for `user` alone.
fn write_files(
    folder: &Path,
    user: Option<User>,
    fixture: &Fixture,
    (server_host, server_port): &(String, u16),
    mode: PoolMode,
    port: u16,
    pool_size: u32,
) -> Result<(), Error> {
    let server = fixture.server();
    let at = folder.display();
    let mode = match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    };
    // No socket besides the port, and no wait longer than ours.
    let mut settings = format!(
        "[databases]\n\
         * = host={server_host} port={server_port}\n\
         [pgbouncer]\n\
         listen_addr = {HOST}\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {at}/logins\n\
         pool_mode = {mode}\n\
         default_pool_size = {pool_size}\n\
         max_client_conn = 1000\n\
         log_connections = 0\n\
         log_disconnections = 0\n"
    );
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        program::write_private(&path, content, user).map_err(Error::io(format!("writing {}", path.display())))
    };
    program::own(folder, user).map_err(Error::io(format!("handing {at} over")))?;
    if server.has_tls() {
        let root = server.root_certificate().ok_or_else(|| {
            let advice = "name the certificate it is verified with, as sslrootcert=FILE in DATABASE_URL";
            Error::Bouncer(format!("it verifies the server with a file of certificates only; {advice}"))
        })?;
        // A copy, as the folder it is in may be closed to the user.
        let copied = fs::read_to_string(root).map_err(Error::io(format!("reading {}", root.display())))?;
        file("root.pem", &copied)?;
        let _ = write!(settings, "server_tls_sslmode = verify-full\nserver_tls_ca_file = {at}/root.pem\n");
    }
    if let Some(certificate) = &server.started.certificate {
        file("server.pem", &certificate.server)?;
        file("server.key", &certificate.key)?;
        let _ = write!(
            settings,
            "client_tls_sslmode = require\n\
             client_tls_cert_file = {at}/server.pem\n\
             client_tls_key_file = {at}/server.key\n"
        );
    }
    file("logins", &pgbouncer_logins(fixture))?;
    file("settings", &settings)?;
    file("log", "")
}

fn launch(program: &Path, folder: &Path, user: Option<User>) -> Result<Process, Error> {
    let starting = || Error::io(format!("starting {}", program.display()));
    let log = File::options().append(true).open(folder.join("log")).map_err(starting())?;
    let mut child = program::command(program, user)
        .arg(folder.join("settings"))
        .stdout(log.try_clone().map_err(starting())?)
        .stderr(log)
        // Ctrl-C is for us; it ends when we are done with it.
        .process_group(0)
        .spawn()
        .map_err(starting())?;
    match Reaper::new(r#"kill -KILL "$1""#, &[&child.id().to_string()]) {
        Ok(reaper) => Ok(Process { child, reaper }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::io("starting /bin/sh to clean up after us")(error))
        }
    }
}

fn has_logged(log: &Path, text: &str) -> bool {
    fs::read_to_string(log).is_ok_and(|log| log.contains(text))
}
