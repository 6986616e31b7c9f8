//! The figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tare_evidence::{Component, Interval, Profile, median, server_timing};
use tare_stress::{Connection, Mix, TIMEOUT, Target, call};
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;

use crate::estimate::estimate;
use crate::typical::typical;
use crate::{Error, bound_waits};

/// Rounds before counting begins.
const WARMUP: usize = 10;
/// What is to be known of a query that changes something.
const ROLLED_BACK: &str = "The query changes something and was rolled back each time: waiting for its commit is not in its time, and is \
                           in that of the action.";
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
    /// One round trip to the service, where it was measured.
    pub network_ms: Option<Interval>,
    /// The published time of each component in milliseconds, for a service that does not tell.
    pub published: Vec<(String, f64)>,
}

/// A query on a connection of its own.
pub struct Query {
    /// The connection, kept open.
    pub client: Client,
    /// One statement without parameters. Whatever it changes is rolled back.
    pub sql: String,
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
        Some(Query { client, sql }) => {
            bound_waits(client).await?;
            Some((client, sql, client.prepare(sql).await.map_err(Error::query(sql))?))
        }
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
            Some((client, sql, statement)) => Some(ask(client, sql, statement).await?),
            None => None,
        };
        if round >= WARMUP {
            samples.push(sample);
            queries.extend(query);
            progress(samples.len() as u64);
        }
    }
    let mut profile = summarise(subject, &samples, queries);
    if let Some((client, sql, statement)) = &prepared
        && changes(client, sql, statement).await?
    {
        profile.remarks.push(ROLLED_BACK.into());
    }
    Ok(profile)
}

async fn send(connection: &mut Connection, mix: &Mix, nth: u64) -> Result<Sample, String> {
    let start = Instant::now();
    let answer = call(mix, connection, nth, TIMEOUT).await;
    let request = start.elapsed();
    let answer = answer.map_err(|reason| format!("does not answer with a success: {reason}"))?;
    let told = answer.headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok());
    let components = told.flat_map(server_timing).map(|(name, time)| (name.to_owned(), time)).collect();
    Ok(Sample { request, components })
}

/// Whether the query changes anything.
async fn changes(client: &Client, sql: &str, statement: &Statement) -> Result<bool, Error> {
    client.batch_execute("begin").await?;
    let asked = client.query(statement, &[]).await;
    asked.map_err(Error::query(sql))?;
    let changes = client.query_one("select pg_current_xact_id_if_assigned() is not null", &[]).await?.get(0);
    client.batch_execute("rollback").await?;
    Ok(changes)
}

/// Only the query is timed, and nothing of it is kept.
async fn ask(client: &Client, sql: &str, statement: &Statement) -> Result<Duration, Error> {
    client.batch_execute("begin").await?;
    let start = Instant::now();
    let asked = client.query(statement, &[]).await;
    let taken = start.elapsed();
    client.batch_execute("rollback").await?;
    asked.map_err(Error::query(sql)).map(|_| taken)
}

fn summarise(subject: &Subject, samples: &[Sample], queries: Vec<Duration>) -> Profile {
    let request_ms = median(samples.iter().map(|sample| milliseconds(&sample.request)).collect());
    let database_ms = (!queries.is_empty()).then(|| median(queries.iter().map(milliseconds).collect()));
    let components = match components(samples) {
        told if told.is_empty() => estimate(request_ms.estimate, database_ms, subject.network_ms, &subject.published),
        told => told,
    };
    Profile {
        strategy: subject.strategy.clone(),
        name: subject.name.clone(),
        samples: samples.len(),
        database_ms,
        request_ms,
        components,
        ..Profile::default()
    }
}

/// What the server told, in the order in which it first did, and the rest; nothing when it told nothing.
fn components(samples: &[Sample]) -> Vec<Component> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in samples.iter().flat_map(|sample| &sample.components) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Vec::new();
    }
    let row = |sample: &Sample| {
        let told = |of: &&str| {
            let times = sample.components.iter().filter(|(name, _)| name == of);
            times.map(|(_, time)| milliseconds(time)).sum::<f64>()
        };
        let parts: Vec<_> = names.iter().map(told).collect();
        let request = milliseconds(&sample.request);
        // A server that tells of more than the request took has done things at the same time.
        let rest = (request - parts.iter().sum::<f64>()).max(0.0);
        [request].into_iter().chain(parts).chain([rest]).collect()
    };
    let rows: Vec<Vec<f64>> = samples.iter().map(row).collect();
    let parts = typical(&rows).into_iter().skip(1);
    let named = names.into_iter().chain([NETWORK]).zip(parts);
    named.map(|(name, ms)| Component { name: name.to_owned(), ms, estimated: false }).collect()
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(request_ms: u64, components: &[(&str, u64)]) -> Sample {
        let component = |&(name, ms): &(&str, u64)| (name.to_owned(), Duration::from_millis(ms));
        Sample { request: Duration::from_millis(request_ms), components: components.iter().map(component).collect() }
    }

    #[test]
    fn what_the_server_does_not_tell_of_is_the_network() {
        let samples = [sample(10, &[("auth", 1), ("action", 6)]), sample(10, &[("auth", 1), ("action", 6)])];
        let told = components(&samples);
        let shown: Vec<_> = told.iter().map(|one| (&*one.name, one.ms.estimate)).collect();
        assert_eq!(shown, [("auth", 1.0), ("action", 6.0), ("network", 3.0)]);
        assert!(components(&[sample(10, &[])]).is_empty());
    }

    #[test]
    fn a_server_that_tells_of_more_than_a_request_took_does_not_add_up() {
        let told = components(&[sample(10, &[("action", 6), ("audit", 8)])]);
        assert_eq!(told.iter().map(|one| one.ms.estimate).collect::<Vec<_>>(), [6.0, 8.0, 0.0]);
    }

    #[test]
    fn a_component_told_now_and_then_has_its_place() {
        let samples = [sample(10, &[("auth", 1)]), sample(10, &[("cache", 2), ("auth", 1), ("cache", 2)])];
        let told = components(&samples);
        assert_eq!(told.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["auth", "cache", "network"]);
        let sum: f64 = told.iter().map(|one| one.ms.estimate).sum();
        assert!((sum - 10.0).abs() < 1e-9, "{told:?}");
    }
}
