//! Faults on the real server and a real PostgreSQL, under load, and what must hold all the same.
//!
//! A [`Bed`] has the server, its databases, and a relay between them for each. A [round](play) inflicts one [`Fault`] on them
//! while callers ask for ever new things, heals it, and then holds the [books](Books) of the databases against what the callers
//! were told. Who calls and what they ask for comes from a seed; what happens at the same time does not, so that a round
//! with the same seed is alike, not the same.

mod bed;
mod books;
mod callers;
mod clients;
mod fault;
mod inflict;
mod round;
mod service;

pub use bed::{Bed, Queue};
pub use books::{Books, Losses};
pub use fault::Fault;
pub use round::{MOST_OTHERS, MOST_RECOVERY, Outcome, play};
pub use service::Leftovers;

/// Why a round could not be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The databases could not be set up, broken or looked at.
    #[error(transparent)]
    Testbed(#[from] tare_testbed::Error),
    /// A query of ours failed.
    #[error("the books could not be read: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// What a fault needs is not there.
    #[error("{0}")]
    Lacks(String),
    /// The server could not be started, stopped or asked.
    #[error("{attempted}: {reason}")]
    Server {
        /// What was tried.
        attempted: String,
        /// What came of it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn server(attempted: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |reason| Self::Server { attempted: attempted.into(), reason: reason.to_string() }
    }
}
