//! What a database is doing while requests wait: its sessions looked at many times, and its counters before and after.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tare_evidence::units::time;
use tare_evidence::{Activity, Blocker, Finding, FindingKind, Wait};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, Row};
use tokio_util::sync::CancellationToken;

use crate::statement::{one_line, without_values};
use crate::{Error, Scope};

/// How often sessions are looked at: each look is a query, which should not be much of what goes on.
const EVERY: Duration = Duration::from_millis(80);
/// Looks between two readings of the counters, which PostgreSQL itself brings up to date once a second.
const READ_EVERY: usize = 10;
/// Blockers that are kept.
const BLOCKERS: usize = 3;
/// Characters of a blocker's statement that are kept.
const SHOWN: usize = 120;
/// Sessions that wait for a lock, on average over all looks, to be worth telling.
const TELLING: f64 = 0.1;
/// What sessions that are watched are not called: the testbed's own. One that waits for a lock shows who holds it, all the same.
const OWN: &str = "tare-testbed";
/// What a session that holds its transaction open is at.
const IDLE_IN_TRANSACTION: &str = "idle in transaction";

/// Who waits for whom costs the database something, so it is asked only of those who wait for a lock. The checkpointer waits in
/// its main loop when there is nothing to do. Of sessions that this login may not look at even their kind is not told, and they may
/// be waited for.
const SESSIONS: &str = "\
    select pid, coalesce(state, ''), coalesce(wait_event_type, ''), coalesce(wait_event, ''), \
    coalesce(extract(epoch from clock_timestamp() - xact_start) * 1000, 0)::float8, coalesce(query, ''), \
    coalesce((application_name <> $2 or wait_event_type = 'Lock') and datname = any($1), false), \
    case when wait_event_type = 'Lock' then pg_blocking_pids(pid) else '{}' end, \
    coalesce(backend_type = 'checkpointer' and wait_event is distinct from 'CheckpointerMain', false), \
    coalesce(backend_type = 'autovacuum worker' or starts_with(lower(query), 'vacuum') and state = 'active', false) \
    from pg_stat_activity \
    where coalesce(backend_type in ('client backend', 'checkpointer', 'autovacuum worker'), true) and pid <> pg_backend_pid()";
const COUNTERS: &str = "\
    select coalesce(sum(xact_commit), 0)::int8, coalesce(sum(xact_rollback), 0)::int8, \
    coalesce(sum(sessions), 0)::int8, coalesce(sum(blks_hit), 0)::int8, coalesce(sum(blks_read), 0)::int8, \
    coalesce(sum(temp_bytes), 0)::int8, coalesce(sum(deadlocks), 0)::int8 \
    from pg_stat_database where datname = any($1)";
const CHECKPOINTS: &str = "select checkpoints_timed + checkpoints_req from pg_stat_bgwriter";
const CHECKPOINTS_FROM_17: &str = "select num_timed + num_requested from pg_stat_checkpointer";
const VERSION: &str =
    "select current_setting('server_version_num')::int4, pg_has_role(current_user, 'pg_read_all_stats', 'usage')";

const CHECKPOINT: &str = "the database wrote a checkpoint";
const LOCK: &str = "sessions of the database waited for a lock";
const VACUUM: &str = "the database vacuumed";

/// Looks at a database until it is told to end.
pub struct Sampler {
    stop: CancellationToken,
    task: JoinHandle<Result<Seen, Error>>,
}

/// What was seen of a database.
pub struct Watched {
    /// What it did.
    pub activity: Activity,
    /// What went on when that slows requests down, in words.
    pub moments: Vec<(Instant, &'static str)>,
}

/// What has been seen so far.
#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    /// Counters as they were read from time to time.
    counters: Vec<(Instant, Counters)>,
    /// What sessions are at, by number.
    names: Vec<String>,
    /// Whether our own queries are among what is counted.
    is_counted: bool,
    remarks: Vec<String>,
}

