//! What is found in plans, on a real PostgreSQL. Each test has a database of its own, of a fixture without parts.

use std::sync::Arc;

use tare_evidence::{Finding, FindingKind};
use tare_profile::{Database, Error, Explained, explain};
use tare_testbed::{Fixture, Server, Size, Template};
use tokio_postgres::Client;

/// A database, and a connection to it that sees and may do all.
struct Bed {
    server: Arc<Server>,
    fixture: Fixture,
    admin: Client,
    database: Database,
}

impl Bed {
    async fn new(setup: &[&str]) -> Self {
        let bed = Self::of(Size { tenants: 1, yachts: 1, parts: 0 }).await;
        for each in setup {
            bed.admin.batch_execute(each).await.unwrap();
        }
        bed
    }

    async fn of(size: Size) -> Self {
        let server = Server::shared().await.unwrap();
        let fixture = Fixture::create(server.clone(), size).await.unwrap();
        let name = &fixture.tenants()[0].login.database;
        let admin = server.admin(name).await.unwrap();
        let (client, notices) = server.admin_with_notices(name).await.unwrap();
        Self { database: Database::new(client, notices), server, fixture, admin }
    }

    fn role(&self) -> String {
        self.fixture.tenants()[0].login.role.clone()
    }

    async fn explain(&mut self, sql: &str) -> Explained {
        explain(&mut self.database, sql, None, false).await.unwrap()
    }

    async fn prove(&mut self, sql: &str) -> Explained {
        explain(&mut self.database, sql, None, true).await.unwrap()
    }

    async fn fail(&mut self, sql: &str, role: Option<&str>) -> String {
        let error = explain(&mut self.database, sql, role, true).await.unwrap_err();
        assert!(matches!(error, Error::Query { .. }), "{error}");
        error.to_string()
    }

