//! What stands out of a plan besides its indexes.

use tare_evidence::units::{times, whole};
use tare_evidence::{Finding, FindingKind};

use super::facts::{Facts, Table};
use super::filter::has_word;
use super::node::{Node, qualified};

/// Part of the statement's time, and milliseconds, below which nothing matters.
const SHARE: f64 = 0.20;
const MS: f64 = 0.2;
/// How many times off an estimate has to be, and on how many rows.
const OFF: f64 = 10.0;
const ROWS: f64 = 1_000.0;
/// Part of a table changed since it was analysed, above which its statistics are stale.
const STALE: f64 = 0.10;
/// Blocks read, below which it does not matter where from: 8 MB.
const BLOCKS: u64 = 1_000;
/// How often a loop goes round, and its part of the statement's time.
const LOOPS: f64 = 1_000.0;
const MOST: f64 = 0.50;
/// Rows of a table for each loop, above which reading it whole for a hash or a merge would take longer.
const REACH: f64 = 100.0;
/// Bytes that a row takes in memory beyond those it has on disk.
const ROW_BYTES: f64 = 80.0;

/// The time of the whole statement, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(pub(super) f64);

impl Whole {
    /// The share that `ms` is of it, 0 to 1.
    pub(super) fn share(self, ms: f64) -> f64 {
        if self.0 > 0.0 { (ms / self.0).min(1.0) } else { 0.0 }
    }

    /// Whether there is anything to be gained by looking at what takes `ms`.
    pub(super) fn matters(self, ms: f64) -> bool {
        ms >= MS && self.share(ms) >= SHARE
    }
}

/// What stands out of `node`, below those of `above`, besides a missing index.
pub(super) fn findings(node: &Node, above: &[&Node], facts: &Facts, whole_ms: Whole) -> Vec<Finding> {
    let found = [
        misestimate(node, above, facts, whole_ms),
        read_from_disk(node, whole_ms),
        spill(node, above, whole_ms),
        nested_loop(node, facts, whole_ms),
    ];
    found.into_iter().flatten().collect()
}

fn misestimate(node: &Node, above: &[&Node], facts: &Facts, whole_ms: Whole) -> Option<Finding> {
    let factor = off(node)?;
    // Who is stopped early has fewer rows than it would have; so does the inner side of a semi or merge join.
    let is_stopped = above.iter().any(|node| node.kind == "Limit" || node.kind == "Merge Join" || node.only_looks);
    if is_stopped && node.rows < node.expected {
        return None;
    }
    // An error goes upwards: it is told where it begins. Of the same table a bitmap's index has none to mend it by.
    let begins_below = node.children.iter().any(|child| off(child).is_some() && child.kind != "Bitmap Index Scan");
    let is_join = ["Nested Loop", "Hash Join", "Merge Join"].contains(&&*node.kind);
    let table = facts.get(&qualified(&node.schema, &node.relation)).filter(|_| node.kind != "ModifyTable");
    let cost = above.iter().rev().find(|node| node.kind != "Gather").map_or(node.total_ms, |parent| parent.total_ms);
    if begins_below || !(is_join || table.is_some()) || !whole_ms.matters(cost.max(node.total_ms)) {
        return None;
    }
    let (of, advice) = match table {
        Some(table) => (format!(" of {}", qualified(&node.schema, &node.relation)), mend(node, table)),
        None => (
            " of a join".to_owned(),
            "Analyze the tables that are joined; where that does not help, create statistics on the columns that depend on \
             each other."
                .to_owned(),
        ),
    };
    let direction = if node.rows > node.expected { "more" } else { "fewer" };
    let (rows, expected) = (whole(node.rows / node.loops.max(1.0)), whole(node.expected / node.loops.max(1.0)));
    let stale = table.and_then(stale).unwrap_or_default();
    let what = format!("{} {direction} rows{of} than expected: {rows}, not {expected}{stale}.", times(factor));
    Some(Finding {
        kind: FindingKind::Misestimate,
        what,
        at: node.name(),
        share: Some(whole_ms.share(cost.max(node.total_ms))),
        advice,
        proof: None,
    })
}

/// How many times off a node's rows are, where they are too far.
fn off(node: &Node) -> Option<f64> {
    let loops = node.loops.max(1.0);
    // As PostgreSQL does, at least one of each: none and one plan alike.
    let (rows, expected) = ((node.rows / loops).max(1.0), (node.expected / loops).max(1.0));
    let factor = (rows / expected).max(expected / rows);
    (node.loops > 0.0 && factor >= OFF && node.rows.max(node.expected) >= ROWS).then_some(factor)
}

