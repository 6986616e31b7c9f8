//! Strangers: who has no token of ours, and who has one and asks for what is another's.

mod alike;
mod asks;
mod forge;
mod logins;
mod secrets;
mod signed;
mod sql;
mod state;
mod tokens;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::pin::pin;

use futures_util::{StreamExt, stream};
use reqwest::Response;
use reqwest::header::HeaderValue;
use serde_json::Value;

use crate::bed::Service;
use world::{Attempt, Must, SEED, World};

/// How many on a server of which strategy: one that does each action in one call, and one that goes statement by statement.
const ATTEMPTS: [(&str, usize); 2] = [("after", 10_400), ("pooling+tenant-cache+async-audit", 2_600)];
const AT_ONCE: usize = 32;
/// The one answer to every token that nobody of ours has signed.
const NOT_OURS: &str =
    r#"{"error":{"code":"token","message":"the token was not accepted: it is not a token of ours"}}"#;

/// An answer, and all that may tell it from another.
struct Answer {
    status: u16,
    /// The headers, sorted; without the date and the request's id, and of times only which there are.
    head: Vec<String>,
    body: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let line = |(name, value): (_, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut head: Vec<String> = response.headers().iter().map(line).collect();
        head.retain(|line| !line.starts_with("date:") && !line.starts_with("x-request-id:"));
        for line in head.iter_mut().filter(|line| line.starts_with("server-timing:")) {
            let times =
                line.split(", ").map(|time| time.strip_suffix("dur=0.000").unwrap_or(time.split('=').next().unwrap()));
            *line = times.collect::<Vec<_>>().join(", ");
        }
        head.sort();
        Self { status: response.status().as_u16(), head, body: response.text().await.unwrap() }
    }

