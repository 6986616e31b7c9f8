//! The gateway on a real PostgreSQL.

mod audit;
mod bed;
mod connections;
mod execute;
mod idempotency;
mod tenants;
mod trips;
