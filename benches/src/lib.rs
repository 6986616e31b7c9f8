//! What every bench needs: a testbed, started when the first measurement asks for it, and the gateway's parts upon it.
//!
//! Criterion calls a bench's closure once for each sample. What is prepared is therefore kept outside of it, and looked at again
//! when Criterion is done: rows are counted, connections are counted. A [`Group`] sees to it.

mod exact;
mod group;
pub mod parts;
mod turns;

use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::process::exit;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, PlottingBackend};
use tare_gateway::action::Call;
use tare_gateway::audit::{Audit, AuditSettings};
use tare_gateway::auth::{Caller, Keys, VerifierSettings};
use tare_gateway::connection::{Connection, Connections, PoolSettings};
use tare_gateway::tenant::{Tenant, TenantSettings, Tenants};
use tare_gateway::{Fix, Gateway, Settings, Strategy};
use tare_testbed::{
    AUDIENCE, Fixture, HANDOVER, ISSUER, Login, Measuring, NETWORK, Network, Prepared, Relay, Server, Size, Template,
    Testbed,
};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::Config;

pub use crate::group::{Group, Mark, Meter};

/// Requests prepared before measuring, taken in turn.
pub const REQUESTS: usize = 1_000;
/// How long the server may take to notice that a connection was closed.
const SETTLE: Duration = Duration::from_secs(5);

/// The testbed of one bench executable. Listing benches, or a filter that leaves none, starts nothing.
pub struct Bed {
    runtime: RefCell<Rc<Runtime>>,
    size: Size,
    network: Network,
    testbed: OnceCell<Testbed>,
    /// The relay that counts, while it does.
    relay: RefCell<Option<Arc<Relay>>>,
}

/// Runs one bench executable: Criterion, configured from the command line, on a testbed of `size` unless one is handed over, at
/// the network that [`NETWORK`] names.
pub fn run(size: Size, benches: impl FnOnce(&mut Criterion, &Bed)) {
    let network = std::env::var(NETWORK).map_or(Ok(Network::LOOPBACK), |given| given.parse());
    let network = network.unwrap_or_else(|error| {
        eprintln!("{NETWORK}: {error}");
        exit(2);
    });
    let runtime = RefCell::new(Rc::new(Runtime::new().expect("a Tokio runtime")));
    let bed = Bed { runtime, size, network, testbed: OnceCell::new(), relay: RefCell::new(None) };
    let criterion = Criterion::default().plotting_backend(PlottingBackend::Plotters);
    let mut criterion = criterion.output_directory(&group::criterion_home()).configure_from_args();
    let measuring = Measured::begin();
    benches(&mut criterion, &bed);
    criterion.final_summary();
    measuring.tell();
}

/// Who else measures on this machine while a bench does.
struct Measured(Option<Measuring>);

impl Measured {
    fn begin() -> Self {
        let mut arguments = std::env::args();
        let program = arguments.next().unwrap_or_default();
        let name = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy();
        // Listing and trying out measure nothing.
        let measures = !arguments.any(|argument| argument == "--list" || argument == "--test");
        let begun =
            measures.then(|| Measuring::begin(&format!("bench {}", name.split('-').next().unwrap_or_default())));
        // A run that it is a part of says what cannot be told.
        let begun = Self(begun.and_then(Result::ok));
        begun.tell();
        begun
    }

    fn tell(&self) {
        for other in self.0.iter().flat_map(Measuring::others) {
            eprintln!(
                "warning: another run measures on this machine at the same time ({other}); figures of both are disturbed"
            );
        }
    }
}

impl Bed {
    /// The runtime that everything measured runs on.
    pub fn runtime(&self) -> Rc<Runtime> {
        self.runtime.borrow().clone()
    }

    /// Does `work` with everything on this thread. What it leaves under way ends with it.
    fn on_one_thread<T>(&self, work: impl FnOnce() -> T) -> T {
        // It has to outlive this.
        self.testbed();
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a Tokio runtime");
        let usual = self.runtime.replace(Rc::new(single));
        let done = work();
        self.runtime.replace(usual);
        done
    }

