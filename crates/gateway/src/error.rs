//! Why a request was not answered with what it asked for.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::connection::OpenError;

/// What there was no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// So many of the tenant's requests wait for a connection already.
    #[error("{0} requests of this tenant wait for a connection already")]
    QueueFull(usize),
    /// No connection came free in time.
    #[error("no connection came free within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The audit queue was full all the time.
    #[error("the audit queue was full for {} s", .0.as_secs_f32())]
    AuditFull(Duration),
    /// This instance of a fleet has no quota of its budget, yet or any more.
    #[error("this instance has no quota of the fleet's budget of connections")]
    NoQuota,
}

/// Why a request was refused or failed. The message is for the caller and holds nothing a stranger may not know; what
/// happened inside is the error's source, for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not the JSON that was agreed on.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The token is missing, forged, expired or meant for somebody else.
    #[error("the token was not accepted: {0}")]
    Token(&'static str),
    /// The token is good, but its user belongs to no tenant.
    #[error("this user belongs to no tenant")]
    NoTenant,
    /// The caller's role does not allow the action, or its context names a yacht that is not the caller's.
    #[error("this user may not do that")]
    Forbidden,
    /// There is no such action.
    #[error("there is no action {0:?}")]
    NoSuchAction(String),
    /// There is no such part on the caller's yacht.
    #[error("there is no part {0}")]
    NoSuchPart(Uuid),
    /// Less is in stock than was asked for.
    #[error("there is not enough of part {0} in stock")]
    NotEnoughStock(Uuid),
    /// More would be in stock than can be counted.
    #[error("there would be too much of part {0} in stock")]
    TooMuchStock(Uuid),
    /// The idempotency key was used for another request before.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// There was no room for this request in time.
    #[error("the service is busy, try again")]
    Busy(#[source] Busy),
    /// No connection to a database could be opened.
    #[error("the database cannot be reached, try again")]
    Unreachable(#[source] OpenError),
    /// The store of the durable audit queue failed.
    #[error("the service cannot record this, try again")]
    Store(String),
    /// A connection that should have said something did not.
    #[error("the database is silent")]
    Silent,
    /// A database could not be reached or failed.
    #[error("the database could not {attempted}")]
    Database {
        /// What was tried, as the end of "the database could not …".
        attempted: &'static str,
        /// What the driver said.
        source: tokio_postgres::Error,
    },
    /// A failure shared by several requests that waited for the same tenant lookup.
    #[error(transparent)]
    Shared(std::sync::Arc<Error>),
    /// The gateway is shutting down.
    #[error("the service is stopping")]
    Stopping,
}

impl Error {
    /// The HTTP status this error is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Token(_) => 401,
            Self::NoTenant | Self::Forbidden => 403,
            Self::NoSuchAction(_) | Self::NoSuchPart(_) => 404,
            Self::NotEnoughStock(_) | Self::TooMuchStock(_) => 409,
            Self::KeyReused => 422,
            Self::Database { .. } => 500,
            Self::Busy(_) | Self::Unreachable(_) | Self::Silent | Self::Store(_) | Self::Stopping => 503,
            Self::Shared(error) => error.status(),
        }
    }

    /// Seconds after which it may be tried again, of what is likely to pass.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Busy(_) | Self::Unreachable(_) | Self::Silent | Self::Store(_) | Self::Stopping => Some(1),
            Self::Shared(error) => error.retry_after(),
            _ => None,
        }
    }

    /// A short fixed name for programs: `no_such_part`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Token(_) => "token",
            Self::NoTenant => "no_tenant",
            Self::Forbidden => "forbidden",
            Self::NoSuchAction(_) => "no_such_action",
            Self::NoSuchPart(_) => "no_such_part",
            Self::NotEnoughStock(_) => "not_enough_stock",
            Self::TooMuchStock(_) => "too_much_stock",
            Self::KeyReused => "key_reused",
            Self::Busy(_) => "busy",
            Self::Unreachable(_) | Self::Silent => "unreachable",
            Self::Store(_) => "audit",
            Self::Database { .. } => "database",
            Self::Shared(error) => error.code(),
            Self::Stopping => "stopping",
        }
    }

    /// Whether a row was there already that must be there once.
    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// Whether another has what was asked for.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.code() == Some(&SqlState::OBJECT_IN_USE))
    }

    /// For `map_err`: what was tried when the driver failed.
    pub(crate) fn database(attempted: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Database { attempted, source }
    }
}
