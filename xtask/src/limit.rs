//! `cargo xtask stress --find-limit`: the highest rate at which the targets still hold.

use std::time::Duration;

use anyhow::Result;
use tare_evidence::{Check, Limit, Pass, Targets, Trial};
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
        let targets = session.targets(strategy.as_deref());
        let targets = Targets { p95_ms: self.p95_ms.or(targets.p95_ms), ..targets };
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
fn missed(targets: &Targets, pass: &Pass, rate: f64) -> Vec<String> {
    let kept_up =
        (pass.throughput() < KEPT_UP * rate).then(|| format!("{:.0} req/s came to their end", pass.throughput()));
    let success = targets
        .success_rate
        .filter(|required| pass.success_rate() <= *required)
        .map(|_| format!("success {:.1} %", pass.success_rate() * 100.0));
    let errors = targets
        .server_errors
        .filter(|required| pass.server_errors() > *required)
        .map(|_| format!("{} answers of 5xx", pass.server_errors()));
    let latency = |what: &str, measured: f64, required: Option<f64>| {
        required.filter(|required| measured >= *required).map(|_| format!("{what} {measured:.1} ms"))
    };
    let p50 = latency("P50", pass.latency.p50_ms, targets.p50_ms);
    let p95 = latency("P95", pass.latency.p95_ms, targets.p95_ms);
    [success, errors, p50, p95, kept_up].into_iter().flatten().collect()
}

/// `success > 99 %, no 5xx, P95 < 500 ms`.
fn words(targets: &Targets) -> String {
    let latency = |what: &str, bound: Option<f64>| bound.map(|bound| format!("{what} < {bound} ms"));
    let all = [
        targets.success_rate.map(|rate| format!("success > {} %", rate * 100.0)),
        targets.server_errors.map(|errors| if errors == 0 { "no 5xx".into() } else { format!("5xx ≤ {errors}") }),
        latency("P50", targets.p50_ms),
        latency("P95", targets.p95_ms),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
