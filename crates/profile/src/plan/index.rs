//! Reads that throw most of what they read away, and the index that would serve them.

use tare_evidence::units::whole;
use tare_evidence::{Finding, FindingKind};

use super::facts::{Column, Facts, Policy, Table};
use super::filter::{Left, Predicate, conjuncts, has_word, plain, predicates};
use super::node::{Node, qualified};
use super::proof::Index;
use super::rules::Whole;

/// Rows and pages from which on a table is large: below, reading it whole is the fastest.
const ROWS: f64 = 1_000.0;
const PAGES: i32 = 8;
/// Part of the rows read that are needed, above which an index would not help: it costs more by the row than reading a table
/// whole, and as much as another index.
const SELECTIVE: f64 = 0.10;
const SELECTIVE_OF_INDEX: f64 = 0.25;
/// Bytes of an index's entry besides its values, and how full its pages are.
const ENTRY: f64 = 20.0;
const FULL: f64 = 0.9;

/// A finding, and the index that would serve.
pub(super) struct Advised {
    pub(super) finding: Finding,
    pub(super) index: Option<Index>,
}

/// What stands out of one node, if it reads much for little.
pub(super) fn advise(node: &Node, above: &[&Node], facts: &Facts, whole_ms: Whole) -> Option<Advised> {
    let is_scan = ["Seq Scan", "Index Scan", "Bitmap Heap Scan", "Index Only Scan"].contains(&&*node.kind);
    let table = facts.get(&qualified(&node.schema, &node.relation)).filter(|_| is_scan)?;
    // Those who read in parallel each read a part, and share the time.
    let read = node.rows + node.removed;
    let share = whole_ms.share(node.self_ms);
    let selective = if node.kind == "Seq Scan" { SELECTIVE } else { SELECTIVE_OF_INDEX };
    let is_wasted = read >= ROWS && table.pages >= PAGES && node.rows <= read * selective;
    if node.filter.is_empty() || !is_wasted || !whole_ms.matters(node.self_ms) {
        return None;
    }
    let filtered = predicates(&node.filter, &node.alias, &table.columns);
    let policy = defeated_by(node, table, &filtered);
    let index = index_for(node, above, table, &filtered);
    let rows = format!("{} of the {} rows it reads", whole(node.rows), whole(read));
    let table_name = qualified(&node.schema, &node.relation);
    let finding = |kind, what, advice| Finding { kind, what, at: node.name(), share: Some(share), advice, proof: None };
    if let Some((policy, advice)) = policy {
        let what =
            format!("The policy {} keeps an index on {table_name} from being used: {rows} are needed.", policy.name);
        return Some(Advised { finding: finding(FindingKind::PolicyDefeatsIndex, what, advice), index: None });
    }
    let index = index?;
    let (kind, what) = match node.kind.as_str() {
        "Seq Scan" => (FindingKind::MissingIndex, format!("{table_name} is read whole, and {rows} are needed.")),
        _ => (
            FindingKind::FilterAfterIndex,
            format!("{} leads to more of {table_name} than is needed: {rows}.", via(node)),
        ),
    };
    let advice = format!("{}; about {}.", index.create, size(table, &index.create));
    Some(Advised { finding: finding(kind, what, advice), index: Some(index) })
}

fn via(node: &Node) -> &str {
    match &*node.index {
        // A bitmap's index is a node below.
        "" => node.children.first().map_or("an index", |below| &below.index),
        index => index,
    }
}

/// The policy whose condition is among what rows are thrown away by, in a form that no index serves; and what to do about it.
fn defeated_by<'a>(node: &Node, table: &'a Table, filtered: &[Predicate]) -> Option<(&'a Policy, String)> {
    let name = table_name(node);
    table.policies.iter().find_map(|policy| {
        let parts = conjuncts(&policy.condition);
        let (met, nth) = filtered.iter().find_map(|predicate| {
            let is_it = |part: &&str| plain(part, "") == plain(&predicate.text, "");
            Some((predicate, parts.iter().position(is_it)?))
        })?;
        // What else the policy asks stays: without it, it would let others see more.
        let altered = |served: String| {
            let all = parts.iter().enumerate().map(|(at, part)| match at == nth {
                true => served.clone(),
                false => format!("({part})"),
            });
            let all = all.collect::<Vec<_>>().join(" and ");
            format!("alter policy {} on {name} using ({all})", quoted(&policy.name))
        };
        match &met.left {
            Left::Expression(expression) => {
                let is_cast = |column: &&Column| column.is_cast_to_text(expression);
                let column = table.columns.iter().find(is_cast)?;
                let bare = format!("{} = (select nullif({}, '')::{})", quoted(&column.name), met.right, column.kind);
                let index = match table.is_led_by(&column.name) {
                    true => String::new(),
                    false => format!(" And create index on {name} ({}).", quoted(&column.name)),
                };
                Some((policy, format!("Compare the bare column: {}.{index}", altered(bare))))
            }
            Left::Column(column) => (table.is_led_by(column) && policy.is_volatile).then(|| {
                let once = altered(format!("{} = (select {})", quoted(column), met.right));
                let advice = format!("Have it computed once: declare its function stable if it is, or {once}.");
                (policy, advice)
            }),
        }
    })
}

