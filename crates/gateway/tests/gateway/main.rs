//! The gateway on a real PostgreSQL.

mod audit;
mod bed;
mod cache;
mod connections;
mod execute;
mod fleet;
mod idempotency;
mod reads;
mod tenants;
mod trips;
