//! Answers to reads that are remembered.

use std::time::Duration;

use serde_json::{Value, json};
use tare_gateway::reads::{ReadMetrics, ReadSettings};
use tare_gateway::{Settings, Strategy};

use crate::bed::{Bed, eventually};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

fn remember(bound: Duration) -> impl FnOnce(&mut Settings) {
    move |settings| settings.reads = Some(ReadSettings { bound, ..ReadSettings::default() })
}

fn remembered(bed: &Bed) -> u64 {
    bed.gateway.metrics().reads.unwrap().remembered
}

async fn quantity(bed: &Bed) -> i64 {
    bed.look().await.unwrap()["result"]["quantity"].as_i64().unwrap()
}

/// Somebody else changes what the first yacht has of the part that is looked at.
async fn set_quantity(bed: &Bed, quantity: i64) {
    let part = bed.fixture.part(0, 0, 1).id;
    bed.rows(&format!("update app.stock set quantity = {quantity} where part_id = '{part}' returning ''")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_answer_costs_no_round_trip_and_is_audited_like_any() {
    let (bed, relay) = Bed::relayed(Strategy::AFTER, remember(LONG)).await;
    let first = bed.look().await.unwrap();
    bed.gateway.flush().await;
    let before = relay.counts();
    assert_eq!(bed.look().await.unwrap(), first);
    // What is delivered of the audit comes later.
    let audited = relay.counts().since(before).round_trips;
    assert!(audited <= 1, "{audited}");
    bed.gateway.flush().await;
    assert_eq!(bed.gateway.metrics().reads.unwrap(), ReadMetrics { remembered: 1, read: 1 });
    let rows = bed.rows("select action || ' ' || outcome from app.audit_log").await;
    assert_eq!(rows, ["view_part_details done", "view_part_details done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_audit_is_awaited_a_remembered_answer_waits_for_it_too() {
    let bed = Bed::set(Strategy::BEFORE, remember(LONG)).await;
    for _ in 0..2 {
        bed.look().await.unwrap();
    }
    assert_eq!((remembered(&bed), bed.rows("select outcome from app.audit_log").await.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_seen_within_the_bound_and_not_before() {
    let bed = Bed::set(Strategy::AFTER, remember(LONG)).await;
    let was = quantity(&bed).await;
    set_quantity(&bed, was + 5).await;
    assert_eq!(quantity(&bed).await, was, "it is remembered");

    let bed = Bed::set(Strategy::AFTER, remember(Duration::from_millis(200))).await;
    let was = quantity(&bed).await;
    set_quantity(&bed, was + 5).await;
    eventually("the change is seen", async || quantity(&bed).await == was + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_changes_is_seen_at_once() {
    let bed = Bed::set(Strategy::AFTER, remember(LONG)).await;
    let user = bed.crew(0, 0);
    let was = quantity(&bed).await;
    let list = json!({"location": bed.fixture.part(0, 0, 1).location()});
    let listed = bed.ask(user, "list_parts", list.clone()).await.unwrap();
    let received = json!({"part_id": bed.fixture.part(0, 0, 1).id, "quantity": 3});
    bed.ask(user, "receive_part", received).await.unwrap();
    assert_eq!(quantity(&bed).await, was + 3);
    assert_ne!(bed.ask(user, "list_parts", list).await.unwrap(), listed);
    assert_eq!(remembered(&bed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_with_what_was_remembered_for_another() {
    let bed = Bed::set(Strategy::AFTER, remember(LONG)).await;
    let (mine, not_there): (Value, _) = (bed.look().await.unwrap(), Err(404));
    for other in [bed.crew(0, 1), bed.crew(1, 0)] {
        assert_eq!(bed.ask(other, "view_part_details", bed.part()).await, not_there);
        // Nor is a refusal remembered for anybody.
        assert_eq!(bed.look().await.unwrap(), mine);
    }
    assert_eq!(remembered(&bed), 2);
    bed.control().await.execute("update control.users set active = false", &[]).await.unwrap();
    eventually("who is revoked is refused", async || bed.look().await == Err(403)).await;
}
