//! The gateway on a real PostgreSQL: every strategy does the same, and records it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tare_gateway::{Attributes, Component, Fix, Strategy};
use tare_testbed::{Part, Size, Template};
use uuid::Uuid;

use crate::bed::{Bed, eventually, strategies};

/// A list from its first page to its last.
async fn pages(bed: &Bed, crew: Uuid, location: &str, limit: usize) -> Vec<Value> {
    let mut payload = json!({"location": location, "limit": limit});
    let mut pages = Vec::new();
    loop {
        let page = bed.ask(crew, "list_parts", payload.clone()).await.unwrap();
        let next = page["result"]["next"].clone();
        pages.push(page);
        if next.is_null() {
            return pages;
        }
        payload["from"] = next;
    }
}

/// The numbers of the parts that pages hold.
fn numbers(pages: &[Value]) -> Vec<&str> {
    let parts = pages.iter().flat_map(|page| page["result"]["parts"].as_array().unwrap());
    parts.map(|part| part["part_number"].as_str().unwrap()).collect()
}

/// What one strategy answers and leaves in the database; the same for all.
async fn story(strategy: Strategy) -> (Vec<Result<Value, u16>>, Vec<String>) {
    let bed = Bed::sized(strategy, Size { tenants: 1, ..Size::SMALL }).await;
    let (crew, part) = (bed.crew(0, 0), bed.fixture.bulk_part(0, 0, 0).id);
    let mut answers = Vec::new();
    for (action, payload) in [
        ("view_part_details", json!({"part_id": part})),
        ("consume_part", json!({"part_id": part, "quantity": 3, "work_order": "WO-1"})),
        ("receive_part", json!({"part_id": part, "quantity": 5})),
        ("consume_part", json!({"part_id": part, "quantity": 2_000_000})),
        ("view_part_details", json!({"part_id": Uuid::nil()})),
        ("view_part_details", json!({"part_id": part})),
    ] {
        let mut answer = bed.ask(crew, action, payload).await;
        if let Ok(body) = &mut answer
            && let Some(id) = body["result"].get_mut("movement_id")
        {
            assert!(id.as_str().unwrap().parse::<Uuid>().is_ok());
            *id = json!("new");
        }
        answers.push(answer);
    }
    answers.extend(pages(&bed, crew, bed.shelf()[0].location(), 2).await.into_iter().map(Ok));
    answers.extend(pages(&bed, crew, "crow's nest", 2).await.into_iter().map(Ok));
    bed.gateway.close().await;
    let mut rows =
        bed.rows("select action || ' ' || outcome || ' ' || payload::text from app.audit_log order by 1").await;
    rows.extend(bed.rows("select quantity::text || coalesce(reference, '') from app.stock_movements order by 1").await);
    rows.extend(bed.rows("select count(*)::text from app.receiving").await);
    rows.extend(bed.rows("select quantity::text from app.stock where quantity > 1000 order by 1 desc limit 1").await);
    (answers, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_answers_and_records_alike() {
    let (answers, rows) = story(Strategy::BEFORE).await;
    let statuses: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map_or_else(|status| *status, |_| 200)).collect();
    assert_eq!(statuses[..6], [200, 200, 200, 409, 404, 200]);
    let last = answers[5].as_ref().unwrap();
    assert_eq!(last["action"], "view_part_details");
    assert_eq!(last["result"]["quantity"], 1_000_002);
    assert_eq!(last["result"]["low_stock"], false);
    let (nowhere, pages) = answers[6..].split_last().unwrap();
    assert_eq!(nowhere.as_ref().unwrap()["result"], json!({"parts": [], "next": null}));
    assert!(pages.len() >= 3 && pages.iter().all(Result::is_ok));
    assert_eq!(rows.iter().filter(|row| row.contains("done")).count(), 4 + pages.len() + 1);
    assert_eq!(rows.iter().filter(|row| row.contains("refused")).count(), 2);

    let told: Vec<_> = strategies().map(|strategy| (strategy, tokio::spawn(story(strategy)))).collect();
    for (strategy, story) in told {
        assert_eq!(story.await.unwrap(), (answers.clone(), rows.clone()), "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_holds_all_parts_of_its_location_once_in_the_order_of_their_numbers() {
    let bed = Bed::with(Strategy::AFTER).await;
    let shelf = bed.shelf();
    let expected: Vec<_> = shelf.iter().map(Part::number).collect();
    for limit in [1, expected.len() - 1, expected.len(), 100] {
        let pages = pages(&bed, bed.crew(0, 0), shelf[0].location(), limit).await;
        assert_eq!(
            (numbers(&pages), pages.len()),
            (expected.iter().map(|number| &**number).collect(), expected.len().div_ceil(limit))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_leaves_makes_the_next_page_skip_one_by_offset_and_none_by_key() {
    for (strategy, skipped) in [(Strategy::AFTER.without(Fix::Query), 1), (Strategy::AFTER, 0)] {
        let bed = Bed::with(strategy).await;
        let (crew, location) = (bed.crew(0, 0), bed.shelf()[0].location());
        let ask = async |from: &Value| {
            let payload = json!({"location": location, "limit": 2, "from": from});
            bed.ask(crew, "list_parts", payload).await.unwrap()
        };
        let first = ask(&Value::Null).await;
        let second = ask(&first["result"]["next"]).await;
        let admin = bed.fixture.server().admin(&bed.fixture.tenants()[0].login.database).await.unwrap();
        let gone: Uuid = first["result"]["parts"][0]["part_id"].as_str().unwrap().parse().unwrap();
        admin.execute("update app.parts set location = 'ashore' where id = $1", &[&gone]).await.unwrap();
        let again = ask(&first["result"]["next"]).await;
        assert_eq!(numbers(&[again])[0], numbers(&[second])[skipped], "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_by_key_and_with_its_index_no_more_is_read_than_the_page() {
    let (limit, parts) = (20, 1_000);
    let read = async |strategy: Strategy| {
        let bed = Bed::sized(strategy, Size { tenants: 1, yachts: 2, parts }).await;
        let [request] =
            &Template::named("list_parts").unwrap().requests(&bed.fixture, &bed.fixture.tenants()[..1], 1)[..]
        else {
            panic!("one")
        };
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let page =
            bed.gateway.execute(&request.token, request.body.as_bytes(), Attributes::default()).await.result.unwrap();
        assert_eq!(numbers(&[serde_json::from_slice(&page).unwrap()]).len(), limit);
        bed.gateway.close().await;
        (entries_read(&bed).await, body["payload"]["from"]["offset"].as_u64().unwrap() as usize)
    };
    for strategy in [Strategy::AFTER, Strategy::AFTER.without(Fix::OneCall)] {
        let (by_key, offset) = read(strategy).await;
        // One entry tells that there is a next page, and numbering the rows looks one row ahead.
        assert!((limit + 1..=limit + 2).contains(&by_key), "{by_key}");
        let (by_offset, _) = read(strategy.without(Fix::Query)).await;
        assert!(by_offset > offset + limit, "{by_offset}");
        let (unindexed, _) = read(strategy.without(Fix::Indexes)).await;
        assert!(unindexed > 2 * by_key, "{unindexed}");
    }
}

/// Entries of the indexes that lists go by, read until now by connections that are closed. They are a tenant's, for whom
/// row-level security holds.
async fn entries_read(bed: &Bed) -> usize {
    let sql = "select sum(idx_tup_read)::text from pg_stat_user_indexes \
               where relname = 'parts' and indexrelname <> 'parts_pkey'";
    for _ in 0..500 {
        let read = bed.rows(sql).await[0].parse().unwrap();
        if read > 0 {
            return read;
        }
    }
    panic!("no index was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_switched_on_and_off_any_number_of_times_and_by_several_at_once() {
    let bed = Bed::with(Strategy::AFTER).await;
    let there = "select indexname::text from pg_indexes where schemaname = 'app' order by 1";
    let all = bed.rows(there).await;
    for _ in 0..2 {
        let set = |on| bed.fixture.set_indexes(on);
        tokio::try_join!(set(false), set(false), set(false)).unwrap();
        let left = bed.rows(there).await;
        let dropped: Vec<_> = all.iter().filter(|name| !left.contains(name)).collect();
        assert_eq!(dropped, ["for_list_parts"]);
        tokio::try_join!(set(true), set(true), set(true)).unwrap();
        assert_eq!(bed.rows(there).await, all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_another_yacht_or_tenant() {
    for strategy in [Strategy::BEFORE, Strategy::AFTER] {
        let bed = Bed::with(strategy).await;
        let part = json!({"part_id": bed.fixture.part(0, 0, 1).id});
        assert!(bed.ask(bed.crew(0, 0), "view_part_details", part.clone()).await.is_ok());
        assert_eq!(bed.ask(bed.crew(0, 1), "view_part_details", part.clone()).await, Err(404));
        assert_eq!(bed.ask(bed.crew(1, 0), "view_part_details", part.clone()).await, Err(404));

        let guest = bed.fixture.tenants()[0].guest.id;
        assert!(bed.ask(guest, "view_part_details", part.clone()).await.is_ok());
        let take = json!({"part_id": bed.fixture.bulk_part(0, 0, 0).id, "quantity": 1});
        assert_eq!(bed.ask(guest, "consume_part", take).await, Err(403));
        assert_eq!(bed.ask(Uuid::from_u128(99), "view_part_details", part.clone()).await, Err(403));

        let elsewhere = json!({
            "action": "view_part_details",
            "context": {"yacht_id": bed.fixture.tenants()[0].yachts[1]},
            "payload": part,
        });
        let token = bed.fixture.secret().mint(bed.crew(0, 0));
        let reply = bed.gateway.execute(&token, elsewhere.to_string().as_bytes(), Attributes::default()).await;
        assert_eq!(reply.result.unwrap_err().status(), 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_login_can_do_no_more_than_it_needs() {
    let bed = Bed::with(Strategy::AFTER).await;
    let server = bed.fixture.server();
    let [own, other] = bed.fixture.tenants() else { panic!("two tenants") };
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tare_tls::client(server.root_certificate()).unwrap());

    let mut elsewhere = own.login.config(server);
    elsewhere.dbname(&other.login.database);
    let refused = elsewhere.connect(tls.clone()).await.err().unwrap();
    assert!(refused.as_db_error().unwrap().message().contains("permission denied for database"), "{refused:?}");

    let (client, connection) = own.login.config(server).connect(tls).await.unwrap();
    tokio::spawn(connection);
    for forbidden in [
        "delete from app.audit_log",
        "update app.audit_log set outcome = 'done'",
        "select * from app.audit_log",
        "update app.parts set name = ''",
        "delete from app.stock",
    ] {
        let refused = client.batch_execute(forbidden).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("permission denied"), "{forbidden}: {refused:?}");
    }
    let seen: i64 = client.query_one("select count(*) from app.parts", &[]).await.unwrap().get(0);
    assert_eq!(seen, 0, "without a yacht, row-level security shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_component_that_was_reached_has_a_time() {
    let bed = Bed::with(Strategy::BEFORE).await;
    let part = json!({"part_id": bed.fixture.part(0, 0, 1).id});
    let reply = bed.reply(bed.crew(0, 0), "view_part_details", part.clone()).await;
    let times: BTreeSet<_> =
        Component::ALL.map(|component| (reply.timings.of(component).is_zero(), component.name())).into();
    assert!(times.iter().all(|(zero, _)| !zero), "{times:?}");

    let refused = bed.gateway.execute("no token", b"{}", Attributes::default()).await;
    assert!(!refused.timings.of(Component::Auth).is_zero());
    assert!(refused.timings.of(Component::Tenant).is_zero());
}

#[tokio::test(flavor = "multi_thread")]
async fn pooling_keeps_connections_and_before_keeps_none() {
    for (strategy, kept) in [(Strategy::BEFORE, 0), (Strategy::BEFORE.with(Fix::Pooling), 2)] {
        let bed = Bed::with(strategy).await;
        let part = json!({"part_id": bed.fixture.part(0, 0, 1).id});
        for _ in 0..5 {
            bed.ask(bed.crew(0, 0), "view_part_details", part.clone()).await.unwrap();
        }
        settle(&bed, kept).await;
        bed.gateway.close().await;
        settle(&bed, 0).await;
    }
}

/// Waits for the server to notice that connections are closed; fails when they are not.
async fn settle(bed: &Bed, expected: i64) {
    let server = bed.fixture.server();
    let settled = async || server.connections(&bed.fixture).await.unwrap() == expected;
    eventually(&format!("there should be {expected} connections"), settled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gateway_has_written_its_audit_rows_and_refuses() {
    let bed = Bed::with(Strategy::AFTER).await;
    let part = json!({"part_id": bed.fixture.part(0, 0, 1).id});
    for _ in 0..200 {
        bed.ask(bed.crew(0, 0), "view_part_details", part.clone()).await.unwrap();
    }
    bed.gateway.close().await;
    assert_eq!(bed.fixture.audit_rows().await.unwrap(), 200);
    assert_eq!(bed.ask(bed.crew(0, 0), "view_part_details", part).await, Err(503));
}
