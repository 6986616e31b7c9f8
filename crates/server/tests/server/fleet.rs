//! Three servers as one: a budget for all, restarted one by one under load, asked the same at once; directly, and behind a
//! PgBouncer in transaction mode.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tare_testbed::{Bouncer, Fixture};
use tempfile::TempDir;
use uuid::Uuid;

use crate::bed::{PATIENCE, Service, client, command, fixture, receive, view};

/// Where this is set, a PgBouncer that is not installed fails the tests.
const REQUIRED: &str = "TARE_REQUIRE_BOUNCER";
/// Connections of all servers together.
const BUDGET: i64 = 24;
const SERVERS: usize = 3;
/// Requests a second while they are restarted.
const RATE: u32 = 500;
/// Seconds within which a revoked user is refused.
const BOUND: Duration = Duration::from_secs(2);
/// A balancer asks so often who is ready, and a server goes on for longer than that once it is told to stop.
const ASKED: Duration = Duration::from_millis(20);
const NOTICE: &str = "1";

/// Servers of one control database, each with an audit queue of its own.
struct Fleet {
    fixture: Fixture,
    bouncer: Option<Bouncer>,
    queues: TempDir,
    client: Client,
}

impl Fleet {
    async fn direct() -> Self {
        Self::of(fixture().await, None)
    }

    /// Nothing where there is no PgBouncer.
    async fn behind_pgbouncer() -> Option<Self> {
        let fixture = fixture().await;
        // For each database.
        let size = BUDGET as u32 / 4;
        let bouncer = Bouncer::start(&fixture, size, &|line| eprintln!("{line}")).await.unwrap();
        assert!(bouncer.is_some() || std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set");
        let bouncer = bouncer?;
        fixture.route_through(bouncer.address()).await.unwrap();
        Some(Self::of(fixture, Some(bouncer)))
    }

    fn of(fixture: Fixture, bouncer: Option<Bouncer>) -> Self {
        let queues = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { fixture, bouncer, queues, client: client() }
    }

    /// The server of that name, once it is ready.
    async fn start(&self, name: &str) -> Service {
        let mut command = command(&self.fixture);
        command.args(["--fleet", "4", "--instance", name, "--budget", &BUDGET.to_string(), "--notice", NOTICE]);
        command
            .args(["--tenant-bound", &BOUND.as_secs().to_string(), "--audit-queue"])
            .arg(self.queues.path().join(name));
        if let Some(bouncer) = &self.bouncer {
            command.arg("--pooler").env("TARE_CONTROL_URL", bouncer.url(self.fixture.control()));
        }
        let service = Service::run(command, "after");
        let deadline = Instant::now() + PATIENCE;
        while !service.get("/ready").await.status().is_success() {
            assert!(Instant::now() < deadline, "{name} never was ready");
            tokio::time::sleep(ASKED).await;
        }
        service
    }

    async fn start_all(&self) -> Vec<Service> {
        join_all(NAMES.map(|name| self.start(name))).await
    }

    fn token(&self, tenant: usize) -> String {
        self.fixture.secret().mint(self.fixture.tenants()[tenant].crew[0].id)
    }

    async fn ask(
        &self,
        url: &str,
        token: &str,
        key: Option<&str>,
        body: &Value,
    ) -> reqwest::Result<(StatusCode, String)> {
        let request = self.client.post(format!("{url}/v1/actions/execute")).bearer_auth(token).body(body.to_string());
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        let answer = request.send().await?;
        let status = answer.status();
        Ok((status, answer.text().await?))
    }

    /// How often each mark is in the audit logs.
    async fn audited(&self) -> HashMap<String, usize> {
        let mut marks = HashMap::new();
        let mark = "coalesce(payload->>'purchase_order', payload->>'location', payload->>'part_id')";
        for tenant in self.fixture.tenants() {
            let client = self.fixture.server().admin(&tenant.login.database).await.unwrap();
            for row in client.query(&format!("select {mark} from app.audit_log"), &[]).await.unwrap() {
                *marks.entry(row.get(0)).or_default() += 1;
            }
        }
        marks
    }
}

const NAMES: [&str; SERVERS] = ["one", "two", "three"];

/// Leads requests to servers in turn, of those that say they are ready.
#[derive(Default)]
struct Balancer {
    known: Mutex<Vec<String>>,
    ready: Mutex<Vec<String>>,
    next: AtomicUsize,
}

impl Balancer {
    fn know(&self, servers: &[&Service]) {
        let urls: Vec<_> = servers.iter().map(|server| server.url.clone()).collect();
        self.known.lock().unwrap().clone_from(&urls);
    }