/// That much of a table changed since it was analysed.
fn stale(table: &Table) -> Option<String> {
    match table.changed {
        None => Some("; it was never analyzed".into()),
        Some(changed) => {
            let changed = changed as f64;
            (changed >= ROWS && changed >= table.rows * STALE)
                .then(|| format!("; {} rows have changed since it was analyzed", whole(changed)))
        }
    }
}

fn mend(node: &Node, table: &Table) -> String {
    let name = qualified(&node.schema, &node.relation);
    let condition = format!("{} {}", node.condition, node.filter);
    let met: Vec<_> = table.columns.iter().filter(|column| has_word(&condition, &column.name)).collect();
    let names = || met.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
    match stale(table) {
        None if met.len() > 1 => format!("Create statistics on ({}) from {name}, and analyze {name}.", names()),
        None if met.len() == 1 => {
            format!("Raise the statistics target of {} of {name}, and analyze {name}.", names())
        }
        _ => format!("analyze {name}; let autovacuum come by more often."),
    }
}

fn read_from_disk(node: &Node, whole_ms: Whole) -> Option<Finding> {
    let below = |of: fn(&Node) -> u64| node.children.iter().map(of).sum::<u64>();
    let read = node.read.saturating_sub(below(|child| child.read));
    let hit = node.hit.saturating_sub(below(|child| child.hit));
    // Where times of reads are not told, the node's own time stands for it.
    let told =
        node.read_ms.map(|ms| (ms - node.children.iter().filter_map(|child| child.read_ms).sum::<f64>()).max(0.0));
    let ms = told.unwrap_or(node.self_ms);
    if node.relation.is_empty() || read < BLOCKS || read <= hit || !whole_ms.matters(ms) {
        return None;
    }
    let megabytes = |blocks: u64| blocks as f64 * 8_192.0 / 1e6;
    Some(Finding {
        kind: FindingKind::ReadFromDisk,
        what: format!(
            "{:.0} of the {:.0} MB read of {} are not in the database's memory, though they were read just before.",
            megabytes(read),
            megabytes(read + hit),
            qualified(&node.schema, &node.relation)
        ),
        at: node.name(),
        share: Some(whole_ms.share(ms)),
        advice: "Ask for less of it, or raise shared_buffers, on a machine with the memory for it.".into(),
        proof: None,
    })
}

fn spill(node: &Node, above: &[&Node], whole_ms: Whole) -> Option<Finding> {
    let rows = node.rows / node.loops.max(1.0);
    let (what, bytes, ms) = match &*node.kind {
        "Sort" | "Incremental Sort" if node.disk_kb > 0 => {
            ("A sort", node.disk_kb as f64 * 1_024.0 + rows * ROW_BYTES, node.self_ms)
        }
        // Its batches are read again by the join above.
        "Hash" if node.batches > 1 => {
            let join_ms = above.last().map_or(0.0, |join| join.self_ms);
            ("A hash", node.memory_kb as f64 * 1_024.0 * node.batches as f64 / 2.0, node.self_ms + join_ms)
        }
        "Aggregate" if node.disk_kb > 0 => {
            let kept = node.memory_kb as f64 * 1_024.0 * 1.5;
            ("A hash for grouping", (node.disk_kb as f64 * 1_024.0 + rows * ROW_BYTES).max(kept), node.self_ms)
        }
        _ => return None,
    };
    // What is measured is how much was too much: some room on top.
    let megabytes = (bytes * 1.1 / (1_024.0 * 1_024.0)).ceil().max(1.0);
    let written = match node.disk_kb {
        0 => format!("in {} parts", node.batches),
        disk_kb => format!("{:.1} MB", disk_kb as f64 / 1_024.0),
    };
    whole_ms.matters(ms).then(|| Finding {
        kind: FindingKind::SpillToDisk,
        what: format!("{what} does not fit into work_mem and is written to disk, {written}."),
        at: node.name(),
        share: Some(whole_ms.share(ms)),
        advice: format!(
            "Sort or join fewer rows, or, for this statement alone, set local work_mem = '{megabytes:.0}MB'."
        ),
        proof: None,
    })
}

