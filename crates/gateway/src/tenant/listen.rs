//! Hearing of changes in the control database, whose triggers tell of them.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::cache::Memory;
use crate::Error;

/// How long nothing is heard before the connection is asked whether it still works.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long after a lost connection the next attempt begins.
const RETRY: Duration = Duration::from_millis(250);

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// One user: revoked, moved, new.
    User(Uuid),
    /// One tenant: its database or its login.
    Tenant(Uuid),
    /// Many, or nobody knows what.
    Any,
}

impl Change {
    /// Reads what a trigger told: `user <id>`, `tenant <id>`; anything else is any change.
    fn parse(told: &str) -> Self {
        match told.split_once(' ').map(|(kind, id)| (kind, id.parse())) {
            Some(("user", Ok(id))) => Self::User(id),
            Some(("tenant", Ok(id))) => Self::Tenant(id),
            _ => Self::Any,
        }
    }
}

/// Listens until the cache is gone. Whenever a connection has been lost and made anew, everything is forgotten.
pub(super) async fn listen(memory: Weak<Memory>) {
    loop {
        match session(&memory).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error), "changes of tenants are not heard of")
            }
        }
        match memory.upgrade() {
            Some(memory) => memory.set_listening(false),
            None => return,
        }
        sleep(RETRY).await;
    }
}

/// Ends well when the cache is gone.
async fn session(memory: &Weak<Memory>) -> Result<(), Error> {
    let Some(strong) = memory.upgrade() else { return Ok(()) };
    let (tell, mut told) = unbounded_channel();
    let failed = || Error::database("tell of changes");
    let client = strong.control().listen(tell).await?;
    client.batch_execute("listen control").await.map_err(failed())?;
    // From here on nothing is missed; what was remembered before may be untrue.
    strong.forget(Change::Any).await;
    strong.set_listening(true);
    drop(strong);
    loop {
        let heard = tokio::select! {
            heard = told.recv() => Some(heard),
            () = sleep(HEARTBEAT) => None,
        };
        let Some(strong) = memory.upgrade() else { return Ok(()) };
        match heard {
            Some(Some(change)) => strong.forget(Change::parse(&change)).await,
            Some(None) => return Err(Error::Silent),
            None => {
                let beat = timeout(HEARTBEAT, client.simple_query("")).await.map_err(|_| Error::Silent)?;
                beat.map_err(failed())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_what_has_changed_or_is_any() {
        let id = Uuid::from_u128(7);
        assert_eq!(Change::parse(&format!("user {id}")), Change::User(id));
        assert_eq!(Change::parse(&format!("tenant {id}")), Change::Tenant(id));
        for other in ["", "all", "user", "user x", "yacht 7"] {
            assert_eq!(Change::parse(other), Change::Any, "{other:?}");
        }
    }
}
