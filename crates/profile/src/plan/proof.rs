//! Tries indexes out.

use std::time::{Duration, Instant};

use tare_evidence::{Proof, median};
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::index::Advised;
use super::run::{Run, once};
use crate::Error;

/// How many times less the statement has to take for an index to be told.
const GAIN: f64 = 1.2;
/// Times each way is measured; at most, where the middle one and the fastest disagree; and at least, where the time runs out.
const TURNS: usize = 7;
const MOST: usize = 25;
const FEWEST: usize = 3;
const LIMIT: Duration = Duration::from_secs(20);
/// What a tried index is called; nobody sees it, for it is never committed.
const NAME: &str = "tare_tried";

/// Measures what each index of `advised` is worth, and drops those that gain nothing. Tells what could not be tried.
pub(super) async fn prove(run: &mut Run<'_>, advised: &mut Vec<Advised>) -> Result<Vec<String>, Error> {
    let mut remarks = Vec::new();
    let mut kept = Vec::new();
    for mut one in advised.drain(..) {
        let Some(index) = &one.index else {
            kept.push(one);
            continue;
        };
        match measured(run, index).await? {
            Ok(Some(proof)) => {
                one.finding.proof = Some(proof);
                kept.push(one);
            }
            Ok(None) => {}
            Err(reason) => {
                remarks.push(format!("It was not tried what an index would be worth, {}: {reason}.", index.create));
                kept.push(one);
            }
        }
    }
    *advised = kept;
    Ok(remarks)
}

/// An index as SQL.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    /// `create index on app.parts (location)`.
    pub(super) create: String,
    /// The schema that it is created in, quoted.
    pub(super) schema: String,
}

impl Index {
    fn create_named(&self) -> String {
        self.create.replacen("create index on", &format!("create index {NAME} on"), 1)
    }
}

/// The statement with and without `index` in turns, if that gains; or why it cannot be told.
async fn measured(run: &mut Run<'_>, index: &Index) -> Result<Result<Option<Proof>, String>, Error> {
    let (sql, role) = (run.sql, run.role);
    let mut transaction = run.database.client.transaction().await?;
    if let Err(error) = transaction.batch_execute(&index.create_named()).await {
        // What was done so far is gone with the transaction.
        let Some(told) = error.as_db_error() else { return Err(error.into()) };
        // What is compared may change, by a cast that depends on a setting: there is no such index.
        if *told.code() == SqlState::INVALID_OBJECT_DEFINITION {
            return Ok(Ok(None));
        }
        return Ok(Err(told.message().to_owned()));
    }
    let of_index = format!("{}.{NAME}", index.schema);
    let is_held_back = "select indcheckxmin from pg_index where indexrelid = $1::text::regclass";
    if transaction.query_one(is_held_back, &[&of_index]).await?.get(0) {
        return Ok(Err("rows of its table were changed just now, and it would not be used before that is past".into()));
    }
    let begun = Instant::now();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 1..=MOST {
        with.push(warm(&mut transaction, sql, role).await?);
        let mut bare = transaction.transaction().await?;
        bare.batch_execute(&format!("drop index {of_index}")).await?;
        without.push(warm(&mut bare, sql, role).await?);
        bare.rollback().await?;
        let is_late = turn >= FEWEST && begun.elapsed() > LIMIT;
        if is_late || turn >= TURNS && gains_by(middle, &without, &with) == gains_by(fastest, &without, &with) {
            break;
        }
    }
    transaction.rollback().await?;
    let gains = gains_by(middle, &without, &with) && gains_by(fastest, &without, &with);
    let proof = Proof { change: index.create.clone(), without_ms: median(without), with_ms: median(with) };
    Ok(Ok(gains.then_some(proof)))
}

fn gains_by(of: fn(&[f64]) -> f64, without: &[f64], with: &[f64]) -> bool {
    of(without) >= of(with) * GAIN
}

fn middle(samples: &[f64]) -> f64 {
    median(samples.to_vec()).estimate
}

/// What no other process was in the way of.
fn fastest(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The statement's time, in milliseconds, when its plan is made: an index that comes or goes has plans made anew.
async fn warm(transaction: &mut Transaction<'_>, sql: &str, role: Option<&str>) -> Result<f64, Error> {
    once(transaction, sql, role, false).await?;
    Ok(once(transaction, sql, role, false).await?.0)
}
