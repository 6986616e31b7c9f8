//! A gateway on a fixture of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tare_gateway::audit::AuditSettings;
use tare_gateway::auth::{Keys, VerifierSettings};
use tare_gateway::connection::PoolSettings;
use tare_gateway::tenant::TenantSettings;
use tare_gateway::{Attributes, Fix, Gateway, Reply, Settings, Strategy};
use tare_testbed::{AUDIENCE, Fixture, ISSUER, Part, Relay, Server, Size};
use tokio_postgres::Client;
use uuid::Uuid;

pub struct Bed {
    pub gateway: Gateway,
    pub fixture: Fixture,
}

impl Bed {
    pub async fn with(strategy: Strategy) -> Self {
        Self::sized(strategy, Size::SMALL).await
    }

    pub async fn sized(strategy: Strategy, size: Size) -> Self {
        Self::new(fixture(size).await, strategy, |_| ()).await
    }

    /// A gateway with other settings than usual.
    pub async fn set(strategy: Strategy, change: impl FnOnce(&mut Settings)) -> Self {
        Self::new(fixture(Size::SMALL).await, strategy, change).await
    }

    /// A gateway all of whose connections lead through a relay.
    pub async fn relayed(strategy: Strategy, change: impl FnOnce(&mut Settings)) -> (Self, Relay) {
        let fixture = fixture(Size::SMALL).await;
        let relay = Relay::start(fixture.server()).await.unwrap();
        fixture.route_through(relay.address()).await.unwrap();
        let control = fixture.control().config_at(fixture.server(), relay.address());
        let change = |settings: &mut Settings| {
            settings.control = control;
            change(settings);
        };
        (Self::new(fixture, strategy, change).await, relay)
    }

    pub async fn new(fixture: Fixture, strategy: Strategy, change: impl FnOnce(&mut Settings)) -> Self {
        fixture.set_indexes(strategy.has(Fix::Indexes)).await.unwrap();
        let mut settings = settings(&fixture, strategy);
        change(&mut settings);
        Self { gateway: Gateway::new(settings).unwrap(), fixture }
    }

    pub async fn reply(&self, user: Uuid, action: &str, payload: Value) -> Reply {
        self.attributed(user, action, payload, Attributes::default()).await
    }

    pub async fn attributed(&self, user: Uuid, action: &str, payload: Value, attributes: Attributes<'_>) -> Reply {
        let body = json!({"action": action, "payload": payload}).to_string();
        self.gateway.execute(&self.fixture.secret().mint(user), body.as_bytes(), attributes).await
    }

    pub async fn ask(&self, user: Uuid, action: &str, payload: Value) -> Result<Value, u16> {
        answer(self.reply(user, action, payload).await)
    }

    /// One of the first tenant's crew looks at a part.
    pub async fn look(&self) -> Result<Value, u16> {
        self.ask(self.crew(0, 0), "view_part_details", self.part()).await
    }

    pub fn crew(&self, tenant: usize, yacht: usize) -> Uuid {
        self.fixture.tenants()[tenant].crew[yacht].id
    }

    /// A part of the first yacht.
    pub fn part(&self) -> Value {
        json!({"part_id": self.fixture.part(0, 0, 1).id})
    }

    /// The parts of the first yacht's fullest location, in the order of their numbers.
    pub fn shelf(&self) -> Vec<Part> {
        let parts = || (0..self.fixture.size().parts).map(|index| self.fixture.part(0, 0, index));
        let at = |location| parts().filter(|part| part.location() == location).collect::<Vec<_>>();
        parts().map(|part| at(part.location())).max_by_key(Vec::len).unwrap()
    }

    /// The rows of the first tenant that `sql` selects, as text.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let client = self.fixture.server().admin(&self.fixture.tenants()[0].login.database).await.unwrap();
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// The control database, as one who may do everything.
    pub async fn control(&self) -> Client {
        self.fixture.server().admin(&self.fixture.control().database).await.unwrap()
    }
}

pub async fn fixture(size: Size) -> Fixture {
    Fixture::create(Server::shared().await.unwrap(), size).await.unwrap()
}

pub fn settings(fixture: &Fixture, strategy: Strategy) -> Settings {
    Settings {
        strategy,
        control: fixture.control().config(fixture.server()),
        auth: VerifierSettings {
            keys: Keys::Secret(fixture.secret().expose().into()),
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
        },
        tls: tare_tls::client(fixture.server().root_certificate()).unwrap(),
        pool: PoolSettings::default(),
        tenant: TenantSettings::default(),
        audit: AuditSettings { capacity: 100, ..AuditSettings::default() },
        fleet: None,
        reads: None,
    }
}

pub fn answer(reply: Reply) -> Result<Value, u16> {
    reply.result.map(|body| serde_json::from_slice(&body).unwrap()).map_err(|error| error.status())
}

pub fn strategies() -> impl Iterator<Item = Strategy> {
    let singles = Fix::ALL.into_iter().map(|fix| Strategy::BEFORE.with(fix));
    let without = Fix::ALL.into_iter().map(|fix| Strategy::AFTER.without(fix));
    singles.chain(without).chain([Strategy::BEFORE, Strategy::AFTER])
}

/// Asks until it holds, for what happens a moment later; `what` when it does not for long.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
