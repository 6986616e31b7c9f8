//! What comes from outside, each kind by a function that takes any bytes, panics when they are not dealt with as they should be, and tells
//! whether they were understood and not refused.
//!
//! The targets of cargo-fuzz call these, and so does `xtask/tests/fuzz.rs`, an ordinary test, with inputs made from the seeds.

mod body;
mod config;
mod evidence;
mod network;
mod server_timing;
mod token;

pub use body::body;
pub use config::config;
pub use evidence::evidence;
pub use network::network;
pub use server_timing::server_timing;
pub use token::token;