/// One look at all sessions.
struct Look {
    at: Instant,
    /// Client sessions that are watched.
    sessions: u64,
    /// What busy ones were at, by number: a pass may last for hours.
    busy: Vec<u16>,
    blockers: Vec<Blocker>,
    moments: Vec<&'static str>,
}

/// Commits, rollbacks, sessions, blocks hit, blocks read, bytes of temporary files, deadlocks, checkpoints.
type Counters = [i64; 8];

/// One session at one moment.
struct Session {
    pid: i32,
    state: String,
    wait: (String, String),
    transaction_ms: f64,
    query: String,
    /// Whether it is watched, and not only a possible blocker.
    watched: bool,
    blocked_by: Vec<i32>,
    checkpoints: bool,
    vacuums: bool,
}

impl Sampler {
    /// Begins to look at the databases of `scope`, by `client`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn start(client: Client, scope: &Scope) -> Result<Self, Error> {
        let row = client.query_one(VERSION, &[]).await?;
        let checkpoints = if row.get::<_, i32>(0) >= 170_000 { CHECKPOINTS_FROM_17 } else { CHECKPOINTS };
        let mut seen = Seen { is_counted: scope.holds(&client).await?, ..Seen::default() };
        if !row.get::<_, bool>(1) {
            seen.remarks.push(
                "Of sessions of other logins it is not known what they were at: that takes grant pg_read_all_stats to \
                 this login."
                    .into(),
            );
        }
        let databases = scope.databases.clone();
        seen.counters.push((Instant::now(), counters(&client, &databases, checkpoints).await?));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => break,
                    _ = tick.tick() => {}
                }
                let rows = client.query(SESSIONS, &[&databases, &OWN]).await?;
                seen.take(Instant::now(), &rows.iter().map(Session::of).collect::<Vec<_>>());
                if seen.looks.len().is_multiple_of(READ_EVERY) {
                    seen.counters.push((Instant::now(), counters(&client, &databases, checkpoints).await?));
                }
            }
            seen.counters.push((Instant::now(), counters(&client, &databases, checkpoints).await?));
            Ok(seen)
        });
        Ok(Self { stop, task })
    }

    /// What was seen since `began`.
    ///
    /// # Errors
    /// [`Error::Database`], when it could no longer be looked at.
    pub async fn end(self, began: Instant) -> Result<Watched, Error> {
        self.stop.cancel();
        let seen = self.task.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(seen.since(began))
    }
}

/// PostgreSQL adds up what a session did when its transaction ends, but at most once a second, so some of the last may be
/// missing.
async fn counters(client: &Client, databases: &[String], checkpoints: &str) -> Result<Counters, Error> {
    let row = client.query_one(COUNTERS, &[&databases]).await?;
    let checkpoints = client.query_one(checkpoints, &[]).await?;
    let mut counters = [0; 8];
    for (nth, counter) in counters.iter_mut().enumerate() {
        *counter = if nth < 7 { row.get(nth) } else { checkpoints.get(0) };
    }
    Ok(counters)
}

impl Session {
    fn of(row: &Row) -> Self {
        Self {
            pid: row.get(0),
            state: row.get(1),
            wait: (row.get(2), row.get(3)),
            transaction_ms: row.get(4),
            query: row.get(5),
            watched: row.get(6),
            blocked_by: row.get(7),
            checkpoints: row.get(8),
            vacuums: row.get(9),
        }
    }

    /// What it is at; nothing when it is idle.
    fn at(&self) -> Option<String> {
        match (&*self.state, &*self.wait.0, &*self.wait.1) {
            ("" | "idle" | "disabled", ..) => None,
            ("active" | "fastpath function call", "", _) => Some("CPU".into()),
            ("active" | "fastpath function call", kind, event) => Some(format!("{kind}:{event}")),
            _ => Some(IDLE_IN_TRANSACTION.into()),
        }
    }
}

