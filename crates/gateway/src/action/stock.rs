//! `consume_part` and `receive_part`, a statement at a time.

use serde::Serialize;
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::Request;
use crate::Error;

/// A change of stock, as `consume_part` and `receive_part` answer it.
#[derive(Debug, Serialize)]
pub struct Movement {
    pub(super) movement_id: Uuid,
    part_id: Uuid,
    quantity: i32,
    low_stock: bool,
}

/// A change of stock to be made.
pub(super) struct Change<'a> {
    pub(super) part: Uuid,
    pub(super) quantity: i32,
    pub(super) reference: Option<&'a str>,
}

pub(super) async fn move_stock(
    transaction: &Transaction<'_>,
    request: &Request<'_>,
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
    let quantity = stock.get::<_, i32>("quantity");
    let quantity = quantity.checked_add(change.quantity).ok_or(Error::TooMuchStock(change.part))?;
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
            &[
                &movement_id,
                &request.tenant.yacht,
                &change.part,
                &request.caller.user,
                &change.quantity,
                &change.reference,
            ],
        )
        .await
        .map_err(failed())?;
    let low_stock = quantity < stock.get::<_, i32>("minimum_quantity");
    Ok(Movement { movement_id, part_id: change.part, quantity, low_stock })
}
