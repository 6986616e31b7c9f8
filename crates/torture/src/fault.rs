//! What goes wrong, and what is promised of it.

use std::fmt;
use std::str::FromStr;

/// Something that goes wrong under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// PostgreSQL is shut down and started again.
    PostgresStopped,
    /// PostgreSQL is killed with `-9` and started again.
    PostgresKilled,
    /// All processes of PostgreSQL are paused.
    PostgresPaused,
    /// Every connection to a database is reset, again and again.
    ConnectionsReset,
    /// Nothing passes between the server and its databases, and no connection ends.
    ConnectionsStalled,
    /// Connections to databases end in the middle of a message.
    ConnectionsCut,
    /// No connection to a database can be opened, and those that were are reset.
    ConnectionsRefused,
    /// The control database cannot be reached.
    ControlDown,
    /// One tenant's database cannot be reached, now and then.
    TenantDown,
    /// A transaction holds what every change of one tenant's stock waits for.
    LockHeld,
    /// Many more requests than there are connections.
    PoolSpent,
    /// The disk of the audit queue is full.
    QueueFull,
    /// The server is killed with `-9` and started again.
    ServerKilled,
    /// The server's clock jumps ahead, behind all tokens, and back.
    ClockJumps,
    /// Clients that send and take bytes one by one, or none.
    ClientsSlow,
    /// Clients that hang up in the middle of a request, or before its answer.
    ClientsGone,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 16] = [
        Self::PostgresStopped,
        Self::PostgresKilled,
        Self::PostgresPaused,
        Self::ConnectionsReset,
        Self::ConnectionsStalled,
        Self::ConnectionsCut,
        Self::ConnectionsRefused,
        Self::ControlDown,
        Self::TenantDown,
        Self::LockHeld,
        Self::PoolSpent,
        Self::QueueFull,
        Self::ServerKilled,
        Self::ClockJumps,
        Self::ClientsSlow,
        Self::ClientsGone,
    ];

    /// The name on the command line and in what is told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PostgresStopped => "postgres-stopped",
            Self::PostgresKilled => "postgres-killed",
            Self::PostgresPaused => "postgres-paused",
            Self::ConnectionsReset => "connections-reset",
            Self::ConnectionsStalled => "connections-stalled",
            Self::ConnectionsCut => "connections-cut",
            Self::ConnectionsRefused => "connections-refused",
            Self::ControlDown => "control-down",
            Self::TenantDown => "tenant-down",
            Self::LockHeld => "lock-held",
            Self::PoolSpent => "pool-spent",
            Self::QueueFull => "queue-full",
            Self::ServerKilled => "server-killed",
            Self::ClockJumps => "clock-jumps",
            Self::ClientsSlow => "clients-slow",
            Self::ClientsGone => "clients-gone",
        }
    }

    /// What is promised beside what is promised of every fault.
    pub const fn promise(self) -> &'static str {
        match self {
            Self::ControlDown => "tenants that are known go on being served",
            Self::TenantDown => "the other tenants go on being served, their P95 at most 1.5 × what it is without",
            Self::LockHeld => "the other tenants go on being served",
            Self::PoolSpent => "never more connections than the budget, as PostgreSQL counts them",
            Self::QueueFull => "changes of stock go on being done, reads are refused rather than not recorded",
            Self::ClockJumps => "no expired token is let in, and the same tokens are good again afterwards",
            Self::ClientsSlow => "the others go on being served, and every slow one is cut off",
            Self::ClientsGone => "what they began is done once or not at all",
            Self::PostgresStopped
            | Self::PostgresKilled
            | Self::PostgresPaused
            | Self::ConnectionsReset
            | Self::ConnectionsStalled
            | Self::ConnectionsCut
            | Self::ConnectionsRefused
            | Self::ServerKilled => "",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let named = Self::ALL.into_iter().find(|fault| fault.name() == given);
        named.ok_or_else(|| format!("unknown fault {given:?}; there are {}", known()))
    }
}