fn nested_loop(node: &Node, facts: &Facts, whole_ms: Whole) -> Option<Finding> {
    let [outer, inner] = &node.children[..] else { return None };
    let is_most = whole_ms.matters(inner.total_ms) && whole_ms.share(inner.total_ms) >= MOST;
    if node.kind != "Nested Loop" || inner.loops < LOOPS || !is_most {
        return None;
    }
    // Few rows of a table that is far larger are best looked up one by one, when that is known beforehand.
    let table = facts.get(&qualified(&inner.schema, &inner.relation));
    let is_far_larger = table.is_some_and(|table| table.rows > inner.loops * REACH);
    if is_far_larger && off(outer).is_none() {
        return None;
    }
    let advice = match off(outer) {
        Some(_) => {
            "The outer side has other rows than expected: analyze its tables, or create statistics, for a hash or merge join."
        }
        None => {
            "Let a hash or a merge join do it: join on plain equality of the same type, or ask for fewer rows first."
        }
    };
    Some(Finding {
        kind: FindingKind::NestedLoop,
        what: format!("The inner side of a join is carried out {} times: {}.", whole(inner.loops), inner.name()),
        at: node.name(),
        share: Some(whole_ms.share(inner.total_ms)),
        advice: advice.into(),
        proof: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(plan: &Value) -> Vec<(FindingKind, String)> {
        let node = Node::of(plan);
        let mut all = Vec::new();
        let facts = Facts::from([("app.b".to_owned(), Table { rows: 50_000.0, changed: Some(0), ..Table::default() })]);
        node.walk(&mut |one, above| all.extend(findings(one, above, &facts, Whole(node.total_ms))));
        all.into_iter().map(|one| (one.kind, one.what)).collect()
    }

    fn scan(table: &str, rows: f64, expected: f64, loops: u64, ms: f64) -> Value {
        json!({"Node Type": "Index Scan", "Schema": "app", "Relation Name": table, "Alias": table, "Index Name": "i",
               "Actual Rows": rows, "Plan Rows": expected, "Actual Loops": loops, "Actual Total Time": ms})
    }

    fn over(kind: &str, ms: f64, children: &[Value]) -> Value {
        json!({"Node Type": kind, "Actual Rows": 1, "Plan Rows": 1, "Actual Loops": 1, "Actual Total Time": ms,
               "Plans": children})
    }

    #[test]
    fn a_loop_that_goes_round_often_is_found_where_a_hash_would_serve() {
        let join =
            |loops: u64, ms| over("Nested Loop", 20.0, &[scan("a", 1.0, 1.0, 1, 1.0), scan("b", 1.0, 1.0, loops, ms)]);
        let loud = found(&join(5_000, 0.003));
        assert_eq!(loud.len(), 1, "{loud:?}");
        assert_eq!(loud[0].0, FindingKind::NestedLoop);
        assert!(loud[0].1.contains("5,000 times"), "{loud:?}");
        assert_eq!(found(&join(999, 0.015)), [], "not often");
        assert_eq!(found(&join(5_000, 0.001)), [], "not most of the time");
    }

    #[test]
    fn an_error_is_told_where_it_begins() {
        let off = scan("b", 20_000.0, 20.0, 1, 8.0);
        let mut sorted = over("Hash Join", 10.0, &[off]);
        sorted["Actual Rows"] = json!(20_000);
        let all = found(&sorted);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].1.starts_with("1,000 × more rows of app.b than expected: 20,000, not 20"), "{all:?}");
    }

    #[test]
    fn what_is_stopped_early_was_not_expected_wrongly() {
        let stopped = scan("b", 20.0, 20_000.0, 1, 8.0);
        assert_eq!(found(&over("Limit", 8.0, std::slice::from_ref(&stopped))), []);
        assert_eq!(found(&over("Aggregate", 8.0, &[stopped])).len(), 1);
        assert_eq!(found(&scan("b", 5.0, 90.0, 1, 8.0)), [], "too few rows to matter");
    }

    #[test]
    fn blocks_from_the_disk_count_for_the_node_that_read_them() {
        let mut reading = scan("b", 10.0, 10.0, 1, 50.0);
        reading["Shared Read Blocks"] = json!(4_000);
        reading["Shared Hit Blocks"] = json!(100);
        let mut whole = over("Aggregate", 60.0, &[reading]);
        whole["Shared Read Blocks"] = json!(4_000);
        let all = found(&whole);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].1.starts_with("33 of the 34 MB read of app.b"), "{all:?}");
    }

    #[test]
    fn a_hash_in_batches_is_on_disk() {
        let hash = json!({"Node Type": "Hash", "Hash Batches": 8, "Peak Memory Usage": 4_096, "Actual Rows": 9, "Plan Rows": 9,
                          "Actual Loops": 1, "Actual Total Time": 30.0});
        let all = found(&over("Hash Join", 50.0, &[scan("a", 9.0, 9.0, 1, 1.0), hash]));
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].0, FindingKind::SpillToDisk);
    }
}