    fn told(&self) -> String {
        format!("{} {:?} {}", self.status, self.head, self.body)
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Attempt {
    /// What came of it; nothing when the connection was cut off.
    async fn send(&self, service: &Service) -> Result<Answer, reqwest::Error> {
        let mut request = service.client.post(format!("{}/v1/actions/execute", service.url));
        for (name, value) in &self.headers {
            request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Ok(Answer::of(request.body(self.body.clone()).send().await?).await)
    }

    /// What is wrong with the answer, if anything is.
    fn complaint(&self, answer: &Answer, world: &World) -> Option<&'static str> {
        let right = match self.must {
            Must::SayNothing => answer.status == 401 && answer.body == NOT_OURS,
            Must::SayWhy => answer.status == 401 && answer.code() == "token",
            Must::NotBeRead => answer.status == 431,
            Must::Be(status) => answer.status == status,
        };
        // A refusal may repeat what it was told.
        let repeats = |id: &String| answer.status != 200 && self.body.contains(id);
        let tells = |id: &String| answer.body.contains(id) && !repeats(id);
        match (right, world.their_ids.iter().any(tells)) {
            (false, _) => Some("not as it must be"),
            (_, true) => Some("tells of others"),
            _ => None,
        }
    }

    /// The reference of a change of stock.
    fn reference(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let payload = &body["payload"];
        payload["work_order"].as_str().or(payload["purchase_order"].as_str()).map(str::to_owned)
    }
}

/// What came of all attempts.
#[derive(Default)]
struct Tally {
    /// Attempts of each kind.
    kinds: BTreeMap<&'static str, usize>,
    /// Answers to tokens that are not ours.
    refusals: BTreeSet<String>,
    /// References of what the stranger has ordered.
    ordered: Vec<String>,
    /// Actions that are to be audited: those done, and those of a part that is not there.
    audited: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_thirteen_thousand_attempts_of_strangers_none_is_let_in() {
    let world = World::new().await;
    everybody_gets_their_own(&world).await;
    let before = state::of_all_but_the_first_yacht(&world.fixture).await;
    let references = "select reference from app.stock_movements where yacht_id = $1";
    let audited = "select id::text from app.audit_log where yacht_id = $1";
    let mut tally = Tally { audited: state::own(&world.fixture, audited).await.len(), ..Tally::default() };
    let mut first = 0;
    for (strategy, attempts) in ATTEMPTS {
        let mut service = world.serve(strategy);
        tally.add(&world, &service, first..first + attempts).await;
        stop(&mut service);
        first += attempts;
    }
    let Tally { kinds, refusals, mut ordered, audited: acted } = tally;
    eprintln!("{first} attempts, seed {SEED:#x}: {kinds:?}");
    assert!(kinds.values().sum::<usize>() >= 10_000 && kinds.values().all(|attempts| *attempts >= 300), "{kinds:?}");
    assert_eq!(refusals.len(), 1, "they are told apart: {refusals:#?}");

    assert_eq!(state::of_all_but_the_first_yacht(&world.fixture).await, before);
    // What the stranger has done of his own is there to the letter, and all of it is audited.
    ordered.sort();
    assert_eq!(state::own(&world.fixture, references).await, ordered);
    assert_eq!(state::own(&world.fixture, audited).await.len(), acted);
}

impl Tally {
    async fn add(&mut self, world: &World, service: &Service, attempts: Range<usize>) {
        let sent = stream::iter(attempts).map(|nth| {
            let attempt = world.attempt(nth);
            async move {
                let answer = attempt.send(service).await;
                (nth, attempt, answer)
            }
        });
        let mut sent = pin!(sent.buffer_unordered(AT_ONCE));
        let mut statuses = BTreeMap::new();
        while let Some((nth, attempt, answer)) = sent.next().await {
            *self.kinds.entry(attempt.kind).or_insert(0) += 1;
            let answer = match answer {
                Ok(answer) => answer,
                Err(_) if attempt.must == Must::NotBeRead => continue,
                Err(error) => panic!("attempt {nth} of seed {SEED:#x}, {}: {error:?}", attempt.kind),
            };
            if let Some(complaint) = attempt.complaint(&answer, world) {
                let headers = attempt.headers.iter();
                let headers =
                    headers.map(|(name, value)| format!("{name}: {:.1000}\n", value.escape_ascii().to_string()));
                panic!(
                    "attempt {nth} of seed {SEED:#x}, {}: {complaint}: {} {}\nmust {:?}\nsent {}{}",
                    attempt.kind,
                    answer.status,
                    answer.body,
                    attempt.must,
                    headers.collect::<String>(),
                    attempt.body
                );
            }
            *statuses.entry(answer.status).or_insert(0) += 1;
            if attempt.must == Must::SayNothing {
                self.refusals.insert(answer.told());
            }
            self.audited += usize::from(answer.status == 200 || answer.code() == "no_such_part");
            self.ordered.extend(attempt.reference().filter(|_| answer.status == 200));
        }
        // All of them have come as far as that.
        for (status, answers) in statuses.into_iter().filter(|(status, _)| *status != 431) {
            let counted = format!("tare_http_requests_total{{status=\"{status}\"}}");
            assert_eq!(service.metric(&counted).await, Some(f64::from(answers)), "{status}");
        }
    }
}

/// Each token is good, and what others do has been done: there is something to be let in to.
async fn everybody_gets_their_own(world: &World) {
    let mut service = world.serve("after");
    for (token, key, body) in world.done() {
        let headers = [tokens::bearer(token.clone()), vec![("idempotency-key", key.into())]].concat();
        let attempt = Attempt { kind: "their own", headers, body: body.to_string(), must: Must::Be(200) };
        let answer = attempt.send(&service).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    for token in world.own.iter().chain(&world.guests) {
        let part = world.fixture.part(0, 0, 1).id;
        assert_eq!(service.send(token, crate::bed::view(part)).await.status(), 200);
    }
    stop(&mut service);
}

/// Ends it, with all audit rows written.
fn stop(service: &mut Service) {
    service.signal("TERM");
    assert!(service.process.wait().unwrap().success());
}
