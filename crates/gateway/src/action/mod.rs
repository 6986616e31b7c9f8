//! action: [`Connection`] × [`Caller`] × payload → [`Outcome`].
//!
//! A statement at a time, as published, or one call to `app.execute` in one round trip. `list_parts` has two shapes besides,
//! the naive one and the rewritten. All answer alike.

mod call;
mod list;
mod stock;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::Error;
use crate::auth::Caller;
use crate::connection::Connection;
use crate::tenant::Tenant;

pub use call::{Action, Call, Context, Shape};
use call::{Payload, View};
pub use list::PartsPage;
pub use stock::Movement;
use stock::{Change, move_stock};

/// A part and its stock, as `view_part_details` answers it.
#[derive(Debug, Serialize)]
pub struct PartDetails {
    part_id: Uuid,
    part_number: String,
    name: String,
    category: String,
    location: String,
    unit: String,
    quantity: i32,
    minimum_quantity: i32,
    low_stock: bool,
}

/// What an action came to.
#[derive(Debug)]
pub enum Outcome {
    /// Of `view_part_details`, statement by statement.
    Part(PartDetails),
    /// Of `consume_part` and `receive_part`, statement by statement.
    Moved(Movement),
    /// Of `list_parts`, statement by statement.
    Page(PartsPage),
    /// Of one call: the same JSON, written by the database.
    Json(Box<RawValue>),
}

/// What is to be done, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// Where they belong.
    pub tenant: &'a Tenant,
    /// What they ask for.
    pub call: &'a Call,
    /// How queries are written, where there are two ways.
    pub shape: Shape,
    /// What of the audit is done along with it.
    pub record: Record,
}

/// Whether a mutation's audit row is written in its own transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// No: it is recorded apart.
    Apart,
    /// Yes, under this id.
    Along(Uuid),
    /// Yes, under this id, which stands for the client's idempotency key: when it is there already, nothing is done again and
    /// the answer is what it was.
    Once(Uuid),
}

impl Record {
    fn id(self) -> Option<Uuid> {
        match self {
            Self::Apart => None,
            Self::Along(id) | Self::Once(id) => Some(id),
        }
    }

    fn is_once(self) -> bool {
        matches!(self, Self::Once(_))
    }
}

const EXECUTE: &str = "select status, body::text from app.execute($1, $2, $3, $4::text::json, $5, $6)";
const RECORDED: &str = "select status, body::text from app.recorded($1, $2, $3, $4, $5::text::jsonb)";
const RECORD: &str = "\
    insert into app.audit_log (id, yacht_id, user_id, action, payload, outcome, created_at, answer) \
    values ($1, $2, $3, $4, $5::text::jsonb, 'done', clock_timestamp(), $6::text::json)";

/// Does it in one round trip.
///
/// # Errors
/// Those of a refusal, and [`Error::Database`].
pub async fn one_call(connection: &Connection, request: &Request<'_>) -> Result<Outcome, Error> {
    let Request { caller, tenant, call, shape, record } = request;
    let rows = connection
        .query_in_one_trip(
            EXECUTE,
            &[
                (&tenant.yacht, Type::UUID),
                (&caller.user, Type::UUID),
                (&call.action().name_in_database(*shape), Type::TEXT),
                (&call.payload_json(), Type::TEXT),
                (&record.id(), Type::UUID),
                (&record.is_once(), Type::BOOL),
            ],
        )
        .await
        .map_err(Error::database("carry the action out"))?;
    answered(rows.first(), call)?.ok_or(Error::Silent)
}

/// What the database answered as status and body; nothing when it has no row.
fn answered(row: Option<&Row>, call: &Call) -> Result<Option<Outcome>, Error> {
    let Some(row) = row else { return Ok(None) };
    // Only what is about a part is refused.
    let part = || call.part().unwrap_or_default();
    match row.get(0) {
        "done" => {
            let body: String = row.get(1);
            let json = RawValue::from_string(body).map_err(|error| Error::Malformed(error.to_string()))?;
            Ok(Some(Outcome::Json(json)))
        }
        "not_enough_stock" => Err(Error::NotEnoughStock(part())),
        "too_much_stock" => Err(Error::TooMuchStock(part())),
        "key_reused" => Err(Error::KeyReused),
        _ => Err(Error::NoSuchPart(part())),
    }
}

