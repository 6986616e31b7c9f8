//! A plan as PostgreSQL tells it in JSON.

use serde_json::Value;
use tare_evidence::units::{time, whole};

/// A node and those below it. Rows and times are of all its loops together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    /// `Seq Scan`, `Nested Loop`.
    pub(crate) kind: String,
    pub(crate) schema: String,
    pub(crate) relation: String,
    /// What columns of the relation are prefixed with in this plan.
    pub(crate) alias: String,
    pub(crate) index: String,
    pub(crate) function: String,
    /// What rows are looked up by.
    pub(crate) condition: String,
    /// What rows are thrown away by, after they were read.
    pub(crate) filter: String,
    pub(crate) removed: f64,
    pub(crate) expected: f64,
    pub(crate) rows: f64,
    pub(crate) loops: f64,
    pub(crate) total_ms: f64,
    /// Without the nodes below.
    pub(crate) self_ms: f64,
    pub(crate) hit: u64,
    pub(crate) read: u64,
    /// Time of reading those, where the server tells it.
    pub(crate) read_ms: Option<f64>,
    pub(crate) temp_written: u64,
    pub(crate) sort_key: Vec<String>,
    /// Kilobytes of temporary files that a sort, a hash or an aggregate needed.
    pub(crate) disk_kb: u64,
    pub(crate) batches: u64,
    /// Kilobytes that a hash or an aggregate took.
    pub(crate) memory_kb: u64,
    /// Whether it is a join that asks only whether there is a row.
    pub(crate) only_looks: bool,
    pub(crate) children: Vec<Node>,
}

impl Node {
    /// Reads the object under `Plan`.
    pub(crate) fn of(plan: &Value) -> Self {
        Self::shared_by(plan, 1.0)
    }

    /// The same for a node that so many processes carry out at the same time.
    fn shared_by(plan: &Value, processes: f64) -> Self {
        let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| plan[name].as_f64().unwrap_or_default();
        let count = |name: &str| plan[name].as_u64().unwrap_or_default();
        let texts = |name: &str| {
            let all = plan[name].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let below = match &plan["Workers Launched"] {
            Value::Null => processes,
            launched => launched.as_f64().unwrap_or_default() + 1.0,
        };
        let children: Vec<_> =
            plan["Plans"].as_array().into_iter().flatten().map(|child| Self::shared_by(child, below)).collect();
        let loops = number("Actual Loops");
        let total_ms = number("Actual Total Time") * loops / processes;
        let sort_on_disk = plan["Sort Space Type"] == "Disk";
        // A hash that is written out tells how many batches, and an aggregate how much.
        let batches = count("Hash Batches").max(count("HashAgg Batches"));
        Self {
            kind: text("Node Type"),
            schema: text("Schema"),
            relation: text("Relation Name"),
            alias: text("Alias"),
            index: text("Index Name"),
            function: text("Function Name"),
            condition: text("Index Cond"),
            filter: text("Filter"),
            removed: number("Rows Removed by Filter") * loops,
            expected: number("Plan Rows") * loops,
            rows: number("Actual Rows") * loops,
            loops,
            total_ms,
            self_ms: (total_ms - children.iter().map(|child| child.total_ms).sum::<f64>()).max(0.0),
            hit: count("Shared Hit Blocks"),
            read: count("Shared Read Blocks"),
            // Its name has had a longer form since version 17.
            read_ms: ["I/O Read Time", "Shared I/O Read Time"].iter().find_map(|name| plan[*name].as_f64()),
            temp_written: count("Temp Written Blocks"),
            sort_key: texts("Sort Key"),
            disk_kb: if sort_on_disk { count("Sort Space Used") } else { count("Disk Usage") },
            batches,
            memory_kb: count("Peak Memory Usage"),
            only_looks: ["Semi", "Anti"].iter().any(|kind| plan["Join Type"] == **kind),
            children,
        }
    }

    /// Adds what another run of the same plan came to.
    pub(crate) fn add(&mut self, other: &Self) {
        self.removed += other.removed;
        self.expected += other.expected;
        self.rows += other.rows;
        self.loops += other.loops;
        self.total_ms += other.total_ms;
        self.self_ms += other.self_ms;
        self.hit += other.hit;
        self.read += other.read;
        self.read_ms = self.read_ms.zip(other.read_ms).map(|(one, other)| one + other);
        self.temp_written += other.temp_written;
        self.disk_kb = self.disk_kb.max(other.disk_kb);
        self.batches = self.batches.max(other.batches);
        self.memory_kb = self.memory_kb.max(other.memory_kb);
        self.children.iter_mut().zip(&other.children).for_each(|(child, other)| child.add(other));
    }

    /// Whether `other` is the same plan, whatever it was carried out with.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let is_same = |of: fn(&Self) -> &String| of(self) == of(other);
        is_same(|node| &node.kind)
            && is_same(|node| &node.schema)
            && is_same(|node| &node.relation)
            && is_same(|node| &node.index)
            && is_same(|node| &node.function)
            && self.children.len() == other.children.len()
            && self.children.iter().zip(&other.children).all(|(one, other)| one.is_like(other))
    }

