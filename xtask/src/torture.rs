//! `cargo xtask torture`: one fault after the other on the real server, and what was promised of each.

use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use serde_json::{Value, json};
use tare_evidence::units::whole;
use tare_report::{Section, Table, markdown_of, terminal_of};
use tare_testbed::Measuring;
use tare_torture::{Bed, Error, Fault, Losses, MOST_RECOVERY, Outcome, Queue, play};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli::{Format, Torture};
use crate::progress::{Planned, Progress};
use crate::session::{POSTGRES, show};

/// How long a round takes beside the fault itself.
const AROUND: Duration = Duration::from_secs(3);
/// How many times longer a lock is held than other faults last.
const LOCK: u32 = 10;
/// The step that the rounds are.
const ROUNDS: &str = "rounds";

/// What was seen of one fault in all rounds.
struct Seen {
    fault: Fault,
    rounds: Vec<Outcome>,
    /// Why it could not be played.
    not_played: Option<String>,
}

/// `cargo xtask torture`.
pub async fn run(options: Torture, stop: CancellationToken) -> Result<Ending> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u32(..1_000_000));
    let faults = order(&options.only, seed);
    let once: Duration = faults.iter().map(|fault| hold(*fault, options.hold) + AROUND).sum();
    let rounds = if options.once { once } else { once.max(Duration::from_secs(60) * options.minutes) };
    let steps = [(BUILD, Duration::from_secs(5)), (POSTGRES, Duration::from_secs(6)), (ROUNDS, rounds)];
    let progress = Progress::new(steps.map(|(name, expected)| Planned { name: name.into(), expected }).into());
    // Whoever measures meanwhile is told that it is disturbed; where nobody can be told, nobody is.
    let _measuring = Measuring::begin("torture").ok();
    let mut seen: Vec<_> =
        faults.iter().map(|fault| Seen { fault: *fault, rounds: Vec::new(), not_played: None }).collect();
    let all = async {
        progress.begin(BUILD);
        let built = build::build(&progress, false).await?;
        progress.begin(POSTGRES);
        let queue = if options.queue_in_memory { Queue::Memory } else { Queue::Durable };
        let mut bed = Bed::start(&built.server, queue, &|line| progress.say(line)).await?;
        progress.begin(ROUNDS);
        let end = Instant::now() + rounds;
        for (nth, place) in (0..seen.len()).cycle().enumerate() {
            if nth >= seen.len() && (options.once || Instant::now() >= end) {
                break;
            }
            one(&mut bed, &mut seen[place], &options, seed.wrapping_add(nth as u32), &progress).await?;
            if seen.iter().all(|seen| seen.not_played.is_some()) {
                break;
            }
        }
        anyhow::Ok(bed.stop().await?)
    };
    let ended = tokio::select! {
        ended = all => Some(ended),
        () = stop.cancelled() => None,
    };
    progress.end();
    let told = told(&seen, seed, ended.is_none());
    show(&match options.format {
        Format::Text => terminal_of(&[told]),
        Format::Markdown => markdown_of(&[told]),
        Format::Json => serde_json::to_string_pretty(
            &json!({"seed": seed, "faults": seen.iter().map(as_json).collect::<Vec<_>>()}),
        )?,
    });
    let Some(ended) = ended else { return Ok(Ending::Interrupted) };
    ended?;
    let not_played: Vec<_> = seen.iter().filter_map(|seen| seen.not_played.as_ref()).collect();
    Ok(if seen.iter().any(|seen| seen.rounds.iter().any(|round| !round.broken.is_empty())) {
        Ending::Missed
    } else if not_played.is_empty() {
        Ending::Met
    } else {
        // Each was named when it was its turn.
        anyhow::bail!("{} of {} faults could not be played", not_played.len(), seen.len())
    })
}

/// The faults asked for, in an order that comes from `seed`.
fn order(only: &[Fault], seed: u32) -> Vec<Fault> {
    let mut faults: Vec<_> = Fault::ALL.into_iter().filter(|fault| only.is_empty() || only.contains(fault)).collect();
    Rng::with_seed(seed.into()).shuffle(&mut faults);
    faults
}

/// How long `fault` lasts when others last for `usual`.
fn hold(fault: Fault, usual: Duration) -> Duration {
    if fault == Fault::LockHeld { usual * LOCK } else { usual }
}