    /// The databases and their rows. Ends the process with 2 when there is nothing to measure against.
    pub fn fixture(&self) -> &Fixture {
        &self.testbed().fixture
    }

    fn testbed(&self) -> &Testbed {
        let start = async || {
            let say = |line: &str| eprintln!("{line}");
            let started = tokio::select! {
                testbed = Testbed::find_or_start(None, self.size, &say) => Some(testbed?),
                () = told_to_stop() => None,
            };
            // What there was of it is gone by now.
            let mut testbed = started.unwrap_or_else(|| exit(2));
            self.runtime().spawn(clean_up_when_told_to_stop(testbed.fixture.server().clone()));
            testbed.put_at(self.network).await?;
            Ok::<_, tare_testbed::Error>(testbed)
        };
        self.testbed.get_or_init(|| or_exit(self.runtime().block_on(start())))
    }

    /// Does `work` while databases are reached by a relay, which is at no distance yet. Nothing, and a remark, where the server's
    /// certificate is not good for one.
    fn through_a_relay<T>(&self, work: impl FnOnce(&Relay) -> T) -> Option<T> {
        let relay = match self.runtime().block_on(Relay::start(self.fixture().server())) {
            Err(error @ tare_testbed::Error::Relay(_)) => {
                eprintln!("round trips are not counted: {error}");
                return None;
            }
            relay => Arc::new(or_exit(relay)),
        };
        let lead_to = |address| or_exit(self.runtime().block_on(self.fixture().route_through(address)));
        lead_to(relay.address());
        self.relay.replace(Some(relay.clone()));
        let done = work(&relay);
        self.relay.replace(None);
        lead_to(self.testbed().address());
        Some(done)
    }

    /// The relay by which databases are reached just now, if they are.
    pub fn relay(&self) -> Option<Arc<Relay>> {
        self.relay.borrow().clone().or_else(|| self.testbed().relay().cloned())
    }

    /// The host and port by which databases are reached just now.
    pub fn address(&self) -> (String, u16) {
        self.relay().map_or_else(|| self.fixture().server().address(), |relay| relay.address())
    }

    /// How to connect to the database of `login`.
    pub fn config(&self, login: &Login) -> Config {
        login.config_at(self.fixture().server(), self.address())
    }

    /// Whether connections can be encrypted, which only somebody's own server may lack.
    pub fn has_tls(&self) -> bool {
        let ours = std::env::var_os("DATABASE_URL").is_none() && std::env::var_os(HANDOVER).is_none();
        let listing = std::env::args().any(|argument| argument == "--list");
        ours || listing || self.fixture().server().has_tls()
    }

    /// TLS as the gateway uses it.
    pub fn tls(&self) -> tare_tls::ClientConfig {
        tare_tls::client(self.fixture().server().root_certificate()).expect("the testbed's certificate can be read")
    }

    /// How the fixture's tokens are checked.
    pub fn verifier(&self) -> VerifierSettings {
        self.verifier_with(Keys::Secret(self.fixture().secret().expose().into()))
    }

    /// How the testbed's tokens are checked when they are signed with other keys.
    pub fn verifier_with(&self, keys: Keys) -> VerifierSettings {
        VerifierSettings { keys, issuer: ISSUER.into(), audience: AUDIENCE.into() }
    }

    /// Connections from pools, or opened one by one.
    pub fn connections(&self, pooled: bool) -> Arc<Connections> {
        let runtime = self.runtime();
        let _within = runtime.enter();
        Arc::new(Connections::new(pooled, self.tls(), PoolSettings::default()))
    }

    /// Connections from pools with other bounds than usual.
    pub fn connections_with(&self, settings: PoolSettings) -> Arc<Connections> {
        let runtime = self.runtime();
        let _within = runtime.enter();
        Arc::new(Connections::new(true, self.tls(), settings))
    }

    /// Tenants looked up over `connections`, and remembered or not.
    pub fn tenants(&self, connections: Arc<Connections>, remember: bool) -> Tenants {
        let runtime = self.runtime();
        let _within = runtime.enter();
        let control = self.config(self.fixture().control());
        Tenants::new(control, connections, remember.then(TenantSettings::default))
    }

