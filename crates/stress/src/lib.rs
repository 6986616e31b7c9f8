//! Load on an HTTP service: so many requests at such a concurrency, each answer checked, and what came of it.
//!
//! Each of `concurrency` workers keeps one connection and has one request under way at a time (a closed loop). A request's
//! latency counts until its outcome is known, whatever the outcome: leaving failures out would make a failing service look
//! fast. Knows HTTP and knows nothing of the gateway.

mod connection;
mod load;
mod request;
mod tally;
mod target;

pub use connection::{Answer, Connection, NoAnswer};
pub use load::{Extent, Load, run};
pub use request::Request;
pub use tally::broken_promise;
pub use target::Target;

use std::time::Duration;

/// Why there is no pass to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used.
    #[error(
        "{url:?} is not a URL that load can be sent to: {reason}; it should read http://127.0.0.1:8080/v1/actions/execute"
    )]
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL leads off this machine.
    #[error(
        "{url} is at {address}, which is not this machine; pass --allow-remote if its owner has agreed to the load"
    )]
    Remote {
        /// Where the load was meant to go.
        url: String,
        /// What its host resolves to.
        address: std::net::IpAddr,
    },
    /// Nothing there answered the first request.
    #[error("{url} does not answer: {reason}; check that the service is running and that the URL is right")]
    NoAnswer {
        /// Where it was sent.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// There is nothing to send.
    #[error("there is no request to send")]
    NoRequests,
    /// A bearer token that no header can carry.
    #[error("the token is not one that a header can carry: it holds spaces, line ends or other control characters")]
    BadToken,
    /// The certificates to trust.
    #[error("TLS cannot be prepared: {0}")]
    Tls(#[source] std::io::Error),
}

/// How long a request may take before it is given up.
pub const TIMEOUT: Duration = Duration::from_secs(30);
