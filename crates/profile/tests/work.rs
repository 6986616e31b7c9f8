//! What a real PostgreSQL is asked to do, and what it does meanwhile: what was planted there is found, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tare_evidence::{Activity, FindingKind, Work};
use tare_profile::{Count, Sampler, Scope, lock_finding, work_findings};
use tare_testbed::{Fixture, Login, Server, Size};
use tokio_postgres::Client;

const SIZE: Size = Size { tenants: 1, yachts: 1, parts: 100 };
/// Requests that are counted.
const REQUESTS: u64 = 20;
/// Longer than any request here takes.
const REQUEST_MS: f64 = 1e9;

struct Bed {
    server: Arc<Server>,
    fixture: Fixture,
    login: Login,
    scope: Scope,
}

impl Bed {
    async fn new() -> Self {
        let server = Server::shared().await.unwrap();
        let fixture = Fixture::create(server.clone(), SIZE).await.unwrap();
        let login = fixture.tenants()[0].login.clone();
        let scope = Scope { databases: vec![login.database.clone()], ours: server.is_ours() };
        let bed = Self { server, fixture, login, scope };
        let tables = "create table orders (id int primary key, amount int not null); \
                      insert into orders select n, n from generate_series(1, 100) n; grant all on orders to public";
        bed.admin().await.batch_execute(tables).await.unwrap();
        bed
    }

    async fn admin(&self) -> Client {
        self.server.admin(&self.login.database).await.unwrap()
    }

    async fn client(&self) -> Client {
        self.server.client(&self.login).await.unwrap()
    }

    /// What requests ask for that are each given the connection opened before, or open one of their own.
    async fn counted(&self, pooled: bool, request: impl AsyncFn(&Client)) -> Work {
        let mut count = Count::start(self.admin().await, self.scope.clone()).await.unwrap();
        let kept = self.client().await;
        request(&kept).await;
        count.begin().await.unwrap();
        for _ in 0..REQUESTS {
            match pooled {
                true => request(&kept).await,
                false => request(&self.client().await).await,
            }
        }
        self.until_sessions_end(1).await;
        let (work, remarks) = count.end(REQUESTS).await.unwrap();
        assert_eq!(remarks, [""; 0]);
        work
    }

    /// A session counts as opened once it has ended.
    async fn until_sessions_end(&self, left: i64) {
        let have_ended = async { while self.server.connections(&self.fixture).await.unwrap() > left {} };
        tokio::time::timeout(Duration::from_secs(10), have_ended).await.unwrap();
    }
}

fn kinds(work: &Work) -> Vec<FindingKind> {
    work_findings(work, REQUEST_MS).into_iter().map(|finding| finding.kind).collect()
}

async fn one_query(client: &Client) {
    client.query_one("select amount from orders where id = $1", &[&7]).await.unwrap();
}

#[tokio::test]
async fn statements_by_the_row_are_found_within_functions_too() {
    let bed = Bed::new().await;
    let work = bed
        .counted(true, async |client: &Client| {
            let query = client.prepare("select amount from orders where id = $1").await.unwrap();
            for id in 1..=12 {
                client.query_one(&query, &[&id]).await.unwrap();
            }
        })
        .await;
    assert_eq!(kinds(&work), [FindingKind::NPlusOne]);
    assert_eq!((work.statements[0].calls, work.statements[0].rows), (12 * REQUESTS, 12 * REQUESTS));

    let function = "create function by_the_row() returns int language plpgsql as $$ declare found int; total int := 0; \
                    begin for n in 1..12 loop select amount into found from orders where id = n; total := total + found; \
                    end loop; return total; end $$";
    bed.admin().await.batch_execute(function).await.unwrap();
    let work = bed
        .counted(true, async |client: &Client| {
            client.query_one("select by_the_row()", &[]).await.unwrap();
        })
        .await;
    assert_eq!(kinds(&work), [FindingKind::NPlusOne]);
    let nested = work.statements.iter().find(|statement| statement.nested).unwrap();
    assert_eq!(nested.calls, 12 * REQUESTS);
}

#[tokio::test]
async fn a_connection_for_each_request_is_found() {
    let bed = Bed::new().await;
    let work = bed.counted(false, one_query).await;
    assert_eq!((kinds(&work), work.connections), (vec![FindingKind::ConnectionPerRequest], Some(REQUESTS)));
}

#[tokio::test]
async fn of_a_healthy_service_nothing_is_found_and_counting_is_off_again() {
    let bed = Bed::new().await;
    for _ in 0..50 {
        let work = bed.counted(true, one_query).await;
        assert_eq!((kinds(&work), work.connections), (Vec::new(), Some(0)));
        assert_eq!(work.statements.iter().map(|statement| statement.calls).collect::<Vec<_>>(), [REQUESTS]);
    }
    let track: String = bed.client().await.query_one("show pg_stat_statements.track", &[]).await.unwrap().get(0);
    assert_eq!(track, "none");
}

#[tokio::test]
async fn where_statements_are_not_counted_it_is_said_and_nothing_is_switched_on() {
    let bed = Bed::new().await;
    let scope = Scope::current(&bed.client().await).await.unwrap();
    let mut count = Count::start(bed.client().await, scope).await.unwrap();
    count.begin().await.unwrap();
    let (work, remarks) = count.end(1).await.unwrap();
    assert!(work.statements.is_empty() && remarks[0].contains("create extension pg_stat_statements"), "{remarks:?}");
}

/// What is seen while `request` is made once.
async fn watched(bed: &Bed, request: impl AsyncFnOnce()) -> Activity {
    let began = Instant::now();
    let sampler = Sampler::start(bed.admin().await, &bed.scope).await.unwrap();
    request().await;
    sampler.end(began).await.unwrap().activity
}

#[tokio::test]
async fn who_holds_a_lock_is_found() {
    let bed = Bed::new().await;
    let change = "update orders set amount = amount + 1 where id = 7";
    let (holder, waiter) = (bed.client().await, bed.client().await);
    // The testbed's own sessions are not watched: this one is somebody's.
    waiter.batch_execute("set application_name = 'service'; set lock_timeout = '1s'").await.unwrap();
    let pid: i32 = holder.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    holder.batch_execute(&format!("begin; {change}")).await.unwrap();
    let activity = watched(&bed, async || assert!(waiter.batch_execute(change).await.is_err())).await;
    let found = lock_finding(&activity).unwrap();
    assert_eq!((found.kind, activity.blockers[0].pid), (FindingKind::LockWait, pid));
    assert!(found.what.contains(&pid.to_string()) && found.what.contains("idle in transaction"), "{}", found.what);
    assert_eq!(found.at, "begin; update orders set amount = amount + ? where id = ?");
}

#[tokio::test]
async fn of_sessions_that_do_not_wait_for_each_other_no_lock_is_told() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    client.batch_execute("set application_name = 'service'").await.unwrap();
    for _ in 0..50 {
        let activity = watched(&bed, async || one_query(&client).await).await;
        assert_eq!(lock_finding(&activity), None);
    }
}
