//! A second look at budgets that were missed: were the benches dear, or was the machine slower when the one of them was timed?

use std::path::Path;

use anyhow::{Context, Result};
use tare_evidence::{Budget, InTurns, median, missed_by_benches, typical};
use tare_testbed::Network;

use super::executable::Bed;
use super::turns::{self, Subject};
use crate::build::Built;
use crate::session::Session;

/// The name of the step.
const STEP: &str = "missed budgets, in turns";
/// So that each of two benches is as often first, on each of two processors.
const ROUNDS: usize = 8;

/// Times both benches of each budget that was missed in turns.
pub async fn look(session: &mut Session, built: &Built, network: Network, handover: &Path) -> Result<()> {
    let missed: Vec<_> = missed_by_benches(session.config(), &session.evidence).into_iter().cloned().collect();
    if missed.is_empty() {
        return Ok(());
    }
    let bed = Bed { handover: handover.to_owned(), network };
    let progress = session.progress.clone();
    let all = async {
        let mut measured = Vec::new();
        for budget in &missed {
            progress.at(format!("{} against {}", budget.id, budget.against));
            match in_turns(budget, built, &bed).await {
                Ok(both) => measured.extend(both),
                // Then it is judged by what was measured one after the other.
                Err(error) => {
                    progress.say(&format!("{} cannot be timed in turns: {error:#}", budget.id));
                }
            }
        }
        Ok(measured)
    };
    session.evidence.in_turns = session.step(STEP, all).await?;
    session.save()
}

async fn in_turns(budget: &Budget, built: &Built, bed: &Bed) -> Result<Option<InTurns>> {
    let subject = |id| -> Result<Subject<'_>> {
        let name = str::split_once(id, '/').with_context(|| format!("{id} is no id of a bench"))?.0;
        Ok(Subject { executable: built.bench(name)?, id, bed })
    };
    let (judged, other) = (subject(&budget.id)?, subject(&budget.against)?);
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let Some(pairs) = turns::take([other, judged], round, turns::LONG).await? else { return Ok(None) };
        ratios.extend(typical(&pairs).map(|[other, judged]| judged / other));
    }
    let rounds = ratios.len();
    if rounds == 0 {
        return Ok(None);
    }
    let ratio = median(ratios).estimate;
    Ok(Some(InTurns { id: budget.id.clone(), against: budget.against.clone(), ratio, rounds }))
}
