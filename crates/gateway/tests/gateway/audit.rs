//! The audit queue: what is acknowledged is written, once.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tare_gateway::audit::Queue;
use tare_gateway::{Busy, Error, Settings, Strategy};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::bed::{Bed, eventually, settings};

fn durable(folder: &Path) -> impl FnOnce(&mut Settings) {
    let queue = Queue::Durable(folder.to_owned());
    move |settings| {
        settings.audit.queue = queue;
        settings.audit.capacity = 40;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_at_the_same_time_are_each_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::set(Strategy::AFTER, durable(folder.path())).await;
    for _ in 0..5 {
        let answers = join_all((0..40).map(|_| bed.look())).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    bed.gateway.close().await;
    assert_eq!(bed.fixture.audit_rows().await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_delivered_is_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (bed, relay) = Bed::relayed(Strategy::AFTER, |settings| {
        durable(folder.path())(settings);
        settings.pool.wait = Duration::from_secs(1);
    })
    .await;
    bed.look().await.unwrap();
    bed.gateway.flush().await;
    // Answers come back, batches of audit rows do not: what is stalled is opened after this.
    let answers = join_all((0..30).map(|_| bed.look())).await;
    relay.refuse().await;
    let read = answers.iter().filter(|answer| answer.is_ok()).count() as i64;
    let Bed { gateway, fixture } = bed;
    let in_time = tokio::time::timeout(Duration::from_millis(500), gateway.close()).await;
    drop(gateway);

    relay.recover().await.unwrap();
    let written = fixture.audit_rows().await.unwrap();
    // Not the other way round: an answer that says so may have been lost with its connection.
    assert!(in_time.is_err() || written == read + 1, "a close that ends has written everything");
    // The store is free once the last of the first gateway is gone.
    let mut again = settings(&fixture, Strategy::AFTER);
    durable(folder.path())(&mut again);
    let mut gateway = None;
    eventually("the store is opened again", async || {
        gateway = tare_gateway::Gateway::new(again.clone()).ok();
        gateway.is_some()
    })
    .await;
    gateway.unwrap().close().await;
    assert_eq!(fixture.audit_rows().await.unwrap(), read + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_is_written_again_only_what_is_not_there_is_added() {
    let bed = Bed::with(Strategy::AFTER).await;
    let write = async |events: &[(u128, &str)]| {
        let ids: Vec<_> = events.iter().map(|(id, _)| format!("'{}'::uuid", Uuid::from_u128(*id))).collect();
        let outcomes: Vec<_> = events.iter().map(|(_, outcome)| format!("'{outcome}'")).collect();
        let (ids, outcomes, many) = (ids.join(","), outcomes.join(","), events.len());
        bed.rows(&format!(
            "select app.record_audit(array_fill(gen_random_uuid(), array[{many}]), array[{ids}], \
             array_fill(gen_random_uuid(), array[{many}]), array_fill('list_parts'::text, array[{many}]), \
             array_fill('{{}}'::text, array[{many}]), array[{outcomes}], array_fill(now(), array[{many}]))::text"
        ))
        .await;
    };
    write(&[(1, "done"), (2, "refused")]).await;
    // Of an event that was corrected the later one comes first.
    write(&[(1, "refused"), (3, "refused"), (3, "done"), (4, "done")]).await;
    let rows = bed.rows("select right(id::text, 1) || ' ' || outcome from app.audit_log order by 1").await;
    assert_eq!(rows, ["1 done", "2 refused", "3 refused", "4 done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_requests_wait_and_then_refuses_them() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::set(Strategy::AFTER, |settings| {
        durable(folder.path())(settings);
        settings.audit.wait = Duration::from_millis(50);
    })
    .await;
    bed.look().await.unwrap();
    bed.gateway.flush().await;
    let mut refused = None;
    let blocked = bed.fixture.server().admin(&bed.fixture.tenants()[0].login.database).await.unwrap();
    // No audit row can be written while somebody else holds the table.
    blocked.batch_execute("begin; lock table app.audit_log in access exclusive mode").await.unwrap();
    for _ in 0..100 {
        let reply = bed.reply(bed.crew(0, 0), "view_part_details", bed.part()).await;
        if let Err(error) = reply.result {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("the queue has 40 places");
    assert!(matches!(refused, Error::Busy(Busy::AuditFull(_))), "{refused:?}");
    assert_eq!((refused.status(), refused.retry_after()), (503, Some(1)));
    blocked.batch_execute("commit").await.unwrap();
    bed.gateway.flush().await;
    assert!(bed.look().await.is_ok());
    bed.gateway.close().await;
    assert_eq!(bed.fixture.audit_rows().await.unwrap(), 42);
}

/// A client that has locked the first tenant's parts until it commits.
async fn parts_locked(bed: &Bed) -> Client {
    let client = bed.fixture.server().admin(&bed.fixture.tenants()[0].login.database).await.unwrap();
    client.batch_execute("begin; lock table app.parts in access exclusive mode").await.unwrap();
    client
}

/// Drives a read until it waits for the parts that `client` has locked.
async fn until_it_waits<A: std::fmt::Debug>(read: &mut (impl Future<Output = A> + Unpin), client: &Client) {
    tokio::select! {
        biased;
        answer = read => panic!("the table is locked: {answer:?}"),
        () = eventually("it waits for the table", async || waits_for_parts(client).await) => {}
    }
}

/// Whether somebody waits for the parts, which this client has locked.
async fn waits_for_parts(client: &Client) -> bool {
    let waits = "select exists (select from pg_locks join pg_database on pg_database.oid = database \
                 where datname = current_database() and relation = 'app.parts'::regclass and not granted)";
    client.query_one(waits, &[]).await.unwrap().get(0)
}

/// Each outcome in the first tenant's audit log, and how often it is there.
async fn outcomes(bed: &Bed) -> Vec<String> {
    bed.rows("select outcome || ' ' || count(*) from app.audit_log group by outcome order by 1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_in_the_queue_before_it_is_done_and_its_row_says_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::set(Strategy::AFTER, durable(folder.path())).await;
    let blocked = parts_locked(&bed).await;
    let nobodys = bed.ask(bed.crew(0, 0), "view_part_details", json!({"part_id": Uuid::nil()}));
    let reads = async { tokio::join!(bed.look(), nobodys) };
    let begun = eventually("both are in the queue", async || bed.gateway.metrics().audit.unwrap().waiting == 2);
    let unblocked = async {
        begun.await;
        blocked.batch_execute("commit").await.unwrap();
    };
    let ((seen, refused), ()) = tokio::join!(reads, unblocked);
    assert_eq!((seen.is_ok(), refused), (true, Err(404)));
    bed.gateway.flush().await;
    assert_eq!(outcomes(&bed).await, ["done 1", "refused 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_gets_no_connection_is_not_recorded_and_one_given_up_half_way_is() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::set(Strategy::AFTER, |settings| {
        durable(folder.path())(settings);
        settings.pool.cap = 1;
        settings.pool.wait = Duration::from_millis(50);
    })
    .await;
    bed.look().await.unwrap();
    bed.gateway.flush().await;
    let blocked = parts_locked(&bed).await;
    let mut given_up = Box::pin(bed.look());
    until_it_waits(&mut given_up, &blocked).await;
    assert_eq!(bed.look().await, Err(503));
    drop(given_up);
    blocked.batch_execute("commit").await.unwrap();
    bed.gateway.flush().await;
    assert_eq!(outcomes(&bed).await, ["done 2"]);
    assert_eq!(bed.gateway.metrics().audit.unwrap().waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_under_way_keeps_no_gateway_from_closing_and_is_recorded_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::set(Strategy::AFTER, durable(folder.path())).await;
    let blocked = parts_locked(&bed).await;
    let mut under_way = Box::pin(bed.look());
    until_it_waits(&mut under_way, &blocked).await;
    // Nobody drives the read meanwhile.
    tokio::time::timeout(Duration::from_secs(20), bed.gateway.close()).await.expect("it closes");
    blocked.batch_execute("commit").await.unwrap();
    let answer = under_way.await;
    assert!(answer.is_ok(), "{answer:?}");

    let Bed { gateway, fixture } = bed;
    drop(gateway);
    assert_eq!(fixture.audit_rows().await.unwrap(), 0);
    let mut again = settings(&fixture, Strategy::AFTER);
    durable(folder.path())(&mut again);
    tare_gateway::Gateway::new(again).unwrap().close().await;
    assert_eq!(fixture.audit_rows().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_uses_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::set(Strategy::AFTER, durable(folder.path())).await;
    let mut second = settings(&bed.fixture, Strategy::AFTER);
    durable(folder.path())(&mut second);
    let error = tare_gateway::Gateway::new(second).err().unwrap().to_string();
    assert!(error.contains(folder.path().to_str().unwrap()) && error.contains("another server"), "{error}");
}