/// Plays one round of a fault, and says what came of it.
async fn one(bed: &mut Bed, seen: &mut Seen, options: &Torture, seed: u32, progress: &Progress) -> Result<()> {
    let fault = seen.fault;
    progress.at(fault.name());
    match play(bed, fault, hold(fault, options.hold), seed.into()).await {
        Ok(outcome) => {
            let kept = if outcome.broken.is_empty() { "kept" } else { "BROKEN" };
            progress.say(&format!(
                "{fault:<20} {kept}: {} requests, {} acknowledged, {} failed meanwhile, {} changes asked for again; served again after {:.2} s",
                whole(outcome.requests as f64),
                whole(outcome.acknowledged as f64),
                whole(outcome.failed as f64),
                whole(outcome.retried as f64),
                outcome.recovery.as_secs_f64()
            ));
            for broken in &outcome.broken {
                let memory = if options.queue_in_memory { " --queue-in-memory" } else { "" };
                progress.say(&format!(
                    "  {broken}; again: cargo xtask torture --once --only {fault} --seed {seed}{memory}"
                ));
            }
            seen.rounds.push(outcome);
        }
        Err(Error::Lacks(what)) => {
            if seen.not_played.is_none() {
                progress.say(&format!("{fault:<20} not played: {what}"));
            }
            seen.not_played = Some(what);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// What all rounds of a fault come to.
fn sum(seen: &Seen, of: impl Fn(&Outcome) -> u64) -> u64 {
    seen.rounds.iter().map(of).sum()
}

fn told(seen: &[Seen], seed: u32, interrupted: bool) -> Section {
    let header = [
        "fault",
        "rounds",
        "requests",
        "failed",
        "again",
        "lost",
        "doubled",
        "unbalanced",
        "served again",
        "others' P95",
        "promises",
    ];
    let rows = seen.iter().map(|seen| {
        let Seen { fault, rounds, not_played } = seen;
        let longest = rounds.iter().map(|round| round.recovery).max();
        let others = rounds.iter().filter_map(|round| round.others).reduce(f64::max);
        let broken = sum(seen, |round| round.broken.len() as u64);
        let count = |of: fn(&Outcome) -> u64| whole(sum(seen, of) as f64);
        vec![
            fault.to_string(),
            rounds.len().to_string(),
            count(|round| round.requests),
            count(|round| round.failed),
            count(|round| round.retried),
            count(|round| round.losses.missing),
            count(|round| round.losses.doubled),
            count(|round| round.losses.unbalanced),
            longest.map_or_else(|| "-".into(), |longest| format!("{:.2} s", longest.as_secs_f64())),
            others.map_or_else(|| "-".into(), |others| format!("{others:.2} ×")),
            match (not_played, broken) {
                (Some(_), _) => "not played".into(),
                (None, 0) if rounds.is_empty() => "-".into(),
                (None, 0) => "kept".into(),
                (None, broken) => format!("{broken} broken"),
            },
        ]
    });
    let table = Table { header: header.map(str::to_owned).into(), rows: rows.collect() };
    let requests: u64 = seen.iter().map(|seen| sum(seen, |round| round.requests)).sum();
    let lost: u64 = seen.iter().map(|seen| sum(seen, |round| round.losses.all())).sum();
    let broken: u64 = seen.iter().map(|seen| sum(seen, |round| round.broken.len() as u64)).sum();
    let mut paragraphs = vec![format!(
        "{} requests under {} rounds of faults, seed {seed}: {} lost, doubled or unbalanced, {} promises broken. Each tenant is to be \
         served again within {} s.",
        whole(requests as f64),
        seen.iter().map(|seen| seen.rounds.len()).sum::<usize>(),
        whole(lost as f64),
        whole(broken as f64),
        MOST_RECOVERY.as_secs()
    )];
    let sentences = seen.iter().flat_map(|seen| {
        let broken =
            seen.rounds.iter().flat_map(|round| &round.broken).map(|broken| format!("{}: {broken}.", seen.fault));
        let not_played = seen.not_played.iter().map(|what| format!("{} was not played: {what}.", seen.fault));
        broken.chain(not_played)
    });
    paragraphs.extend(sentences);
    if interrupted {
        paragraphs.push("Interrupted: nothing is judged by this.".into());
    }
    Section::new("Torture", paragraphs, Some(table))
}

fn as_json(seen: &Seen) -> Value {
    let rounds = seen.rounds.iter().map(|round| {
        let Losses { missing, doubled, unbalanced } = round.losses;
        json!({
            "requests": round.requests, "acknowledged": round.acknowledged, "failed": round.failed, "again": round.retried,
            "lost": missing, "doubled": doubled, "unbalanced": unbalanced,
            "recovery_seconds": round.recovery.as_secs_f64(), "others_p95_ratio": round.others, "broken": round.broken,
        })
    });
    json!({
        "fault": seen.fault.name(), "promise": seen.fault.promise(), "rounds": rounds.collect::<Vec<_>>(), "not_played": seen.not_played,
    })
}
