//! What the databases hold, held against what callers were told.

use std::collections::HashMap;

use tare_testbed::Fixture;
use uuid::Uuid;

use crate::Error;
use crate::callers::{Deed, Kind, Told};

/// What all tenants' databases hold.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Stock by part.
    stock: HashMap<Uuid, i64>,
    /// Movements by what they refer to: the mark of a request.
    movements: HashMap<Uuid, u64>,
    /// Rows of the audit log by the mark of their request.
    audited: HashMap<Uuid, u64>,
}

/// What does not add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Acknowledged and not there: a change without its movement, anything without its audit row; and movements without one.
    pub missing: u64,
    /// There more than once.
    pub doubled: u64,
    /// Parts whose stock is not what it was and what was acknowledged since.
    pub unbalanced: u64,
}

impl Losses {
    /// How many there are.
    pub fn all(self) -> u64 {
        self.missing + self.doubled + self.unbalanced
    }
}

const AUDITED: &str = "select coalesce(payload->>'work_order', payload->>'purchase_order', payload->>'location', payload->>'part_id')::uuid, count(*) \
     from app.audit_log group by 1";

impl Books {
    /// Empties the logs of movements and audit, and reads the stock.
    pub(crate) async fn open(fixture: &Fixture) -> Result<Self, Error> {
        for tenant in fixture.tenants() {
            let client = fixture.server().admin(&tenant.login.database).await?;
            client.batch_execute("truncate app.audit_log, app.receiving, app.stock_movements").await?;
        }
        Self::read(fixture).await
    }

    pub(crate) async fn read(fixture: &Fixture) -> Result<Self, Error> {
        let mut books = Self::default();
        for tenant in fixture.tenants() {
            let client = fixture.server().admin(&tenant.login.database).await?;
            let count = |row: &tokio_postgres::Row| (row.get(0), row.get::<_, i64>(1) as u64);
            for row in client.query("select part_id, quantity::bigint from app.stock", &[]).await? {
                books.stock.insert(row.get(0), row.get(1));
            }
            let moved = "select reference::uuid, count(*) from app.stock_movements group by 1";
            books.movements.extend(client.query(moved, &[]).await?.iter().map(count));
            books.audited.extend(client.query(AUDITED, &[]).await?.iter().map(count));
        }
        Ok(books)
    }

    /// What does not add up between these, `before`, and what callers were `told` in the meantime.
    pub(crate) fn balance(&self, before: &Self, told: &Told) -> Losses {
        let is = |counts: &HashMap<Uuid, u64>, deed: &Deed| counts.contains_key(&deed.mark);
        let unrecorded = told
            .done
            .iter()
            .filter(|deed| !is(&self.audited, deed) || (deed.is_mutation() && !is(&self.movements, deed)));
        let unaudited = self.movements.keys().filter(|mark| !self.audited.contains_key(*mark));
        let missing = unrecorded.count() + unaudited.count();
        let doubled = self.movements.values().chain(self.audited.values()).filter(|count| **count > 1).count();

        let mut expected = before.stock.clone();
        // Of what was never acknowledged, what is there counts.
        let open = told.open.iter().filter(|deed| is(&self.movements, deed));
        for deed in told.done.iter().chain(open) {
            if let Kind::Move(by) = deed.kind {
                *expected.entry(deed.part).or_default() += by;
            }
        }
        let unbalanced = self.stock.iter().filter(|(part, stock)| expected.get(*part) != Some(stock)).count();
        Losses { missing: missing as u64, doubled: doubled as u64, unbalanced: unbalanced as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(mark: u128, kind: Kind) -> Deed {
        Deed { mark: Uuid::from_u128(mark), kind, part: Uuid::nil() }
    }

    fn books(stock: i64, movements: &[(u128, u64)], audited: &[(u128, u64)]) -> Books {
        let counts = |of: &[(u128, u64)]| of.iter().map(|(mark, count)| (Uuid::from_u128(*mark), *count)).collect();
        Books { stock: [(Uuid::nil(), stock)].into(), movements: counts(movements), audited: counts(audited) }
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once() {
        let before = books(10, &[], &[]);
        let told = || Told {
            done: vec![deed(1, Kind::Move(-3)), deed(2, Kind::View)],
            open: vec![deed(3, Kind::Move(5))],
            ..Told::default()
        };
        let losses = |books: Books| {
            let Losses { missing, doubled, unbalanced } = books.balance(&before, &told());
            [missing, doubled, unbalanced]
        };
        assert_eq!(losses(books(7, &[(1, 1)], &[(1, 1), (2, 1)])), [0, 0, 0]);
        assert_eq!(losses(books(12, &[(1, 1), (3, 1)], &[(1, 1), (2, 1), (3, 1)])), [0, 0, 0], "what may be there is");
        assert_eq!(losses(books(7, &[(1, 1)], &[(1, 1)])), [1, 0, 0], "a read is not recorded");
        assert_eq!(losses(books(7, &[(1, 1)], &[(2, 1)])), [2, 0, 0], "a change is not, nor its movement");
        assert_eq!(losses(books(10, &[], &[(1, 1), (2, 1)])), [1, 0, 1], "a change was not made");
        assert_eq!(losses(books(4, &[(1, 2)], &[(1, 1), (2, 1)])), [0, 1, 1], "a change was made twice");
        assert_eq!(losses(books(7, &[(1, 1)], &[(1, 1), (2, 3)])), [0, 1, 0], "a read is recorded again");
        assert_eq!(losses(books(12, &[(1, 1), (3, 1)], &[(1, 1), (2, 1)])), [1, 0, 0], "a movement nobody audited");
    }
}
