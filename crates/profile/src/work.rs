//! What stands out of what a database was asked to do.

use tare_evidence::{Finding, FindingKind, Statement, Work};

use crate::statement::one_line;

/// How often the same statement is carried out for one request, to be one for each row of something.
const MANY: f64 = 5.0;
/// Connections opened for each request, to be one for each.
const EACH: f64 = 0.9;
/// Requests below which a pool that grows looks like one connection for each.
const FEWEST: u64 = 5;

/// The statements that should be one, and connections that should be kept, where requests take `request_ms`.
pub fn findings(work: &Work, request_ms: f64) -> Vec<Finding> {
    let by_the_row = work.statements.iter().filter_map(|statement| by_the_row(work, statement, request_ms));
    by_the_row.chain(connection_per_request(work)).collect()
}

fn by_the_row(work: &Work, statement: &Statement, request_ms: f64) -> Option<Finding> {
    let each = work.per_request(statement.calls);
    // What a transaction is made of is no query.
    let is_query = ["select", "insert", "update", "delete", "with", "merge"]
        .iter()
        .any(|verb| statement.sql.trim_start().to_ascii_lowercase().starts_with(verb));
    // Each call of it waited for a round trip of its own, at least; within a function only the database's time is known.
    let share = match work.round_trips {
        Some(all) if !statement.nested && all > 0 => (statement.calls as f64 / all as f64).min(1.0),
        _ => (statement.total_ms / work.requests.max(1) as f64 / request_ms).min(1.0),
    };
    (is_query && each >= MANY).then(|| Finding {
        kind: FindingKind::NPlusOne,
        what: format!("The same statement is carried out {each:.0} times for each request (N+1)."),
        at: one_line(&statement.sql),
        share: Some(share),
        advice: batched(&statement.sql),
        proof: None,
    })
}

fn connection_per_request(work: &Work) -> Option<Finding> {
    let each = work.per_request(work.connections?);
    (each >= EACH && work.requests >= FEWEST).then(|| Finding {
        kind: FindingKind::ConnectionPerRequest,
        what: format!("Each request opens {} to the database.", counted(each)),
        at: "connection".into(),
        share: None,
        advice: "Keep connections in a pool.".into(),
        proof: None,
    })
}

fn counted(each: f64) -> String {
    match each {
        one if one < 1.5 => "a connection".into(),
        many => format!("{many:.0} connections"),
    }
}

/// How to ask once for what `sql` asks for by the row.
pub(crate) fn batched(sql: &str) -> String {
    let line = one_line(sql);
    let lower = line.to_ascii_lowercase();
    let compared = lower.find(" where ").and_then(|place| line[place..].find("= $").map(|at| place + at));
    match compared {
        Some(at) if lower.starts_with("select") => {
            let value = &line[at + 2..];
            let end = value[1..].find(|character: char| !character.is_ascii_digit()).map_or(value.len(), |end| end + 1);
            format!("Ask once for all: {}= any({}){}.", &line[..at], &value[..end], &value[end..])
        }
        _ if lower.starts_with("insert") => "Insert all rows at once: insert … select … from unnest($1, $2).".into(),
        _ if lower.starts_with("select") => "Join it to the statement whose rows it is asked for.".into(),
        _ => "Change all rows at once: … from unnest($1, $2) as of (id, value) where id = of.id.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(statements: &[(&str, u64, bool)], connections: u64) -> Work {
        let statement = |&(sql, calls, nested): &(&str, u64, bool)| Statement {
            sql: sql.into(),
            calls,
            rows: calls,
            total_ms: calls as f64 * 0.1,
            nested,
        };
        Work {
            requests: 20,
            round_trips: Some(800),
            connections: Some(connections),
            statements: statements.iter().map(statement).collect(),
        }
    }

    #[test]
    fn a_statement_for_each_row_is_told_with_one_for_all() {
        let lines = "select quantity\n from app.stock\n where part_id = $1 and site = $2";
        let found =
            findings(&work(&[("select id from parts", 20, false), (lines, 380, false), ("begin", 400, false)], 0), 9.0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("19 times"), "{found:?}");
        assert_eq!(
            found[0].advice,
            "Ask once for all: select quantity from app.stock where part_id = any($1) and site = $2."
        );
        assert_eq!(found[0].share, Some(380.0 / 800.0), "of the round trips");
    }

    #[test]
    fn within_a_function_only_its_time_counts() {
        let found =
            findings(&work(&[("select f($1)", 20, false), ("select q from s where p = $1", 400, true)], 0), 4.0);
        assert_eq!(found[0].share, Some(0.5));
    }

    #[test]
    fn what_is_done_a_few_times_and_connections_that_are_kept_are_not_told() {
        let healthy = work(&[("select app.execute($1)", 20, false), ("select 1", 80, true), ("commit", 20, false)], 2);
        for _ in 0..50 {
            assert_eq!(findings(&healthy, 1.0), []);
        }
    }

    #[test]
    fn a_connection_for_each_request_is_told() {
        let kinds =
            |connections| findings(&work(&[], connections), 1.0).iter().map(|found| found.kind).collect::<Vec<_>>();
        assert_eq!([kinds(20), kinds(18)], [[FindingKind::ConnectionPerRequest]; 2].map(Vec::from));
        assert_eq!(kinds(17), []);
        let found = findings(&work(&[], 40), 1.0);
        assert_eq!(found[0].what, "Each request opens 2 connections to the database.");
    }

    #[test]
    fn changes_by_the_row_are_told_as_changes_of_many() {
        assert!(batched("update stock set quantity = $1 where part_id = $2").contains("unnest"));
        assert!(batched("insert into stock values ($1)").starts_with("Insert all"));
        assert!(batched("select next_value()").starts_with("Join it"));
        assert_eq!(batched("select a from b where c = $12"), "Ask once for all: select a from b where c = any($12).");
    }
}