    /// The whole gateway, on databases with the indexes that `strategy` has.
    pub fn gateway(&self, strategy: Strategy) -> Gateway {
        self.set_indexes(strategy.has(Fix::Indexes));
        let runtime = self.runtime();
        let _within = runtime.enter();
        Gateway::new(Settings {
            strategy,
            control: self.config(self.fixture().control()),
            auth: self.verifier(),
            tls: self.tls(),
            pool: PoolSettings::default(),
            tenant: TenantSettings::default(),
            audit: AuditSettings::default(),
            fleet: None,
            reads: None,
        })
        .expect("the fixture's secret is long enough")
    }

    /// Creates or drops the indexes that the actions need, unless that is how it is. Whoever cares for them says so.
    pub fn set_indexes(&self, on: bool) {
        self.runtime().block_on(self.fixture().set_indexes(on)).expect("the fixture's indexes can be changed");
    }

    /// An audit queue.
    pub fn audit(&self, settings: AuditSettings) -> Audit {
        let connections = self.connections(true);
        let tenants = Arc::new(self.tenants(connections.clone(), false));
        let runtime = self.runtime();
        let _within = runtime.enter();
        Audit::new(Some(settings), tenants, connections).expect("the queue can be opened")
    }

    /// A member of the first tenant's crew.
    pub fn caller(&self) -> Caller {
        Caller { user: self.fixture().tenants()[0].crew[0].id }
    }

    /// That caller's tenant, and a kept connection to its database.
    pub fn tenant(&self) -> (Arc<Tenant>, Connection) {
        let connections = self.connections(true);
        let tenants = self.tenants(connections.clone(), false);
        self.runtime().block_on(async {
            let tenant = tenants.of(&self.caller()).await.expect("the fixture's user has a tenant");
            let connection =
                connections.get(tenant.id, &tenant.database).await.expect("the fixture's database answers");
            (tenant, connection)
        })
    }

    /// Requests for `action` from all users of the fixture.
    pub fn requests(&self, action: &str) -> Vec<Prepared> {
        Template::named(action).expect("an action of the fixture").requests(
            self.fixture(),
            self.fixture().tenants(),
            REQUESTS,
        )
    }

    /// The calls in those requests that come from the yacht of [`caller`](Self::caller).
    pub fn calls(&self, action: &str) -> Vec<Call> {
        let yacht = self.fixture().tenants()[0].yachts[0].to_string();
        let bodies = self.requests(action).into_iter().map(|request| request.body).filter(|body| body.contains(&yacht));
        bodies.map(|body| Call::parse(body.as_bytes()).expect("the fixture's requests are good")).collect()
    }

    /// Rows of `table` in all tenants' databases.
    pub fn rows(&self, table: &str) -> u64 {
        let fixture = self.fixture();
        self.runtime().block_on(async {
            let mut rows = 0;
            for tenant in fixture.tenants() {
                let client = fixture.server().admin(&tenant.login.database).await.expect("the server answers");
                let counted = client.query_one(&format!("select count(*) from {table}"), &[]).await;
                rows += counted.expect("the fixture's table can be counted").get::<_, i64>(0) as u64;
            }
            rows
        })
    }

    /// Waits until there are `expected` connections to the fixture's databases.
    ///
    /// # Panics
    /// When there are not: something leaked a connection, or closed one it should have kept.
    pub fn expect_connections(&self, expected: i64) {
        let fixture = self.fixture();
        let count = || self.runtime().block_on(fixture.server().connections(fixture)).expect("the server answers");
        let deadline = Instant::now() + SETTLE;
        while count() != expected {
            assert!(Instant::now() < deadline, "{} connections are open, and should be {expected}", count());
        }
    }
}

fn or_exit<T>(done: Result<T, tare_testbed::Error>) -> T {
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        exit(2);
    })
}

/// On a server that stays, what was created has to be dropped before this process ends.
async fn clean_up_when_told_to_stop(server: Arc<Server>) {
    told_to_stop().await;
    server.clear();
    exit(2);
}

/// Waits for Ctrl-C or SIGTERM.
async fn told_to_stop() {
    let (Ok(mut interrupted), Ok(mut terminated)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Then either ends the process at once.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
}
