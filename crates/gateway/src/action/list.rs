//! `list_parts`: the parts of one location in the order of their numbers, a page at a time.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::Error;

/// Parts on a page when the caller does not say how many.
const LIMIT: u8 = 20;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) location: String,
    #[serde(default = "limit")]
    pub(super) limit: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Cursor>,
}

const fn limit() -> u8 {
    LIMIT
}

/// Where a page begins. It holds what either shape goes by, so that callers need not know which is answering.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// How many parts come before.
    offset: u32,
    /// The number of the last of them.
    pub(super) after: String,
}

/// A page of parts and where the next begins, as `list_parts` answers it.
#[derive(Debug, Serialize)]
pub struct PartsPage {
    parts: Vec<ListedPart>,
    next: Option<Cursor>,
}

#[derive(Debug, Serialize)]
struct ListedPart {
    part_id: Uuid,
    part_number: String,
    name: String,
    unit: String,
    quantity: i32,
    minimum_quantity: i32,
    low_stock: bool,
}

impl List {
    fn offset(&self) -> u32 {
        self.from.as_ref().map_or(0, |from| from.offset)
    }

    /// One part more than the page holds: whether there is one tells whether there is a next page.
    fn one_more(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The page of `parts`, of `found` in all: those on it, and one more if there is one.
    fn page(&self, parts: Vec<ListedPart>, found: usize) -> PartsPage {
        let last = parts.last().filter(|_| found > parts.len());
        let offset = self.offset().saturating_add(self.limit.into());
        let next = last.map(|last| Cursor { offset, after: last.part_number.clone() });
        PartsPage { parts, next }
    }
}

impl ListedPart {
    fn new(part: &Row, quantity: i32) -> Self {
        let minimum_quantity = part.get("minimum_quantity");
        Self {
            part_id: part.get("id"),
            part_number: part.get("part_number"),
            name: part.get("name"),
            unit: part.get("unit"),
            quantity,
            minimum_quantity,
            low_stock: quantity < minimum_quantity,
        }
    }
}

fn failed() -> impl FnOnce(tokio_postgres::Error) -> Error {
    Error::database("list the parts")
}

/// The naive shape: the database counts off all parts that come before, and the stock of each part is a query of its own.
pub(super) async fn by_offset(transaction: &Transaction<'_>, list: &List) -> Result<PartsPage, Error> {
    let rows = transaction
        .query(
            "select id, part_number, name, unit, minimum_quantity from app.parts where location = $1 \
             order by part_number offset $2 limit $3",
            &[&list.location, &i64::from(list.offset()), &list.one_more()],
        )
        .await
        .map_err(failed())?;
    let mut parts = Vec::with_capacity(rows.len());
    for part in rows.iter().take(list.limit.into()) {
        let stock = transaction
            .query_one("select quantity from app.stock where part_id = $1", &[&part.get::<_, Uuid>("id")])
            .await
            .map_err(failed())?;
        parts.push(ListedPart::new(part, stock.get("quantity")));
    }
    Ok(list.page(parts, rows.len()))
}

/// The rewritten shape: parts and stock in one query, which begins behind the part that the last page ended with.
pub(super) async fn by_key(transaction: &Transaction<'_>, list: &List) -> Result<PartsPage, Error> {
    // No part number is empty, so the first page begins behind that.
    let after = list.from.as_ref().map_or("", |from| &from.after);
    let rows = transaction
        .query(
            "select p.id, p.part_number, p.name, p.unit, p.minimum_quantity, s.quantity \
             from app.parts p join app.stock s on s.part_id = p.id \
             where p.location = $1 and p.part_number > $2 order by p.part_number limit $3",
            &[&list.location, &after, &list.one_more()],
        )
        .await
        .map_err(failed())?;
    let parts = rows.iter().take(list.limit.into()).map(|row| ListedPart::new(row, row.get("quantity")));
    Ok(list.page(parts.collect(), rows.len()))
}
