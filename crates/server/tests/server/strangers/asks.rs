//! What is another's, asked for with a good token: by its id, by what comes along with it, by SQL in every field.

use fastrand::Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use super::sql;
use super::tokens::{any, bearer};
use super::world::{Draw, Headers, Must, VAULT, World};

/// What is sent, and what must come of it.
pub type Asked = (Headers, String, Must);

pub const KINDS: [(&str, Draw<Asked>); 16] = [
    ("by id", by_id),
    ("by context", by_context),
    ("by fields that nobody knows", by_unknown_fields),
    ("by fields given twice", by_fields_twice),
    ("by headers", by_headers),
    ("by another's idempotency key", by_key),
    ("by a place", by_place),
    ("by a guest", by_guest),
    ("by nobody", by_nobody),
    ("by what is no id", by_other_types),
    ("SQL for an id or a number", sql::for_values),
    ("SQL for an action", sql::for_action),
    ("SQL in a list", sql::in_list),
    ("SQL in an order of one's own", sql::in_own_order),
    ("SQL in an order of another's", sql::in_their_order),
    ("SQL in headers", sql::in_headers),
];

const NAMES: [&str; 10] =
    ["tenant_id", "tenant", "user_id", "sub", "role", "database", "login", "app.yacht_id", "__proto__", "$where"];
const HEADERS: [&str; 16] = [
    "x-tenant-id",
    "x-tenant",
    "x-yacht-id",
    "x-user-id",
    "x-user",
    "x-role",
    "x-forwarded-user",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-remote-user",
    "x-original-url",
    "forwarded",
    "from",
    "cookie",
    "traceparent",
    "x-request-id",
];

/// Something to do with `part`.
pub fn of(part: Uuid, rng: &mut Rng) -> Value {
    match rng.u8(..3) {
        0 => json!({"action": "view_part_details", "payload": {"part_id": part}}),
        1 => {
            json!({"action": "consume_part", "payload": {"part_id": part, "quantity": quantity(rng), "work_order": "WO-1"}})
        }
        _ => json!({"action": "receive_part", "payload": {"part_id": part, "quantity": quantity(rng)}}),
    }
}

fn quantity(rng: &mut Rng) -> i32 {
    any(rng, &[1, 2, 1_000, i32::MAX])
}

pub fn own(rng: &mut Rng, world: &World, body: impl ToString, status: u16) -> Asked {
    (bearer(any(rng, &world.own)), body.to_string(), Must::Be(status))
}

fn by_id(rng: &mut Rng, world: &World) -> Asked {
    let part = if rng.u8(..4) == 0 { Uuid::from_u128(rng.u128(..)) } else { world.their_part(rng) };
    let mut body = of(part, rng);
    if rng.bool() {
        body["context"] = any(rng, &[json!({"yacht_id": world.own_yacht()}), json!({"yacht_id": null}), json!({})]);
    }
    own(rng, world, body, 404)
}

fn by_context(rng: &mut Rng, world: &World) -> Asked {
    let mut body = match rng.u8(..4) {
        0 => json!({"action": "list_parts", "payload": {"location": VAULT}}),
        1 => of(world.own_part(rng), rng),
        _ => of(world.their_part(rng), rng),
    };
    let yacht = if rng.u8(..4) == 0 { Uuid::from_u128(rng.u128(..)) } else { world.their_yacht(rng) };
    body["context"] = json!({"yacht_id": yacht});
    own(rng, world, body, 403)
}

fn by_unknown_fields(rng: &mut Rng, world: &World) -> Asked {
    let mut body = of(world.their_part(rng), rng);
    let (name, value) = (any(rng, &NAMES), any(rng, &world.their_ids));
    match rng.u8(..3) {
        0 => body[name] = json!(value),
        1 => body["context"] = json!({"yacht_id": world.own_yacht(), name: value}),
        _ => body["payload"][any(rng, &[name, "yacht_id"])] = json!(value),
    }
    own(rng, world, body, 400)
}