    async fn look(&self, client: &Client) {
        let known = self.known.lock().unwrap().clone();
        let mut ready = Vec::new();
        for url in known {
            let answer = client.get(format!("{url}/ready")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                ready.push(url);
            }
        }
        *self.ready.lock().unwrap() = ready;
    }

    fn choose(&self) -> String {
        let ready = self.ready.lock().unwrap();
        assert!(!ready.is_empty(), "no server is ready");
        ready[self.next.fetch_add(1, Ordering::Relaxed) % ready.len()].clone()
    }
}

/// The mark that tells a request apart, with which it is in the audit log.
fn request(nth: usize, fleet: &Fleet) -> (String, Value, StatusCode) {
    let mark = Uuid::now_v7().to_string();
    let (body, expected) = match nth % 3 {
        // Nobody has this part: refused, and audited as such.
        0 => (json!({"action": "view_part_details", "payload": {"part_id": mark}}), StatusCode::NOT_FOUND),
        1 => (json!({"action": "list_parts", "payload": {"location": mark}}), StatusCode::OK),
        _ => {
            let part = fleet.fixture.bulk_part(nth % 2, 0, nth % 7).id;
            let payload = json!({"part_id": part, "quantity": 1, "purchase_order": mark});
            (json!({"action": "receive_part", "payload": payload}), StatusCode::OK)
        }
    };
    (mark, body, expected)
}

/// Sends at a constant rate, answered or not, until `done`; the marks of all requests, and what failed.
async fn send(fleet: &Arc<Fleet>, balancer: &Arc<Balancer>, done: &AtomicBool) -> (Vec<String>, Vec<String>) {
    let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut sent = Vec::new();
    while !done.load(Ordering::Relaxed) {
        due.tick().await;
        let (fleet, balancer, nth) = (fleet.clone(), balancer.clone(), sent.len());
        sent.push(tokio::spawn(async move {
            let (mark, body, expected) = request(nth, &fleet);
            let token = fleet.token(nth % 2);
            let answer = loop {
                match fleet.ask(&balancer.choose(), &token, None, &body).await {
                    // It has not heard yet that this one has gone, and nothing was sent: as every balancer, it takes another.
                    Err(error) if error.is_connect() => tokio::task::yield_now().await,
                    answer => break answer,
                }
            };
            match answer {
                Ok((status, _)) if status == expected => (mark, None),
                Ok((status, text)) => (mark, Some(format!("{status} {text}"))),
                Err(error) => (mark, Some(format!("{error:?}"))),
            }
        }));
    }
    let answers: Vec<_> = join_all(sent).await.into_iter().map(Result::unwrap).collect();
    let failed = answers.iter().filter_map(|(_, failed)| failed.clone()).collect();
    (answers.into_iter().map(|(mark, _)| mark).collect(), failed)
}

async fn restart_one_by_one(fleet: Fleet) {
    let (fleet, balancer, done) = (Arc::new(fleet), Arc::<Balancer>::default(), AtomicBool::new(false));
    let mut servers = fleet.start_all().await;
    balancer.know(&servers.iter().collect::<Vec<_>>());
    balancer.look(&fleet.client).await;
    let restarting = async {
        for (nth, name) in NAMES.into_iter().enumerate() {
            servers[nth].signal("TERM");
            let mut stopped = servers.remove(nth);
            stopped = tokio::task::spawn_blocking(move || {
                assert!(stopped.process.wait().unwrap().success());
                stopped
            })
            .await
            .unwrap();
            drop(stopped);
            servers.insert(nth, fleet.start(name).await);
            balancer.know(&servers.iter().collect::<Vec<_>>());
        }
        done.store(true, Ordering::Relaxed);
    };
    let looking = async {
        while !done.load(Ordering::Relaxed) {
            balancer.look(&fleet.client).await;
            tokio::time::sleep(ASKED).await;
        }
    };
    let sampling = async {
        let server = fleet.fixture.server();
        let client = server.admin(server.maintenance_database()).await.unwrap();
        let count = "select count(*) from pg_stat_activity where datname = any($1) and usename <> current_user";
        let (databases, mut most) = (fleet.fixture.databases(), 0);
        while !done.load(Ordering::Relaxed) {
            most = most.max(client.query_one(count, &[&databases]).await.unwrap().get::<_, i64>(0));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        most
    };
    let ((), (sent, failed), (), most) = tokio::join!(restarting, send(&fleet, &balancer, &done), looking, sampling);
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), sent.len(), &failed[..failed.len().min(3)]);
    assert!(most <= BUDGET, "{most} connections at a time");
    for mut server in servers {
        server.signal("TERM");
        assert!(server.process.wait().unwrap().success());
    }
    let audited = fleet.audited().await;
    let missing = sent.iter().filter(|mark| !audited.contains_key(*mark)).count();
    let doubled = audited.values().filter(|times| **times > 1).count();
    eprintln!("{} requests, {missing} not audited, {doubled} doubled; {most} connections at most", sent.len());
    assert_eq!((missing, doubled, audited.len()), (0, 0, sent.len()));
}