fn table_name(node: &Node) -> String {
    format!("{}.{}", quoted(&node.schema), quoted(&node.relation))
}

/// The index that would lead to the needed rows alone: what is compared for equality first, then one range, or the order in which
/// rows are wanted.
fn index_for(node: &Node, above: &[&Node], table: &Table, filtered: &[Predicate]) -> Option<Index> {
    let condition = match &*node.condition {
        "" => node.children.first().map_or("", |below| &below.condition),
        condition => condition,
    };
    let looked_up = predicates(condition, &node.alias, &table.columns);
    let is_kept = |one: &&Predicate| match &one.left {
        Left::Column(_) => true,
        Left::Expression(expression) => !table.varying.iter().any(|name| has_word(expression, name)),
    };
    let filtered: Vec<_> = filtered.iter().filter(is_kept).collect();
    let all: Vec<_> = looked_up.iter().chain(filtered.iter().copied()).collect();
    let key = |predicate: &Predicate| match &predicate.left {
        Left::Column(column) => quoted(column),
        Left::Expression(expression) => format!("({expression})"),
    };
    let mut keys: Vec<String> = Vec::new();
    let mut add = |key: String| {
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    all.iter().filter(|one| one.is_equality).for_each(|one| add(key(one)));
    match all.iter().find(|one| !one.is_equality) {
        Some(range) => add(key(range)),
        None => ordered_by(node, above, table).into_iter().for_each(|column| add(quoted(&column))),
    }
    let from_filter = filtered.iter().any(|one| keys.contains(&key(one)));
    let columns = keys.join(", ");
    let create = format!("create index on {} ({columns})", table_name(node));
    (from_filter && !is_there(&keys, table)).then(|| Index { create, schema: quoted(&node.schema) })
}

/// The columns in whose order rows are wanted, where an index can give it: those of a sort just above, or the rest of the index
/// that gives it now to whoever stops early.
fn ordered_by(node: &Node, above: &[&Node], table: &Table) -> Vec<String> {
    let is_column = |name: &String| table.columns.iter().any(|column| column.name == *name);
    let Some(parent) = above.last() else { return Vec::new() };
    if parent.kind.contains("Sort") {
        let prefix = format!("{}.", node.alias);
        let keys: Option<Vec<_>> = parent
            .sort_key
            .iter()
            .map(|key| Some(key.strip_prefix(&prefix).unwrap_or(key).trim_matches('"').to_owned()).filter(is_column))
            .collect();
        return keys.unwrap_or_default();
    }
    let stops_early = above.iter().any(|node| node.kind == "Limit");
    match table.indexes.get(&node.index).filter(|_| stops_early) {
        Some(columns) => columns.iter().filter(|column| is_column(column)).cloned().collect(),
        None => Vec::new(),
    }
}

/// Whether an index begins with these columns, in any order.
fn is_there(keys: &[String], table: &Table) -> bool {
    table.indexes.values().any(|columns| {
        columns.len() >= keys.len()
            && keys.iter().all(|key| columns[..keys.len()].iter().any(|one| quoted(one) == *key))
    })
}

/// How large an index would be.
fn size(table: &Table, index: &str) -> String {
    let width: i32 = table
        .columns
        .iter()
        .filter(|column| index.split_once('(').is_some_and(|(_, keys)| has_word(keys, &column.name)))
        .map(|column| column.width)
        .sum();
    let bytes = table.rows.max(0.0) * (f64::from(width) + ENTRY) / FULL;
    format!("{:.1} MB", bytes / 1e6)
}

/// An identifier as SQL has it.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