    async fn count(&self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn indexes(&self) -> i64 {
        self.count("select count(*) from pg_index").await
    }

    /// A connection that may do what the tenant's login may.
    async fn as_login(&self) -> Database {
        let (client, notices) =
            self.server.admin_with_notices(&self.fixture.tenants()[0].login.database).await.unwrap();
        client.batch_execute(&format!("set session authorization {}", self.role())).await.unwrap();
        Database::new(client, notices)
    }
}

/// 50,000 orders of 5,000 customers; without an index besides the key.
const ORDERS: &str = "\
    create table app.orders (id int primary key, customer int not null, placed int not null, note text not null); \
    insert into app.orders select n, n % 5000, n % 977, repeat('x', 40) from generate_series(1, 50000) n;";
/// Has PostgreSQL count at once what was changed.
const COUNT: &str = "select pg_stat_force_next_flush()";
const ANALYZE: &str = "vacuum analyze app.orders";

fn only(found: &Explained) -> &Finding {
    let [finding] = &found.findings[..] else { panic!("one finding, not {found:#?}") };
    finding
}

fn kinds(found: &Explained) -> Vec<FindingKind> {
    found.findings.iter().map(|one| one.kind).collect()
}

#[tokio::test]
async fn a_missing_index_is_found_and_proven_and_nothing_is_left() {
    let mut bed = Bed::new(&[ORDERS, ANALYZE]).await;
    let before = bed.indexes().await;
    let sql = "select * from app.orders where placed > 900 and customer = 7";
    let found = bed.prove(sql).await;
    let finding = only(&found);
    assert_eq!(finding.kind, FindingKind::MissingIndex);
    assert_eq!(finding.at, "Seq Scan on app.orders");
    assert!(finding.advice.starts_with("create index on app.orders (customer, placed); about 1."), "{finding:?}");
    let proof = finding.proof.as_ref().unwrap();
    assert!(proof.gain() > 2.0, "{proof:?}");
    assert_eq!(proof.change, "create index on app.orders (customer, placed)");
    assert_eq!(bed.indexes().await, before, "it was rolled back");
    assert_eq!((found.plans.len(), &*found.plans[0].sql, found.plans[0].calls), (1, sql, 1));
    assert!(found.plans[0].nodes[0].starts_with("Seq Scan on app.orders"), "{:?}", found.plans);

    bed.admin.batch_execute("create index on app.orders (customer, placed)").await.unwrap();
    assert_eq!(bed.prove(sql).await.findings, [], "with the index nothing stands out");
}

#[tokio::test]
async fn an_index_within_a_function_is_found_by_its_statement() {
    let function = "create function app.total(c int) returns bigint language plpgsql as $$ begin \
                    return (select count(*) from app.orders o where o.customer = c order by 1); end $$";
    let mut bed = Bed::new(&[ORDERS, ANALYZE, function]).await;
    let found = bed.prove("select app.total(3) + app.total(4)").await;
    let finding = only(&found);
    assert_eq!(finding.kind, FindingKind::MissingIndex);
    assert!(finding.advice.starts_with("create index on app.orders (customer);"), "{finding:?}");
    assert!(finding.proof.as_ref().unwrap().gain() > 1.2, "{finding:?}");
    let nested = &found.plans[1];
    assert!(nested.nested && nested.calls == 2 && nested.sql.contains("from app.orders"), "{nested:?}");
    assert_eq!(nested.actual_rows, 1.0);
    assert!(nested.ms > 0.0 && nested.ms <= found.plans[0].ms, "{:?}", found.plans);
}

#[tokio::test]
async fn an_index_that_gains_nothing_is_not_told() {
    let mut bed = Bed::new(&[ORDERS, ANALYZE]).await;
    let sql = "select count(*) from app.orders where customer = 7";
    assert_eq!(kinds(&bed.explain(sql).await), [FindingKind::MissingIndex], "it would serve as far as can be seen");
    // And is not used, for a reason that no plan tells.
    let unused = ["enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"];
    let database = bed.fixture.tenants()[0].login.database.clone();
    for setting in unused {
        bed.admin.batch_execute(&format!("alter database {database} set {setting} = off")).await.unwrap();
    }
    let (client, notices) = bed.server.admin_with_notices(&database).await.unwrap();
    let found = explain(&mut Database::new(client, notices), sql, None, true).await.unwrap();
    assert_eq!((found.findings, found.remarks), (vec![], vec![]));
}

#[tokio::test]
async fn most_of_what_an_index_leads_to_thrown_away_wants_the_filters_column() {
    let setup =
        "create index by_customer on app.orders (customer); update app.orders set customer = 1 where id <= 20000";
    let mut bed = Bed::new(&[ORDERS, setup, ANALYZE]).await;
    let found = bed.prove("select count(*) from app.orders where customer = 1 and placed = 77").await;
    let finding = only(&found);
    assert_eq!(finding.kind, FindingKind::FilterAfterIndex, "{finding:?}");
    assert!(finding.advice.starts_with("create index on app.orders (customer, placed);"), "{finding:?}");
    assert!(finding.what.contains("by_customer"), "{finding:?}");
    assert!(finding.proof.is_some());
}

#[tokio::test]
async fn a_policy_that_defeats_an_index_is_named() {
    let setup = "\
        create table app.notes (yacht_id uuid not null, note text not null); \
        insert into app.notes select md5((n % 500)::text)::uuid, 'note ' || n from generate_series(1, 40000) n; \
        create index on app.notes (yacht_id); analyze app.notes; \
        alter table app.notes enable row level security; \
        create policy of_yacht on app.notes using (yacht_id::text = current_setting('app.yacht_id', true)); \
        grant select on app.notes to public;";
    let mut bed = Bed::new(&[setup]).await;
    let role = bed.role();
    let one = "select count(*) from app.notes";
    let found = explain(&mut bed.database, one, Some(&role), true).await.unwrap();
    let finding = only(&found);
    assert_eq!(finding.kind, FindingKind::PolicyDefeatsIndex);
    assert!(finding.what.contains("of_yacht") && finding.what.contains("app.notes"), "{finding:?}");
    let (_, alter) = finding.advice.split_once("alter policy").unwrap();
    let alter = format!("alter policy{}", alter.trim_end_matches('.'));
    bed.admin.batch_execute(&alter).await.unwrap();
    let found = explain(&mut bed.database, one, Some(&role), true).await.unwrap();
    assert_eq!(found.findings, [], "the advice is taken as it is told: {alter}");
    assert!(bed.explain(one).await.findings.is_empty(), "whom no policy holds for has all rows");

    // A function that has to be called for each row defeats it as well.
    let setup = "\
        create function app.mine() returns uuid language plpgsql as $$ begin return md5('7')::uuid; end $$; \
        grant execute on function app.mine to public; \
        alter policy of_yacht on app.notes using (yacht_id = app.mine() and note <> '');";
    bed.admin.batch_execute(setup).await.unwrap();
    let found = explain(&mut bed.database, one, Some(&role), true).await.unwrap();
    let policy = found.findings.iter().find(|one| one.kind == FindingKind::PolicyDefeatsIndex).unwrap();
    assert!(
        policy.advice.contains("using (yacht_id = (select app.mine()) and (note <> ''::text))"),
        "what else it asks stays: {policy:?}"
    );
}

#[tokio::test]
async fn stale_statistics_are_told() {
    let more = "alter table app.orders set (autovacuum_enabled = off); create index on app.orders (placed); \
                insert into app.orders select n, n, 5000, 'y' from generate_series(50001, 80000) n;";
    let mut bed = Bed::new(&[ORDERS, COUNT, ANALYZE, more, COUNT]).await;
    let found = bed.explain("select sum(customer) from app.orders where placed = 5000").await;
    let finding = only(&found);
    assert_eq!(finding.kind, FindingKind::Misestimate);
    assert!(finding.what.contains("more rows of app.orders than expected: 30,000"), "{finding:?}");
    assert!(finding.what.contains("30,000 rows have changed since it was analyzed"), "{finding:?}");
    assert!(finding.advice.starts_with("analyze app.orders"), "{finding:?}");
    bed.admin.batch_execute("vacuum analyze app.orders").await.unwrap();
    assert_eq!(bed.explain("select sum(customer) from app.orders where placed = 5000").await.findings, []);
}

#[tokio::test]
async fn a_sort_on_disk_is_told_with_the_memory_it_takes() {
    let bed = Bed::new(&[ORDERS, ANALYZE]).await;
    let small = format!("alter database {} set work_mem = '64kB'", bed.fixture.tenants()[0].login.database);
    bed.admin.batch_execute(&small).await.unwrap();
    let name = bed.fixture.tenants()[0].login.database.clone();
    let sql = "select * from app.orders order by note, placed, customer";
    let (client, notices) = bed.server.admin_with_notices(&name).await.unwrap();
    let found = explain(&mut Database::new(client, notices), sql, None, true).await.unwrap();
    let finding = only(&found);
    assert_eq!(finding.kind, FindingKind::SpillToDisk);
    assert!(found.plans[0].temp_written > 0);
    let (_, set) = finding.advice.split_once("set local ").unwrap();
    let (client, notices) = bed.server.admin_with_notices(&name).await.unwrap();
    client.batch_execute(&format!("set {}", set.trim_end_matches('.'))).await.unwrap();
    let found = explain(&mut Database::new(client, notices), sql, None, true).await.unwrap();
    assert_eq!(found.findings, [], "so much is enough: {set}");
}

#[tokio::test]
async fn a_function_that_is_slow_itself_is_told() {
    let setup = "\
        create function app.inner_loop(n int) returns int language plpgsql as $$ declare x text := ''; begin \
            for i in 1..n loop x := md5(x || i); end loop; return length(x); end $$; \
        create function app.outer_call(n int) returns int language plpgsql as $$ declare x int; begin \
            select app.inner_loop(n) into x; return x; end $$; \
        create function app.all_in_statements() returns bigint language plpgsql as $$ begin \
            return (select count(md5(n::text || m)) from generate_series(1, 300) n, generate_series(1, 300) m); end $$;";
    let mut bed = Bed::new(&[setup]).await;
    let found = bed.explain("select app.outer_call(100000)").await;
    let finding = only(&found);
    assert_eq!((finding.kind, &*finding.at), (FindingKind::SlowFunction, "app.inner_loop"));
    assert_eq!(bed.explain("select app.all_in_statements()").await.findings, [], "its statement takes the time");
}

#[tokio::test]
async fn a_function_called_by_the_row_is_told_and_no_index_on_it() {
    let function = "create function app.slow(n int) returns int language plpgsql as $$ declare x text := ''; begin \
                    for i in 1..20 loop x := md5(x || i); end loop; return n % 3000; end $$";
    let mut bed = Bed::new(&[ORDERS, "delete from app.orders where id > 5000", ANALYZE, function]).await;
    let found = bed.prove("select count(*) from app.orders where app.slow(id) = 7").await;
    assert!(kinds(&found).contains(&FindingKind::SlowFunction), "{found:#?}");
    assert!(!kinds(&found).contains(&FindingKind::MissingIndex), "{found:#?}");
    assert_eq!(found.remarks, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_statement_changes_is_rolled_back() {
    let mut bed = Bed::new(&[ORDERS, ANALYZE]).await;
    let role = bed.role();
    bed.admin.batch_execute("grant select, delete on app.orders to public").await.unwrap();
    let found = explain(&mut bed.database, "delete from app.orders where customer = 7 returning id", Some(&role), true);
    let found = found.await.unwrap();
    assert_eq!(found.plans[0].actual_rows, 10.0);
    assert_eq!(kinds(&found), [FindingKind::MissingIndex]);
    assert!(found.findings[0].proof.is_some(), "{found:#?}");
    assert_eq!(bed.count("select count(*) from app.orders").await, 50_000);
}

#[tokio::test]
async fn two_statements_are_refused_before_one_is_carried_out() {
    let mut bed = Bed::new(&[ORDERS, ANALYZE]).await;
    for sql in [
        "delete from app.orders; delete from app.orders",
        "select 1; commit; delete from app.orders",
        "select 1 from app.orders; drop table app.orders",
    ] {
        let error = bed.fail(sql, None).await;
        assert!(error.contains("more than one statement") && error.contains(sql), "{error}");
    }
    assert_eq!(bed.count("select count(*) from app.orders").await, 50_000);
    bed.explain("select count(*) from app.orders; -- one, with a comment").await;
}

#[tokio::test]
async fn sql_that_fails_is_told_with_what_the_database_says() {
    let mut bed = Bed::new(&[ORDERS, ANALYZE]).await;
    let error = bed.fail("select nothing from app.orders", None).await;
    assert!(error.contains("column \"nothing\" does not exist") && error.contains("select nothing from"), "{error}");
    let error = bed.fail("select 1 / (id - id) from app.orders", None).await;
    assert!(error.contains("division by zero"), "{error}");
    let error = bed.fail("select * from app.orders where id = $1", None).await;
    assert!(error.contains("it has parameters"), "{error}");
    let error = bed.fail("", None).await;
    assert!(error.contains("syntax error"), "{error}");
    let role = bed.role();
    let error = bed.fail("select count(*) from app.orders", Some(&role)).await;
    assert!(error.contains("permission denied for table orders"), "{error}");
    let unknown = explain(&mut bed.database, "select 1", Some("no\"body"), false).await.unwrap_err();
    assert!(matches!(unknown, Error::Database(_)), "{unknown}");
    bed.explain("select 1").await;
}

#[tokio::test]
async fn without_a_superuser_a_remark_says_what_was_not_seen() {
    let function = "create function app.ask() returns bigint language plpgsql as $$ begin \
                    return (select count(*) from app.parts); end $$";
    let bed = Bed::new(&[function]).await;
    let mut database = bed.as_login().await;
    let found = explain(&mut database, "select app.ask()", None, false).await.unwrap();
    assert_eq!(found.plans.len(), 1, "{:?}", found.plans);
    assert!(found.remarks[0].contains("superuser"), "{:?}", found.remarks);
    let error = explain(&mut database, "select count(*) from app.audit_log", None, false).await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn of_a_loop_as_much_is_seen_as_fits() {
    let function = "create function app.many() returns void language plpgsql as $$ begin \
                    for n in 1..20100 loop perform id from app.yachts; end loop; end $$";
    let mut bed = Bed::new(&[function]).await;
    let found = bed.explain("select app.many()").await;
    assert_eq!(found.plans[1].calls, 20_000);
    assert!(found.remarks[0].contains("100 more"), "{:?}", found.remarks);
    assert!(!kinds(&found).contains(&FindingKind::SlowFunction), "{:?}", found.findings);
}

#[tokio::test]
async fn of_actions_that_are_fine_nothing_is_found() {
    let mut bed = Bed::of(Size { tenants: 1, yachts: 2, parts: 4_000 }).await;
    let role = bed.role();
    for (action, name, plans) in [
        ("view_part_details", "view_part_details", 3),
        ("list_parts", "list_parts_by_key", 3),
        ("list_parts", "list_parts_by_offset", 4),
        ("consume_part", "consume_part", 5),
        ("receive_part", "receive_part", 6),
    ] {
        let sql = action_sql(&bed.fixture, action, name);
        let runs = if name == "list_parts_by_offset" { 10 } else { 50 };
        for run in 0..runs {
            let found = explain(&mut bed.database, &sql, Some(&role), false).await.unwrap();
            assert_eq!(found.findings, [], "{name}, run {run}");
            assert_eq!(found.remarks, Vec::<String>::new());
            let seen = found.plans.len();
            assert!(seen >= plans, "{name}: {seen} plans, {:#?}", found.plans);
        }
    }
    assert_eq!(bed.count("select count(*) from app.stock_movements").await, 0);
}

#[tokio::test]
async fn the_index_that_the_fixture_leaves_out_is_found_within_its_functions() {
    let mut bed = Bed::of(Size { tenants: 1, yachts: 2, parts: 8_000 }).await;
    bed.fixture.set_indexes(false).await.unwrap();
    let (role, sql) = (bed.role(), action_sql(&bed.fixture, "list_parts", "list_parts_by_offset"));
    let found = explain(&mut bed.database, &sql, Some(&role), true).await.unwrap();
    // On a busy machine the function itself takes its time, too.
    let finding = found.findings.iter().find(|one| one.kind == FindingKind::FilterAfterIndex);
    let finding = finding.unwrap_or_else(|| panic!("{found:#?}"));
    let wanted = "create index on app.parts (yacht_id, location, part_number);";
    assert!(finding.advice.starts_with(wanted) && finding.proof.is_some(), "{finding:?}");
    let by_the_row = found.plans.iter().find(|plan| plan.sql.contains("from app.stock")).unwrap();
    assert_eq!(by_the_row.calls, 20);
}

/// The action as the first tenant's first user.
fn action_sql(fixture: &Fixture, action: &str, name: &str) -> String {
    let tenant = &fixture.tenants()[0];
    let prepared = Template::named(action).unwrap().requests(fixture, fixture.tenants(), 1);
    let request: serde_json::Value = serde_json::from_str(&prepared[0].body).unwrap();
    let payload = request["payload"].to_string().replace('\'', "''");
    let (yacht, user) = (tenant.yachts[0], tenant.crew[0].id);
    format!("select status, body::text from app.execute('{yacht}', '{user}', '{name}', '{payload}', null, false)")
}
