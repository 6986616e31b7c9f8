//! Why an action could not be taken apart.

use std::net::SocketAddr;

/// Why an action could not be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service did not answer with a success.
    #[error("{url} {reason}; a profile needs requests that succeed")]
    Request {
        /// Where the request went.
        url: String,
        /// What came back.
        reason: String,
    },
    /// A statement of the user's failed.
    #[error("the query cannot be measured: {reason}\n  {sql}")]
    Query {
        /// What was run.
        sql: String,
        /// What the database says of it.
        reason: String,
    },
    /// Nothing listens.
    #[error("cannot connect to {address}: {reason}")]
    Unreached {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: std::io::Error,
    },
    /// What was asked of the database for the profile's own sake failed.
    #[error("cannot look at the database: {}", told(.0))]
    Database(#[from] tokio_postgres::Error),
    /// It was stopped.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// That `sql` failed.
    pub(crate) fn query(sql: &str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |error| Self::Query { sql: sql.trim().to_owned(), reason: told(&error) }
    }
}

/// What the server says, which the driver's own message leaves out.
fn told(error: &tokio_postgres::Error) -> String {
    let Some(error) = error.as_db_error() else { return error.to_string() };
    match error.message() {
        "cannot insert multiple commands into a prepared statement" => {
            "it is more than one statement; give one, or wrap them in a function".into()
        }
        message => message.to_owned(),
    }
}
