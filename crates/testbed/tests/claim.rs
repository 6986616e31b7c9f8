//! Databases on a server that stays: dropped by the next run when their owner was killed, and left alone while it lives.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tare_testbed::Server;
use tempfile::TempDir;
use tokio_postgres::Client;

/// A process that has a fixture on a server of somebody's own, until it is told to end.
struct Owner {
    process: Child,
    _folder: TempDir,
}

impl Owner {
    fn start(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare-testbed"));
        command.arg(folder.path().join("testbed.json")).arg("100").env("DATABASE_URL", url);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { process, _folder: folder }
    }

    /// Started, once its databases are there.
    fn ready(url: &str) -> Self {
        let mut owner = Self::start(url);
        let mut line = String::new();
        BufReader::new(owner.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        owner
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The names of all databases and roles.
async fn there(admin: &Client) -> Vec<String> {
    let names = "select datname::text from pg_database union all select rolname::text from pg_roles order by 1";
    admin.query(names, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Sessions that share in a lock of ours.
const HOLDERS: &str = "select pid from pg_locks where locktype = 'advisory' and classid = 1952543333";

#[tokio::test(flavor = "multi_thread")]
async fn what_one_who_was_killed_has_left_is_dropped_by_the_next_and_what_the_living_have_is_not() {
    let server = Server::shared().await.unwrap();
    let (admin, url) = (server.admin("postgres").await.unwrap(), server.url());
    // Named as ours are.
    admin.batch_execute("create role tare_0123abcd_template_control").await.unwrap();
    admin.batch_execute("create database tare_0123abcd_0_control").await.unwrap();
    admin.batch_execute("create database elsewhere").await.unwrap();
    let by_another_database = url.replace("/postgres?", "/elsewhere?");
    assert_ne!(by_another_database, url);
    let before = there(&admin).await;
    let living = Owner::ready(&url);
    let with_living = there(&admin).await;
    Owner::ready(&url).kill();
    let left = there(&admin).await.len() - with_living.len();
    assert_eq!(left, with_living.len() - before.len(), "one who is killed drops nothing");

    // One who has lost the connection that holds the lock takes it again.
    let holders =
        async || -> Vec<i32> { admin.query(HOLDERS, &[]).await.unwrap().iter().map(|row| row.get(0)).collect() };
    // That of the one who was killed may go a moment later.
    let deadline = Instant::now() + Duration::from_secs(20);
    let holder = loop {
        match holders().await[..] {
            [holder] => break holder,
            _ => assert!(Instant::now() < deadline, "one session holds the lock"),
        }
    };
    admin.execute("select pg_terminate_backend($1)", &[&holder]).await.unwrap();
    while !holders().await.iter().any(|other| *other != holder) {
        assert!(Instant::now() < deadline, "the lock is lost");
    }
    Owner::ready(&by_another_database).end();
    assert_eq!(there(&admin).await, with_living);

    // Killed while it makes them.
    let seed = std::env::var("TARE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("TARE_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    for nth in 0..6 {
        let owner = Owner::start(&url);
        tokio::time::sleep(Duration::from_millis(nth * 100 + chance.u64(..100))).await;
        owner.kill();
    }
    Owner::ready(&url).end();
    assert_eq!(there(&admin).await, with_living);
    living.end();
    assert_eq!(there(&admin).await, before);
}
