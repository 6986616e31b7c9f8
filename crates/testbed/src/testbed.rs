//! What is measured against: a fixture, and how far away it is.

use std::path::Path;
use std::sync::Arc;

use crate::{Error, Fixture, HANDOVER, Network, Provider, Relay, Server, Size};

/// A fixture in its server, and the network to it.
pub struct Testbed {
    /// The databases and their rows.
    pub fixture: Fixture,
    relay: Option<Arc<Relay>>,
}

impl Testbed {
    /// The testbed that [`HANDOVER`] describes; when it describes none, a new one of the given size. It is at no distance yet.
    pub async fn find_or_start(
        asked: Option<Provider>,
        size: Size,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, Error> {
        let fixture = match std::env::var_os(HANDOVER) {
            Some(path) => Fixture::handed_over(path.as_ref()).await?,
            None => Fixture::create(Server::start(asked, say).await?, size).await?,
        };
        Ok(Self { fixture, relay: None })
    }

    /// The testbed that the file at `path` describes, which belongs to another process. It is at no distance yet.
    pub async fn handed_over(path: &Path) -> Result<Self, Error> {
        Ok(Self { fixture: Fixture::handed_over(path).await?, relay: None })
    }

    /// Puts the databases at a distance from everybody who reaches them by [`address`](Self::address), or is led to them by the
    /// control database. With no distance there is nothing in between.
    pub async fn put_at(&mut self, network: Network) -> Result<(), Error> {
        match network {
            Network::LOOPBACK => {
                self.relay = None;
                self.fixture.route_through(self.address()).await
            }
            network => self.put_behind_relay(network).await.map(drop),
        }
    }

    /// The same with a relay in any case, for what passes it to be counted.
    pub async fn put_behind_relay(&mut self, network: Network) -> Result<Arc<Relay>, Error> {
        let relay = Arc::new(Relay::start(self.fixture.server()).await?);
        relay.stretch(network).await;
        self.relay = Some(relay.clone());
        self.fixture.route_through(self.address()).await?;
        Ok(relay)
    }

    /// What stands for the network, where there is one.
    pub fn relay(&self) -> Option<&Arc<Relay>> {
        self.relay.as_ref()
    }

    /// The host and port by which the databases are reached over the network.
    pub fn address(&self) -> (String, u16) {
        self.relay.as_ref().map_or_else(|| self.fixture.server().address(), |relay| relay.address())
    }
}