fn by_fields_twice(rng: &mut Rng, world: &World) -> Asked {
    let (mut parts, mut yachts) =
        ([world.own_part(rng), world.their_part(rng)], [world.own_yacht(), world.their_yacht(rng)]);
    rng.shuffle(&mut parts);
    rng.shuffle(&mut yachts);
    let ([part, other], [yacht, elsewhere]) = (parts, yachts);
    let payload = format!(r#""payload": {{"part_id": "{part}"}}"#);
    let rest = match rng.u8(..4) {
        0 => format!(r#"{payload}, "payload": {{"part_id": "{other}"}}"#),
        1 => format!(r#""payload": {{"part_id": "{part}", "part_id": "{other}"}}"#),
        2 => format!(r#""context": {{"yacht_id": "{yacht}", "yacht_id": "{elsewhere}"}}, {payload}"#),
        _ => format!(r#""context": {{"yacht_id": "{yacht}"}}, "context": {{"yacht_id": "{elsewhere}"}}, {payload}"#),
    };
    own(rng, world, format!(r#"{{"action": "view_part_details", {rest}}}"#), 400)
}

fn by_headers(rng: &mut Rng, world: &World) -> Asked {
    let body = of(world.their_part(rng), rng);
    let mut asked = own(rng, world, body, 404);
    for name in rng.choose_multiple(HEADERS, 3) {
        let id = any(rng, &world.their_ids);
        asked.0.push((name, any(rng, &[id.clone(), format!("for={id}; tenant={id}")]).into()));
    }
    asked
}

fn by_key(rng: &mut Rng, world: &World) -> Asked {
    let (_, key, body) = any(rng, &world.done());
    let mut asked = own(rng, world, body, 404);
    asked.0.push(("idempotency-key", key.into()));
    asked
}

/// Where only others keep something there is nothing; elsewhere, what is one's own.
fn by_place(rng: &mut Rng, world: &World) -> Asked {
    let place = any(rng, &[VAULT, "engine room", "lazarette", "deck store", "workshop", "bosun's locker"]);
    let from = any(rng, &[json!(null), json!({"offset": 0, "after": ""}), json!({"offset": 3, "after": "P-000003"})]);
    own(rng, world, json!({"action": "list_parts", "payload": {"location": place, "limit": 100, "from": from}}), 200)
}

fn by_guest(rng: &mut Rng, world: &World) -> Asked {
    let part = if rng.bool() { world.own_part(rng) } else { world.their_part(rng) };
    let action = any(rng, &["consume_part", "receive_part"]);
    let body = json!({"action": action, "payload": {"part_id": part, "quantity": quantity(rng)}});
    (bearer(any(rng, &world.guests)), body.to_string(), Must::Be(403))
}

fn by_nobody(rng: &mut Rng, world: &World) -> Asked {
    let part = if rng.bool() { world.own_part(rng) } else { world.their_part(rng) };
    (bearer(any(rng, &world.nobodys)), of(part, rng).to_string(), Must::Be(403))
}

fn by_other_types(rng: &mut Rng, world: &World) -> Asked {
    let part = world.their_part(rng);
    let mut body = of(part, rng);
    let field = any(rng, &["part_id", "quantity"]);
    let values = [
        json!(null),
        json!(true),
        json!([part]),
        json!({"$ne": null}),
        json!({"part_id": part}),
        json!(-1),
        json!(1e9),
    ];
    match rng.u8(..4) {
        0 => {
            body["payload"] = any(
                rng,
                &[json!(null), json!([part, part, part, part]), json!(part), json!([[part]]), json!({}), json!("{}")],
            )
        }
        1 => body = json!([body]),
        2 => {
            body["context"] = any(rng, &[json!(null), json!(world.own_yacht()), json!([[world.own_yacht()]]), json!(1)])
        }
        _ => body["payload"][field] = any(rng, &values),
    }
    own(rng, world, body, 400)
}
