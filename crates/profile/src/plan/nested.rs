//! Statements within functions, as `auto_explain` tells of them.

use serde_json::Value;
use tokio_postgres::error::DbError;

use super::node::Node;

/// One statement that was carried out within a function.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) sql: String,
    /// Milliseconds.
    pub(super) ms: f64,
    pub(super) node: Node,
    /// The functions it was carried out in, the innermost first, as PostgreSQL names them.
    pub(super) within: Vec<String>,
}

impl Message {
    /// Reads a message; nothing when it tells of something else, or of a statement that is in no other.
    pub(super) fn of(message: &DbError) -> Option<Self> {
        Self::read(message.message(), message.where_()?)
    }

    fn read(message: &str, context: &str) -> Option<Self> {
        let (duration, plan) = message.strip_prefix("duration: ")?.split_once("plan:")?;
        let ms = duration.trim().strip_suffix("ms")?.trim().parse().ok()?;
        let told: Value = serde_json::from_str(plan).ok()?;
        let sql = told["Query Text"].as_str()?.trim().to_owned();
        Some(Self { sql, ms, node: Node::of(&told["Plan"]), within: functions(context) })
    }
}

/// `PL/pgSQL function app.f(json) line 3 at SQL statement` and `SQL function "f" statement 1`, one function in each line.
fn functions(context: &str) -> Vec<String> {
    let named = |line: &str| {
        let of_plpgsql = line.strip_prefix("PL/pgSQL function ").and_then(|rest| rest.rsplit_once(" line "));
        let of_sql = || line.strip_prefix("SQL function ").and_then(|rest| rest.split_once(" statement "));
        let (name, _) = of_plpgsql.or_else(of_sql)?;
        let name = name.split_once('(').map_or(name, |(name, _)| name);
        Some(name.trim_matches('"').to_owned())
    };
    context.lines().filter_map(named).collect()
}

/// All calls of a statement with the same plan.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    pub(super) sql: String,
    pub(super) calls: u64,
    /// Milliseconds of all.
    pub(super) ms: f64,
    /// What all came to.
    pub(super) node: Node,
}

/// `messages` by statement and plan, the one that took longest in all first.
pub(super) fn grouped(messages: &[Message]) -> Vec<Nested> {
    let mut groups: Vec<Nested> = Vec::new();
    for message in messages {
        match groups.iter_mut().find(|group| group.sql == message.sql && group.node.is_like(&message.node)) {
            Some(group) => {
                group.calls += 1;
                group.ms += message.ms;
                group.node.add(&message.node);
            }
            None => {
                let Message { sql, ms, node, .. } = message.clone();
                groups.push(Nested { sql, calls: 1, ms, node });
            }
        }
    }
    groups.sort_by(|one, other| other.ms.total_cmp(&one.ms));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sql: &str, kind: &str, ms: f64) -> Message {
        let plan = format!(
            r#"{{"Query Text": "{sql}", "Plan": {{"Node Type": "{kind}", "Actual Rows": 2, "Actual Loops": 1,
                "Actual Total Time": {ms}}}}}"#
        );
        let context = "SQL statement \"select 1\"\nPL/pgSQL function app.f(uuid,json) line 3 at SQL statement\n\
                       SQL function \"outer\" statement 1";
        Message::read(&format!("duration: {ms:.3} ms  plan:\n{plan}"), context).unwrap()
    }

    #[test]
    fn calls_of_a_statement_are_added_up_by_plan() {
        let seen = [
            message("a", "Result", 1.0),
            message("b", "Result", 4.0),
            message("a", "Result", 2.0),
            message("a", "Sort", 9.0),
        ];
        let groups: Vec<_> =
            grouped(&seen).into_iter().map(|one| (one.sql, one.calls, one.ms, one.node.rows)).collect();
        assert_eq!(groups, [("a".into(), 1, 9.0, 2.0), ("b".into(), 1, 4.0, 2.0), ("a".into(), 2, 3.0, 4.0)]);
    }

    #[test]
    fn a_message_tells_which_functions_it_comes_from() {
        assert_eq!(message("a", "Result", 1.0).within, ["app.f", "outer"]);
        assert!(Message::read("duration: 0.1 ms  statement: select 1", "").is_none());
        assert!(Message::read("hello", "").is_none());
    }
}
