//! A mutation under an idempotency key is done once.

use serde_json::{Value, json};
use tare_gateway::{Attributes, Strategy};
use tare_testbed::Size;
use uuid::Uuid;

use crate::bed::{Bed, answer, strategies};

async fn consume(bed: &Bed, key: &str, quantity: i32) -> Result<Value, u16> {
    let payload = json!({"part_id": bed.fixture.bulk_part(0, 0, 0).id, "quantity": quantity});
    let attributes = Attributes { idempotency_key: Some(key) };
    answer(bed.attributed(bed.crew(0, 0), "consume_part", payload, attributes).await)
}

async fn movements(bed: &Bed) -> String {
    bed.rows("select count(*)::text from app.stock_movements").await.remove(0)
}

async fn audited(bed: &Bed) -> Vec<String> {
    bed.gateway.flush().await;
    bed.rows("select action || ' ' || outcome from app.audit_log order by created_at").await
}

#[tokio::test(flavor = "multi_thread")]
async fn under_every_strategy_a_mutation_is_done_once_and_answered_as_it_was() {
    for strategy in strategies() {
        let bed = Bed::sized(strategy, Size { tenants: 1, ..Size::SMALL }).await;
        let first = consume(&bed, "key 1", 3).await.unwrap();
        assert_eq!(consume(&bed, "key 1", 3).await.unwrap(), first, "{strategy}");
        assert_eq!(consume(&bed, "key 1", 4).await, Err(422), "{strategy}");
        assert_eq!(movements(&bed).await, "1", "{strategy}");
        let second = consume(&bed, "key 2", 3).await.unwrap();
        assert_ne!(second["result"]["movement_id"], first["result"]["movement_id"], "{strategy}");
        assert_eq!(audited(&bed).await, ["consume_part done", "consume_part done"], "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_the_same_time_is_done_once() {
    for strategy in [Strategy::BEFORE, Strategy::AFTER] {
        let bed = Bed::with(strategy).await;
        let requests = (0..16).map(|_| consume(&bed, "key", 1));
        let answers = futures_util::future::join_all(requests).await;
        let first = answers[0].as_ref().unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref() == Ok(first)), "{strategy}: {answers:?}");
        assert_eq!(movements(&bed).await, "1", "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_may_be_tried_again_under_its_key() {
    let bed = Bed::with(Strategy::AFTER).await;
    assert_eq!(consume(&bed, "key", 2_000_000).await, Err(409));
    assert_eq!(consume(&bed, "key", 2_000_000).await, Err(409));
    assert!(consume(&bed, "key", 1).await.is_ok());
    assert_eq!(audited(&bed).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_users_own_and_reads_take_no_notice_of_it() {
    let bed = Bed::with(Strategy::AFTER).await;
    consume(&bed, "key", 1).await.unwrap();
    let payload = json!({"part_id": bed.fixture.bulk_part(0, 1, 0).id, "quantity": 1});
    let attributes = Attributes { idempotency_key: Some("key") };
    let other = bed.attributed(bed.crew(0, 1), "consume_part", payload, attributes).await;
    assert!(answer(other).is_ok());
    for part in [bed.part(), json!({"part_id": Uuid::nil()})] {
        let _ = bed.attributed(bed.crew(0, 0), "view_part_details", part, attributes).await;
    }
    assert_eq!(audited(&bed).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_empty_or_too_long_is_malformed() {
    let bed = Bed::with(Strategy::AFTER).await;
    for key in ["", &"x".repeat(256)] {
        assert_eq!(consume(&bed, key, 1).await, Err(400));
    }
    assert_eq!(movements(&bed).await, "0");
}