/// A user revoked, and a key used, at all servers at once.
async fn ask_all_the_same(fleet: Fleet) {
    let servers = fleet.start_all().await;
    let part = fleet.fixture.bulk_part(0, 0, 0).id;
    let (key, body, token) = (Uuid::now_v7().to_string(), receive(part), fleet.token(0));
    let asked = servers.iter().cycle().take(8 * SERVERS);
    let answers = join_all(asked.map(|server| fleet.ask(&server.url, &token, Some(&key), &body))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == StatusCode::OK), "{answers:?}");
    let client = fleet.fixture.server().admin(&fleet.fixture.tenants()[0].login.database).await.unwrap();
    let counts = "select (select count(*) from app.stock_movements), (select count(*) from app.audit_log)";
    let counted = client.query_one(counts, &[]).await.unwrap();
    assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i64>(1)), (1, 1), "done once, audited once");

    let control = fleet.fixture.server().admin(&fleet.fixture.control().database).await.unwrap();
    let user = fleet.fixture.tenants()[0].crew[0].id;
    control.execute("update control.users set active = false where id = $1", &[&user]).await.unwrap();
    let revoked = Instant::now();
    for server in &servers {
        loop {
            let asked = revoked.elapsed();
            match fleet.ask(&server.url, &token, None, &view(part)).await.unwrap().0 {
                StatusCode::FORBIDDEN => break,
                status => assert!(status.is_success() && asked <= BOUND, "{status} {asked:?} after it was revoked"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_restarted_one_by_one_under_load_fails_no_request_and_loses_and_doubles_nothing() {
    restart_one_by_one(Fleet::direct().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_behind_pgbouncer() {
    if let Some(fleet) = Fleet::behind_pgbouncer().await {
        restart_one_by_one(fleet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_takes_effect_once_in_a_fleet_and_a_revocation_everywhere() {
    ask_all_the_same(Fleet::direct().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_behind_pgbouncer_too() {
    if let Some(fleet) = Fleet::behind_pgbouncer().await {
        ask_all_the_same(fleet).await;
    }
}