impl Seen {
    fn take(&mut self, at: Instant, sessions: &[Session]) {
        let mut look = Look { at, sessions: 0, busy: Vec::new(), blockers: Vec::new(), moments: Vec::new() };
        let mut waiting: BTreeMap<i32, u64> = BTreeMap::new();
        for session in sessions.iter().filter(|session| session.watched) {
            look.sessions += 1;
            look.busy.extend(session.at().map(|name| self.number(name)));
            session.blocked_by.iter().for_each(|pid| *waiting.entry(*pid).or_default() += 1);
        }
        let going_on = [
            (sessions.iter().any(|session| session.checkpoints), CHECKPOINT),
            (!waiting.is_empty(), LOCK),
            (sessions.iter().any(|session| session.vacuums), VACUUM),
        ];
        look.moments.extend(going_on.into_iter().filter_map(|(goes_on, what)| goes_on.then_some(what)));
        let blocker = |(pid, waiting): (i32, u64)| {
            let session = sessions.iter().find(|session| session.pid == pid)?;
            Some(Blocker {
                pid,
                state: session.state.clone(),
                transaction_ms: session.transaction_ms,
                sql: one_line(&without_values(&session.query)).chars().take(SHOWN).collect(),
                waiting,
            })
        };
        look.blockers.extend(waiting.into_iter().filter_map(blocker));
        self.looks.push(look);
    }

    fn number(&mut self, name: String) -> u16 {
        let known = self.names.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        u16::try_from(number).expect("PostgreSQL has some two hundred wait events")
    }

    fn since(self, began: Instant) -> Watched {
        let looks: Vec<_> = self.looks.into_iter().filter(|look| look.at >= began).collect();
        let count = looks.len().max(1) as f64;
        let mut at = vec![0_u64; self.names.len()];
        looks.iter().flat_map(|look| &look.busy).for_each(|number| at[usize::from(*number)] += 1);
        let named = self.names.into_iter().zip(at).filter(|(_, times)| *times > 0);
        let mut waits: Vec<_> = named.map(|(what, times)| Wait { what, sessions: times as f64 / count }).collect();
        waits.sort_by(|one, other| other.sessions.total_cmp(&one.sessions));

        let first = self.counters.iter().rev().find(|(at, _)| *at <= began).or(self.counters.first());
        let (before, after) =
            first.zip(self.counters.last()).map_or_else(Default::default, |((_, a), (_, b))| (*a, *b));
        let rose = |nth: usize| u64::try_from(after[nth] - before[nth]).unwrap_or_default();
        // Each look was a transaction, too.
        let own = if self.is_counted { looks.len() as u64 } else { 0 };
        let activity = Activity {
            looks: looks.len() as u64,
            busy: looks.iter().map(|look| look.busy.len()).sum::<usize>() as f64 / count,
            sessions: looks.iter().map(|look| look.sessions).max().unwrap_or_default(),
            waits,
            commits: rose(0).saturating_sub(own),
            rollbacks: rose(1),
            opened: rose(2),
            blocks_hit: rose(3),
            blocks_read: rose(4),
            temp_bytes: rose(5),
            deadlocks: rose(6),
            checkpoints: rose(7),
            blockers: blockers(&looks),
            remarks: self.remarks,
        };
        let moments = looks.iter().flat_map(|look| look.moments.iter().map(|what| (look.at, *what))).collect();
        Watched { activity, moments }
    }
}

/// Those for whom most sessions waited at once, as they were seen last.
fn blockers(looks: &[Look]) -> Vec<Blocker> {
    let mut kept: BTreeMap<i32, Blocker> = BTreeMap::new();
    for blocker in looks.iter().flat_map(|look| &look.blockers) {
        let waiting = kept.get(&blocker.pid).map_or(0, |known| known.waiting).max(blocker.waiting);
        kept.insert(blocker.pid, Blocker { waiting, ..blocker.clone() });
    }
    let mut blockers: Vec<_> = kept.into_values().collect();
    blockers.sort_by_key(|blocker| std::cmp::Reverse(blocker.waiting));
    blockers.truncate(BLOCKERS);
    blockers
}