    /// `Index Scan using parts_pkey on app.parts`.
    pub(crate) fn name(&self) -> String {
        let using = if self.index.is_empty() { String::new() } else { format!(" using {}", self.index) };
        let on = match (&*self.relation, &*self.function) {
            ("", "") => String::new(),
            ("", function) => format!(" on {function}"),
            (relation, _) => format!(" on {}", qualified(&self.schema, relation)),
        };
        format!("{}{using}{on}", self.kind)
    }

    /// It and those below, each a line that is indented by its depth.
    pub(crate) fn lines(&self) -> Vec<String> {
        let each = |rows: f64| whole((rows / self.loops.max(1.0)).round());
        let figures = match self.loops {
            0.0 => "never carried out".to_owned(),
            1.0 => format!("{}, {} rows ({} expected)", time(self.self_ms), each(self.rows), each(self.expected)),
            loops => format!(
                "{} in {} loops, {} rows in each ({} expected)",
                time(self.self_ms),
                whole(loops),
                each(self.rows),
                each(self.expected)
            ),
        };
        let removed = match self.removed {
            0.0 => String::new(),
            removed => format!(", {} thrown away", whole(removed)),
        };
        let below = self.children.iter().flat_map(Self::lines).map(|line| format!("  {line}"));
        [format!("{}  {figures}{removed}", self.name())].into_iter().chain(below).collect()
    }

    /// It and all below, each with those above it, the nearest last.
    pub(crate) fn walk<'a>(&'a self, seen: &mut impl FnMut(&'a Self, &[&'a Self])) {
        fn below<'a>(node: &'a Node, above: &mut Vec<&'a Node>, seen: &mut impl FnMut(&'a Node, &[&'a Node])) {
            seen(node, above);
            above.push(node);
            node.children.iter().for_each(|child| below(child, above, seen));
            above.pop();
        }
        below(self, &mut Vec::new(), seen);
    }
}

/// `app.parts`, and without a schema the name alone.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_and_rows_are_of_all_loops() {
        let node = Node::of(&json!({
            "Node Type": "Nested Loop", "Actual Total Time": 12.0, "Actual Loops": 1, "Actual Rows": 20, "Plan Rows": 20,
            "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "a", "Schema": "app", "Actual Total Time": 2.0,
                 "Actual Loops": 1, "Actual Rows": 20, "Plan Rows": 1, "Rows Removed by Filter": 980, "Filter": "(a.x = 1)"},
                {"Node Type": "Index Scan", "Relation Name": "b", "Schema": "app", "Index Name": "b_pkey",
                 "Actual Total Time": 0.4, "Actual Loops": 20, "Actual Rows": 1, "Plan Rows": 1}
            ]
        }));
        assert_eq!((node.self_ms, node.children[1].total_ms, node.children[1].rows), (2.0, 8.0, 20.0));
        assert_eq!(
            node.lines(),
            [
                "Nested Loop  2.00 ms, 20 rows (20 expected)",
                "  Seq Scan on app.a  2.00 ms, 20 rows (1 expected), 980 thrown away",
                "  Index Scan using b_pkey on app.b  8.00 ms in 20 loops, 1 rows in each (1 expected)",
            ]
        );
        let mut depths = Vec::new();
        node.walk(&mut |node, above| depths.push((node.kind.clone(), above.len())));
        assert_eq!(depths.iter().map(|(_, depth)| *depth).collect::<Vec<_>>(), [0, 1, 1]);
    }
}
