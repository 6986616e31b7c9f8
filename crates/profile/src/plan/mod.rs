//! How a database carries a statement out, what is wrong with that, and what an index would be worth.

mod facts;
mod filter;
mod function;
mod index;
mod nested;
mod node;
mod proof;
mod rules;
mod run;

use tare_evidence::{Finding, FindingKind, Plan};
use tare_testbed::Notices;
use tokio_postgres::Client;

use self::index::Advised;
use self::nested::Nested;
use self::node::Node;
use self::rules::Whole;
use self::run::Run;
use crate::{Error, bound_waits};

/// A connection whose messages are seen, for the plans of statements within functions are told as messages.
pub struct Database {
    client: Client,
    notices: Notices,
}

impl Database {
    /// A connection, and the messages of the same connection.
    pub fn new(client: Client, notices: Notices) -> Self {
        Self { client, notices }
    }
}

/// How a statement was carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {
    /// Its plan, then those of statements within the functions it calls.
    pub plans: Vec<Plan>,
    /// What stands out, that with the largest share of its time first.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why.
    pub remarks: Vec<String>,
}

/// Carries `sql` out, twice or more often, as `role` if there is one, and tells how; each time in a transaction that is rolled
/// back. With `prove` an index that would serve is created in such a transaction, and only told when it was measured to gain.
///
/// # Errors
/// [`Error::Query`] when `sql` fails, has parameters, or is more than one statement, of which none is then carried out; [`Error::Database`] for
/// what else was asked of the database, as when there is no such role.
pub async fn explain(database: &mut Database, sql: &str, role: Option<&str>, prove: bool) -> Result<Explained, Error> {
    let sql = sql.trim();
    bound_waits(&database.client).await?;
    let mut run = Run { database, sql, role };
    run.check().await?;
    let mut seen = run.see().await?;
    let mut remarks = std::mem::take(&mut seen.remarks);
    let nested = nested::grouped(&seen.nested);
    let whole_ms = Whole(seen.bare_ms);
    let plans = plans(sql, seen.ms, &seen.top, &nested);

    let nodes: Vec<_> = std::iter::once(&seen.top).chain(nested.iter().map(|one| &one.node)).collect();
    let facts = facts::gather(&run.database.client, &nodes).await?;
    let (mut findings, mut advised) = (Vec::new(), Vec::new());
    for root in nodes {
        root.walk(&mut |node, above| {
            advised.extend(index::advise(node, above, &facts, whole_ms));
            findings.extend(rules::findings(node, above, &facts, whole_ms));
        });
    }
    let mut advised = merged(advised);
    if prove {
        remarks.extend(proof::prove(&mut run, &mut advised).await?);
    }
    drop_consequences(&mut findings, &advised);
    findings.extend(advised.into_iter().map(|one| one.finding));
    if seen.sees_functions {
        findings.extend(function::slow(&mut run, &seen, whole_ms).await?);
    }
    findings.sort_by(|one, other| other.share.unwrap_or_default().total_cmp(&one.share.unwrap_or_default()));
    Ok(Explained { plans, findings, remarks })
}

fn plans(sql: &str, ms: f64, top: &Node, nested: &[Nested]) -> Vec<Plan> {
    let plan = |sql: &str, is_nested, calls: u64, ms, node: &Node| Plan {
        sql: sql.to_owned(),
        nested: is_nested,
        calls,
        ms,
        estimated_rows: node.expected / calls as f64,
        actual_rows: node.rows / calls as f64,
        shared_hit: node.hit,
        shared_read: node.read,
        temp_written: node.temp_written,
        nodes: node.lines(),
    };
    let within = nested.iter().map(|one| plan(&one.sql, true, one.calls, one.ms, &one.node));
    std::iter::once(plan(sql, false, 1, ms, top)).chain(within).collect()
}

/// One for each index: several statements may want the same.
fn merged(advised: Vec<Advised>) -> Vec<Advised> {
    let mut merged: Vec<Advised> = Vec::new();
    for one in advised {
        let is_same =
            |other: &&mut Advised| other.finding.kind == one.finding.kind && other.finding.advice == one.finding.advice;
        match merged.iter_mut().find(is_same) {
            Some(other) => {
                let share = other.finding.share.unwrap_or_default() + one.finding.share.unwrap_or_default();
                other.finding.share = Some(share.min(1.0));
            }
            None => merged.push(one),
        }
    }
    merged
}

/// What reads too much also reads it from the disk and goes round often, and its rows are expected wrongly: of all that, the index
/// is told.
fn drop_consequences(findings: &mut Vec<Finding>, advised: &[Advised]) {
    let is_mended = |finding: &Finding| {
        let is_inner = |at: &str| finding.kind == FindingKind::NestedLoop && finding.what.contains(at);
        advised.iter().any(|one| one.finding.at == finding.at || is_inner(&one.finding.at))
    };
    findings.retain(|finding| !is_mended(finding));
}
