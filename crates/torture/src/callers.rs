//! Callers who ask for ever new things, and keep what they were told.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tare_testbed::Fixture;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::Error;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one waits before it asks again.
const RETRY: Duration = Duration::from_millis(20);
/// How long callers who are to stop go on asking for what was not acknowledged yet.
const LAST_TRIES: Duration = Duration::from_secs(60);
/// Sentences about unexpected answers that one caller keeps.
const KEPT: usize = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A part that nobody has: refused, and audited as such.
    View,
    /// A location that nothing is at.
    List,
    /// A change of stock by that much.
    Move(i64),
}

/// One thing that is asked for once, as often as it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed {
    /// Tells it apart from all others; in the request, and so in the audit log.
    pub(crate) mark: Uuid,
    pub(crate) kind: Kind,
    pub(crate) part: Uuid,
}

impl Deed {
    pub(crate) fn draw(random: &mut Rng, parts: &[Uuid]) -> Self {
        let mark = uuid::Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid();
        let kind = match random.u8(..6) {
            0 => Kind::View,
            1 => Kind::List,
            2 | 3 => Kind::Move(-random.i64(1..=3)),
            _ => Kind::Move(random.i64(1..=3)),
        };
        Self { mark, kind, part: parts[random.usize(..parts.len())] }
    }

    pub(crate) fn is_mutation(&self) -> bool {
        matches!(self.kind, Kind::Move(_))
    }

    pub(crate) fn body(&self) -> Value {
        let mark = self.mark.to_string();
        match self.kind {
            Kind::View => json!({"action": "view_part_details", "payload": {"part_id": mark}}),
            Kind::List => json!({"action": "list_parts", "payload": {"location": mark}}),
            Kind::Move(by) if by < 0 => {
                json!({"action": "consume_part", "payload": {"part_id": self.part, "quantity": -by, "work_order": mark}})
            }
            Kind::Move(by) => {
                json!({"action": "receive_part", "payload": {"part_id": self.part, "quantity": by, "purchase_order": mark}})
            }
        }
    }

    fn acknowledged_as(&self) -> StatusCode {
        match self.kind {
            Kind::View => StatusCode::NOT_FOUND,
            Kind::List | Kind::Move(_) => StatusCode::OK,
        }
    }
}

/// What callers were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Acknowledged.
    pub(crate) done: Vec<Deed>,
    /// Changes that were asked for and never acknowledged.
    pub(crate) open: Vec<Deed>,
    /// Requests sent.
    pub(crate) requests: u64,
    /// Requests that were not answered, or that they could not be done now.
    pub(crate) failed: u64,
    /// Changes that were asked for more than once.
    pub(crate) retried: u64,
    /// Requests answered although every token was expired.
    pub(crate) let_in: u64,
    /// Answers that no fault excuses.
    pub(crate) unexpected: u64,
    /// The first of them.
    pub(crate) examples: Vec<String>,
    /// When each that was acknowledged was asked, how long it took, and the number of its tenant.
    pub(crate) times: Vec<(Instant, Duration, usize)>,
}

impl Told {
    pub(crate) fn add(&mut self, other: Self) {
        self.done.extend(other.done);
        self.open.extend(other.open);
        self.requests += other.requests;
        self.failed += other.failed;
        self.retried += other.retried;
        self.let_in += other.let_in;
        self.unexpected += other.unexpected;
        self.examples.extend(other.examples);
        self.times.extend(other.times);
    }
}

/// Callers of every tenant.
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    client: Client,
    callers: Vec<JoinHandle<Told>>,
    /// What those were told who are no more.
    told: Told,
}

struct Shared {
    url: Mutex<String>,
    stop: AtomicBool,
    /// One of [`Tokens`].
    tokens: AtomicU8,
    /// Acknowledged so far, by tenant.
    answered: Vec<AtomicU64>,
}

/// What the server's clock makes of everybody's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tokens {
    Good,
    /// The clock is about to be set: nobody knows.
    Unsure,
    Expired,
}

/// A client that a server of ours is asked with; so many of its connections at most wait for the next request.
pub(crate) fn client(patience: Duration, idle: usize) -> Result<Client, Error> {
    let unusable = |reason: String| Error::Server { attempted: "making an HTTP client".into(), reason };
    let tls = tare_tls::client(None).map_err(|error| unusable(error.to_string()))?;
    let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(patience);
    let client = client.pool_max_idle_per_host(idle);
    client.build().map_err(|error| unusable(error.to_string()))
}

impl Crowd {
    pub(crate) fn new(fixture: &Fixture, url: &str) -> Result<Self, Error> {
        let shared = Shared {
            url: Mutex::new(url.to_owned()),
            stop: AtomicBool::new(false),
            tokens: AtomicU8::new(Tokens::Good as u8),
            answered: fixture.tenants().iter().map(|_| AtomicU64::new(0)).collect(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            client: client(PATIENCE, usize::MAX)?,
            callers: Vec::new(),
            told: Told::default(),
        })
    }

    /// So many callers more, of each tenant in turn.
    pub(crate) fn grow(&mut self, fixture: &Fixture, callers: usize, random: &mut Rng) {
        let tenants = fixture.tenants().len();
        for nth in 0..callers {
            let caller = self.caller(fixture, nth % tenants, nth / tenants % fixture.size().yachts, random.fork());
            self.callers.push(tokio::spawn(caller.ask_on()));
        }
    }

    /// One caller more, of the first tenant's first yacht, who asks for these changes alone.
    pub(crate) fn see_to(&mut self, fixture: &Fixture, deeds: Vec<Deed>) {
        let caller = self.caller(fixture, 0, 0, Rng::with_seed(0));
        self.callers.push(tokio::spawn(async move {
            let mut told = Told::default();
            for deed in deeds {
                caller.see_to(deed, &mut told).await;
            }
            told
        }));
    }

