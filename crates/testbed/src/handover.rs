//! A fixture that another process created.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::certificate::Certificate;
use crate::fixture::Rows;
use crate::provider::{Owned, Started, Tools};
use crate::{Error, Fixture, Server};

/// The environment variable that names the file a testbed is described in.
pub const HANDOVER: &str = "TARE_TESTBED";

/// The environment variable that tells a bench to count, and to time nothing: `only`.
pub const COUNT: &str = "TARE_COUNT";
/// The environment variable that names the only id of a bench that is timed, in turns with another process.
pub const TURNS: &str = "TARE_TURNS";

#[derive(Serialize, Deserialize)]
struct Handover {
    provider: String,
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
    tls: bool,
    root: Option<PathBuf>,
    certificate: Option<Certificate>,
    tools: Tools,
    server_prefix: String,
    fixture_prefix: String,
    rows: Rows,
}

impl Fixture {
    /// Describes it and its server in a new file at `path` that only this user can read: it holds passwords and
    /// the server's key.
    pub fn hand_over(&self, path: &Path) -> Result<(), Error> {
        let server = self.server();
        let admin = &server.started.admin;
        let (host, port) = server.address();
        let handover = Handover {
            provider: server.provider().to_string(),
            host,
            port,
            user: admin.get_user().unwrap_or_default().into(),
            password: String::from_utf8_lossy(admin.get_password().unwrap_or_default()).into_owned(),
            database: server.maintenance_database().into(),
            tls: server.has_tls(),
            root: server.root_certificate().map(Path::to_owned),
            certificate: server.started.certificate.clone(),
            tools: server.started.tools.clone(),
            server_prefix: server.prefix.clone(),
            fixture_prefix: self.prefix.clone(),
            rows: self.rows.clone(),
        };
        let text = serde_json::to_vec(&handover).map_err(|error| unusable(path, &error))?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(&text)).map_err(Error::io(format!("writing {}", path.display())))
    }

    /// The fixture that the file at `path` describes.
    pub(crate) async fn handed_over(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|error| unusable(path, &error))?;
        let handover: Handover = serde_json::from_slice(&text).map_err(|error| unusable(path, &error))?;
        let provider = handover.provider.parse().map_err(|error: String| unusable(path, &error))?;
        let mut admin = Config::new();
        admin.host(handover.host).port(handover.port).user(handover.user).password(handover.password);
        admin.dbname(handover.database);
        admin.ssl_mode(if handover.tls { SslMode::Require } else { SslMode::Disable });
        let Handover { root, certificate, tools, .. } = handover;
        let started = Started { provider, admin, root, certificate, tools, owned: Owned::Nothing };
        let server: Arc<Server> = Server::attach(started, handover.server_prefix).await?;
        Ok(Self::attach(server, handover.fixture_prefix, handover.rows))
    }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Handover { path: path.to_owned(), reason: reason.to_string() }
}
