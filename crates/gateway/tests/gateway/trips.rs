//! Round trips, counted on the wire.

use serde_json::{Value, json};
use tare_gateway::{Settings, Strategy};
use tare_testbed::{Bouncer, Relay, Size};

use crate::bed::{Bed, fixture};

/// Requests of each action that are counted.
const REQUESTS: u64 = 20;

fn one_connection(settings: &mut Settings) {
    settings.pool.cap = 1;
    settings.tenant.listen = false;
}

/// Asks for every action, and expects each to be one round trip, and each batch of audit rows one more.
async fn expect_one_trip_each(bed: &Bed, relay: &Relay) {
    let part = bed.fixture.bulk_part(0, 0, 0).id;
    let actions: [(&str, Value); 4] = [
        ("view_part_details", json!({"part_id": part})),
        ("consume_part", json!({"part_id": part, "quantity": 1})),
        ("receive_part", json!({"part_id": part, "quantity": 1})),
        ("list_parts", json!({"location": bed.shelf()[0].location()})),
    ];
    // The first of each opens the connection and prepares; so does the first batch of audit rows.
    for (action, payload) in &actions {
        bed.ask(bed.crew(0, 0), action, payload.clone()).await.unwrap();
    }
    bed.gateway.flush().await;
    let batches = async || -> u64 {
        let rows = "select count(distinct xmin::text)::text from app.audit_log where action in ('view_part_details', 'list_parts')";
        bed.rows(rows).await[0].parse().unwrap()
    };
    for (action, payload) in &actions {
        let (before, written) = (relay.counts(), batches().await);
        for _ in 0..REQUESTS {
            bed.ask(bed.crew(0, 0), action, payload.clone()).await.unwrap();
        }
        bed.gateway.flush().await;
        let (counts, written) = (relay.counts().since(before), batches().await - written);
        assert_eq!(counts.round_trips, REQUESTS + written, "{action}, with {written} batches of audit rows");
        assert_eq!(counts.connections, 0, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_with_all_fixes_is_one_round_trip() {
    let (bed, relay) = Bed::relayed(Strategy::AFTER, one_connection).await;
    expect_one_trip_each(&bed, &relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_is_one_round_trip_through_pgbouncer_in_transaction_mode_too() {
    let fixture = fixture(Size::SMALL).await;
    let Some(bouncer) = Bouncer::start(&fixture, 2, &|line| eprintln!("{line}")).await.unwrap() else { return };
    let (host, port) = bouncer.address();
    let relay = Relay::to((&host, port)).await.unwrap();
    fixture.route_through(relay.address()).await.unwrap();
    let mut control = bouncer.config(fixture.control());
    let bed = Bed::new(fixture, Strategy::AFTER, |settings| {
        one_connection(settings);
        settings.pool.prepare = false;
        settings.control = std::mem::take(&mut control);
    })
    .await;
    expect_one_trip_each(&bed, &relay).await;
}

/// A connection for the tenant and one for the action, each with its handshakes and each statement prepared, and the audit row
/// in a transaction of its own.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_fix_a_request_costs_what_was_published_as_slow() {
    let (bed, relay) = Bed::relayed(Strategy::BEFORE, |_| ()).await;
    for (action, trips) in [("view_part_details", 26), ("consume_part", 28), ("receive_part", 30)] {
        let payload = match action {
            "view_part_details" => bed.part(),
            _ => json!({"part_id": bed.fixture.bulk_part(0, 0, 0).id, "quantity": 1}),
        };
        let before = relay.counts();
        bed.ask(bed.crew(0, 0), action, payload).await.unwrap();
        let counts = relay.counts().since(before);
        assert_eq!(counts.connections, 2, "{action}");
        // And sometimes one or the other that nobody waits for, when a statement is closed.
        assert!((trips..trips + 8).contains(&counts.round_trips), "{action}: {}", counts.round_trips);
    }
}
