//! `cargo xtask stress --find-limit`: the highest rate at which the targets still hold.

use std::time::Duration;

use anyhow::Result;
use tare_evidence::{Check, Limit, Pass, Targets, Trial, judge_pass};
use tare_stress::{Extent, Pace, Search};

use crate::cli;
use crate::load::Sending;
use crate::session::Session;
use crate::stress::{Amount, send};

/// The name of the step.
pub const STEP: &str = "limit";
/// How long each rate is tried when nothing else was asked for.
const TRIAL: Duration = Duration::from_secs(3);
/// How close the rate that fails is to the one that holds.
const PRECISION: f64 = 0.05;
/// Share of the rate at which requests must come to their end: else the service does not keep up, and more of them wait.
const KEPT_UP: f64 = 0.95;
/// Trials that a search usually takes.
const USUAL: u32 = 18;

/// What is looked for.
pub struct Looking {
    trial: Duration,
    p95_ms: Option<f64>,
}

impl Looking {
    pub fn of(options: &cli::Stress) -> Self {
        Self { trial: options.duration.unwrap_or(TRIAL), p95_ms: options.p95.map(|time| time.as_secs_f64() * 1e3) }
    }

    pub fn usual(&self) -> Duration {
        self.trial * USUAL
    }

    /// Searches, into the evidence. `sending` is what to send, anew for each trial.
    pub async fn find(
        &self,
        session: &mut Session,
        amount: &Amount,
        strategy: Option<String>,
        sending: impl AsyncFn() -> Result<Sending>,
    ) -> Result<()> {
        let targets = match self.p95_ms {
            None => session.targets(),
            // Instead of any other P95.
            Some(p95_ms) => {
                let others = session.targets().into_iter().map(|targets| Targets { p95_ms: None, ..targets });
                others.chain([Targets { p95_ms: Some(p95_ms), ..Targets::default() }]).collect()
            }
        };
        let (progress, stop) = (session.progress.clone(), session.stop.clone());
        let mut limit = Limit { strategy: strategy.clone(), targets: words(&targets), ..Limit::default() };
        let step = async {
            // As fast as it answers: what is beyond that cannot hold.
            let amount = Amount { extent: Extent { requests: u64::MAX, time: self.trial }, ..amount.clone() };
            let fastest = send(sending().await?, strategy.clone(), &amount, &progress, &stop).await?.pass;
            limit.name = fastest.name.clone();
            let mut search = Search::new(fastest.throughput() / 2.0, PRECISION, fastest.throughput() * 4.0);
            while let Some(rate) = search.next() {
                if stop.is_cancelled() {
                    break;
                }
                let paced = Amount { pace: Some(Pace::constant(rate)), ..amount.clone() };
                let pass = send(sending().await?, strategy.clone(), &paced, &progress, &stop).await?.pass;
                if pass.interrupted {
                    break;
                }
                let missed = missed(&targets, &pass, rate);
                let verdict = if missed.is_empty() { "holds".to_owned() } else { missed.join(", ") };
                progress.say(&format!("{rate} req/s: {verdict}"));
                search.tell(missed.is_empty());
                limit.trials.push(Trial {
                    rate,
                    throughput: pass.throughput(),
                    latency: pass.latency,
                    success_rate: pass.success_rate(),
                    missed,
                });
            }
            (limit.held, limit.failed) = search.found();
            Ok(())
        };
        session.step(STEP, step).await?;
        // Interrupted, it was not looked for to its end.
        if !session.stop.is_cancelled() {
            session.evidence.checks.push(Check {
                what: format!("limit {}", limit.name),
                measured: limit.held.map_or_else(|| "none".to_owned(), |held| format!("{held} req/s")),
                required: format!("a rate at which {} hold", limit.targets),
                met: limit.held.is_some(),
            });
        }
        session.evidence.limits.push(limit);
        session.save()
    }
}

/// What did not hold.
fn missed(targets: &[Targets], pass: &Pass, rate: f64) -> Vec<String> {
    let kept_up =
        (pass.throughput() < KEPT_UP * rate).then(|| format!("{:.0} req/s came to their end", pass.throughput()));
    let checks = checks(targets, pass);
    let missed = tare_evidence::missed(&checks).map(|check| format!("{} {}", check.what, check.measured));
    missed.chain(kept_up).collect()
}

/// `success > 99 %, 5xx ≤ 0, P95 < 500 ms`.
fn words(targets: &[Targets]) -> String {
    let asked = checks(targets, &Pass::default());
    asked.iter().map(|check| format!("{} {}", check.what, check.required)).collect::<Vec<_>>().join(", ")
}

fn checks(targets: &[Targets], pass: &Pass) -> Vec<Check> {
    targets.iter().flat_map(|targets| judge_pass(targets, pass)).collect()
}
