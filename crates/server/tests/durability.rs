//! What was acknowledged is audited, once: the server killed again and again under load, and the database out of reach.
//!
//! A request's part tells it apart from all others, so the audit log can be held against the answers one by one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::json;
use tare_testbed::{AUDIENCE, Fixture, ISSUER, Relay, Server, Size};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How often the server is killed.
const KILLS: usize = 50;
/// Requests answered between two kills, at least.
const ANSWERED: u64 = 20;
/// Requests at a time.
const CALLERS: usize = 8;
/// Seconds that the database is out of reach when this does not say: as long as it takes to see each way of failing.
const OUTAGE: &str = "TARE_OUTAGE_SECONDS";

struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(fixture: &Fixture, control_url: &str, queue: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare-server"));
        command.args(["--issuer", ISSUER, "--audience", AUDIENCE, "--until-stdin-ends", "--audit-queue"]).arg(queue);
        command.env("TARE_CONTROL_URL", control_url).env("TARE_JWT_SECRET", fixture.secret().expose());
        if let Some(root) = fixture.server().root_certificate() {
            command.env("TARE_ROOT_CERTIFICATE", root);
        }
        command.env("RUST_LOG", "off");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it deliver what it has.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Callers who ask for ever new things, reads, refusals and mutations in turn, of whatever server there is at the time.
struct Load {
    url: Arc<std::sync::Mutex<String>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Acknowledged>>,
}

/// What the callers were told, `done` or `refused`, by the request's own mark.
type Acknowledged = Vec<(String, &'static str)>;

impl Load {
    fn start(fixture: &Fixture) -> Self {
        let (url, answered, stop) = (Arc::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let client = Client::builder()
            .tls_backend_preconfigured(tare_tls::client(None).unwrap())
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let callers = (0..CALLERS).map(|caller| {
            let tenant = &fixture.tenants()[caller % fixture.tenants().len()];
            let token = fixture.secret().mint(tenant.crew[0].id);
            let stocked = fixture.bulk_part(tenant.index, 0, 0).id;
            let caller = Caller {
                client: client.clone(),
                token,
                stocked,
                url: Arc::clone(&url),
                answered: answered.clone(),
                stop: stop.clone(),
            };
            tokio::spawn(caller.ask_on())
        });
        Self { callers: callers.collect(), url, answered, stop }
    }

    fn lead_to(&self, process: &Process) {
        *self.url.lock().unwrap() = process.url.clone();
    }

    async fn wait_for(&self, answers: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + answers;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.answered.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < deadline, "requests are not answered any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for caller in self.callers {
            all.extend(caller.await.unwrap());
        }
        all
    }
}

struct Caller {
    client: Client,
    token: String,
    stocked: Uuid,
    url: Arc<std::sync::Mutex<String>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Caller {
    async fn ask_on(self) -> Acknowledged {
        let mut acknowledged = Vec::new();
        for nth in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let mark = Uuid::now_v7();
            let (body, expected) = match nth % 3 {
                // Nobody has this part: refused, and audited as such.
                0 => (json!({"action": "view_part_details", "payload": {"part_id": mark}}), StatusCode::NOT_FOUND),
                1 => (json!({"action": "list_parts", "payload": {"location": mark.to_string()}}), StatusCode::OK),
                _ => {
                    let payload = json!({"part_id": self.stocked, "quantity": 1, "work_order": mark.to_string()});
                    (json!({"action": "consume_part", "payload": payload}), StatusCode::OK)
                }
            };
            let url = self.url.lock().unwrap().clone();
            let request = self.client.post(format!("{url}/v1/actions/execute")).bearer_auth(&self.token);
            // A server that was killed answers nothing, and one without its database that it cannot: neither is an acknowledgement.
            let answer = async {
                let answer = request.body(body.to_string()).send().await?;
                let status = answer.status();
                answer.bytes().await.map(|_| status)
            };
            if answer.await.is_ok_and(|status| status == expected) {
                self.answered.fetch_add(1, Ordering::Relaxed);
                let told = if expected == StatusCode::OK { "done" } else { "refused" };
                acknowledged.push((mark.to_string(), told));
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        acknowledged
    }
}

/// Every mark in the audit logs, and how it ended by each of its rows.
async fn audited(fixture: &Fixture) -> HashMap<String, Vec<String>> {
    let mut marks = HashMap::<_, Vec<_>>::new();
    for tenant in fixture.tenants() {
        let client = fixture.server().admin(&tenant.login.database).await.unwrap();
        let mark = "coalesce(payload->>'work_order', payload->>'location', payload->>'part_id')";
        for row in client.query(&format!("select {mark}, outcome from app.audit_log"), &[]).await.unwrap() {
            marks.entry(row.get(0)).or_default().push(row.get(1));
        }
        // A mutation and its audit row are one transaction.
        let counted = client.query_one(
            "select (select count(*) from app.stock_movements) = \
                    (select count(*) from app.audit_log where action = 'consume_part')",
            &[],
        );
        assert!(
            counted.await.unwrap().get::<_, bool>(0),
            "each movement has its audit row, each audit row its movement"
        );
    }
    marks
}

async fn expect_all(fixture: &Fixture, acknowledged: &[(String, &str)]) {
    let audited = audited(fixture).await;
    let missing = acknowledged.iter().filter(|(mark, _)| !audited.contains_key(mark)).count();
    let doubled = audited.values().filter(|outcomes| outcomes.len() > 1).count();
    let ended_otherwise =
        |(mark, told): &&(String, &str)| audited.get(mark).is_some_and(|outcomes| outcomes[0] != *told);
    let otherwise = acknowledged.iter().filter(ended_otherwise).count();
    eprintln!(
        "{} acknowledged, {} audited, {missing} missing, {doubled} doubled, {otherwise} told otherwise",
        acknowledged.len(),
        audited.len()
    );
    assert_eq!((missing, doubled, otherwise), (0, 0, 0));
}

fn queue() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_fifty_times_under_load_nothing_acknowledged_is_missing_or_doubled() {
    let fixture = Fixture::create(Server::shared().await.unwrap(), Size::SMALL).await.unwrap();
    let (queue, control) = (queue(), fixture.control().url(fixture.server()));
    let load = Load::start(&fixture);
    for _ in 0..KILLS {
        let mut process = Process::start(&fixture, &control, queue.path());
        load.lead_to(&process);
        load.wait_for(ANSWERED).await;
        process.kill();
    }
    let last = Process::start(&fixture, &control, queue.path());
    load.lead_to(&last);
    load.wait_for(ANSWERED).await;
    let acknowledged = load.end().await;
    last.stop();
    assert!(acknowledged.len() as u64 >= KILLS as u64 * ANSWERED);
    expect_all(&fixture, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_database_is_out_of_reach_and_back_nothing_acknowledged_is_missing_or_doubled() {
    let seconds = std::env::var(OUTAGE).map_or(3, |seconds| seconds.parse().expect("a number of seconds"));
    let fixture = Fixture::create(Server::shared().await.unwrap(), Size::SMALL).await.unwrap();
    let relay = Relay::start(fixture.server()).await.unwrap();
    fixture.route_through(relay.address()).await.unwrap();
    let (queue, control) = (queue(), fixture.control().url_at(fixture.server(), relay.address()));
    let mut process = Process::start(&fixture, &control, queue.path());
    let load = Load::start(&fixture);
    load.lead_to(&process);
    load.wait_for(200).await;
    // Connections are reset under the requests, and no new ones taken.
    relay.refuse().await;
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    // And the server is killed with what it could not deliver.
    process.kill();
    let process = Process::start(&fixture, &control, queue.path());
    load.lead_to(&process);
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    relay.recover().await.unwrap();
    load.wait_for(200).await;
    let acknowledged = load.end().await;
    process.stop();
    expect_all(&fixture, &acknowledged).await;
}
