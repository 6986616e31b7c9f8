//! action: [`Connection`] × [`Caller`] × payload → [`Outcome`].
//!
//! A statement at a time, as published, or one call to `app.execute` in one round trip. `list_parts` has two shapes besides,
//! the naive one and the rewritten. All answer alike.

mod call;
mod list;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::Error;
use crate::auth::Caller;
use crate::connection::Connection;
use crate::tenant::Tenant;

pub use call::{Action, Call, Context, Shape};
use call::{Payload, View};
pub use list::PartsPage;

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

/// A change of stock, as `consume_part` and `receive_part` answer it.
#[derive(Debug, Serialize)]
pub struct Movement {
    movement_id: Uuid,
    part_id: Uuid,
    quantity: i32,
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

const EXECUTE: &str = "select status, body::text from app.execute($1, $2, $3, $4::text::json, $5)";

/// Does it in one round trip; with `audited`, the audit row of that id is written in the same transaction.
pub async fn one_call(
    connection: &Connection,
    caller: &Caller,
    tenant: &Tenant,
    call: &Call,
    shape: Shape,
    audited: Option<Uuid>,
) -> Result<Outcome, Error> {
    let row = connection
        .row(
            EXECUTE,
            &[
                (&tenant.yacht, Type::UUID),
                (&caller.user, Type::UUID),
                (&call.action().name_in_database(shape), Type::TEXT),
                (&call.payload_json(), Type::TEXT),
                (&audited, Type::UUID),
            ],
        )
        .await
        .map_err(Error::database("carry the action out"))?;
    match row.get("status") {
        "done" => {
            let body: String = row.get("body");
            let json = RawValue::from_string(body).map_err(|error| Error::Malformed(error.to_string()))?;
            Ok(Outcome::Json(json))
        }
        // Only what is about a part is refused.
        "not_enough_stock" => Err(Error::NotEnoughStock(call.part().unwrap_or_default())),
        _ => Err(Error::NoSuchPart(call.part().unwrap_or_default())),
    }
}

/// Does it a statement at a time, each prepared and then executed: two round trips a statement.
pub async fn statements(
    connection: &mut Connection,
    caller: &Caller,
    tenant: &Tenant,
    call: &Call,
    shape: Shape,
) -> Result<Outcome, Error> {
    let failed = || Error::database("carry the action out");
    let transaction = connection.transaction().await.map_err(failed())?;
    transaction
        .execute("select set_config('app.yacht_id', $1, true)", &[&tenant.yacht.to_string()])
        .await
        .map_err(failed())?;
    let outcome = match &call.payload {
        Payload::View(view) => Outcome::Part(view_part(&transaction, view).await?),
        Payload::Consume(consume) => {
            let reason = consume.work_order.as_deref();
            let change = Change { part: consume.part_id, quantity: -consume.quantity, reference: reason };
            Outcome::Moved(move_stock(&transaction, caller, tenant, &change).await?)
        }
        Payload::Receive(receive) => {
            let reason = receive.purchase_order.as_deref();
            let change = Change { part: receive.part_id, quantity: receive.quantity, reference: reason };
            let moved = move_stock(&transaction, caller, tenant, &change).await?;
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

struct Change<'a> {
    part: Uuid,
    quantity: i32,
    reference: Option<&'a str>,
}

async fn move_stock(
    transaction: &tokio_postgres::Transaction<'_>,
    caller: &Caller,
    tenant: &Tenant,
    change: &Change<'_>,
) -> Result<Movement, Error> {
    let failed = || Error::database("move the stock");
    let stock = transaction
        .query_opt(
            "select s.quantity, p.minimum_quantity from app.stock s join app.parts p on p.id = s.part_id \
             where s.part_id = $1 for update of s",
            &[&change.part],
        )
        .await
        .map_err(failed())?
        .ok_or(Error::NoSuchPart(change.part))?;
    let quantity = stock.get::<_, i32>("quantity").saturating_add(change.quantity);
    if quantity < 0 {
        return Err(Error::NotEnoughStock(change.part));
    }
    transaction
        .execute("update app.stock set quantity = $2 where part_id = $1", &[&change.part, &quantity])
        .await
        .map_err(failed())?;
    let movement_id = Uuid::now_v7();
    transaction
        .execute(
            "insert into app.stock_movements (id, yacht_id, part_id, user_id, quantity, reference) \
             values ($1, $2, $3, $4, $5, $6)",
            &[&movement_id, &tenant.yacht, &change.part, &caller.user, &change.quantity, &change.reference],
        )
        .await
        .map_err(failed())?;
    let low_stock = quantity < stock.get::<_, i32>("minimum_quantity");
    Ok(Movement { movement_id, part_id: change.part, quantity, low_stock })
}
