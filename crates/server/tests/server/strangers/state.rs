//! What is in the databases, to be compared with what was there before.

use tare_testbed::Fixture;

const TABLES: [&str; 6] = ["yachts", "parts", "stock", "stock_movements", "receiving", "audit_log"];

/// Tables, their protection and who may what, functions and what they do.
const SCHEMA: &str = "
    select count(*) || ' things ' || md5(string_agg(thing, chr(10) order by thing)) from (
        select concat_ws(' ', c.oid::regclass, c.relkind, c.relrowsecurity, c.relacl)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('app', 'control', 'public')
        union all select concat_ws(' ', p.oid::regprocedure, md5(p.prosrc), p.prosecdef, p.proacl)
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('app', 'control', 'public')
        union all select concat_ws(' ', tablename, policyname, roles, qual, with_check) from pg_policies
        union all select concat_ws(' ', nspname, nspacl) from pg_namespace where nspname !~ '^pg_(toast|temp)'
    ) as there (thing)";

/// Of every database its schema, and every row that is not of the first tenant's first yacht.
pub async fn of_all_but_the_first_yacht(fixture: &Fixture) -> Vec<String> {
    let mut state = Vec::new();
    let own = fixture.tenants()[0].yachts[0];
    for (nth, database) in fixture.databases().into_iter().enumerate() {
        let client = fixture.server().admin(&database).await.unwrap();
        let rows: Vec<String> = match nth {
            0 => ["tenants", "users"].map(|table| format!("control.{table} r")).to_vec(),
            _ => TABLES.iter().map(|table| format!("app.{table} r where {} <> '{own}'", yacht_of(table))).collect(),
        };
        let rows = rows.into_iter().map(|from| {
            format!("select count(*) || ' rows ' || coalesce(md5(string_agg(r::text, chr(10) order by r::text)), '') from {from}")
        });
        for sql in rows.chain([SCHEMA.to_owned()]) {
            let told: String = client.query_one(&sql, &[]).await.unwrap().get(0);
            state.push(format!("{database}: {told}: {}", sql.rsplit(" from ").next().unwrap()));
        }
    }
    state
}

fn yacht_of(table: &str) -> &'static str {
    if table == "yachts" { "id" } else { "yacht_id" }
}

/// The first column of what `sql` selects in the first tenant's database, sorted.
pub async fn own(fixture: &Fixture, sql: &str) -> Vec<String> {
    let client = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    let rows = client.query(sql, &[&fixture.tenants()[0].yachts[0]]).await.unwrap();
    let mut told: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    told.sort();
    told
}
