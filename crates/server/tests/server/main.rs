//! The server as a process, on a real PostgreSQL.

mod bed;
mod limits;
mod observe;
mod process;
