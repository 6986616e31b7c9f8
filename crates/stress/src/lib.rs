//! Load on an HTTP service, each answer checked, and what came of it.
//!
//! In a closed loop each of `concurrency` workers has one request under way at a time, and a service that stalls is asked
//! less meanwhile. At a rate requests are due whether or not those before them are answered, and a request's latency counts
//! from when it was due. Either way it counts until the outcome is known, whatever that is: leaving failures out would make a
//! failing service look fast. Knows HTTP and knows nothing of the gateway.

mod connection;
mod csv;
mod limit;
mod load;
mod log;
mod merge;
mod mix;
mod moment;
mod outcome;
mod pace;
mod promise;
mod request;
mod share;
mod spec;
mod tail;
mod tally;
mod target;
mod template;
mod timeline;
mod times;
mod worker;

pub use connection::{Answer, Connection, NoAnswer};
pub use csv::csv;
pub use limit::Search;
pub use load::{Extent, Line, Live, Load, Measured, run};
pub use log::{Entry, Log, LogError};
pub use merge::{MergeError, Part, merge};
pub use mix::{Action, Drawn, Mix, MixError};
pub use pace::{Pace, PaceError, time};
pub use request::Request;
pub use share::{Share, ShareError};
pub use spec::Spec;
pub use tail::{Seen, circumstances};
pub use target::{Protocol, Target};
pub use timeline::Window;
pub use times::summary;
pub use worker::call;

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
    /// The machine has no thread or descriptor left for it.
    #[error("load cannot be sent from this machine: {0}; fewer --threads or connections (-c) need less of it")]
    Threads(#[source] std::io::Error),
    /// A bearer token that no header can carry.
    #[error("the token is not one that a header can carry: it holds spaces, line ends or other control characters")]
    BadToken,
    /// What was measured does not fit into a log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The certificates to trust.
    #[error("TLS cannot be prepared: {0}")]
    Tls(#[source] std::io::Error),
}

/// How long a request may take before it is given up.
pub const TIMEOUT: Duration = Duration::from_secs(30);
