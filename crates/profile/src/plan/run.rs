//! Carries the statement out and listens.

use serde_json::Value;
use tokio_postgres::Transaction;

use super::Database;
use super::function::{self, Times};
use super::nested::Message;
use super::node::Node;
use crate::Error;

/// Plans of statements within functions, as messages to us and not to the server's log.
const LISTEN: &str = "\
    load 'auto_explain'; \
    set local auto_explain.log_min_duration = 0; set local auto_explain.log_analyze = on; \
    set local auto_explain.log_buffers = on; set local auto_explain.log_timing = on; \
    set local auto_explain.log_verbose = on; set local auto_explain.log_nested_statements = on; \
    set local auto_explain.log_format = json; set local auto_explain.log_level = log; \
    set local auto_explain.sample_rate = 1; \
    set local client_min_messages = log; set local log_min_messages = fatal";

/// Milliseconds below which a statement is timed some more times.
pub(super) const SHORT_MS: f64 = 100.0;
const AGAIN: usize = 4;

/// A statement to be carried out, as often as it takes.
pub(super) struct Run<'a> {
    pub(super) database: &'a mut Database,
    pub(super) sql: &'a str,
    pub(super) role: Option<&'a str>,
}

/// What was seen of it.
pub(super) struct Seen {
    /// Milliseconds of the run that was seen.
    pub(super) ms: f64,
    /// Without telling of statements within functions, which takes time, too; or of the fastest run.
    pub(super) bare_ms: f64,
    pub(super) top: Node,
    pub(super) nested: Vec<Message>,
    /// Calls and own time of each function that was called.
    pub(super) functions: Times,
    /// Whether all of what functions do was seen.
    pub(super) sees_functions: bool,
    pub(super) remarks: Vec<String>,
}

impl Run<'_> {
    /// Whether it is one statement that can be carried out as it is; nothing is.
    pub(super) async fn check(&mut self) -> Result<(), Error> {
        let transaction = self.database.client.transaction().await?;
        // Names are looked up as they are for the role.
        become_role(&transaction, self.role).await?;
        let statement = transaction.prepare(self.sql).await.map_err(Error::query(self.sql))?;
        if !statement.params().is_empty() {
            let reason = "it has parameters; put values in their places".to_owned();
            return Err(Error::Query { sql: self.sql.to_owned(), reason });
        }
        Ok(transaction.rollback().await?)
    }

    /// Carries it out twice: the first time plans are made and blocks read that are there the second time. Once more for its time
    /// when there are statements within functions, and some times when another process in the way would be most of it.
    pub(super) async fn see(&mut self) -> Result<Seen, Error> {
        let (sql, role, notices) = (self.sql, self.role, self.database.notices.clone());
        let mut transaction = self.database.client.transaction().await?;
        once(&mut transaction, sql, role, true).await?;
        let mut remarks = Vec::new();
        // Where it may not be set, times of reads are not told.
        let (transaction, _) = try_to(transaction, "set local track_io_timing = on").await?;
        let (transaction, timed) = try_to(transaction, function::TIMED).await?;
        let before = function::times(&transaction).await?;
        let (mut transaction, allowed) = try_to(transaction, LISTEN).await?;
        if let Err(reason) = &allowed {
            remarks.push(format!(
                "Statements within functions were not looked at: that takes auto_explain, and a superuser to load it ({reason})."
            ));
        }
        let mut allowed = allowed.is_ok() && timed.is_ok();
        notices.take();
        let (ms, plan) = once(&mut transaction, sql, role, true).await?;
        let (messages, dropped) = notices.take();
        let functions = function::since(&before, function::times(&transaction).await?);
        transaction.rollback().await?;
        let mut bare_ms = ms;
        let told: Vec<_> = messages.iter().filter_map(Message::of).collect();
        let again = if ms < SHORT_MS { AGAIN } else { usize::from(!told.is_empty()) };
        for _ in 0..again {
            let mut transaction = self.database.client.transaction().await?;
            bare_ms = once(&mut transaction, sql, role, true).await?.0.min(bare_ms);
            transaction.rollback().await?;
        }
        // The last one is of the statement itself.
        let dropped = dropped.saturating_sub(1);
        if dropped > 0 {
            allowed = false;
            remarks.push(format!(
                "Of statements within functions {dropped} more were carried out than were looked at, and functions' own time \
                 was not."
            ));
        }
        Ok(Seen { ms, bare_ms, top: Node::of(&plan), nested: told, functions, sees_functions: allowed, remarks })
    }
}

/// The statement that has `sql` explained.
fn explain_of(sql: &str, timing: bool) -> String {
    let timing = if timing { "buffers, verbose, settings, " } else { "timing off, " };
    format!("explain (analyze, {timing}format json) {sql}")
}

/// Carries `sql` out once and rolls it back; its time in milliseconds and its plan. Without `timing` of nodes it takes as long as
/// it does otherwise.
pub(super) async fn once(
    transaction: &mut Transaction<'_>,
    sql: &str,
    role: Option<&str>,
    timing: bool,
) -> Result<(f64, Value), Error> {
    let inner = transaction.transaction().await?;
    let answered = carried_out(&inner, sql, role, timing).await;
    inner.rollback().await?;
    answered
}

async fn carried_out(
    transaction: &Transaction<'_>,
    sql: &str,
    role: Option<&str>,
    timing: bool,
) -> Result<(f64, Value), Error> {
    become_role(transaction, role).await?;
    // Not as a simple query: that would carry out more than one statement.
    let row = transaction.query_one(&explain_of(sql, timing), &[]).await.map_err(Error::query(sql))?;
    let mut told: Value = row.get(0);
    let ms = told[0]["Execution Time"].as_f64().unwrap_or_default();
    Ok((ms, told[0]["Plan"].take()))
}

async fn become_role(transaction: &Transaction<'_>, role: Option<&str>) -> Result<(), Error> {
    let Some(role) = role else { return Ok(()) };
    let quoted = role.replace('"', "\"\"");
    Ok(transaction.batch_execute(&format!("set local role \"{quoted}\"")).await?)
}

/// Carries out `setup` if that is allowed; the reason if not.
async fn try_to<'a>(transaction: Transaction<'a>, setup: &str) -> Result<(Transaction<'a>, Result<(), String>), Error> {
    transaction.batch_execute("savepoint setup").await?;
    let done = transaction.batch_execute(setup).await;
    let undo = if done.is_ok() { "release setup" } else { "rollback to setup; release setup" };
    transaction.batch_execute(undo).await?;
    let reason = |error: tokio_postgres::Error| {
        error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
    };
    Ok((transaction, done.map_err(reason)))
}
