//! Functions whose time is not that of their statements.

use std::collections::BTreeMap;

use tare_evidence::units::{time, whole};
use tare_evidence::{Finding, FindingKind};
use tokio_postgres::Transaction;

use super::nested::Message;
use super::node::Node;
use super::rules::Whole;
use super::run::{Run, SHORT_MS, Seen, once};
use crate::Error;

/// Milliseconds and part of the statement's time that a function's own time must be. Calling statements takes some of it, and so
/// does planning them.
const MS: f64 = 5.0;
const SHARE: f64 = 0.30;
/// Runs, and those of short statements, of which the fastest counts: another process may have been in the way of the others.
const RUNS: usize = 3;
const RUNS_OF_SHORT: usize = 12;

/// Has functions timed.
pub(super) const TIMED: &str = "set local track_functions = 'all'";
/// Each function of the transaction: calls, and milliseconds without the functions that it calls.
const TIMES: &str = "\
    select schemaname || '.' || funcname, sum(calls)::int8, sum(self_time)::float8 \
    from pg_stat_xact_user_functions group by 1";

/// Calls of each function, and milliseconds without the functions that it calls.
pub(super) type Times = BTreeMap<String, (i64, f64)>;

/// The functions whose time goes by between their statements.
pub(super) async fn slow(run: &mut Run<'_>, seen: &Seen, whole_ms: Whole) -> Result<Vec<Finding>, Error> {
    let is_slow = |own_ms: f64| own_ms >= MS && whole_ms.share(own_ms) >= SHARE;
    // In the run that was seen, telling of statements is taken for the function's own time.
    let mut own: Times = BTreeMap::new();
    for (name, (calls, self_ms)) in &seen.functions {
        own.insert(name.clone(), (*calls, self_ms - of_statements(name, &seen.nested)));
    }
    // In others it is not, but their statements may have taken longer: the least of all counts.
    let runs = if seen.bare_ms < SHORT_MS { RUNS_OF_SHORT } else { RUNS };
    for _ in 0..runs {
        own.retain(|_, (_, own_ms)| is_slow(*own_ms));
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let times = timed(run).await?;
        for (name, (_, own_ms)) in &mut own {
            let self_ms = times.get(name).map_or(0.0, |(_, self_ms)| *self_ms);
            *own_ms = own_ms.min(self_ms - of_statements(name, &seen.nested));
        }
    }
    own.retain(|_, (_, own_ms)| is_slow(*own_ms));
    Ok(own.into_iter().map(|(name, (calls, own_ms))| finding(name, calls, own_ms, whole_ms)).collect())
}

fn finding(name: String, calls: i64, own_ms: f64, whole_ms: Whole) -> Finding {
    let each = match calls {
        1 => String::new(),
        calls => format!(", in {} calls", whole(calls as f64)),
    };
    Finding {
        kind: FindingKind::SlowFunction,
        what: format!("{} of the time goes by in {name} itself, not in its statements{each}.", time(own_ms)),
        at: name,
        share: Some(whole_ms.share(own_ms)),
        advice: "Let one statement do for all rows what its loop does for each; declare it stable if it only reads."
            .into(),
        proof: None,
    }
}

/// One run in which functions are timed and nothing else is told.
async fn timed(run: &mut Run<'_>) -> Result<Times, Error> {
    let mut transaction = run.database.client.transaction().await?;
    transaction.batch_execute(TIMED).await?;
    let before = times(&transaction).await?;
    once(&mut transaction, run.sql, run.role, false).await?;
    let after = times(&transaction).await?;
    transaction.rollback().await?;
    Ok(since(&before, after))
}

/// What was counted so far.
pub(super) async fn times(transaction: &Transaction<'_>) -> Result<Times, Error> {
    let rows = transaction.query(TIMES, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// What `after` has more than `before`.
pub(super) fn since(before: &Times, mut after: Times) -> Times {
    for (name, (calls, self_ms)) in &mut after {
        let (calls_before, ms_before) = before.get(name).copied().unwrap_or_default();
        *calls -= calls_before;
        *self_ms -= ms_before;
    }
    after.retain(|_, (calls, _)| *calls > 0);
    after
}

/// Milliseconds of the statements that the function carries out itself, without the functions that those call.
fn of_statements(name: &str, nested: &[Message]) -> f64 {
    let is_of = |within: &String| {
        // A function of the search path is named without its schema.
        within == name || name.split_once('.').is_some_and(|(_, bare)| bare == within)
    };
    let of = nested.iter().filter(|one| one.within.first().is_some_and(is_of));
    of.map(|one| (one.ms - in_calls(&one.node)).max(0.0)).sum()
}

/// Milliseconds of nodes that do nothing but call functions.
fn in_calls(root: &Node) -> f64 {
    let mut ms = 0.0;
    root.walk(&mut |node, _| {
        if node.kind == "Function Scan" || node.kind == "Result" && node.children.is_empty() {
            ms += node.self_ms;
        }
    });
    ms
}
