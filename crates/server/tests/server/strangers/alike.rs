//! That nobody learns from an answer what there is of others.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tare_testbed::Fixture;
use uuid::Uuid;

use super::Answer;
use crate::bed::{Service, fixture};

/// Kept by others only.
const VAULT: &str = "vault";

/// What an action on a part may come with.
fn requests(part: Uuid, own_yacht: Uuid) -> Vec<Value> {
    let mut requests = vec![json!({"action": "view_part_details", "payload": {"part_id": part}})];
    for action in ["consume_part", "receive_part"] {
        // More than there is, and more than there may be.
        for quantity in [1, i32::MAX] {
            requests.push(json!({"action": action, "payload": {"part_id": part, "quantity": quantity}}));
        }
    }
    let within = requests.clone().into_iter().map(|mut request| {
        request["context"] = json!({"yacht_id": own_yacht});
        request
    });
    requests.extend(within.collect::<Vec<_>>());
    requests
}

async fn ask(service: &Service, token: &str, body: &Value, key: Option<Uuid>) -> Answer {
    let mut request = service.client.post(format!("{}/v1/actions/execute", service.url)).bearer_auth(token);
    if let Some(key) = key {
        request = request.header("idempotency-key", key.to_string());
    }
    Answer::of(request.body(body.to_string()).send().await.unwrap()).await
}

/// Asks the same of each, and answers how: once, when that is the same for all.
async fn the_one_answer(service: &Service, token: &str, requests: &[Value], key: bool, ids: &[Uuid]) -> String {
    let mut told = Vec::new();
    for (request, id) in requests.iter().zip(ids) {
        let answer = ask(service, token, request, key.then(Uuid::new_v4)).await;
        told.push(answer.told().replace(&id.to_string(), "ID"));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{requests:#?} are told apart: {told:#?}");
    told.remove(0)
}

async fn put_into_the_vault(fixture: &Fixture) {
    for (tenant, yacht) in [(0, 1), (1, 0)] {
        let client = fixture.server().admin(&fixture.tenants()[tenant].login.database).await.unwrap();
        let part = fixture.part(tenant, yacht, 0).id;
        client.execute("update app.parts set location = $2 where id = $1", &[&part, &VAULT]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_answered_as_what_does_not_exist() {
    for strategy in ["before", "after"] {
        let fixture = fixture().await;
        put_into_the_vault(&fixture).await;
        let service = Service::start(&fixture, strategy).await;
        let [tenant, other] = fixture.tenants() else { panic!("two tenants") };
        let crew = fixture.secret().mint(tenant.crew[0].id);
        let guest = fixture.secret().mint(tenant.guest.id);

        // Another yacht's, another tenant's, one that ran out there, nobody's.
        let parts = [fixture.part(0, 1, 0), fixture.part(1, 0, 0), fixture.part(1, 1, 3)].map(|part| part.id);
        let parts = [&parts[..], &[Uuid::nil(), Uuid::max(), Uuid::new_v4(), Uuid::now_v7()]].concat();
        let asked: Vec<_> = parts.iter().map(|part| requests(*part, tenant.yachts[0])).collect();
        for nth in 0..asked[0].len() {
            let alike: Vec<_> = asked.iter().map(|requests| requests[nth].clone()).collect();
            for key in [false, true] {
                let answer = the_one_answer(&service, &crew, &alike, key, &parts).await;
                assert!(answer.starts_with("404 ") && answer.contains("there is no part ID"), "{answer}");
            }
            let answer = the_one_answer(&service, &guest, &alike, false, &parts).await;
            let expected = if alike[0]["action"] == "view_part_details" { "404 " } else { "403 " };
            assert!(answer.starts_with(expected), "{answer}");
        }

        let yachts = [tenant.yachts[1], other.yachts[0], other.id, Uuid::nil(), Uuid::new_v4()];
        let list = json!({"action": "list_parts", "payload": {"location": VAULT}});
        for mut request in [requests(fixture.part(0, 0, 0).id, yachts[0]).remove(0), list.clone()] {
            let alike = yachts.map(|yacht| {
                request["context"] = json!({"yacht_id": yacht});
                request.clone()
            });
            let answer = the_one_answer(&service, &crew, &alike, false, &yachts).await;
            assert!(answer.starts_with("403 "), "{answer}");
        }

        let nowhere = json!({"action": "list_parts", "payload": {"location": "nowhere"}});
        let answer = the_one_answer(&service, &crew, &[list.clone(), nowhere], false, &[Uuid::nil(); 2]).await;
        assert!(answer.starts_with("200 ") && answer.contains("[]"), "{answer}");
        // There is something in it, for others.
        let theirs = service.send(&fixture.secret().mint(other.crew[0].id), &list).await;
        assert_eq!(theirs.status(), StatusCode::OK);
        assert!(theirs.text().await.unwrap().contains(&fixture.part(1, 0, 0).id.to_string()));
    }
}

/// Another's key is as good as a new one, whether the request is the same or another.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_tells_nothing_of_anothers_request() {
    let fixture = fixture().await;
    let service = Service::start(&fixture, "after").await;
    let [tenant, other] = fixture.tenants() else { panic!("two tenants") };
    let token = |user| fixture.secret().mint(user);
    let (part, theirs) = (fixture.bulk_part(0, 0, 0).id, fixture.bulk_part(1, 0, 0).id);
    let (key, unused) = (Uuid::new_v4(), Uuid::new_v4());
    let receive = |part| json!({"action": "receive_part", "payload": {"part_id": part, "quantity": 2}});
    let done = ask(&service, &token(other.crew[0].id), &receive(theirs), Some(key)).await;
    assert_eq!(done.status, 200, "{}", done.body);

    // On the same tenant and yacht, too.
    let also_there = Uuid::now_v7();
    let control = fixture.server().admin(&fixture.control().database).await.unwrap();
    let user = "insert into control.users (id, tenant_id, yacht_id, role) values ($1, $2, $3, 'crew')";
    control.execute(user, &[&also_there, &other.id, &other.yachts[0]]).await.unwrap();
    for (user, part) in
        [(tenant.crew[0].id, part), (other.crew[1].id, fixture.bulk_part(1, 1, 0).id), (also_there, theirs)]
    {
        let with = async |key, part| ask(&service, &token(user), &receive(part), Some(key)).await;
        let (before, after) = (with(unused, part).await, with(key, part).await);
        assert_eq!((before.status, after.status), (200, 200), "{} {}", before.body, after.body);
        let movement = |answer: &Answer| {
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            body["result"]["movement_id"].as_str().unwrap().to_owned()
        };
        let all = [&done, &before, &after].map(movement);
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "a movement of its own: {all:?}");
    }
}
