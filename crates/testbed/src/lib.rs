//! A PostgreSQL to measure against, the fixtures in it, and tokens for it.
//!
//! [`Server::start`] finds or starts a PostgreSQL; [`Fixture::create`] puts a control database and tenants' databases of its
//! own in it. What was started or created is gone when the last of them is dropped, and a [reaper](Reaper) sees to it when
//! this process dies without dropping anything.
//!
//! Between a service and the server there can be a [`Relay`], which stands for the [`Network`] between them, counts round trips
//! and bytes and breaks connections on demand, and a [`Bouncer`], which is PgBouncer; [`Login::config_at`] and [`Fixture::route_through`] lead through them.

mod bouncer;
mod certificate;
mod claim;
mod data;
mod error;
mod fixture;
mod folder;
mod handover;
mod measuring;
mod network;
mod notices;
mod outage;
mod program;
mod provider;
mod reaper;
mod relay;
mod requests;
mod server;
mod testbed;
mod token;

pub use bouncer::{Bouncer, PoolMode, has_pgbouncer, pgbouncer_logins};
pub use data::Part;
pub use error::Error;
pub use fixture::{Fixture, Login, Size, TenantFixture, User};
pub use folder::{PROJECT, PrivateFolder};
pub use handover::{COUNT, HANDOVER, TURNS};
pub use measuring::Measuring;
pub use network::{NETWORK, Network, NetworkError};
pub use notices::Notices;
pub use outage::Outage;
pub use provider::{Provider, password};
pub use reaper::Reaper;
pub use relay::{Counts, Relay};
pub use requests::{Prepared, Template, UnknownAction};
pub use server::{Server, connect_to_url, connect_to_url_with_notices};
pub use testbed::Testbed;
pub use token::{AUDIENCE, ISSUER, TokenKey, TokenSecret};
