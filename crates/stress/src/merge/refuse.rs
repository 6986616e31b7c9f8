//! When parts are no whole.

use std::collections::BTreeMap;

use tare_evidence::{Pass, Share};

use super::{LATENESS, MergeError, Part, TOGETHER, action_tag, began, component_tag, seconds, worker};

/// What must be the same for all who share a load.
fn told(pass: &Pass) -> Vec<(&'static str, String)> {
    let Share { workers, whole, .. } = pass.share.clone().unwrap_or_default();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not given".into());
    vec![
        ("the URL", pass.url.clone()),
        ("the number of workers", workers.to_string()),
        ("the rate", or_none(pass.rate.clone())),
        ("the number of requests", or_none(whole.requests.map(|requests| requests.to_string()))),
        ("the time", or_none(whole.seconds.map(seconds))),
        ("the concurrency", whole.concurrency.to_string()),
        ("the warm-up", whole.warmup.to_string()),
        ("the time-out", seconds(whole.timeout_s)),
        ("the seed", or_none(whole.seed.map(|seed| seed.to_string()))),
        ("the agreed start", or_none(pass.start_s.map(|start| format!("{start} s after 1970")))),
        ("the mark of what is sent", whole.sent),
    ]
}

pub(super) fn different(one: &Part, other: &Part) -> Result<(), MergeError> {
    let both = told(&one.pass).into_iter().zip(told(&other.pass));
    match both.into_iter().find(|(this, that)| this != that) {
        None => Ok(()),
        Some(((what, this), (_, that))) => {
            Err(MergeError::Different { one: one.folder.clone(), other: other.folder.clone(), what, this, that })
        }
    }
}

pub(super) fn incomplete_set(parts: &[Part], workers: u64) -> Result<(), MergeError> {
    let mut there = BTreeMap::new();
    for part in parts {
        if let Some(one) = there.insert(worker(part), part.folder.clone()) {
            return Err(MergeError::Twice { worker: worker(part), one, other: part.folder.clone() });
        }
    }
    let missing: Vec<_> = (1..=workers).filter(|worker| !there.contains_key(worker)).collect();
    if missing.is_empty() { Ok(()) } else { Err(MergeError::Missing { missing, workers }) }
}

/// A log that breaks off after a whole line looks like a shorter one; its evidence tells.
pub(super) fn other_log(part: &Part) -> Result<(), MergeError> {
    let Part { pass, log, .. } = part;
    let failed = |what: String| Err(MergeError::Incomplete { folder: part.folder.clone(), what });
    let whole = log.whole().len();
    if whole != pass.requests {
        return failed(format!("{whole} requests, and {} in the evidence", pass.requests));
    }
    if pass.succeeded > whole {
        return failed(format!("{whole} requests, and {} of them succeeded by the evidence", pass.succeeded));
    }
    let statuses = pass.statuses.iter().map(|(status, count)| (format!("status:{status}"), Some(*count)));
    let actions = pass.actions.iter().map(|action| (action_tag(&action.name), Some(action.requests)));
    let components = pass.components.iter().map(|(name, _)| (component_tag(name), None));
    let lateness = pass.lateness.map(|_| (LATENESS.to_owned(), Some(pass.requests)));
    for (tag, count) in statuses.chain(actions).chain(components).chain(lateness) {
        match (log.tagged(&tag), count) {
            (None, Some(1..) | None) => return failed(format!("they lack {tag}")),
            (Some(times), Some(count)) if times.len() != count => {
                return failed(format!("{} of {tag}, and {count} in the evidence", times.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// By their own clocks, which tells who was late; and by the service's, which tells whose clock is off.
pub(super) fn apart(parts: &[Part]) -> Result<(), MergeError> {
    let own = parts.iter().map(|part| (worker(part), began(part), began(part)));
    let service = parts.iter().filter_map(|part| {
        let ahead = part.pass.ahead?;
        Some((worker(part), began(part) + ahead.at_least_ms / 1e3, began(part) + ahead.at_most_ms / 1e3))
    });
    gap(own, "", "have them start earlier, and --start-at farther ahead")?;
    let advice = "their own clocks do not show it, so those are wrong: set them by NTP and measure again";
    gap(service, " by the service's clock", advice)
}

/// Whether the last to begin did so too long after the first. Of each is known who, and from when to when it was.
fn gap(
    began: impl Iterator<Item = (u64, f64, f64)>,
    clock: &'static str,
    advice: &'static str,
) -> Result<(), MergeError> {
    let began: Vec<_> = began.collect();
    let last = began.iter().max_by(|one, other| one.1.total_cmp(&other.1));
    let first = began.iter().min_by(|one, other| one.2.total_cmp(&other.2));
    match (first, last) {
        (Some(&(early, _, first)), Some(&(late, last, _))) if last - first > TOGETHER => {
            Err(MergeError::Apart { early, late, by_s: last - first, clock, advice })
        }
        _ => Ok(()),
    }
}
