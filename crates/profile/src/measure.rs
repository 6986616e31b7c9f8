//! The figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tare_evidence::{Profile, median, server_timing};
use tare_stress::{Connection, Mix, TIMEOUT, Target, call};
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;

use crate::finding;

/// Rounds before counting begins.
const WARMUP: usize = 10;
/// What the client saw and the server did not tell of.
const NETWORK: &str = "network";

/// What is taken apart.
pub struct Subject {
    /// The action's name.
    pub name: String,
    /// The strategy of the service, if it is ours.
    pub strategy: Option<String>,
    /// The service.
    pub target: Target,
    /// What is sent.
    pub mix: Arc<Mix>,
    /// The action's query, to be run beside each request.
    pub query: Option<Query>,
    /// Rounds counted, at least one.
    pub samples: usize,
}

/// A query on a connection of its own.
pub struct Query {
    /// The connection, kept open.
    pub client: Client,
    /// Without parameters.
    pub sql: String,
}

/// Why an action could not be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service did not answer with a success.
    #[error("{url} {reason}; a profile needs requests that succeed")]
    Request {
        /// Where the request went.
        url: String,
        /// What came back.
        reason: String,
    },
    /// The query failed.
    #[error("the query to be measured beside the request failed: {}", .0.as_db_error().map_or_else(|| .0.to_string(), |error| error.message().to_owned()))]
    Query(#[from] tokio_postgres::Error),
    /// It was stopped.
    #[error("interrupted")]
    Interrupted,
}

/// One request's time, and what the server told of it.
struct Sample {
    request: Duration,
    components: Vec<(String, Duration)>,
}

/// Takes `subject` apart. `progress` is told how many rounds are done.
///
/// # Errors
/// Those of [`Error`]; the first failure ends it.
pub async fn profile(subject: &Subject, stop: &CancellationToken, progress: impl Fn(u64)) -> Result<Profile, Error> {
    let mut connection = Connection::new(subject.target.clone());
    let prepared = match &subject.query {
        Some(Query { client, sql }) => Some((client, client.prepare(sql).await?)),
        None => None,
    };
    let (mut samples, mut queries) = (Vec::new(), Vec::new());
    for round in 0..WARMUP + subject.samples.max(1) {
        if stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let sample = send(&mut connection, &subject.mix, round as u64).await.map_err(|reason| {
            let url = subject.target.url().to_owned();
            Error::Request { url, reason }
        })?;
        let query = match &prepared {
            Some((client, statement)) => Some(ask(client, statement).await?),
            None => None,
        };
        if round >= WARMUP {
            samples.push(sample);
            queries.extend(query);
            progress(samples.len() as u64);
        }
    }
    Ok(summarise(subject, &samples, queries))
}

async fn send(connection: &mut Connection, mix: &Mix, nth: u64) -> Result<Sample, String> {
    let start = Instant::now();
    let answer = call(mix, connection, nth, TIMEOUT).await;
    let taken = start.elapsed();
    let answer = answer.map_err(|reason| format!("does not answer with a success: {reason}"))?;
    let told = answer.headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok());
    let mut components: Vec<_> = told.flat_map(server_timing).map(|(name, time)| (name.to_owned(), time)).collect();
    if !components.is_empty() {
        let known = components.iter().map(|(_, time)| *time).sum();
        components.push((NETWORK.to_owned(), taken.saturating_sub(known)));
    }
    Ok(Sample { request: taken, components })
}

async fn ask(client: &Client, statement: &Statement) -> Result<Duration, Error> {
    let start = Instant::now();
    client.query(statement, &[]).await?;
    Ok(start.elapsed())
}

fn summarise(subject: &Subject, samples: &[Sample], queries: Vec<Duration>) -> Profile {
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
    let request_ms = median(samples.iter().map(|sample| milliseconds(&sample.request)).collect());
    let database_ms = (!queries.is_empty()).then(|| median(queries.iter().map(milliseconds).collect()));
    let components: Vec<_> = samples[0]
        .components
        .iter()
        .map(|(name, _)| {
            let times = samples.iter().filter_map(|sample| sample.components.iter().find(|(told, _)| told == name));
            (name.clone(), median(times.map(|(_, time)| milliseconds(time)).collect()).estimate)
        })
        .collect();
    let who = subject.strategy.as_deref().unwrap_or(&subject.name);
    Profile {
        strategy: subject.strategy.clone(),
        name: subject.name.clone(),
        samples: samples.len(),
        finding: finding(who, request_ms.estimate, database_ms.map(|interval| interval.estimate), &components),
        database_ms,
        request_ms,
        components,
    }
}