/// Does it a statement at a time, each prepared and then executed: two round trips a statement.
///
/// # Errors
/// Those of a refusal, and [`Error::Database`].
pub async fn statements(connection: &mut Connection, request: &Request<'_>) -> Result<Outcome, Error> {
    let Request { caller, tenant, call, shape, record } = request;
    let failed = || Error::database("carry the action out");
    let transaction = connection.transaction().await.map_err(failed())?;
    transaction
        .execute("select set_config('app.yacht_id', $1, true)", &[&tenant.yacht.to_string()])
        .await
        .map_err(failed())?;
    let name = call.action().name();
    if let Record::Once(id) = record {
        let params: [&(dyn ToSql + Sync); 5] = [id, &tenant.yacht, &caller.user, &name, &call.payload_json()];
        let recorded = transaction.query_opt(RECORDED, &params).await.map_err(failed())?;
        if let Some(before) = answered(recorded.as_ref(), call)? {
            return Ok(before);
        }
    }
    let outcome = match &call.payload {
        Payload::View(view) => Outcome::Part(view_part(&transaction, view).await?),
        Payload::Consume(consume) => {
            let reason = consume.work_order.as_deref();
            let change = Change { part: consume.part_id, quantity: -consume.quantity, reference: reason };
            Outcome::Moved(move_stock(&transaction, request, &change).await?)
        }
        Payload::Receive(receive) => {
            let reason = receive.purchase_order.as_deref();
            let change = Change { part: receive.part_id, quantity: receive.quantity, reference: reason };
            let moved = move_stock(&transaction, request, &change).await?;
            transaction
                .execute(
                    "insert into app.receiving (movement_id, yacht_id, purchase_order) values ($1, $2, $3)",
                    &[&moved.movement_id, &tenant.yacht, &change.reference],
                )
                .await
                .map_err(failed())?;
            Outcome::Moved(moved)
        }
        Payload::List(list) => Outcome::Page(match shape {
            Shape::ByOffset => list::by_offset(&transaction, list).await?,
            Shape::ByKey => list::by_key(&transaction, list).await?,
        }),
    };
    if let (Some(id), Outcome::Moved(moved)) = (record.id(), &outcome) {
        let answer = record.is_once().then(|| serde_json::to_string(moved).expect("ids and numbers serialise"));
        let params: [&(dyn ToSql + Sync); 6] = [&id, &tenant.yacht, &caller.user, &name, &call.payload_json(), &answer];
        transaction.execute(RECORD, &params).await.map_err(failed())?;
    }
    transaction.commit().await.map_err(failed())?;
    Ok(outcome)
}

async fn view_part(transaction: &tokio_postgres::Transaction<'_>, view: &View) -> Result<PartDetails, Error> {
    let failed = || Error::database("read the part");
    let part = transaction
        .query_opt(
            "select part_number, name, category, location, unit, minimum_quantity from app.parts where id = $1",
            &[&view.part_id],
        )
        .await
        .map_err(failed())?
        .ok_or(Error::NoSuchPart(view.part_id))?;
    let stock = transaction
        .query_one("select quantity from app.stock where part_id = $1", &[&view.part_id])
        .await
        .map_err(failed())?;
    let (quantity, minimum_quantity) = (stock.get("quantity"), part.get("minimum_quantity"));
    Ok(PartDetails {
        part_id: view.part_id,
        part_number: part.get("part_number"),
        name: part.get("name"),
        category: part.get("category"),
        location: part.get("location"),
        unit: part.get("unit"),
        quantity,
        minimum_quantity,
        low_stock: quantity < minimum_quantity,
    })
}