/// What stands out of it: that sessions waited for what another held.
pub fn lock_finding(activity: &Activity) -> Option<Finding> {
    let blocker = activity.blockers.first()?;
    let locked: f64 =
        activity.waits.iter().filter(|wait| wait.what.starts_with("Lock:")).map(|wait| wait.sessions).sum();
    let Blocker { pid, state, transaction_ms, sql, waiting } = blocker;
    let meanwhile = match &**state {
        // It may not be looked at.
        "" => String::new(),
        state => format!(", while it was {state}, its transaction {} old", time(*transaction_ms)),
    };
    (locked >= TELLING).then(|| Finding {
        kind: FindingKind::LockWait,
        what: format!("Sessions waited for what session {pid} holds: {waiting} at once{meanwhile}."),
        at: sql.clone(),
        share: Some((locked / activity.busy).min(1.0)),
        advice: match &**state {
            IDLE_IN_TRANSACTION => {
                "End its transaction: commit or roll back before anything else is waited for.".into()
            }
            _ => "Shorten its transaction, or take the lock last.".into(),
        },
        proof: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: i32, state: &str, wait: &str, blocked_by: &[i32]) -> Session {
        let (kind, event) = wait.split_once(':').unwrap_or_default();
        Session {
            pid,
            state: state.into(),
            wait: (kind.into(), event.into()),
            transaction_ms: 500.0,
            query: "update orders set note = 'it''s mine', n = 7 where id2 = 12.5".into(),
            watched: pid < 100,
            blocked_by: blocked_by.to_vec(),
            checkpoints: false,
            vacuums: false,
        }
    }

    #[test]
    fn sessions_are_counted_by_what_they_are_at() {
        let began = Instant::now();
        let mut seen = Seen { is_counted: true, ..Seen::default() };
        let later = began + Duration::from_secs(1);
        seen.counters = vec![(began, [0; 8]), (later, [10, 1, 2, 3, 4, 5, 6, 7])];
        let warm_up = began.checked_sub(Duration::from_millis(1)).unwrap();
        seen.take(warm_up, &[session(1, "active", "IO:DataFileRead", &[])]);
        let walks = session(2, "active", "IO:WALSync", &[]);
        seen.take(began, &[session(1, "active", "", &[]), walks, session(3, "idle", "", &[])]);
        let idles = session(2, "idle in transaction", "Client:ClientRead", &[]);
        seen.take(later, &[session(1, "active", "IO:WALSync", &[]), idles]);
        let Watched { activity, moments } = seen.since(began);
        let waits: Vec<_> = activity.waits.iter().map(|wait| (&*wait.what, wait.sessions)).collect();
        assert_eq!(waits, [("IO:WALSync", 1.0), ("CPU", 0.5), ("idle in transaction", 0.5)]);
        assert_eq!((activity.busy, activity.sessions, activity.looks), (2.0, 3, 2));
        assert_eq!(
            (activity.commits, activity.rollbacks, activity.checkpoints),
            (8, 1, 7),
            "looks are no commits of theirs"
        );
        assert_eq!((lock_finding(&activity), moments), (None, Vec::new()));
    }

    #[test]
    fn who_is_waited_for_is_named_without_what_it_is_about() {
        let (mut seen, began) = (Seen::default(), Instant::now());
        let two = [session(1, "active", "Lock:tuple", &[100]), session(2, "active", "Lock:transactionid", &[100])];
        let holder = session(100, "idle in transaction", "Client:ClientRead", &[]);
        seen.take(began, &two.into_iter().chain([holder]).collect::<Vec<_>>());
        let Watched { activity, moments } = seen.since(began);
        assert_eq!(moments, [(began, LOCK)]);
        assert_eq!((activity.sessions, activity.blockers[0].waiting), (2, 2), "who is not watched still blocks");
        let found = lock_finding(&activity).unwrap();
        assert_eq!(found.at, "update orders set note = ?, n = ? where id2 = ?");
        assert!(found.what.contains("session 100") && found.what.contains("idle in transaction"), "{}", found.what);
        assert_eq!(found.share, Some(1.0));
    }
}
