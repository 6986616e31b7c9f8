//! One action taken apart: its query alone beside the whole request, and where the rest goes.
//!
//! Requests are sent one at a time, each beside one run of the query on a connection kept open, so that both see the same
//! machine. What the request takes beyond the query is overhead.

mod estimate;
mod finding;
mod measure;
mod typical;

pub use finding::conclude;
pub use measure::{Error, Query, Subject, profile};