    /// Asks for a part of a tenant that nobody has, and waits for the answer.
    pub(crate) async fn look_for_nothing(&mut self, fixture: &Fixture, tenant: usize, random: &mut Rng) {
        let caller = self.caller(fixture, tenant, 0, random.fork());
        let deed = Deed { kind: Kind::View, ..Deed::draw(random, &caller.parts) };
        caller.see_to(deed, &mut self.told).await;
    }

    fn caller(&self, fixture: &Fixture, tenant: usize, yacht: usize, random: Rng) -> Caller {
        Caller {
            client: self.client.clone(),
            token: fixture.secret().mint(fixture.tenants()[tenant].crew[yacht].id),
            parts: stocked(fixture, tenant, yacht),
            tenant,
            shared: self.shared.clone(),
            random,
        }
    }

    pub(crate) fn lead_to(&self, url: &str) {
        url.clone_into(&mut self.shared.url.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on callers expect their tokens to be that.
    pub(crate) fn expect(&self, tokens: Tokens) {
        self.shared.tokens.store(tokens as u8, SeqCst);
    }

    /// Acknowledged so far, by tenant.
    pub(crate) fn answered(&self) -> Vec<u64> {
        self.shared.answered.iter().map(|answered| answered.load(SeqCst)).collect()
    }

    /// Waits until each of `tenants` has had so many answers more; how long that took, or nothing when it took too long.
    pub(crate) async fn wait_for(&self, more: u64, tenants: &[usize], at_most: Duration) -> Option<Duration> {
        let (start, before) = (Instant::now(), self.answered());
        loop {
            let now = self.answered();
            if tenants.iter().all(|tenant| now[*tenant] >= before[*tenant] + more) {
                return Some(start.elapsed());
            }
            if start.elapsed() > at_most {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Callers stop once all that they asked for is acknowledged; what they were told.
    pub(crate) async fn end(self) -> Told {
        self.shared.stop.store(true, SeqCst);
        let mut told = self.told;
        for caller in self.callers {
            told.add(caller.await.expect("a caller does not panic"));
        }
        told
    }
}

/// Parts of a yacht that never run out.
pub(crate) fn stocked(fixture: &Fixture, tenant: usize, yacht: usize) -> Vec<Uuid> {
    (0..4).map(|nth| fixture.bulk_part(tenant, yacht, nth).id).collect()
}

struct Caller {
    client: Client,
    token: String,
    parts: Vec<Uuid>,
    tenant: usize,
    shared: Arc<Shared>,
    random: Rng,
}

enum Answer {
    Acknowledged,
    /// None, or that it cannot be done now.
    Failed,
    /// One that no fault excuses.
    Unexpected(String),
}

impl Caller {
    async fn ask_on(mut self) -> Told {
        let mut told = Told::default();
        while !self.shared.stop.load(SeqCst) {
            let deed = Deed::draw(&mut self.random, &self.parts);
            self.see_to(deed, &mut told).await;
        }
        told
    }

    /// Asks for a change until it is acknowledged, for anything else once.
    async fn see_to(&self, deed: Deed, told: &mut Told) {
        let mut give_up = None;
        for attempt in 1.. {
            let expired = self.are(Tokens::Expired);
            let asked = Instant::now();
            let answer = self.ask(&deed).await;
            told.requests += 1;
            told.retried += u64::from(attempt == 2);
            match answer {
                Answer::Acknowledged => {
                    told.let_in += u64::from(expired && self.are(Tokens::Expired));
                    told.times.push((asked, asked.elapsed(), self.tenant));
                    told.done.push(deed);
                    self.shared.answered[self.tenant].fetch_add(1, SeqCst);
                    return;
                }
                Answer::Failed => told.failed += 1,
                Answer::Unexpected(what) => {
                    told.unexpected += 1;
                    if told.examples.len() < KEPT {
                        told.examples.push(format!("{:?} was answered {what}", deed.kind));
                    }
                }
            }
            if !deed.is_mutation() {
                tokio::time::sleep(RETRY).await;
                return;
            }
            if self.shared.stop.load(SeqCst) && Instant::now() > *give_up.get_or_insert(Instant::now() + LAST_TRIES) {
                return told.open.push(deed);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn are(&self, tokens: Tokens) -> bool {
        self.shared.tokens.load(SeqCst) == tokens as u8
    }

    async fn ask(&self, deed: &Deed) -> Answer {
        let url = self.shared.url.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut request = self.client.post(format!("{url}/v1/actions/execute")).bearer_auth(&self.token);
        if deed.is_mutation() {
            request = request.header("idempotency-key", deed.mark.to_string());
        }
        let may_be_expired = !self.are(Tokens::Good);
        let Ok(answer) = request.body(deed.body().to_string()).send().await else { return Answer::Failed };
        let (status, again) = (answer.status(), answer.headers().contains_key("retry-after"));
        let Ok(text) = answer.text().await else { return Answer::Failed };
        let code = serde_json::from_str::<Value>(&text).ok().map(|body| body["error"]["code"].clone());
        match (status.as_u16(), code.as_ref().and_then(Value::as_str)) {
            _ if status == deed.acknowledged_as() && code.is_some() => Answer::Acknowledged,
            // A database that goes away in the middle of a statement; what became of it is not known.
            (500, Some("database")) | (504, Some("timeout")) => Answer::Failed,
            (503, Some(_)) if again => Answer::Failed,
            (401, Some("token")) if may_be_expired || !self.are(Tokens::Good) => Answer::Failed,
            _ => Answer::Unexpected(format!("{status}: {text}")),
        }
    }
}
