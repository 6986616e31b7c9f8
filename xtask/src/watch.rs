//! What goes on at the built-in server and its database while load is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tare_stress::{Connection, Request, Seen, Target};
use tare_testbed::Fixture;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::service::Service;

/// How often it is looked: more often than the windows in which requests are counted are long.
const EVERY: Duration = Duration::from_millis(80);
/// What the database is at. The checkpointer waits in its main loop when there is nothing to do.
const DATABASE: &str = "select \
    exists (select from pg_stat_activity where backend_type = 'checkpointer' and wait_event is distinct from 'CheckpointerMain'), \
    exists (select from pg_stat_activity where wait_event_type = 'Lock'), \
    exists (select from pg_stat_progress_vacuum)";
const CHECKPOINT: &str = "the database wrote a checkpoint";
const LOCK: &str = "sessions of the database waited for a lock";
const VACUUM: &str = "the database vacuumed";

/// Looks at a server until it is told to end.
pub struct Watch {
    seen: Arc<Mutex<Vec<(Instant, &'static str)>>>,
    task: JoinHandle<()>,
}

/// The server's metrics, by name and labels.
type Metrics = BTreeMap<String, f64>;

impl Watch {
    /// Begins to look. What cannot be looked at is not seen.
    pub async fn start(service: &Service, fixture: &Fixture) -> Result<Self> {
        let target = Target::resolve(&service.metrics_url(), false, None).await?;
        let admin = fixture.server().admin(fixture.server().maintenance_database()).await?;
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let sees = seen.clone();
        let task = tokio::spawn(async move {
            let (mut metrics, mut before) = (Connection::new(target), None);
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let (server, database) = tokio::join!(read(&mut metrics), admin.query_typed(DATABASE, &[]));
                let now = Instant::now();
                let mut going_on = Vec::new();
                if let Some(server) = server {
                    going_on.extend(before.as_ref().map_or_else(Vec::new, |before| at_the_server(before, &server)));
                    before = Some(server);
                }
                if let Ok([row]) = database.as_deref() {
                    let told = [CHECKPOINT, LOCK, VACUUM].into_iter().enumerate();
                    going_on.extend(told.filter(|(index, _)| row.get(*index)).map(|(_, what)| what));
                }
                let mut sees = sees.lock().unwrap_or_else(PoisonError::into_inner);
                sees.extend(going_on.into_iter().map(|what| (now, what)));
            }
        });
        Ok(Self { seen, task })
    }

    /// What was seen since `began`.
    pub fn end(self, began: Instant) -> Vec<Seen> {
        self.task.abort();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |(at, what): &(Instant, &'static str)| Some(Seen { at: at.checked_duration_since(began)?, what });
        seen.iter().filter_map(since).collect()
    }
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
