//! What is known of a table beyond the plans that read it.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::filter::words;
use super::node::{Node, qualified};
use crate::Error;

/// What is known of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: f64,
    pub(crate) pages: i32,
    pub(crate) columns: Vec<Column>,
    pub(crate) policies: Vec<Policy>,
    /// Names of indexes and the columns they have, `""` for an expression.
    pub(crate) indexes: BTreeMap<String, Vec<String>>,
    /// Names in conditions that are functions whose value may change: no index can have it.
    pub(crate) varying: Vec<String>,
    /// Rows changed since it was last analysed; nothing when it never was.
    pub(crate) changed: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// `uuid`, `character varying`.
    pub(crate) kind: String,
    /// Bytes of a value on average.
    pub(crate) width: i32,
}

impl Table {
    /// Whether an index leads to the rows that have a value in `column`.
    pub(crate) fn is_led_by(&self, column: &str) -> bool {
        self.indexes.values().any(|columns| columns.first().is_some_and(|first| first == column))
    }
}

impl Column {
    /// Whether `expression` is its value as text: `(yacht_id)::text`.
    pub(crate) fn is_cast_to_text(&self, expression: &str) -> bool {
        let value = expression.strip_suffix("::text").map(|value| value.trim_start_matches('(').trim_end_matches(')'));
        value.is_some_and(|value| value.trim_matches('"') == self.name)
    }

    /// Whether it is compared as text.
    pub(crate) fn is_characters(&self) -> bool {
        ["text", "character varying", "name"].contains(&&*self.kind)
    }
}

/// A row-level-security policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) condition: String,
    /// Whether it calls a function that has to be called for each row.
    pub(crate) is_volatile: bool,
}

/// Tables by their qualified names.
pub(crate) type Facts = BTreeMap<String, Table>;

const TABLE: &str = "\
    select c.reltuples::float8, c.relpages, s.n_mod_since_analyze, \
    s.last_analyze is not null or s.last_autoanalyze is not null \
    from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_stat_all_tables s on s.relid = c.oid \
    where n.nspname = $1 and c.relname = $2";
const COLUMNS: &str = "\
    select a.attname::text, format_type(a.atttypid, null), coalesce(s.avg_width, nullif(a.attlen::int, -1), 16) \
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
    left join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname \
    where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped order by a.attnum";
const POLICIES: &str = "\
    select p.polname::text, pg_get_expr(p.polqual, p.polrelid), exists (\
        select from pg_depend d join pg_proc f on f.oid = d.refobjid and f.provolatile = 'v' \
        where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_proc'::regclass) \
    from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = $1 and c.relname = $2 and p.polqual is not null";
const INDEXES: &str = "\
    select i.relname::text, array_agg(coalesce(a.attname::text, '') order by k.nth) \
    from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid \
    join pg_namespace n on n.oid = c.relnamespace \
    cross join lateral unnest(x.indkey::int2[]) with ordinality as k (number, nth) \
    left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.number and k.number > 0 \
    where n.nspname = $1 and c.relname = $2 and x.indisvalid group by i.relname";

const VARYING: &str = "select distinct proname::text from pg_proc where provolatile <> 'i' and proname = any($1)";

/// What is known of the tables that `plans` read, but for the system's own.
pub(crate) async fn gather(client: &Client, plans: &[&Node]) -> Result<Facts, Error> {
    let mut facts = Facts::new();
    let (mut names, mut words_of_filters) = (Vec::new(), Vec::new());
    for plan in plans {
        plan.walk(&mut |node, _| {
            words_of_filters.extend(words(&node.filter).map(str::to_owned));
            // Nobody makes indexes for the system's own tables, or analyzes them.
            let is_systems = node.schema.starts_with("pg_") || node.schema == "information_schema";
            if !node.relation.is_empty() && !is_systems {
                names.push((node.schema.clone(), node.relation.clone()));
            }
        });
    }
    names.sort();
    names.dedup();
    let varying = client.query(VARYING, &[&words_of_filters]).await?;
    let varying: Vec<String> = varying.iter().map(|row| row.get(0)).collect();
    for (schema, relation) in names {
        let Some(row) = client.query_opt(TABLE, &[&schema, &relation]).await? else { continue };
        let analysed: bool = row.get(3);
        let mut table = Table {
            rows: row.get(0),
            pages: row.get(1),
            changed: row.get::<_, Option<i64>>(2).filter(|_| analysed),
            varying: varying.clone(),
            ..Table::default()
        };
        for row in client.query(COLUMNS, &[&schema, &relation]).await? {
            table.columns.push(Column { name: row.get(0), kind: row.get(1), width: row.get(2) });
        }
        for row in client.query(POLICIES, &[&schema, &relation]).await? {
            table.policies.push(Policy { name: row.get(0), condition: row.get(1), is_volatile: row.get(2) });
        }
        for row in client.query(INDEXES, &[&schema, &relation]).await? {
            table.indexes.insert(row.get(0), row.get(1));
        }
        facts.insert(qualified(&schema, &relation), table);
    }
    Ok(facts)
}
