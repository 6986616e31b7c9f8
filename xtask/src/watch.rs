//! What goes on at the built-in server and its database while load is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tare_profile::{Sampler, Scope, Watched};
use tare_stress::{Connection, Request, Target};
use tare_testbed::Fixture;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::service::Service;

/// How often it is looked: more often than the windows in which requests are counted are long.
const EVERY: Duration = Duration::from_millis(80);
/// Looks at a server and its database until it is told to end.
pub struct Watch {
    seen: Arc<Mutex<Vec<Moment>>>,
    task: JoinHandle<()>,
    database: Sampler,
}

/// When, and what went on in words.
pub type Moment = (Instant, &'static str);

/// The server's metrics, by name and labels.
type Metrics = BTreeMap<String, f64>;

impl Watch {
    /// Begins to look. What the server does not tell is not seen.
    pub async fn start(service: &Service, fixture: &Fixture) -> Result<Self> {
        let target = Target::resolve(&service.metrics_url(), false, None).await?;
        let admin = fixture.server().admin(fixture.server().maintenance_database()).await?;
        let database = Sampler::start(admin, &Scope::of(fixture)).await?;
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let sees = seen.clone();
        let task = tokio::spawn(async move {
            let (mut metrics, mut before) = (Connection::new(target), None);
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(now) = read(&mut metrics).await else { continue };
                let going_on = before.as_ref().map_or_else(Vec::new, |before| at_the_server(before, &now));
                before = Some(now);
                let at = Instant::now();
                sees.lock().unwrap_or_else(PoisonError::into_inner).extend(going_on.into_iter().map(|what| (at, what)));
            }
        });
        Ok(Self { seen, task, database })
    }

    /// What was seen since `began`.
    pub async fn end(self, began: Instant) -> (Result<Watched>, Vec<Moment>) {
        self.task.abort();
        let watched = self.database.end(began).await;
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        (watched.map_err(Into::into), seen)
    }
}

/// Begins to look at the database of `DATABASE_URL`.
pub async fn database() -> Result<Sampler> {
    let client = tare_testbed::connect_to_url(None).await.context("the database cannot be watched")?;
    let scope = Scope::current(&client).await?;
    Ok(Sampler::start(client, &scope).await?)
}

async fn read(metrics: &mut Connection) -> Option<Metrics> {
    let answer = metrics.send(&Request::get()).await.ok()?;
    Some(parse(&String::from_utf8_lossy(&answer.body)))
}

/// Lines of `name value`, without the remarks.
fn parse(text: &str) -> Metrics {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

/// What went on between two looks.
fn at_the_server(before: &Metrics, now: &Metrics) -> Vec<&'static str> {
    let is = |name: &str| now.get(name).is_some_and(|value| *value > 0.0);
    let sum = |of: &Metrics, start: &str| -> f64 {
        of.range(start.to_owned()..).take_while(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
    };
    let rose = |start: &str| sum(now, start) > sum(before, start);
    [
        (is("tare_connections_waiting"), "requests waited for a connection of the pool"),
        (is("tare_http_requests_waiting"), "requests waited for a worker of the server"),
        (rose("tare_connections_opened"), "the pool opened connections"),
        (rose("tare_connections_closed"), "the pool closed connections"),
        (rose("tare_tenant_lookups"), "tenants were looked up"),
    ]
    .into_iter()
    .filter_map(|(goes_on, what)| goes_on.then_some(what))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rose_or_waits_goes_on() {
        let before = "# HELP x y\ntare_connections_opened_total 3\ntare_connections_closed_total{reason=\"idle\"} 1\n";
        let now = "tare_connections_opened_total 3\ntare_connections_closed_total{reason=\"idle\"} 1\n\
                   tare_connections_closed_total{reason=\"expired\"} 2\ntare_connections_waiting 4\n";
        let seen = at_the_server(&parse(before), &parse(now));
        assert_eq!(seen, ["requests waited for a connection of the pool", "the pool closed connections"]);
    }
}
