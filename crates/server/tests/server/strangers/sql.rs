//! SQL where text, an id or a number belongs.

use fastrand::Rng;
use serde_json::json;

use super::asks::{Asked, of, own};
use super::tokens::{any, text};
use super::world::World;

const QUOTES: [&str; 12] = ["'", "\"", "')", "'))", "''", "\\'", "\u{2019}", "`", "\"}", "'}", "*/", "%27"];
const STATEMENTS: [&str; 14] = [
    "drop table app.stock",
    "delete from app.parts",
    "update app.stock set quantity = 0",
    "drop schema app cascade",
    "alter table app.parts disable row level security",
    "set app.yacht_id = '{yacht}'",
    "select set_config('app.yacht_id', '{yacht}', false)",
    "set role postgres",
    "grant all on all tables in schema app to public",
    "copy app.parts to program 'id'",
    "truncate app.audit_log",
    "select pg_sleep(60)",
    "commit; delete from app.stock_movements",
    "insert into app.audit_log select * from app.audit_log",
];
const CONDITIONS: [&str; 4] = ["1=1", "part_id = '{part}'", "yacht_id = '{yacht}'", "exists (select 1 from app.parts)"];

fn sql(rng: &mut Rng, world: &World) -> String {
    let (quote, statement, condition) = (any(rng, &QUOTES), any(rng, &STATEMENTS), any(rng, &CONDITIONS));
    let text = match rng.u8(..7) {
        0 | 1 => format!("{quote}; {statement}; --"),
        2 => format!("{quote} or {condition} --"),
        3 => format!("{quote} union select id::text, name from app.parts where {condition} --"),
        4 => format!("{quote}||(select string_agg(name, '') from app.parts where {condition})||{quote}"),
        5 => format!("$${quote}; {statement}; $$"),
        _ => format!("{{part}}{quote}::uuid) or ({condition}"),
    };
    text.replace("{part}", &world.their_part(rng).to_string()).replace("{yacht}", &world.their_yacht(rng).to_string())
}

/// After what would be good by itself, or alone.
fn after(rng: &mut Rng, world: &World, good: impl ToString) -> String {
    let good = if rng.bool() { good.to_string() } else { String::new() };
    good + &sql(rng, world)
}

pub fn for_values(rng: &mut Rng, world: &World) -> Asked {
    let part = world.own_part(rng);
    let mut body = of(part, rng);
    match rng.u8(..5) {
        0 => body["payload"]["part_id"] = json!(after(rng, world, part)),
        1 => body["payload"]["quantity"] = json!(after(rng, world, 1)),
        2 => body["context"] = json!({"yacht_id": after(rng, world, world.own_yacht())}),
        3 => body = json!({"action": "list_parts", "payload": {"location": "workshop", "limit": after(rng, world, 1)}}),
        _ => {
            let from = json!({"offset": after(rng, world, 1), "after": ""});
            body = json!({"action": "list_parts", "payload": {"location": "workshop", "from": from}});
        }
    }
    own(rng, world, body, 400)
}

pub fn for_action(rng: &mut Rng, world: &World) -> Asked {
    let mut body = of(world.own_part(rng), rng);
    let action = any(rng, &["view_part_details", "consume_part", "app.execute"]);
    body["action"] = json!(after(rng, world, action));
    own(rng, world, body, 404)
}

pub fn in_list(rng: &mut Rng, world: &World) -> Asked {
    let payload = match rng.bool() {
        true => json!({"location": after(rng, world, "workshop")}),
        false => json!({"location": "workshop", "from": {"offset": 0, "after": after(rng, world, "P-000001")}}),
    };
    own(rng, world, json!({"action": "list_parts", "payload": payload}), 200)
}

pub fn in_own_order(rng: &mut Rng, world: &World) -> Asked {
    let (action, field) = any(rng, &[("consume_part", "work_order"), ("receive_part", "purchase_order")]);
    let mut body = json!({"action": action, "payload": {"part_id": world.own_part(rng), "quantity": 1}});
    body["payload"][field] = json!(after(rng, world, "O-1"));
    own(rng, world, body, 200)
}

pub fn in_their_order(rng: &mut Rng, world: &World) -> Asked {
    let (action, field) = any(rng, &[("consume_part", "work_order"), ("receive_part", "purchase_order")]);
    let mut body = json!({"action": action, "payload": {"part_id": world.their_part(rng), "quantity": 1}});
    body["payload"][field] = json!(after(rng, world, "O-1"));
    own(rng, world, body, 404)
}

pub fn in_headers(rng: &mut Rng, world: &World) -> Asked {
    let body = of(world.their_part(rng), rng);
    let mut asked = own(rng, world, body, 404);
    let name = any(rng, &["idempotency-key", "x-request-id", "traceparent", "user-agent", "cookie", "x-yacht-id"]);
    let value: String = (text(rng, 4) + &sql(rng, world)).chars().filter(char::is_ascii).collect();
    asked.0.push((name, value.into()));
    asked
}
