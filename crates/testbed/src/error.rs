//! Why there is no testbed.

use std::path::PathBuf;

use crate::Provider;

/// Why there is no testbed; each message says what was tried, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `DATABASE_URL` is asked for and not set.
    #[error(
        "DATABASE_URL is not set; set it to a PostgreSQL to measure against, as postgres://user:password@host:port/database"
    )]
    NoUrl,
    /// The URL of a database cannot be understood.
    #[error(
        "the URL of the database (DATABASE_URL, or --database-url) is not usable: {0}; it should read postgres://user:password@host:port/database, with ?sslmode=require&sslrootcert=FILE for TLS"
    )]
    BadUrl(String),
    /// The login may not create what the testbed needs.
    #[error(
        "the login {0:?} of DATABASE_URL may not create databases and roles; `alter role … createdb createrole` it, or name one that may"
    )]
    Powerless(String),
    /// The Docker way did not work.
    #[error("no container: {0}")]
    Container(String),
    /// The system's binaries did not work.
    #[error("no private cluster: {0}")]
    System(String),
    /// A server that is not a cluster of ours is not ours to break.
    #[error(
        "PostgreSQL from the provider {0} is not taken away; only a private cluster is (`--postgres system`, from PostgreSQL's server binaries)"
    )]
    NotOurs(Provider),
    /// There is no relay to the server.
    #[error("no relay: {0}")]
    Relay(String),
    /// There is no PgBouncer in front of the server, though the program is installed.
    #[error("no PgBouncer: {0}")]
    Bouncer(String),
    /// None of the ways worked.
    #[error(
        "no PostgreSQL to measure against. Any one of these will do:\n  \
         - set DATABASE_URL to a server whose login may create databases and roles\n  \
         - start a Docker engine that has or can pull the image {image} (POSTGRES_IMAGE names another): {container}\n  \
         - install PostgreSQL's server binaries (Debian: postgresql, Fedora: postgresql-server, macOS: brew install postgresql): {system}"
    )]
    None {
        /// The image that was tried.
        image: String,
        /// Why there is no container.
        container: Box<Error>,
        /// Why there is no private cluster.
        system: Box<Error>,
    },
    /// The server was found but did not do what was asked.
    #[error("PostgreSQL could not {attempted}: {}", server_message(.source))]
    Database {
        /// What was tried, as the end of "PostgreSQL could not …".
        attempted: String,
        /// What the driver said.
        source: tokio_postgres::Error,
    },
    /// The handover file of another process cannot be used.
    #[error("the testbed described by {path} cannot be used: {reason}")]
    Handover {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder of the testbed's own.
    #[error("{attempted}: {source}")]
    Io {
        /// What was tried, and on what.
        attempted: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn database(attempted: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Database { attempted: attempted.into(), source }
    }

    pub(crate) fn io(attempted: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { attempted: attempted.into(), source }
    }
}

/// The driver's `Display` is "db error"; the server's own message says more.
fn server_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
