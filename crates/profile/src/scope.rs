//! Which databases are looked at.

use tare_testbed::Fixture;
use tokio_postgres::Client;

use crate::Error;

/// Which databases are looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Their names.
    pub databases: Vec<String>,
    /// Whether they were made by us, and may be set as it serves.
    pub ours: bool,
}

impl Scope {
    /// Those of `fixture`, on whatever server it is.
    pub fn of(fixture: &Fixture) -> Self {
        Self { databases: fixture.databases(), ours: fixture.server().is_ours() }
    }

    /// The database that `client` is connected to, which is somebody else's.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn current(client: &Client) -> Result<Self, Error> {
        Ok(Self { databases: vec![current(client).await?], ours: false })
    }

    /// Whether what `client` does is among what is looked at.
    pub(crate) async fn holds(&self, client: &Client) -> Result<bool, Error> {
        Ok(self.databases.contains(&current(client).await?))
    }
}

async fn current(client: &Client) -> Result<String, Error> {
    Ok(client.query_one("select current_database()::text", &[]).await?.get(0))
}
