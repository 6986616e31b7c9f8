//! `cargo xtask profile`: one action taken apart.

mod built_in;
mod own;

use std::ops::Range;
use std::time::Duration;

use anyhow::{Error, Result};
use tare_evidence::{Check, Profile, Work};
use tare_gateway::Strategy;
use tare_profile::{Explained, Subject};
use tare_stress::{Connection, Mix, TIMEOUT, call};
use tare_testbed::Network;
use tokio_util::sync::CancellationToken;

pub use self::built_in::{Asked, action};

use crate::session::{Session, read_published};
use crate::{Ending, cli};

/// The step that counts what the database is asked to do.
const COUNT: &str = "count";
/// Requests over which that is counted.
const COUNTED: u64 = 20;
/// The step that reads plans.
const PLANS: &str = "plans";
/// How far the components of a request may be from it in all.
const OFF: f64 = 0.02;

/// `cargo xtask profile`.
pub async fn run(options: cli::Profile, stop: CancellationToken) -> Result<Ending> {
    match options.subject.url.clone() {
        Some(url) => own::run(options, &url, stop).await,
        None => built_in::run(options, stop).await,
    }
}

/// The name of a profile's step.
pub fn step(strategy: Strategy, action: &str) -> String {
    match action {
        crate::stress::PUBLISHED_ACTION => format!("profile {strategy}"),
        other => format!("profile {strategy} {other}"),
    }
}

/// How long a profile usually takes, for telling it beforehand.
pub fn usual(strategy: Strategy, samples: usize, network: Network) -> Duration {
    let (work, round_trips) = if strategy == Strategy::BEFORE { (30, 28) } else { (2, 1) };
    (Duration::from_millis(work) + network.round_trip * round_trips) * samples as u32
}

/// Sends the requests that are timed, as the step `step`.
async fn measure(session: &mut Session, step: &str, subject: Subject) -> Result<Profile> {
    let (progress, stop, samples) = (session.progress.clone(), session.stop.clone(), subject.samples);
    let measured =
        async { Ok(tare_profile::profile(&subject, &stop, |done| progress.at(format!("{done} of {samples}"))).await?) };
    session.step(step, measured).await
}

/// Sends the requests `nths` one after the other.
async fn send(mix: &Mix, connection: &mut Connection, nths: Range<u64>) -> Result<()> {
    for nth in nths {
        call(mix, connection, nth, TIMEOUT).await.map_err(Error::msg)?;
    }
    Ok(())
}

/// Adds what the database was asked to do, and what stands out of it.
fn add_work(profile: &mut Profile, (work, remarks): (Work, Vec<String>)) {
    profile.findings.extend(tare_profile::work_findings(&work, profile.request_ms.estimate));
    profile.work = Some(work);
    profile.remarks.extend(remarks);
}

/// Adds how the database did it.
fn add_plans(profile: &mut Profile, explained: Explained) {
    profile.plans = explained.plans;
    profile.findings.extend(explained.findings);
    profile.remarks.extend(explained.remarks);
}

/// Concludes what was measured and keeps it.
fn keep(session: &mut Session, mut profile: Profile) -> Result<()> {
    tare_profile::conclude(&mut profile);
    session.evidence.checks.extend(adds_up(&profile));
    session.evidence.profiles.push(profile);
    session.save()
}

/// Whether the components of a request, which were measured, add up to what its client saw. A profile that leaves a part
/// out, or counts one twice, says nothing.
fn adds_up(profile: &Profile) -> Option<Check> {
    let whole = profile.request_ms.estimate;
    let sum: f64 = profile.components.iter().map(|component| component.ms.estimate).sum();
    let measured = !profile.components.is_empty() && profile.components.iter().all(|component| !component.estimated);
    measured.then(|| Check {
        what: match &profile.strategy {
            Some(strategy) => format!("components of {strategy} {} to its request", profile.name),
            None => format!("components of {} to its request", profile.name),
        },
        measured: format!("{:.1} %", sum / whole * 100.0),
        required: format!("100 ± {:.0} %", OFF * 100.0),
        met: (sum / whole - 1.0).abs() <= OFF,
    })
}

/// The published time of each component in milliseconds.
fn published() -> Result<Vec<(String, f64)>> {
    Ok(read_published()?.of_a_request())
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Component, Interval};

    use super::*;

    fn profile(parts: &[f64], estimated: bool) -> Profile {
        let exact = |ms| Interval { estimate: ms, lower: ms, upper: ms };
        let component = |ms: &f64| Component { name: "x".into(), ms: exact(*ms), estimated };
        Profile { request_ms: exact(10.0), components: parts.iter().map(component).collect(), ..Profile::default() }
    }

    #[test]
    fn components_must_add_up() {
        let met = |parts: &[f64]| adds_up(&profile(parts, false)).map(|check| check.met);
        assert_eq!([met(&[4.0, 5.9]), met(&[4.0, 5.7]), met(&[4.0, 6.3])], [Some(true), Some(false), Some(false)]);
        assert_eq!(met(&[]), None);
        assert_eq!(adds_up(&profile(&[10.0], true)), None, "an estimate is made to add up");
    }
}
