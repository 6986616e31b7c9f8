//! What databases are asked to do, counted by PostgreSQL itself.

use std::collections::BTreeMap;

use tare_evidence::{Statement, Work};
use tokio_postgres::Client;

use crate::{Error, Scope};

/// Settings that have statements counted, within functions, too.
const SETTINGS: [(&str, &str); 2] = [("compute_query_id", "on"), ("pg_stat_statements.track", "all")];

/// Statements by their text. What asks is left out.
const STATEMENTS: &str = "\
    select query, not toplevel, calls, rows, total_exec_time from pg_stat_statements \
    where dbid in (select oid from pg_database where datname = any($1)) \
    and query not like '%pg_stat_%' and query <> ''";
/// Sessions that were opened.
const SESSIONS: &str = "select coalesce(sum(sessions), 0)::bigint from pg_stat_database where datname = any($1)";
/// Whether statements are counted.
const IS_COUNTED: &str = "\
    select exists (select from pg_extension where extname = 'pg_stat_statements'), \
    coalesce(current_setting('pg_stat_statements.track', true), ''), current_setting('compute_query_id')";

/// Counts statements and sessions of some databases.
pub struct Count {
    client: Client,
    scope: Scope,
    /// Why statements are not counted.
    uncounted: Option<String>,
    before: Snapshot,
}

#[derive(Default)]
struct Snapshot {
    /// Calls, rows and milliseconds, by the text and whether it is within a function.
    statements: BTreeMap<(String, bool), (i64, i64, f64)>,
    sessions: i64,
}

impl Count {
    /// Prepares to count what the databases of `scope` are asked to do. In databases of ours this switches counting on, for
    /// sessions that are opened from now on: who is to be counted must connect after this. Of somebody else's nothing is changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn start(client: Client, scope: Scope) -> Result<Self, Error> {
        let is_loaded = "select count(*) from pg_settings where name = 'pg_stat_statements.track'";
        let loaded: i64 = client.query_one(is_loaded, &[]).await?.get(0);
        if scope.ours && loaded > 0 {
            client.batch_execute("create extension if not exists pg_stat_statements").await?;
            for (database, (name, value)) in pairs(&scope) {
                client.batch_execute(&format!("alter database {database} set {name} = '{value}'")).await?;
            }
        }
        let row = client.query_one(IS_COUNTED, &[]).await?;
        let needed = match (row.get::<_, bool>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)) {
            (false, "", _) => Some(
                "shared_preload_libraries = 'pg_stat_statements', a restart, and then create extension pg_stat_statements",
            ),
            (false, _, _) => Some("create extension pg_stat_statements"),
            (true, _, _) if scope.ours => None,
            (true, "" | "none", _) => Some("pg_stat_statements.track = 'top', or 'all' for what functions ask, too"),
            (true, _, "off") => Some("compute_query_id = 'auto'"),
            (true, _, _) => None,
        };
        let uncounted = needed.map(|needed| {
            format!("Statements were not counted: pg_stat_statements does not count here. It takes {needed}.")
        });
        Ok(Self { client, scope, uncounted, before: Snapshot::default() })
    }

    /// Counting begins. Until it ends no connection of one's own may be opened, or it is counted, too.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn begin(&mut self) -> Result<(), Error> {
        self.before = self.snapshot().await?;
        Ok(())
    }

    /// What was asked for since it began, by `requests` requests; and what was not counted, and why.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn end(self, requests: u64) -> Result<(Work, Vec<String>), Error> {
        let after = self.snapshot().await?;
        if self.scope.ours {
            for (database, (name, _)) in pairs(&self.scope) {
                self.client.batch_execute(&format!("alter database {database} reset {name}")).await?;
            }
        }
        let work = Work {
            requests,
            round_trips: None,
            connections: u64::try_from(after.sessions - self.before.sessions).ok(),
            statements: difference(&self.before, after),
        };
        Ok((work, self.uncounted.into_iter().collect()))
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let databases = &self.scope.databases;
        let mut statements = BTreeMap::new();
        if self.uncounted.is_none() {
            for row in self.client.query(STATEMENTS, &[databases]).await? {
                // The same text in another database or by another login is the same statement.
                let of: &mut (i64, i64, f64) = statements.entry((row.get(0), row.get(1))).or_default();
                *of = (of.0 + row.get::<_, i64>(2), of.1 + row.get::<_, i64>(3), of.2 + row.get::<_, f64>(4));
            }
        }
        let row = self.client.query_one(SESSIONS, &[databases]).await?;
        Ok(Snapshot { statements, sessions: row.get(0) })
    }
}

/// Each setting of each database.
fn pairs(scope: &Scope) -> impl Iterator<Item = (&String, (&'static str, &'static str))> {
    scope.databases.iter().flat_map(|database| SETTINGS.map(|setting| (database, setting)))
}

/// Statements carried out between two snapshots, the one that took longest in all first.
fn difference(before: &Snapshot, after: Snapshot) -> Vec<Statement> {
    let statement = |((sql, nested), (calls, rows, ms)): ((String, bool), (i64, i64, f64))| {
        let known = before.statements.get(&(sql.clone(), nested)).copied().unwrap_or_default();
        let calls = u64::try_from(calls - known.0).ok().filter(|calls| *calls > 0)?;
        let rows = u64::try_from(rows - known.1).unwrap_or_default();
        Some(Statement { sql, calls, rows, total_ms: (ms - known.2).max(0.0), nested })
    };
    let mut statements: Vec<_> = after.statements.into_iter().filter_map(statement).collect();
    statements.sort_by(|one, other| other.total_ms.total_cmp(&one.total_ms));
    statements
}
