//! One action taken apart: its query alone beside the whole request, where the rest goes, what the database is asked to do and how
//! it does it.
//!
//! Requests are sent one at a time, each beside one run of the query on a connection kept open, so that both see the same
//! machine. What the request takes beyond the query is overhead.

use tokio_postgres::Client;

mod activity;
mod count;
pub mod distance;
mod error;
mod estimate;
mod finding;
mod measure;
mod plan;
mod scope;
mod statement;
mod typical;
mod work;

pub use activity::{Sampler, Watched, lock_finding};
pub use count::Count;
pub use error::Error;
pub use finding::conclude;
pub use measure::{Query, Subject, profile};
pub use plan::{Database, Explained, explain};
pub use scope::Scope;
pub use work::findings as work_findings;

/// What another session holds is not waited for without end: the statement that waits for it then fails.
async fn bound_waits(client: &Client) -> Result<(), Error> {
    Ok(client.batch_execute("set lock_timeout = '5s'").await?)
}
