//! action: [`Connection`] × [`Caller`] × payload → [`Outcome`].
//!
//! A statement at a time, as published, or one call to `app.execute` in one round trip. Both answer alike.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::Error;
use crate::auth::Caller;
use crate::connection::Connection;
use crate::tenant::Tenant;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A part, and how much of it is in stock.
    ViewPartDetails,
    /// Parts leave the stock.
    ConsumePart,
    /// Parts enter the stock.
    ReceivePart,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::ViewPartDetails, Self::ConsumePart, Self::ReceivePart];

    /// The name in requests, in the audit log and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ViewPartDetails => "view_part_details",
            Self::ConsumePart => "consume_part",
            Self::ReceivePart => "receive_part",
        }
    }

    /// Whether it changes anything.
    pub const fn mutates(self) -> bool {
        !matches!(self, Self::ViewPartDetails)
    }
}

/// What comes with an action, apart from its payload.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The yacht the caller believes to be on; refused when it is not theirs.
    pub yacht_id: Option<Uuid>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct View {
    part_id: Uuid,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Consume {
    part_id: Uuid,
    quantity: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work_order: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Receive {
    part_id: Uuid,
    quantity: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purchase_order: Option<String>,
}

#[derive(Debug)]
enum Payload {
    View(View),
    Consume(Consume),
    Receive(Receive),
}

impl Payload {
    /// What the caller wrote freely.
    fn text(&self) -> Option<&str> {
        match self {
            Self::View(_) => None,
            Self::Consume(consume) => consume.work_order.as_deref(),
            Self::Receive(receive) => receive.purchase_order.as_deref(),
        }
    }
}

/// One request's body, understood.
#[derive(Debug)]
pub struct Call {
    /// What came with it.
    pub context: Context,
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    action: String,
    #[serde(default)]
    context: Context,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Call {
    /// Reads `{action, context, payload}`.
    ///
    /// # Errors
    /// [`Error::Malformed`], saying what was expected where; [`Error::NoSuchAction`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let malformed = |error: serde_json::Error| Error::Malformed(error.to_string());
        let body: Body = serde_json::from_slice(body).map_err(malformed)?;
        let Some(action) = Action::ALL.into_iter().find(|action| action.name() == body.action) else {
            return Err(Error::NoSuchAction(body.action));
        };
        let payload = body.payload.get();
        let in_payload = |error: serde_json::Error| Error::Malformed(format!("payload: {error}"));
        let payload = match action {
            Action::ViewPartDetails => Payload::View(serde_json::from_str(payload).map_err(in_payload)?),
            Action::ConsumePart => Payload::Consume(serde_json::from_str(payload).map_err(in_payload)?),
            Action::ReceivePart => Payload::Receive(serde_json::from_str(payload).map_err(in_payload)?),
        };
        // PostgreSQL has no text with it, and one such row would take its whole audit batch along.
        if payload.text().is_some_and(|text| text.contains('\0')) {
            return Err(Error::Malformed("payload: text must not hold the character U+0000".into()));
        }
        match payload {
            Payload::Consume(Consume { quantity: ..1, .. }) | Payload::Receive(Receive { quantity: ..1, .. }) => {
                Err(Error::Malformed("payload: quantity must be at least 1".into()))
            }
            payload => Ok(Self { context: body.context, payload }),
        }
    }

    /// What is asked for.
    pub fn action(&self) -> Action {
        match self.payload {
            Payload::View(_) => Action::ViewPartDetails,
            Payload::Consume(_) => Action::ConsumePart,
            Payload::Receive(_) => Action::ReceivePart,
        }
    }

    /// The payload as JSON, for the database and the audit log.
    pub fn payload_json(&self) -> String {
        match &self.payload {
            Payload::View(view) => serde_json::to_string(view),
            Payload::Consume(consume) => serde_json::to_string(consume),
            Payload::Receive(receive) => serde_json::to_string(receive),
        }
        .expect("strings, numbers and ids serialise")
    }

    fn part(&self) -> Uuid {
        match &self.payload {
            Payload::View(view) => view.part_id,
            Payload::Consume(consume) => consume.part_id,
            Payload::Receive(receive) => receive.part_id,
        }
    }
}

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
    audited: Option<Uuid>,
) -> Result<Outcome, Error> {
    let row = connection
        .row(
            EXECUTE,
            &[
                (&tenant.yacht, Type::UUID),
                (&caller.user, Type::UUID),
                (&call.action().name(), Type::TEXT),
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
        "not_enough_stock" => Err(Error::NotEnoughStock(call.part())),
        _ => Err(Error::NoSuchPart(call.part())),
    }
}

/// Does it a statement at a time, each prepared and then executed: two round trips a statement.
pub async fn statements(
    connection: &mut Connection,
    caller: &Caller,
    tenant: &Tenant,
    call: &Call,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        Call::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_call_keeps_what_it_was_given() {
        let id = Uuid::from_u128(5);
        let body = format!(r#"{{"action":"consume_part","payload":{{"part_id":"{id}","quantity":2}}}}"#);
        let call = Call::parse(body.as_bytes()).unwrap();
        assert_eq!(call.action(), Action::ConsumePart);
        assert_eq!(call.payload_json(), format!(r#"{{"part_id":"{id}","quantity":2}}"#));
    }

    #[test]
    fn a_malformed_body_is_told_where_it_is_wrong() {
        assert!(refused("").contains("EOF"));
        assert!(refused("[]").contains("malformed"));
        assert!(refused(r#"{"payload":{}}"#).contains("`action`"));
        assert!(refused(r#"{"action":"view_part_details","payload":{"part_id":"x"}}"#).contains("payload: "));
        assert!(refused(r#"{"action":"view_part_details","payload":{},"extra":1}"#).contains("`extra`"));
        let id = Uuid::nil();
        let nul =
            format!(r#"{{"action":"consume_part","payload":{{"part_id":"{id}","quantity":1,"work_order":"\u0000"}}}}"#);
        assert!(refused(&nul).contains("U+0000"));
    }

    #[test]
    fn stock_moves_by_at_least_one() {
        let id = Uuid::nil();
        for (action, quantity) in [("consume_part", 0), ("receive_part", -1)] {
            let body = format!(r#"{{"action":"{action}","payload":{{"part_id":"{id}","quantity":{quantity}}}}}"#);
            assert!(refused(&body).contains("at least 1"));
        }
    }

    #[test]
    fn an_unknown_action_is_named() {
        assert_eq!(refused(r#"{"action":"sink","payload":{}}"#), r#"there is no action "sink""#);
    }
}
