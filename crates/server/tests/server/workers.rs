//! How many actions are worked on at a time, and whose turn is next.

use std::time::Instant;

use reqwest::StatusCode;
use serde_json::Value;
use tare_testbed::Fixture;

use crate::bed::{HOLD, PATIENCE, Service, fixture, receive, view, written_out};

const IN_FLIGHT: &str = "tare_http_requests_in_flight";
const WAITING: &str = "tare_http_requests_waiting";

/// A delivery to the first tenant of so many pieces, which tell it from others.
fn delivery(fixture: &Fixture, quantity: i32) -> Value {
    let mut request = receive(fixture.part(0, 0, 1).id);
    request["payload"]["quantity"] = quantity.into();
    request
}

/// The service's connections to the database of a tenant, and those of them that wait for a lock.
async fn connections(fixture: &Fixture, tenant: usize) -> (i64, i64) {
    let client = fixture.server().admin(&fixture.tenants()[tenant].login.database).await.unwrap();
    let counts = "select count(*), count(*) filter (where wait_event_type = 'Lock') from pg_stat_activity
                  where datname = current_database() and usename <> current_user";
    let row = client.query_one(counts, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Waits until so many actions of the first tenant wait in the database.
async fn held(fixture: &Fixture, actions: i64) {
    let deadline = Instant::now() + PATIENCE;
    while connections(fixture, 0).await.1 != actions {
        assert!(Instant::now() < deadline, "never {actions}, but {:?}", connections(fixture, 0).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_takes_one_request_after_the_other_in_the_order_they_came() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--workers", "1", "--concurrency", "4"]);
    let [token, elsewhere] = [0, 1].map(|tenant| fixture.secret().mint(fixture.tenants()[tenant].crew[0].id));
    let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    holder.batch_execute(HOLD).await.unwrap();

    let first = service.post(&token, delivery(&fixture, 1));
    let second = async {
        held(&fixture, 1).await;
        service.post(&token, delivery(&fixture, 2)).await
    };
    let third = async {
        service.until(WAITING, 1.0).await;
        service.post(&token, delivery(&fixture, 3)).await
    };
    // Nothing in its tenant's database holds this one up.
    let fourth = async {
        service.until(WAITING, 2.0).await;
        service.post(&elsewhere, view(fixture.part(1, 0, 1).id)).await
    };
    let free = async {
        service.until(WAITING, 3.0).await;
        assert_eq!((connections(&fixture, 0).await, connections(&fixture, 1).await), ((1, 1), (0, 0)));
        // Those that wait are in flight, too.
        assert_eq!(service.metric(IN_FLIGHT).await, Some(4.0));
        assert_eq!(service.post(&token, delivery(&fixture, 5)).await.0, StatusCode::SERVICE_UNAVAILABLE);
        holder.batch_execute("commit").await.unwrap();
    };
    let (first, second, third, fourth, ()) = tokio::join!(first, second, third, fourth, free);
    assert_eq!([first, second, third, fourth].map(|answer| answer.0), [StatusCode::OK; 4]);
    let latest = "select quantity from app.stock_movements order by created_at desc limit 3";
    let latest = holder.query(latest, &[]).await.unwrap();
    assert_eq!(latest.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [3, 2, 1]);
    // Never two of them at once: one connection did for all.
    assert_eq!((connections(&fixture, 0).await, service.metric(WAITING).await), ((1, 0), Some(0.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_actions_are_in_the_database_as_there_are_workers_and_all_without_a_limit() {
    let limits: [(&[&str], i64); 3] = [(&["--workers", "1"], 1), (&["--workers", "2"], 2), (&[], 3)];
    for (options, at_once) in limits {
        let fixture = fixture().await;
        let service = Service::with(&fixture, options);
        let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
        let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
        holder.batch_execute(HOLD).await.unwrap();
        let send = |quantity| service.post(&token, delivery(&fixture, quantity));
        let free = async {
            held(&fixture, at_once).await;
            service.until(IN_FLIGHT, 3.0).await;
            service.until(WAITING, (3 - at_once) as f64).await;
            assert_eq!(connections(&fixture, 0).await, (at_once, at_once), "{options:?}");
            holder.batch_execute("commit").await.unwrap();
        };
        let (first, second, third, ()) = tokio::join!(send(1), send(2), send(3), free);
        assert_eq!([first, second, third].map(|answer| answer.0), [StatusCode::OK; 3], "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_worker_counts_for_the_time_out_and_the_turn_comes_all_the_same() {
    let fixture = fixture().await;
    let mut service = Service::with(&fixture, &["--workers", "1", "--timeout", "0.1"]);
    let [token, elsewhere] = [0, 1].map(|tenant| fixture.secret().mint(fixture.tenants()[tenant].crew[0].id));
    let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    holder.batch_execute(HOLD).await.unwrap();
    for (token, request) in [(&token, delivery(&fixture, 1)), (&elsewhere, view(fixture.part(1, 0, 1).id))] {
        let (status, body, _) = service.post(token, request).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::GATEWAY_TIMEOUT, &"timeout".into()));
    }
    // The first has the worker, unheard as it is; the second has not begun.
    held(&fixture, 1).await;
    assert_eq!((service.metric(IN_FLIGHT).await, service.metric(WAITING).await), (Some(2.0), Some(1.0)));
    assert_eq!(connections(&fixture, 1).await, (0, 0));

    holder.batch_execute("commit").await.unwrap();
    service.until(IN_FLIGHT, 0.0).await;
    service.signal("TERM");
    assert!(service.process.wait().unwrap().success());
    assert_eq!(fixture.audit_rows().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_frees_no_worker_and_gives_up_no_turn() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--workers", "1"]);
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let holder = fixture.server().admin(&fixture.tenants()[0].login.database).await.unwrap();
    holder.batch_execute(HOLD).await.unwrap();
    let working = service.raw(&written_out(&token, delivery(&fixture, 1))).await;
    held(&fixture, 1).await;
    let waiting = service.raw(&written_out(&token, delivery(&fixture, 2))).await;
    service.until(WAITING, 1.0).await;
    drop((working, waiting));
    service.until("tare_http_requests_abandoned_total", 2.0).await;

    let free = async {
        service.until(WAITING, 2.0).await;
        assert_eq!(connections(&fixture, 0).await, (1, 1));
        holder.batch_execute("commit").await.unwrap();
    };
    let (third, ()) = tokio::join!(service.post(&token, delivery(&fixture, 3)), free);
    assert_eq!(third.0, StatusCode::OK);
    // Its turn was after theirs.
    assert_eq!(fixture.audit_rows().await.unwrap(), 3);
}
