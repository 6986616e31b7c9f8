//! One fault, from before it to after it.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::bed::Bed;
use crate::books::{Books, Losses};
use crate::callers::{Crowd, Told};
use crate::inflict::{Seen, inflict};
use crate::{Error, Fault};

/// Callers of all tenants.
const CALLERS: usize = 12;
/// Requests of each tenant acknowledged before the fault and again after it.
const AROUND: u64 = 40;
/// How long these may take: until then nobody would wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon every tenant must be served again once the fault is healed.
pub const MOST_RECOVERY: Duration = Duration::from_secs(5);
/// How much longer the P95 of tenants whom the fault does not concern may be meanwhile.
pub const MOST_OTHERS: f64 = 1.5;
/// Requests on either side without which P95 says nothing.
const ENOUGH: usize = 1_000;

/// What came of one round.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong.
    pub fault: Fault,
    /// Requests sent.
    pub requests: u64,
    /// Requests acknowledged: done, or refused for good reason.
    pub acknowledged: u64,
    /// Requests not answered, or answered that they cannot be done now.
    pub failed: u64,
    /// Changes that were asked for more than once, under one key.
    pub retried: u64,
    /// What does not add up afterwards.
    pub losses: Losses,
    /// From the end of the fault until every tenant was served again.
    pub recovery: Duration,
    /// P95 of the other tenants while the fault lasted, as a multiple of what it was without; nothing when it concerned all, or
    /// when there were too few requests to tell.
    pub others: Option<f64>,
    /// What was promised and not kept, in sentences.
    pub broken: Vec<String>,
}

/// Plays one round of `fault`, which lasts about `hold`.
///
/// # Errors
/// It could not be played: what it needs is not there, or the server does not answer before it.
pub async fn play(bed: &mut Bed, fault: Fault, hold: Duration, seed: u64) -> Result<Outcome, Error> {
    bed.prepare(fault).await?;
    let played = play_prepared(bed, fault, hold, &mut Rng::with_seed(seed)).await;
    bed.restore().await?;
    played
}

async fn play_prepared(bed: &mut Bed, fault: Fault, hold: Duration, random: &mut Rng) -> Result<Outcome, Error> {
    let before = Books::open(&bed.fixture).await?;
    let everybody: Vec<_> = (0..bed.fixture.tenants().len()).collect();
    let not_served =
        || Error::Server { attempted: format!("before {fault}"), reason: "not all tenants are served".into() };
    // Once without the fault: what the server holds afterwards is what it needs.
    let crowd = gathered(bed, random)?;
    crowd.wait_for(AROUND, &everybody, PATIENCE).await.ok_or_else(not_served)?;
    let mut told = crowd.end().await;
    let held = bed.quiet().await;

    let mut crowd = gathered(bed, random)?;
    crowd.wait_for(AROUND, &everybody, PATIENCE).await.ok_or_else(not_served)?;
    let Seen { mut broken, spans, others, replaced } = inflict(fault, bed, &mut crowd, hold, random).await?;
    let recovery = crowd.wait_for(1, &everybody, PATIENCE).await;
    match recovery {
        Some(took) if took <= MOST_RECOVERY => {}
        Some(took) => broken.push(format!("every tenant was served again only after {:.1} s", took.as_secs_f64())),
        None => broken.push(format!("not every tenant was served again within {} s", PATIENCE.as_secs())),
    }
    if recovery.is_some() && crowd.wait_for(AROUND, &everybody, PATIENCE).await.is_none() {
        broken.push("requests are not answered any more".into());
    }
    told.add(crowd.end().await);
    broken.extend(bed.leaked(held.filter(|_| !replaced)).await);
    let losses = Books::read(&bed.fixture).await?.balance(&before, &told);
    let ratio = others_ratio(&told, &spans, &others);
    broken.extend(unkept(&told, losses, ratio));
    Ok(Outcome {
        fault,
        requests: told.requests,
        acknowledged: told.done.len() as u64,
        failed: told.failed,
        retried: told.retried,
        losses,
        recovery: recovery.unwrap_or(PATIENCE),
        others: ratio,
        broken,
    })
}

fn gathered(bed: &Bed, random: &mut Rng) -> Result<Crowd, Error> {
    let mut crowd = Crowd::new(&bed.fixture, bed.url())?;
    crowd.grow(&bed.fixture, CALLERS, random);
    Ok(crowd)
}

/// Sentences about promises that were not kept.
fn unkept(told: &Told, losses: Losses, others: Option<f64>) -> Vec<String> {
    let Losses { missing, doubled, unbalanced } = losses;
    let mut broken = Vec::new();
    let mut expect_none = |count: u64, what: &str| {
        if count > 0 {
            broken.push(format!("{count} {what}"));
        }
    };
    expect_none(missing, "acknowledged and not there");
    expect_none(doubled, "there more than once");
    expect_none(unbalanced, "parts whose stock does not add up");
    expect_none(told.open.len() as u64, "changes never acknowledged");
    expect_none(told.let_in, "let in with an expired token");
    expect_none(told.unexpected, &format!("answered in an unexpected way: {}", told.examples.join("; ")));
    if let Some(ratio) = others.filter(|ratio| *ratio > MOST_OTHERS) {
        broken.push(format!("P95 of the other tenants was {ratio:.2} × what it is without"));
    }
    broken
}

/// P95 of `others` asked within `spans`, as a multiple of P95 of those asked outside of them.
fn others_ratio(told: &Told, spans: &[(Instant, Instant)], others: &[usize]) -> Option<f64> {
    let asked = told.times.iter().filter(|(_, _, tenant)| others.contains(tenant));
    let (within, without): (Vec<_>, Vec<_>) =
        asked.partition(|(asked, ..)| spans.iter().any(|(begin, end)| (begin..end).contains(&asked)));
    let p95 = |times: Vec<&(Instant, Duration, usize)>| {
        let mut times: Vec<_> = times.into_iter().map(|(_, took, _)| *took).collect();
        times.sort_unstable();
        (times.len() >= ENOUGH).then(|| times[times.len() * 95 / 100].as_secs_f64())
    };
    Some(p95(within)? / p95(without)?)
}
