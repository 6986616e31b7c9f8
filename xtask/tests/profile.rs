//! `profile` on somebody's own service, in another language and with a real database behind it, and on the built-in server.

mod bed;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bed::{Ended, config, evidence, folder, refused, run, text, xtask};
use serde_json::Value;
use tare_testbed::Server;
use tempfile::TempDir;

/// A service in Python; ends when dropped.
struct Plain {
    process: Child,
    url: String,
}

impl Plain {
    /// Each request runs `statements` in psql, on `server` when there is one.
    fn start(server: Option<&Server>, statements: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bed/plain.py"));
        if let Some(server) = server {
            let (psql, (host, port)) = server.client_program("psql");
            command.arg(psql.get_program()).args(psql.get_args());
            command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", &host, "-p", &port.to_string()]);
            command.args(["-U", "somebody", "somebody"]);
        }
        let mut process = command
            .env("STATEMENTS", statements.join("\n"))
            .env("PGPASSWORD", PASSWORD)
            .env("PGSSLMODE", "require")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, url: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

const PASSWORD: &str = "secret";

/// A server with the database `somebody` of the login `somebody` in it, and a table of 2,000 orders.
async fn database() -> (Arc<Server>, String) {
    let server = Server::start(None, &|line| eprintln!("{line}")).await.unwrap();
    let admin = server.admin("postgres").await.unwrap();
    admin.batch_execute(&format!("create role somebody login password '{PASSWORD}'")).await.unwrap();
    admin.batch_execute("create database somebody owner somebody").await.unwrap();
    let own = server.admin("somebody").await.unwrap();
    own.batch_execute(
        "set role somebody; create table orders (id int primary key, amount int not null); \
         insert into orders select n, n from generate_series(1, 2000) n; analyze orders; \
         reset role; create table hidden (id int)",
    )
    .await
    .unwrap();
    let (host, port) = server.address();
    let root = server.root_certificate().unwrap().display();
    let url = format!("postgres://somebody:{PASSWORD}@{host}:{port}/somebody?sslmode=require&sslrootcert={root}");
    (server, url)
}

/// Targets for a service that starts a program for each request.
fn patient(folder: &TempDir) -> PathBuf {
    config(folder, "[targets.after]\nsuccess_rate = 0.99\np95_ms = 60000\n")
}

async fn profile(arguments: &[&str], database: Option<&str>) -> (Ended, Value) {
    let output = folder();
    let mut command = xtask(&["profile"]);
    command.args(arguments).args(["--output", text(output.path())]).env_remove("DATABASE_URL");
    command.envs(database.map(|url| ("DATABASE_URL", url)));
    let ended = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
    let kept = evidence(&output).1;
    assert!(![&ended.shown, &ended.said, &kept.to_string()].iter().any(|text| text.contains(PASSWORD)));
    (ended, kept)
}

fn kinds(profile: &Value) -> Vec<&str> {
    profile["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_tells_nothing_is_split_as_published_and_marked() {
    let plain = Plain::start(None, &[]);
    let (Ended { code, shown, said }, kept) = profile(&["--url", &plain.url, "-n", "10"], None).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let components = kept["profiles"][0]["components"].as_array().unwrap();
    let measured: Vec<_> =
        components.iter().filter(|one| one["estimated"] == false).map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((components.len() > 4, measured), (true, vec!["network"]), "only the way there was measured");
    assert!(shown.contains("estimated") && shown.contains("DATABASE_URL"), "{shown}");
    assert!(shown.starts_with("Next: "), "the next thing to do comes first: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_each_request_is_found_beside_the_query_alone() {
    let (server, url) = database().await;
    let plain = Plain::start(Some(&server), &["select amount from orders where id = 7"]);
    let arguments = ["--url", &plain.url, "-n", "10", "--sql", "select amount from orders where id = 7"];
    let (Ended { code, shown, said }, kept) = profile(&arguments, Some(&url)).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let profile = &kept["profiles"][0];
    assert_eq!(kinds(profile), ["connection-per-request"], "{shown}");
    assert_eq!((&profile["work"]["requests"], &profile["work"]["connections"]), (&20.into(), &20.into()));
    assert!(profile["database_ms"]["estimate"].as_f64() < profile["request_ms"]["estimate"].as_f64());
    assert_eq!(profile["plans"].as_array().unwrap().len(), 1);
    assert!(shown.starts_with("Next: ") && shown.contains("docs/pooling.md"), "{shown}");
    assert!(shown.contains("pg_stat_statements"), "why statements were not counted is said: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_by_the_row_are_found_where_they_can_be_counted() {
    let (server, url) = database().await;
    let admin = server.admin("somebody").await.unwrap();
    // As an owner of a server would have it.
    for setting in ["compute_query_id = on", "pg_stat_statements.track = 'all'"] {
        admin.batch_execute(&format!("alter database somebody set {setting}")).await.unwrap();
    }
    admin.batch_execute("create extension pg_stat_statements").await.unwrap();
    admin.batch_execute("grant pg_read_all_stats to somebody").await.unwrap();
    let by_the_row: Vec<_> = (1..=12).map(|id| format!("select amount from orders where id = {id}")).collect();
    let plain = Plain::start(Some(&server), &by_the_row.iter().map(String::as_str).collect::<Vec<_>>());
    let (Ended { code, shown, said }, kept) = profile(&["--url", &plain.url, "-n", "5"], Some(&url)).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let profile = &kept["profiles"][0];
    let statement = &profile["work"]["statements"][0];
    assert_eq!(
        (&statement["sql"], &statement["calls"]),
        (&"select amount from orders where id = $1".into(), &240.into())
    );
    assert!(kinds(profile).contains(&"n-plus-one"), "{shown}");
    assert!(shown.contains("any("), "the batched form is shown: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_lock_that_requests_wait_for_is_named() {
    let (server, url) = database().await;
    server.admin("somebody").await.unwrap().batch_execute("grant pg_read_all_stats to somebody").await.unwrap();
    let mut other = server.admin("somebody").await.unwrap();
    let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let held = other.transaction().await.unwrap();
    held.execute("update orders set amount = 0 where id = 7", &[]).await.unwrap();
    let statements = ["set lock_timeout = '700ms'", "update orders set amount = amount + 1 where id = 7"];
    let plain = Plain::start(Some(&server), &statements);
    let mut command = xtask(&["profile", "--url", &plain.url, "-n", "5"]);
    command.env("DATABASE_URL", &url);
    tokio::task::spawn_blocking(move || {
        refused(command, &["500", "lock timeout", &pid.to_string(), "idle in transaction"])
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_a_lock_is_not_waited_for_without_end() {
    let (server, url) = database().await;
    let plain = Plain::start(None, &[]);
    for held in ["update orders set amount = 0 where id = 7", "lock table orders"] {
        let mut other = server.admin("somebody").await.unwrap();
        let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let transaction = other.transaction().await.unwrap();
        transaction.batch_execute(held).await.unwrap();
        let sql = "update orders set amount = amount + 1 where id = 7";
        let mut command = xtask(&["profile", "--url", &plain.url, "-n", "5", "--sql", sql]);
        command.env("DATABASE_URL", &url);
        let expected = [sql.to_owned(), "lock timeout".to_owned(), format!("session {pid} holds")];
        tokio::task::spawn_blocking(move || refused(command, &expected.each_ref().map(String::as_str))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_is_kept_when_its_database_can_no_longer_be_watched() {
    let (server, url) = database().await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity \
               where usename = 'somebody' and application_name = 'tare-testbed'";
    let plain = Plain::start(Some(&server), &[end]);
    let output = folder();
    let mut command = xtask(&["stress", "--url", &plain.url, "--watch-database", "-n", "20", "--warmup", "0"]);
    command.args(["--config", text(&patient(&output)), "--output", text(output.path())]).env("DATABASE_URL", &url);
    let Ended { code, shown, said } = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let pass = &evidence(&output).1["passes"][0];
    assert_eq!((&pass["succeeded"], &pass["activity"]), (&20.into(), &Value::Null));
    assert!(said.contains("could not be watched"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_did_is_told_of_load_too() {
    let (server, url) = database().await;
    let plain = Plain::start(Some(&server), &["select amount from orders where id = 7"]);
    let output = folder();
    let mut command =
        xtask(&["stress", "--url", &plain.url, "--watch-database", "-n", "20", "--warmup", "0", "-c", "2"]);
    command.args(["--config", text(&patient(&output)), "--output", text(output.path())]).env("DATABASE_URL", &url);
    let Ended { code, shown, said } = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let activity = &evidence(&output).1["passes"][0]["activity"];
    assert!(
        activity["opened"].as_u64() >= Some(18),
        "a session for each request, the last may not have ended: {activity}"
    );
    assert!(shown.contains("Database meanwhile"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_named_and_changes_nothing() {
    let (server, url) = database().await;
    let plain = Plain::start(None, &[]);
    let of = |path: &str, sql: &'static str, expected: &'static [&'static str]| {
        let mut command = xtask(&["profile", "--url", &format!("{}{path}", plain.url), "-n", "5", "--sql", sql]);
        command.env("DATABASE_URL", &url);
        tokio::task::spawn_blocking(move || refused(command, expected))
    };
    of("/", "select nothing from orders", &["select nothing", "column \"nothing\" does not exist"]).await.unwrap();
    of("/", "delete from orders; select 1", &["more than one statement"]).await.unwrap();
    of("/", "select * from hidden", &["permission denied for table hidden"]).await.unwrap();
    of("/forbidden", "delete from orders", &["403", "not yours"]).await.unwrap();
    // The same, but with requests that succeed: what the query changes is rolled back.
    let arguments = ["--url", &plain.url, "-n", "5", "--sql", "delete from orders"];
    let (Ended { code, shown, said }, _) = profile(&arguments, Some(&url)).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let admin = server.admin("somebody").await.unwrap();
    let left: i64 = admin.query_one("select count(*) from orders", &[]).await.unwrap().get(0);
    assert_eq!(left, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_taken_where_others_see_it() {
    let arguments = ["profile", "--url", "http://127.0.0.1:9", "--database-url", "postgres://me:secret@127.0.0.1/mine"];
    let command = xtask(&arguments);
    tokio::task::spawn_blocking(move || refused(command, &["--database-url", "PGPASSWORD"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_of_the_built_in_server_adds_up_and_shows_what_it_asks_for() {
    let (Ended { code, shown, said }, kept) =
        profile(&["list_parts", "--strategy", "before", "-n", "10", "--parts", "1000"], None).await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let profile = &kept["profiles"][0];
    let kinds = kinds(profile);
    assert!(kinds.contains(&"connection-per-request") && kinds.contains(&"n-plus-one"), "{shown}");
    assert!(profile["work"]["round_trips"].as_u64() > Some(400), "a statement by the row, prepared each time: {shown}");
    let checks = kept["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["what"] == "components of before list_parts to its request");
    assert_eq!(check.unwrap()["met"], true, "{checks:?}");

    let (Ended { code, shown, said }, kept) = profile_after().await;
    assert_eq!(code, Some(0), "{shown}\n{said}");
    assert_eq!(kept["profiles"][0]["findings"], Value::Array(Vec::new()), "{shown}");
    let plans = kept["profiles"][0]["plans"].as_array().unwrap();
    assert!(plans.iter().any(|plan| plan["nested"] == true), "what is within the function is seen: {shown}");
}

async fn profile_after() -> (Ended, Value) {
    profile(&["consume_part", "-n", "10", "--parts", "1000"], None).await
}
