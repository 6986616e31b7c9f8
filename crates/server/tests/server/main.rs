//! The server as a process, on a real PostgreSQL.

mod bed;
mod bodies;
mod fleet;
mod limits;
mod memory;
mod observe;
#[cfg(feature = "otlp")]
mod otlp;
mod process;
mod strangers;
mod workers;
